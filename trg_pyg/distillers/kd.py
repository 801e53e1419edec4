"""Logit distillation."""

from torch.nn.functional import cross_entropy

from trg_pyg.distillers.base import Distiller, Losses, Step, check_networks, check_weights
from trg_pyg.losses.logit import LogitKD
from trg_pyg.models.taps import NetworkInfo, Outputs


class KD(Distiller):
    """Knowledge distillation of Hinton et al. (arXiv 1503.02531).

    ``ce_weight * CE + kd_weight * tau^2 KL(T || S)``; the default weights are those that the public CIFAR-100
    benchmarks use for KD alone.

    Args:
        student: the student's classes and tapped features.
        teacher: the teacher's.
        ce_weight: weight of the cross-entropy on the labels.
        kd_weight: weight of the distillation term.
        tau: temperature of the logits.

    Raises:
        InputError: a weight is negative, tau is not positive, or the networks have different numbers of classes.
    """

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        ce_weight: float = 0.1,
        kd_weight: float = 0.9,
        tau: float = 4.0,
    ) -> None:
        super().__init__(student, teacher)
        check_networks(student, teacher)
        check_weights(ce_weight=ce_weight, kd_weight=kd_weight)
        self.ce_weight, self.kd_weight = ce_weight, kd_weight
        self.logit = LogitKD(tau)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        """Return the total with parts ``ce`` and ``kd``."""
        teacher = self.need(teacher)
        return self.weigh(
            {
                "ce": (self.ce_weight, cross_entropy(student.logits.float(), step.target)),
                "kd": (self.kd_weight, self.logit(student.logits, teacher.logits)),
            }
        )
