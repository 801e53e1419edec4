"""One for all: stages that answer by themselves."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.errors import check_positive
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nn.conv_norm import ConvNorm
from trg_pyg.nn.projection import Projection
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map
from trg_pyg.tokens.normalize import full_precision


class OFAKD(TermDistiller):
    r"""Each stage of the student answers by itself, and is told the teacher's answers (Hao et al., arXiv 2310.19444).

    .. math:: L = L_{CE} + D(z) + \sum_l D(h_l(F_l)), \qquad D(z) = -\frac{1}{B} \sum_b \sum_c
        \big( (p^T_{bc} + 1_{c = y_b})^\epsilon - 1_{c = y_b} \big) \log p^S_{bc}(z)

    of the logits z and of those of each stage, which a branch h makes of its map: a 3x3 convolution with batch norm and
    ReLU, the mean over the map, and a linear layer. For :math:`\epsilon = 1`, D is cross-entropy with the teacher's
    answers; above, the label counts the more the surer the teacher is of it, and other classes less. Nothing of the
    teacher's is compared but its answers, so that the two networks may be of any kind.

    Weights and the exponent are the public code's for CIFAR-100; it has 1.5 for some pairs. Its branches are deeper for
    shallow stages, and of transformer blocks for transformers; here all are alike (ours).

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        logit_weight: weight of the loss of the logits.
        stage_weight: weight of that of each stage.
        exponent: epsilon.
        ofa_tau: temperature of these losses.
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, a temperature or ``exponent`` is not positive, the networks have different
            numbers of classes, or the student has no tap.
    """

    taps: ClassVar[Taps] = "stages"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        logit_weight: float = 1.0,
        stage_weight: float = 1.0,
        exponent: float = 1.0,
        ofa_tau: float = 1.0,
        **options: Any,
    ) -> None:
        check_networks(student, teacher)
        check_weights(logit_weight=logit_weight, stage_weight=stage_weight)
        check_positive("exponent", exponent)
        check_positive("ofa_tau", ofa_tau)
        at_stage(student, -1, "student")
        terms: dict[str, tuple[float, Term]] = {"logits": (logit_weight, _Answers(exponent, ofa_tau))}
        for stage in range(-len(student.features), 0):
            info = student.features[stage]
            branch = _Branch(info, stage, student.num_classes, exponent, ofa_tau)
            terms[f"stage{stage}"] = (stage_weight, branch)
        super().__init__(student, teacher, terms=terms, **options)


class _Answers(Term):
    one_class: ClassVar[bool] = True

    def __init__(self, exponent: float, tau: float) -> None:
        super().__init__()
        self.exponent, self.tau = exponent, tau

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the loss of what answers."""
        own, heard = full_precision(self.logits(student)), full_precision(teacher.logits.detach())
        label = torch.zeros_like(heard).scatter_(1, step.target.unsqueeze(1), 1.0)
        wanted = ((heard / self.tau).softmax(1) + label).pow(self.exponent) - label
        return -(wanted * (own / self.tau).log_softmax(1)).sum(1).mean()

    def logits(self, student: Outputs) -> Tensor:
        """Return the student's logits."""
        return student.logits


class _Branch(_Answers):
    def __init__(self, info: FeatureInfo, stage: int, classes: int, exponent: float, tau: float) -> None:
        super().__init__(exponent, tau)
        self.info, self.stage = info, stage
        self.conv, self.classify = ConvNorm(info.channels, info.channels, kernel=3), Projection(info.channels, classes)

    def logits(self, student: Outputs) -> Tensor:
        """Return those of the branch."""
        found: Tensor = self.conv(as_map(student.features[self.stage], self.info))
        with torch.autocast(found.device.type, enabled=False):
            return self.classify(found.relu().mean((2, 3)))
