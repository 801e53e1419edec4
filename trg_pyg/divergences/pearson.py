"""What is left of a perfect correlation."""

from typing import ClassVar, Literal

from torch import Tensor
from torch.linalg import vector_norm

from trg_pyg.divergences.base import Divergence, Related
from trg_pyg.errors import check_choice, require
from trg_pyg.relations.base import Place
from trg_pyg.step import Step

_EPS = 1e-8


class Pearson(Divergence):
    r"""One minus Pearson's correlation of student and teacher, a match up to shift and scale (DIST, arXiv 2205.10536).

    .. math:: L = \frac{1}{M} \sum_i \big( 1 - \rho(s_i, t_i) \big), \qquad
        \rho(a, b) = \frac{\langle a - \bar a, b - \bar b \rangle}
        {\lVert a - \bar a \rVert \, \lVert b - \bar b \rVert + \epsilon}

    in [0, 2], with :math:`\epsilon = 10^{-8}` as in the public code, whose values are probabilities: what hardly
    varies, as the probability of a class that no image looks like, correlates with nothing.

    Args:
        of: ``"nodes"``: each node's features, M nodes. ``"features"``: each feature over all nodes, M features.

    Raises:
        InputError: there is no such choice; or the two networks' nodes differ in number or width.
    """

    accepts: ClassVar[tuple[Place, ...]] = ("nodes",)

    def __init__(self, of: Literal["nodes", "features"] = "nodes") -> None:
        super().__init__()
        check_choice("of", of, ("nodes", "features"))
        self.of = of

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the mean."""
        s, t = student.values(), teacher.values()
        require(
            s.shape == t.shape,
            f"Pearson of {tuple(s.shape)} student values and {tuple(t.shape)} teacher values: "
            "both networks need the same nodes, of one width",
        )
        if self.of == "features":
            s, t = s.T, t.T
        s, t = s - s.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
        sizes = vector_norm(s, dim=1) * vector_norm(t, dim=1)
        return 1 - ((s * t).sum(1) / (sizes + _EPS)).mean()
