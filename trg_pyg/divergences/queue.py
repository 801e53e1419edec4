"""The latest vectors of a network, and how like them the images of a batch are."""

import torch
from torch import Tensor, nn

from trg_pyg.errors import check_positive, require
from trg_pyg.tokens.normalize import full_precision


class VectorQueue(nn.Module):
    """The latest K vectors that were put in; a new one takes the place of the oldest.

    Args:
        size: K.
        dim: width of a vector, d.

    Attributes:
        vectors: buffer ``[K, d]``; places that were never filled are 0.
        added: buffer, int64 scalar: how many vectors were put in so far.

    Raises:
        InputError: a size is not positive.
    """

    vectors: Tensor
    added: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        require(size >= 1 and dim >= 1, f"queue of {size} vectors of width {dim}: both must be at least 1")
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, new: Tensor) -> tuple[Tensor, Tensor]:
        """Put vectors in; in evaluation mode, only say what there would be.

        Args:
            new: ``[n, d]``, n at most K.

        Returns:
            All vectors with the new ones, ``[K, d]``, and which places are filled, ``[K]``, bool.

        Raises:
            InputError: there are more of them than places, or they have another width.
        """
        size, dim = self.vectors.shape
        require(
            new.dim() == 2 and new.shape[1] == dim and len(new) <= size,
            f"vectors {tuple(new.shape)} for a queue of {size} of width {dim}: give at most as many as it has places, "
            "of its width; make it longer, or the batch smaller",
        )
        places, places_new = torch.arange(size, device=new.device), torch.arange(len(new), device=new.device)
        # Not in place: the backward pass of this step needs them, whatever the next one puts in.
        vectors = self.vectors.index_copy(0, (self.added + places_new) % size, new.to(self.vectors.dtype))
        added = self.added + len(new)
        if self.training:
            self.vectors, self.added = vectors, added
        return vectors, places < added


def queue_cross_entropy(
    student: Tensor,
    teacher: Tensor,
    vectors: Tensor,
    filled: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    r"""How like the vectors of a queue an image is to the teacher, told to the student (RRD, arXiv 2407.12073).

    .. math:: L = -\frac{1}{B} \sum_b \sum_k
        \mathrm{softmax}_k\big(\langle t_b, q_k \rangle / \tau_T\big)
        \log \mathrm{softmax}_k\big(\langle s_b, q_k \rangle / \tau_S\big)

    over the filled places k. It is least, the mean entropy of the teacher's distributions, where both have the same.
    The products are taken as they are: give vectors of unit length. The gradient reaches the student alone.

    Args:
        student: s, ``[B, d]``.
        teacher: t, ``[B, d]``.
        vectors: q, ``[K, d]``.
        filled: which of them count, ``[K]``, bool, at least one.
        student_temperature: :math:`\tau_S`.
        teacher_temperature: :math:`\tau_T`.

    Raises:
        InputError: a temperature is not positive, or the shapes do not agree.
    """
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    require(
        student.dim() == 2
        and student.shape == teacher.shape
        and student.numel() > 0
        and vectors.shape == (len(filled), student.shape[1]),
        f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}, queue {tuple(vectors.shape)} and filled "
        f"{tuple(filled.shape)}: they must be [B, d], [B, d], [K, d] and [K]",
    )
    student, teacher = full_precision(student), full_precision(teacher.detach())
    with torch.autocast(student.device.type, enabled=False):
        keys = vectors.to(student.dtype).T
        wanted = (teacher @ keys / teacher_temperature).masked_fill(~filled, -torch.inf).softmax(1)
        logs = (student @ keys / student_temperature).masked_fill(~filled, -torch.inf).log_softmax(1)
        # 0 times the logarithm of 0 is 0.
        return -(wanted * logs.masked_fill(~filled, 0.0)).sum(1).mean()
