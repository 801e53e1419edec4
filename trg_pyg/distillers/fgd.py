"""Focal and global distillation for detectors."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trg_pyg.batch import Batch
from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.map_term import stage_pairs
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.errors import require
from trg_pyg.losses.focal import focal_errors
from trg_pyg.models.networks import Networks
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.nn.global_context import GlobalContext
from trg_pyg.step import Step
from trg_pyg.tasks.base import Task
from trg_pyg.tasks.detection import Detection, counted_boxes
from trg_pyg.tokens.maps import as_map
from trg_pyg.tokens.normalize import full_precision

# The maps that the published weights are for: channels, and cells of the finest level, of images of 800 pixels.
_CHANNELS, _CELLS = 256, 100 * 100


class FGD(TermDistiller):
    r"""Maps of a pyramid, by objects, attention and context (Yang et al., arXiv 2111.11837).

    .. math:: L = L_{labels} + \sum_l \big( 10^{-3} L_{objects} + 5 \cdot 10^{-4} L_{background}
        + 5 \cdot 10^{-4} L_{attention} + 5 \cdot 10^{-6} L_{context} \big)

    over the levels l, paired from the last tap backwards. Objects, background and attention are
    :func:`~trg_pyg.losses.focal.focal_errors`, the last one of cells and channels together. Context is the squared
    error of both maps behind a :class:`~trg_pyg.nn.global_context.GlobalContext` each, which learn with the student.
    Where channels differ, a 1x1 convolution brings the student's map to the teacher's. The student begins with the
    teacher's pyramid and heads, as far as they have the same shapes; ``inherited`` of the first epoch says how many
    tensors that are.

    The parts are sums, and the published weights, those of the authors' configuration, are for maps of 256 channels,
    the finest with 100 x 100 cells. Ours: a sum over C channels is multiplied by 256 / C, one over cells by 10,000 over
    the cells of the finest map, and a box covers the cells that it touches. A box that is passed over counts as
    background.

    Args:
        student: the student's levels.
        teacher: the teacher's.
        objects_weight: weight of the objects.
        background_weight: weight of the background.
        attention_weight: weight of the attention.
        context_weight: weight of the context.
        inherit: whether the student begins with the teacher's weights outside of its ``backbone``.
        **options: ce_weight, of the losses of the labels; kd_weight is refused.

    Raises:
        InputError: a weight is negative, or the levels have other grids.
    """

    taps: ClassVar[Taps] = "stages"
    tasks: ClassVar[tuple[type[Task], ...]] = (Detection,)
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        objects_weight: float = 1e-3,
        background_weight: float = 5e-4,
        attention_weight: float = 5e-4,
        context_weight: float = 5e-6,
        inherit: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(student, teacher, **options)
        self.inherit = inherit
        self.weights = {
            "objects": objects_weight,
            "background": background_weight,
            "attention": attention_weight,
            "context": context_weight,
        }
        check_weights(**{f"{name}_weight": weight for name, weight in self.weights.items()})
        self.levels = stage_pairs(student, check_networks(student, teacher))
        for _, s, t in self.levels:
            require(
                len(s.grid) == 2 and s.grid == t.grid,
                f"{s.path} of the student has {s.grid} cells, {t.path} of the teacher {t.grid}: name taps of one grid",
            )
        self.projections = nn.ModuleList(
            nn.Identity() if s.channels == t.channels else nn.Conv2d(s.channels, t.channels, 1)
            for _, s, t in self.levels
        )
        widths = [t.channels for _, _, t in self.levels] if context_weight else []
        self.contexts = nn.ModuleList(GlobalContext(width) for width in widths)
        self.teacher_contexts = nn.ModuleList(GlobalContext(width) for width in widths)
        self.of_cells = _CELLS / max(math.prod(t.grid) for _, _, t in self.levels)

    def meet(
        self,
        networks: Networks,
        batches: Callable[[], Iterable[Batch]],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Give the student the teacher's pyramid and heads."""
        return {"inherited": networks.inherit("backbone")} if self.inherit else {}

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of each part."""
        own, goal = self.maps(student, teacher, step)
        parts = self.compare(own, goal, step.target[..., :4], counted_boxes(step.target))
        return {name: (self.weights[name], value) for name, value in parts.items() if self.weights[name]}

    def maps(self, student: Outputs, teacher: Outputs, step: Step) -> tuple[list[Tensor], list[Tensor]]:
        """Return the levels of both networks, float32 at least, the teacher's detached."""
        own = [step.labelled(as_map(student.features[stage], info)) for stage, info, _ in self.levels]
        goal = [step.labelled(as_map(teacher.features[stage], info)) for stage, _, info in self.levels]
        return [full_precision(each) for each in own], [full_precision(each.detach()) for each in goal]

    def compare(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], boxes: Tensor, there: Tensor
    ) -> dict[str, Tensor]:
        """Return the sum of each part over the levels.

        Args:
            student: maps ``[B, C_S, H, W]``.
            teacher: maps ``[B, C_T, H, W]``.
            boxes: ``[B, M, 4]``.
            there: which of them count, bool ``[B, M]``.
        """
        parts: dict[str, Tensor] = {}
        with torch.autocast(boxes.device.type, enabled=False):
            for level, goal in enumerate(teacher):
                own, of_channels = self.projections[level](student[level]), _CHANNELS / goal.shape[1]
                errors = focal_errors(own, goal, boxes, there)
                found = {
                    "objects": of_channels * errors["objects"],
                    "background": of_channels * errors["background"],
                    "attention": self.of_cells * errors["cells"] + of_channels * errors["channels"],
                }
                if self.contexts:
                    difference = self.contexts[level](own) - self.teacher_contexts[level](goal)
                    found["context"] = self.summed(difference)
                parts = {name: parts[name] + value if parts else value for name, value in found.items()}
        return parts

    def summed(self, difference: Tensor) -> Tensor:
        """Return the sum of squares, as of maps of the published size, a mean over images."""
        scale = self.of_cells * _CHANNELS / difference.shape[1]
        return scale * difference.square().sum() / len(difference)
