"""The student's maps, read by the teacher's own layers."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.errors import require
from trg_pyg.losses.dkd import DKDLoss
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes.stages import at_stage
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map, plane_of
from trg_pyg.tokens.normalize import full_precision


class SRD(TermDistiller):
    r"""Semantic representational distillation, also of unlabelled images (Yang et al., arXiv 2205.06701).

    .. math:: L = w_{CE} L_{CE} + b \, \mathrm{mean}\big( (h_T(\phi(F_S)) - z_T)^2 \big)
        + b \, w \, \mathrm{mean}\big( (\mathrm{pool}\,\phi(F_S) - \mathrm{pool}\,F_T)^2 \big)

    :math:`\phi` is a 1x1 convolution with batch norm and ReLU, of the last map; :math:`h_T` is what the teacher does
    behind its own one, of which nothing learns. Cross-entropy is of the labelled images, the other terms are of all:
    where there are unlabelled images (``data.unlabelled``), each step takes as many as of the labelled ones, in one
    pass with them; logit distillation, where it is asked for, is of all images too, so that it is the control that sees
    the same.

    Ours: a map on another grid is averaged or repeated to the teacher's, and where that has class tokens, each is given
    the mean over the map, and ``pool`` is what the teacher has there.

    Args:
        student: the student's classes and last map.
        teacher: the teacher's.
        weight: b, of both terms.
        cross_weight: weight of the teacher's answers within these.
        feature_weight: w.
        pooled: compare the means over maps; False compares maps place by place, as FitNet does, the control.
        unlabelled: take unlabelled images where there are some.
        **options: ce_weight, kd_weight, tau and standardize of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, logit distillation is to be decoupled, the networks have
            different numbers of classes, or one has no tap.
    """

    taps: ClassVar[Taps] = "last"
    pools: tuple[str, ...] = ("unlabelled",)

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        cross_weight: float = 1.0,
        feature_weight: float = 1.0,
        pooled: bool = True,
        unlabelled: bool = True,
        **options: Any,
    ) -> None:
        check_weights(weight=weight, cross_weight=cross_weight, feature_weight=feature_weight)
        super().__init__(student, teacher, **options)
        require(
            not isinstance(self.logit, DKDLoss),
            f"decoupled={options.get('decoupled')}: the logit distillation of SRD is of images without a label too; "
            "leave it at 0",
        )
        self.student = at_stage(student, -1, "student")
        self.teacher = at_stage(check_networks(student, teacher), -1, "teacher")
        self.weights = {"cross": weight * cross_weight, "feature": weight * feature_weight}
        self.pooled = pooled
        if not unlabelled:
            self.pools = ()
        if any(self.weights.values()):
            self.phi = _translation(self.student.channels, self.teacher.channels)

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        """Return the labelled images and, where there are any, unlabelled ones."""
        return [images, *(step.pool[name].inputs for name in self.pools if name in step.pool)]

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return the parts ``cross`` and ``feature``, and ``kd``, which is of all images here."""
        parts = {"kd": (self.kd_weight, self.logit(student.logits, teacher.logits))} if self.kd_weight else {}
        if not any(self.weights.values()):
            return parts
        goal = teacher.features[-1].detach()
        with torch.autocast(goal.device.type, enabled=False):
            found = self.phi(full_precision(as_map(student.features[-1], self.student)))
        # Means are kept, as far as one grid is a multiple of the other.
        found = adaptive_avg_pool2d(found, plane_of(self.teacher.grid))
        values = {}
        if self.weights["cross"]:
            answers = step.need_networks("SRD").head(_as_tap(found, self.teacher), tap=-1)
            values["cross"] = mse_loss(answers, full_precision(teacher.logits.detach()))
        if self.weights["feature"]:
            values["feature"] = self._difference(found, full_precision(goal))
        return parts | {name: (self.weights[name], value) for name, value in values.items()}

    def _difference(self, found: Tensor, goal: Tensor) -> Tensor:
        if not self.pooled:
            return mse_loss(found, as_map(goal, self.teacher))
        tokens = self.teacher.prefix_tokens
        pooled = goal[:, :tokens].mean(1) if tokens else as_map(goal, self.teacher).mean((2, 3))
        return mse_loss(found.mean((2, 3)), pooled)


def _translation(student: int, teacher: int) -> nn.Module:
    conv = nn.Conv2d(student, teacher, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(teacher), nn.ReLU())


def _as_tap(feature_map: Tensor, info: FeatureInfo) -> Tensor:
    """Return a map ``[R, C, H, W]`` as the tapped module gives it."""
    if info.layout == "map":
        return feature_map
    if info.layout == "map_last":
        return feature_map.permute(0, 2, 3, 1)
    means = feature_map.mean((2, 3)).unsqueeze(1).expand(-1, info.prefix_tokens, -1)
    return torch.cat([means, feature_map.flatten(2).transpose(1, 2)], dim=1)
