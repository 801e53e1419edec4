"""What two networks remember of every training image."""

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from trg_pyg.divergences.class_negatives import ClassNegatives
from trg_pyg.divergences.memory_bank import MemoryBank
from trg_pyg.errors import InputError, require


class Recall(NamedTuple):
    """What is remembered for a batch of B images.

    Attributes:
        student: the student's vectors of these images, ``[B, d]``.
        teacher: the teacher's.
        student_pool: the student's vectors of P images drawn as negatives, ``[P, d]``.
        teacher_pool: the teacher's vectors of the same.
        allowed: which of the pool are of another class than an image, exactly K a row, ``[B, P]``, bool.
        negatives: K.
        items: images of the training set, N.
    """

    student: Tensor
    teacher: Tensor
    student_pool: Tensor
    teacher_pool: Tensor
    allowed: Tensor
    negatives: int
    items: int


class PairMemory(nn.Module):
    """A memory bank for each network, and negatives of other classes out of them.

    Args:
        dim: width of a vector, d.
        negatives: K, or ``"auto"``, see :class:`~trg_pyg.divergences.class_negatives.ClassNegatives`.
        momentum: share of its old vector that an image keeps, in [0, 1).

    Raises:
        InputError: an option is impossible.
    """

    one_class: ClassVar[bool] = True  # negatives are images of other classes, and an image is remembered as it is
    student: MemoryBank | None
    teacher: MemoryBank | None
    draw: ClassNegatives | None
    _place: Tensor

    def __init__(self, dim: int, negatives: int | Literal["auto"] = "auto", momentum: float = 0.5) -> None:
        super().__init__()
        require(0 <= momentum < 1, f"momentum={momentum}: choose at least 0 and less than 1")
        ClassNegatives.check(negatives)
        self.dim, self.negatives, self.momentum = dim, negatives, momentum
        for name in ("student", "teacher", "draw"):
            self.register_module(name, None)
        # Moves with the module, so that banks are made where it is.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the banks: once, before the first use or before a state dict is loaded.

        Args:
            targets: labels of the training set ``[N]``, int64.
            generator: CPU generator of the banks' first vectors.

        Raises:
            InputError: the training set does not have the negatives.
        """
        self.draw = ClassNegatives(targets, self.negatives)
        self.student = MemoryBank(len(targets), self.dim, self.momentum, generator)
        self.teacher = MemoryBank(len(targets), self.dim, self.momentum, generator)
        self.to(self._place)

    def recall(self, target: Tensor, index: Tensor | None, generator: torch.Generator) -> Recall:
        """Return what is remembered of a batch and of its negatives.

        Args:
            target: label of each image, ``[B]``, int64.
            index: position of each image in the training set, ``[B]``, int64.
            generator: CPU generator of the negatives.

        Raises:
            InputError: :meth:`bind` was not called, or ``index`` is None or not one position an image.
        """
        if self.student is None or self.teacher is None or self.draw is None:
            raise InputError("bind(targets, generator) first: a memory bank needs the training set's labels")
        if index is None:
            raise InputError("a memory bank needs each image's position in the training set (Step.index)")
        require(
            target.dim() == 1 and target.shape == index.shape,
            f"target {tuple(target.shape)} and index {tuple(index.shape)}: give one of each an image",
        )
        pool, allowed = self.draw(target, generator)
        return Recall(
            self.student.rows(index),
            self.teacher.rows(index),
            self.student.rows(pool),
            self.teacher.rows(pool),
            allowed,
            self.draw.negatives,
            len(self.student.vectors),
        )

    def update(self, index: Tensor | None, student: Tensor, teacher: Tensor) -> None:
        """Move the images at ``index`` ``[B]`` towards their new vectors ``[B, d]``, after :meth:`recall`."""
        assert self.student is not None
        assert self.teacher is not None
        assert index is not None
        self.student.update(index, student.detach())
        self.teacher.update(index, teacher.detach())
