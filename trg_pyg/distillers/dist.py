"""Distillation from a stronger teacher."""

from typing import Any, ClassVar, Literal

from torch import Tensor

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.pearson import Pearson
from trg_pyg.graphs.batch import node_batch
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair
from trg_pyg.nodes.images import Probabilities
from trg_pyg.relations.carried import NodeFeatures
from trg_pyg.step import Step


class DIST(TermDistiller):
    r"""Class probabilities that correlate with the teacher's (Huang et al., arXiv 2205.10536).

    .. math:: L = L_{CE} + \beta \, \tau^2 \, \frac{1}{B} \sum_b \big(1 - \rho(p^S_{b \cdot}, p^T_{b \cdot})\big)
        + \gamma \, \tau^2 \, \frac{1}{C} \sum_c \big(1 - \rho(p^S_{\cdot c}, p^T_{\cdot c})\big)

    with Pearson's correlation :math:`\rho` and p of the softmax at temperature :math:`\tau`: over the classes of each
    image, and over the images of the batch for each class. Nodes: images by class probabilities; relation: themselves;
    divergence: :class:`~trg_pyg.divergences.pearson.Pearson`. Weights and temperature are those of its public code for
    CIFAR-100; for ImageNet it has temperature 1.

    Args:
        student: the student's classes.
        teacher: the teacher's.
        image_weight: beta, weight of the classes of each image.
        class_weight: gamma, weight of the images of each class.
        tau: temperature of the probabilities, and of logit distillation.
        **options: ce_weight and kd_weight of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    taps: ClassVar[Taps] = "none"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        image_weight: float = 2.0,
        class_weight: float = 2.0,
        tau: float = 4.0,
        **options: Any,
    ) -> None:
        check_weights(image_weight=image_weight, class_weight=class_weight)
        images = Probabilities(student, check_networks(student, teacher), tau=tau)
        terms: dict[str, tuple[float, Term]] = {
            "image": (image_weight, _Correlation(images, "nodes")),
            "class": (class_weight, _Correlation(images, "features")),
        }
        super().__init__(student, teacher, tau=tau, terms=terms, **options)


class _Correlation(Term):
    def __init__(self, images: Probabilities, of: Literal["nodes", "features"]) -> None:
        super().__init__()
        self.images, self.loss = images, RelationalLoss(NodeFeatures(), Pearson(of))

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return tau^2 times the divergence of the probabilities."""
        return self.compare(self.images(student, teacher, step))

    def compare(self, images: NodePair) -> Tensor:
        """Return tau^2 times the divergence of probabilities ``[1, B, C]``."""
        return self.images.tau**2 * self.loss(node_batch(images.student), node_batch(images.teacher))
