"""Errors without the largest ones."""

from typing import ClassVar

from torch import Tensor

from trg_pyg.divergences.base import Divergence, Related
from trg_pyg.divergences.pointwise import PointwiseDivergence
from trg_pyg.errors import require
from trg_pyg.relations.base import Place
from trg_pyg.step import Step


class Trimmed(Divergence):
    """Trimmed mean of another divergence's errors over edges: those where the two networks disagree most are left out.

    The error of an edge with a vector is the sum over its coordinates. At least one edge is kept.

    Args:
        of: what compares two values.
        share: of the edges that are left out, in [0, 1).

    Raises:
        InputError: the share is not in [0, 1); or, in use, the networks have values of different shapes.
    """

    accepts: ClassVar[tuple[Place, ...]] = ("edges", "vectors")

    def __init__(self, of: PointwiseDivergence, share: float) -> None:
        super().__init__()
        require(0 <= share < 1, f"share={share}: the share of edges that are left out is at least 0 and less than 1")
        self.of, self.share = of, share

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the mean over the edges that are kept, 0 where there is none."""
        s, t = student.values(), teacher.values()
        require(
            s.shape == t.shape,
            f"Trimmed: {tuple(s.shape)} student values and {tuple(t.shape)} teacher values; both networks need the "
            "same edges, and nodes of one width where these have vectors",
        )
        error = self.of.each(s, t)
        if error.dim() == 2:
            error = error.sum(1)
        kept = len(error) - int(self.share * len(error))
        # A sum, for no edge has no mean.
        return error.topk(kept, largest=False, sorted=False).values.sum() / max(kept, 1)
