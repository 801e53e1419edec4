"""Knowledge review."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.map_term import stage_pairs
from trg_pyg.distillers.terms import Term, TermDistiller, check_warmup, warmed_up
from trg_pyg.errors import require
from trg_pyg.losses.pyramid import PyramidLoss
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nn.attention_fusion import AttentionFusion
from trg_pyg.step import Step
from trg_pyg.tasks.base import Task
from trg_pyg.tokens.maps import as_map


class ReviewKD(TermDistiller):
    """Each map of the teacher against the student's of that stage and all deeper ones (Chen et al., arXiv 2104.09044).

    From the deepest stage on, the student's maps are fused by attention
    (:class:`~trg_pyg.nn.attention_fusion.AttentionFusion`); what is fused so far is compared with the teacher's map on
    several grids (:class:`~trg_pyg.losses.pyramid.PyramidLoss`), and the losses of all stages are summed. Stages are
    paired from the last one backwards; the embeddings, where both are known, are a stage of a 1x1 grid behind them.

    Width and warm-up are those of the public code, whose weights differ by pair: 5 for resnet8x4, 0.6 for resnet20, 1
    for resnet32, 5 for a WRN and ShuffleNetV1, 8 for ShuffleNetV2. It compares maps before their last ReLU; here they
    are as they are tapped.

    Args:
        student: the student's classes, features and embedding.
        teacher: the teacher's.
        weight: weight of the sum over stages, after the warm-up.
        width: channels in which maps are fused, or those of the student's deepest stage where they are fewer.
        warmup: share of the training in which ``weight`` grows from 0; published as 20 of 240 epochs.
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, tau or ``width`` is not positive, ``warmup`` is not in [0, 1], the networks
            have different numbers of classes, or one has no tap.
    """

    taps: ClassVar[Taps] = "stages"
    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        width: int = 512,
        warmup: float = 1 / 12,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        require(width >= 1, f"width={width}: maps are fused in at least 1 channel")
        check_warmup(warmup)
        term = _Review(student, check_networks(student, teacher), width)
        super().__init__(student, teacher, terms={"review": (weight, term)}, **options)
        self.warmup = warmup

    def weight_of(self, name: str, step: Step) -> float:
        """Return the weight, which grows linearly during the warm-up."""
        return warmed_up(step, self.warmup) * super().weight_of(name, step)


class _Review(Term):
    def __init__(self, student: NetworkInfo, teacher: NetworkInfo, width: int) -> None:
        super().__init__()
        pairs = stage_pairs(student, teacher)
        self.stages = [stage for stage, _, _ in pairs]
        self.student, self.teacher = [s for _, s, _ in pairs], [t for _, _, t in pairs]
        self.grids = [t.grid for t in self.teacher]
        channels = [(s.channels, t.channels) for _, s, t in pairs]
        self.embeddings = student.embedding is not None and teacher.embedding is not None
        if student.embedding is not None and teacher.embedding is not None:
            channels.append((student.embedding, teacher.embedding))
            self.grids.append((1, 1))
        width, last = min(width, channels[-1][0]), len(channels) - 1
        self.fuse = nn.ModuleList(
            AttentionFusion(s, width, t, fuse=place < last) for place, (s, t) in enumerate(channels)
        )
        self.loss = PyramidLoss()

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> Tensor:
        """Return the sum over stages."""
        ours, theirs = self._maps(student, self.student), self._maps(teacher, self.teacher)
        deeper, losses = None, []
        for fuse, own, goal, grid in reversed(list(zip(self.fuse, ours, theirs, self.grids, strict=True))):
            fused, deeper = fuse(own, deeper, grid)
            losses.append(self.loss(fused, goal))
        return torch.stack(losses).sum()

    def _maps(self, outputs: Outputs, infos: list[FeatureInfo]) -> list[Tensor]:
        """Maps of a network, shallow ones first, and its embedding."""
        maps = [as_map(outputs.features[stage], info) for stage, info in zip(self.stages, infos, strict=True)]
        if self.embeddings:
            assert outputs.embedding is not None
            maps.append(outputs.embedding[:, :, None, None])
        return maps
