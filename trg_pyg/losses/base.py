"""The contract of a loss."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from trg_pyg.errors import require


class DistillationLoss(nn.Module, ABC):
    """Compares a student with its teacher.

    The result is a scalar in float32 (float64 for float64 input). No gradient reaches the teacher: it is detached
    inside. The type of ``forward``'s arguments says what a loss compares: tensors, or token graphs. Whatever else a
    loss needs of a training step are further arguments of the names that the step has: ``target``, ``index``,
    ``generator``. A loss that needs the training set's labels before the first step takes them in
    ``bind(targets, generator)``.

    Attributes:
        compares: for a loss on tensors, ``"rows"`` ``[items, width]`` or ``"maps"`` ``[B, C, H, W]``.
    """

    compares: ClassVar[Literal["rows", "maps", "graphs"]] = "rows"

    @abstractmethod
    def forward(self, student: Any, teacher: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss."""


def check_rows(student: Tensor, teacher: Tensor) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless both are ``[items, width]`` of as many items, at least one."""
    require(
        student.dim() == 2 and teacher.dim() == 2 and len(student) == len(teacher) and _filled(student, teacher),
        f"student rows {tuple(student.shape)} and teacher rows {tuple(teacher.shape)}: "
        "both must be [items, width] of the same items, at least one",
    )


def check_maps(
    student: Tensor, teacher: Tensor, channels: tuple[int, int] | None = None, volumes: bool = False
) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless both are maps ``[B, C, H, W]`` of as many images.

    Args:
        student: the student's map.
        teacher: the teacher's map.
        channels: C of the two, where they are fixed.
        volumes: whether both may be volumes ``[B, C, T, H, W]``.
    """
    require(
        student.dim() == teacher.dim()
        and student.dim() in ((4, 5) if volumes else (4,))
        and len(student) == len(teacher)
        and _filled(student, teacher),
        f"student map {tuple(student.shape)} and teacher map {tuple(teacher.shape)}: "
        "both must be [images, channels, height, width] of the same images, at least one",
    )
    found = (student.shape[1], teacher.shape[1])
    require(
        channels is None or found == channels,
        f"student and teacher maps of {found} channels, but the loss was made for {channels}: "
        "make it for the maps that it compares",
    )


def check_logits(student: Tensor, teacher: Tensor) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless both are ``[B, classes]``, at least one of each."""
    require(
        student.dim() == 2 and student.shape == teacher.shape and _filled(student, teacher),
        f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)}: "
        "both must be [images, classes] of the same images and the same classes, at least one of each",
    )


def _filled(*tensors: Tensor) -> bool:
    return all(x.numel() > 0 for x in tensors)
