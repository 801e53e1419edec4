"""Virtual relation matching."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from trg_pyg.distillers.base import GraphSize, Taps, check_networks, check_weights, graph_size
from trg_pyg.distillers.strong_view import check_magnitude, strong_view
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.pointwise import SmoothL1
from trg_pyg.divergences.trimmed import Trimmed
from trg_pyg.errors import require
from trg_pyg.graphs.batch import replace_nodes
from trg_pyg.graphs.bipartite import BipartiteGraph
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair
from trg_pyg.relations.direction import Direction
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision


class VRM(TermDistiller):
    r"""Which way images, and classes, lie from those of a second view; after Zhang et al. (arXiv 2502.20760).

    Both networks see every image as it is and changed by RandAugment, its virtual view.

    .. math:: L = L_{CE} + w_i \, \overline{\mathrm{Huber}}_{b, c}\Big(
        \frac{z_b - \tilde z_c}{\lVert z_b - \tilde z_c \rVert} \Big) + w_c \, \overline{\mathrm{Huber}}_{k, l}\Big(
        \frac{v_k - \tilde v_l}{\lVert v_k - \tilde v_l \rVert} \Big)

    between student and teacher, with z the logits of an image, v those of a class for all images of the batch, and a
    tilde for the virtual view. Nodes: images by logits, and classes. Edges: from each of the real view to each of the
    virtual one. Relation: the unit vector of their difference. Divergence: Huber's error, summed over a vector, without
    the edges that have the largest, where the networks disagree: one wrong answer reaches every pair of a batch.

    The paper's abstract and what others wrote of it give the vectors, the views, the edges and Huber's error; the mean,
    the measure of disagreement, its share, and the weights are ours. Cross-entropy and logit distillation are of the
    images as they are. Edges of classes have :math:`B C^2` values, which for 1000 classes is a GB for 256 images.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        image_weight: w_i, weight of the vectors between images.
        class_weight: w_c, weight of the vectors between classes.
        pruned: share of the edges that are left out, in [0, 1).
        magnitude: of RandAugment, which does two operations on each image, in [0, 30].
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, ``pruned`` or ``magnitude`` is out of its range, or the
            networks have different numbers of classes; in a step, images have channels that RandAugment does not know,
            their positions are missing, or outputs are not of two views.
    """

    after: ClassVar[str] = "Zhang et al., arXiv 2502.20760"
    taps: ClassVar[Taps] = "none"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        image_weight: float = 4.0,
        class_weight: float = 4.0,
        pruned: float = 0.1,
        magnitude: int = 9,
        **options: Any,
    ) -> None:
        check_weights(image_weight=image_weight, class_weight=class_weight)
        require(0 <= pruned < 1, f"pruned={pruned}: the share of edges that are left out is at least 0 and less than 1")
        check_magnitude(magnitude)
        classes = check_networks(student, teacher).num_classes
        terms: dict[str, tuple[float, Term]] = {
            "image": (image_weight, _Directions("images", classes, pruned)),
            "class": (class_weight, _Directions("classes", classes, pruned)),
        }
        super().__init__(student, teacher, terms=terms, **options)
        self.magnitude = magnitude

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the images, and the same changed by RandAugment."""
        return [images, strong_view(images, self.magnitude, step, "VRM")]


class _Directions(Term):
    def __init__(self, of: Literal["images", "classes"], classes: int, pruned: float) -> None:
        super().__init__()
        self.of, self.classes, self.edges = of, classes, BipartiteGraph(None)
        self.loss = RelationalLoss(Direction(), Trimmed(SmoothL1(), pruned))

    def graph_size(self, images: int) -> GraphSize:
        """Return the size of the graph of both views."""
        return graph_size(self.edges, 1, 2 * (images if self.of == "images" else self.classes))

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the divergence of the vectors from view to view."""
        return self.compare(NodePair(self._nodes(student.logits, step), self._nodes(teacher.logits.detach(), step)))

    def compare(self, nodes: NodePair) -> Tensor:
        """Return the divergence of nodes ``[1, N, D]``, those of the real view first."""
        graph = self.edges(nodes.teacher)
        return self.loss(replace_nodes(graph, nodes.student[0]), graph)

    def _nodes(self, logits: Tensor, step: Step) -> Tensor:
        views = step.split(full_precision(logits))
        require(
            len(views) == 2,
            f"VRM compares two views, and was given {len(views)}: call see(images, step), and give Step its rows",
        )
        return torch.cat([view if self.of == "images" else view.T for view in views]).unsqueeze(0)
