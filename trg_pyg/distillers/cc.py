"""Correlation congruence."""

from typing import Any, Literal

from torch import Tensor

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.pointwise import MSE
from trg_pyg.errors import check_choice
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.losses.correlation import CorrelationLoss
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nodes.derived import Embedded
from trg_pyg.nodes.images import Instances
from trg_pyg.relations.kernels import TaylorGaussian
from trg_pyg.step import Step


class CC(TermDistiller):
    """Correlations between the images of a batch (Peng et al., arXiv 1904.01802), in either of its two forms.

    ``"kernel"``, the paper's: 128-d linear embeddings, complete graph with loops, Gaussian kernel by its Taylor series,
    MSE; weight 100. ``"difference"``, what RepDistiller runs, hence behind the published CIFAR-100 figures: products of
    consecutive images' differences between the networks; weight 0.02.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        form: kernel or difference.
        weight: weight of the correlation term; null takes that of the form, 100 or 0.02.
        dim: width of the embeddings.
        gamma: of the Gaussian kernel.
        order: last power of its Taylor series.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, or an
            option is impossible.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        form: Literal["kernel", "difference"] = "kernel",
        weight: float | None = None,
        dim: int = 128,
        gamma: float = 0.4,
        order: int = 2,
        **options: Any,
    ) -> None:
        check_choice("form", form, ("kernel", "difference"))
        images = Instances(student, check_networks(student, teacher))
        term: Term
        if form == "kernel":
            pairs = CompleteGraph(None, self_loops=True)
            term, published = Relational(Embedded(images, dim), pairs, TaylorGaussian(gamma, order), MSE()), 100.0
        else:
            term, published = _Differences(images, dim), 0.02
        weight = published if weight is None else weight
        check_weights(weight=weight)
        super().__init__(student, teacher, terms={"correlation": (weight, term)}, **options)
        self.form = form
        self.min_images = 2 if form == "difference" and weight else 1

    @property
    def by_rows(self) -> bool:  # type: ignore[override]
        """Whether processes can share its rows out: those of the kernel, while differences have no rows."""
        return self.form == "kernel"


class _Differences(Term):
    def __init__(self, images: Instances, dim: int) -> None:
        super().__init__()
        self.images = images
        self.loss = CorrelationLoss(images.student_dim, images.teacher_dim, dim)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the images' embeddings."""
        nodes = self.images(student, teacher, step)
        return self.loss(nodes.student[0], nodes.teacher[0])
