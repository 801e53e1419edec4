"""TRG's global loss: token contrast across all images of the batch."""

import torch
from torch import Tensor

from trg_pyg.divergences.base import Reduction
from trg_pyg.divergences.info_nce import info_nce_of_cosines
from trg_pyg.errors import check_choice, check_positive
from trg_pyg.losses.base import DistillationLoss, check_rows
from trg_pyg.nn.projection import Projection
from trg_pyg.step import Share
from trg_pyg.tokens.normalize import full_precision, l2_normalize


class TokenContrast(DistillationLoss):
    r"""Each student token picks its own teacher token among those of the whole batch: L_global of TRG (2306.12442).

    InfoNCE (:func:`~trg_pyg.divergences.info_nce.info_nce`) on linear projections of both networks' tokens. The
    teacher's tokens are detached; its projection trains with the student's.

    Args:
        student_dim: width of a student token.
        teacher_dim: width of a teacher token.
        dim: width of the projections.
        reduction: mean over anchors, or sum (paper).
        chunk_bytes: largest block of logits held at a time, in bytes.

    Shapes:
        - student tokens ``[M, D_S]``, teacher tokens ``[M, D_T]``

    Raises:
        InputError: a width is not positive, or the numbers of tokens differ.
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        dim: int = 128,
        reduction: Reduction = "mean",
        chunk_bytes: int = 64 << 20,
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, ("mean", "sum"))
        self.project_student = Projection(student_dim, dim)
        self.project_teacher = Projection(teacher_dim, dim)
        self.reduction, self.chunk_bytes = reduction, chunk_bytes

    def forward(
        self, student: Tensor, teacher: Tensor, temperature: float = 0.07, share: Share | None = None
    ) -> Tensor:
        """Return the loss at ``temperature`` (tau_g); between 0 and log M where every token finds its own.

        Args:
            student: ``[M, D_S]``.
            teacher: ``[M, D_T]``.
            temperature: positive.
            share: whose tokens these are, where each process gives its own; among those of all processes.
        """
        check_positive("temperature", temperature)
        check_rows(student, teacher)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        anchor, positive = self.project_student(student), self.project_teacher(teacher)
        dim = anchor.shape[1]
        if teacher.shape[1] + 1 < dim:
            anchor, positive = _narrowed(anchor, positive, teacher, self.project_teacher)
        elif student.shape[1] + 1 < dim:
            positive, anchor = _narrowed(positive, anchor, student, self.project_student)
        else:
            anchor, positive = l2_normalize(anchor), l2_normalize(positive)
        return info_nce_of_cosines(
            anchor,
            positive,
            temperature,
            reduction=self.reduction,
            chunk_bytes=self.chunk_bytes,
            share=share,
        )


def _narrowed(others: Tensor, projected: Tensor, tokens: Tensor, projection: Projection) -> tuple[Tensor, Tensor]:
    r"""Return vectors of the width of tokens that are narrower than their projections, with the same cosines.

    .. math:: \hat a^\top \frac{W t + c}{\lVert W t + c \rVert}
        = \big(\hat a^\top [W \, c]\big) \frac{[t \, 1]}{\lVert W t + c \rVert}

    The products of all with all are then of that width, D + 1.

    Args:
        others: projections of the other network, ``[M, d]``.
        projected: of this one, ``[M, d]``.
        tokens: that they are of, ``[M, D]``.
        projection: that they are by.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        others = l2_normalize(others) @ torch.cat([projection.weight, projection.bias.unsqueeze(1)], dim=1)
    # The length, whose gradient is the direction; that of a vector without one has no inverse.
    length = (projected * l2_normalize(projected).detach()).sum(1, keepdim=True)
    homogeneous = torch.cat([tokens, torch.ones_like(length)], dim=1)
    return others, homogeneous / length.masked_fill(length == 0, torch.inf)
