"""Features and logits weighed by the teacher's gradients."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import InputError, check_choice, require
from trg_pyg.losses.fisher import FeatureForm, FisherFeatureLoss, FisherLogitLoss, LogitForm
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nn.projection import Projection
from trg_pyg.step import Step


class GradientKD(TermDistiller):
    """What a teacher's classes depend on counts more (after Hsu et al., arXiv 2203.10163).

    Embeddings are compared by :class:`~trg_pyg.losses.fisher.FisherFeatureLoss`, the student's behind a linear layer
    where it has another width; or logits by :class:`~trg_pyg.losses.fisher.FisherLogitLoss`. The paper's text gives the
    weighing by the teacher's gradients; the equations are its second-order form, derived by us.

    Args:
        student: the student's classes and embedding.
        teacher: the teacher's.
        source: what is compared, ``"features"`` or ``"logits"``.
        weight: weight of the comparison.
        feature_form: of features: ``"fisher"``, or ``"plain"``, the control without weights.
        logit_form: of logits: ``"full"``, ``"diagonal"`` or ``"plain"``.
        tau: temperature of the teacher's softmax.
        **options: ce_weight, kd_weight, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, or of
            features: an embedding is not known.
    """

    taps: ClassVar[Taps] = "none"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        source: Literal["features", "logits"] = "features",
        weight: float = 1.0,
        feature_form: FeatureForm = "fisher",
        logit_form: LogitForm = "full",
        tau: float = 4.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_choice("source", source, ("features", "logits"))
        if source == "logits":
            term: Term = _Logits(FisherLogitLoss(logit_form, tau))
        else:
            widths = student.embedding, check_networks(student, teacher).embedding
            for owner, width in zip(("student", "teacher"), widths, strict=True):
                require(
                    width is not None,
                    f"source=features: the embedding of the {owner} is not known; declare classifier_path in its class",
                )
            term = _Features(FisherFeatureLoss(feature_form, tau), widths[0] or 0, widths[1] or 0)
        super().__init__(student, teacher, tau=tau, terms={source: (weight, term)}, **options)


class _Logits(Term):
    def __init__(self, loss: FisherLogitLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the logits."""
        return self.loss(student.logits, teacher.logits)


class _Features(Term):
    def __init__(self, loss: FisherFeatureLoss, student: int, teacher: int) -> None:
        super().__init__()
        self.loss = loss
        self.project = nn.Identity() if student == teacher else Projection(student, teacher)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of the embeddings."""
        layer = step.need_networks("GradientKD").classifier("teacher")
        if not isinstance(layer, nn.Linear):
            raise InputError(
                f"source=features: the classifier of the teacher is {type(layer).__name__}, not one linear layer; "
                "choose source=logits"
            )
        assert student.embedding is not None
        assert teacher.embedding is not None
        return self.loss(self.project(student.embedding), teacher.embedding, teacher.logits, layer.weight)
