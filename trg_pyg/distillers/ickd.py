"""Inter-channel correlations."""

from typing import Any, ClassVar

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.sse import SSE
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.channels import Channels
from trg_pyg.relations.kernels import DotProduct
from trg_pyg.relations.scaled import Scaled
from trg_pyg.tasks.base import Task


class ICKD(TermDistiller):
    r"""Which channels of a map are active together (Liu et al., Inter-Channel Correlation, arXiv 2202.03680).

    .. math:: L = \frac{1}{B C} \sum_b \sum_{i j} \Big( \frac{G^S_{b i j}}{\lVert G^S_{b i \cdot} \rVert}
        - \frac{G^T_{b i j}}{\lVert G^T_{b i \cdot} \rVert} \Big)^2, \qquad G_b = F_b F_b^\top

    F ``[B, C, H W]`` are the last maps, the student's behind a 1x1 convolution with batch norm that gives it the
    teacher's C channels. Nodes: the channels of an image; complete graph with loops; dot product, rows of unit length.
    The weight is that of the public code for CIFAR-100. A graph has :math:`C^2` edges, an image one graph: memory grows
    with :math:`B C^2`, some 100 bytes each.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the term.
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, or one
            has no tap.
    """

    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 2.5,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        channels = Channels(student, check_networks(student, teacher))
        pairs, relation = CompleteGraph(None, self_loops=True), Scaled(DotProduct(), by="norm")
        terms = {"channels": (weight, Relational(channels, pairs, relation, SSE()))}
        super().__init__(student, teacher, terms=terms, **options)

    @property
    def num_tokens(self) -> int | None:
        """None: the nodes of an image are channels."""
        return None
