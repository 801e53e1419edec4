"""Mean squared error."""

from torch import Tensor

from trg_pyg.divergences.pointwise import PointwiseDivergence


class MSE(PointwiseDivergence):
    """Mean of the squared differences of all values."""

    def each(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the squared differences."""
        return (student - teacher).square()
