"""TRG's global loss: token contrast across all images of the batch."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.divergences.base import Reduction
from trg_pyg.divergences.info_nce import info_nce_of_cosines
from trg_pyg.errors import InputError, check_choice, check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_rows
from trg_pyg.nn.neighbour_sum import neighbour_sum
from trg_pyg.nn.projection import Projection
from trg_pyg.step import Share
from trg_pyg.tokens.normalize import full_precision, l2_normalize


class TokenContrast(DistillationLoss):
    r"""Each student token picks its own teacher token among those of the whole batch: L_global of TRG (2306.12442).

    InfoNCE (:func:`~trg_pyg.divergences.info_nce.info_nce`) on linear projections of both networks' tokens. The
    teacher's tokens are detached; its projection trains with the student's.

    All other tokens are negatives then, also those that the teacher finds alike. With a ``softness`` m a token's
    neighbours j in a graph are asked for as well, by their probabilities :math:`p_{ij}` (ours):

    .. math:: L = -\frac{1}{M} \sum_i \sum_j \big((1 - m) \, \delta_{ij} + m \, p_{ij}\big)
        \log \mathrm{softmax}_j \big(\cos(a_i, b_j) / \tau\big)

    Args:
        student_dim: width of a student token.
        teacher_dim: width of a teacher token.
        dim: width of the projections.
        reduction: mean over anchors, or sum (paper).
        chunk_bytes: largest block of logits held at a time, in bytes.
        softness: m, from 0 to 1.

    Shapes:
        - student tokens ``[M, D_S]``, teacher tokens ``[M, D_T]``

    Raises:
        InputError: a width is not positive, the softness is no share, the numbers of tokens differ, or there are no
            neighbours where the softness asks for them.
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        dim: int = 128,
        reduction: Reduction = "mean",
        chunk_bytes: int = 64 << 20,
        softness: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, ("mean", "sum"))
        require(0 <= softness <= 1, f"softness={softness}: it is a share of the target, from 0 to 1")
        self.project_student = Projection(student_dim, dim)
        self.project_teacher = Projection(teacher_dim, dim)
        self.reduction, self.chunk_bytes, self.softness = reduction, chunk_bytes, softness

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        temperature: float = 0.07,
        share: Share | None = None,
        neighbors: Data | None = None,
    ) -> Tensor:
        """Return the loss at ``temperature`` (tau_g); between 0 and log M where every token finds its own.

        Args:
            student: ``[M, D_S]``.
            teacher: ``[M, D_T]``.
            temperature: positive.
            share: whose tokens these are, where each process gives its own; among those of all processes.
            neighbors: for a ``softness``, a graph of all tokens, at least one edge into each of its own, whose
                ``edge_weight`` are the probabilities.
        """
        check_positive("temperature", temperature)
        check_rows(student, teacher)
        student, teacher = full_precision(student), full_precision(teacher.detach())
        anchor, positive = self.embed(student, teacher)
        positives = positive if share is None else share.gather(positive)
        loss = info_nce_of_cosines(
            anchor,
            positives,
            temperature,
            reduction=self.reduction,
            chunk_bytes=self.chunk_bytes,
            share=share,
        )
        if not self.softness:
            return loss
        if neighbors is None or neighbors.num_nodes != len(positives):
            found = "no graph" if neighbors is None else f"a graph of {neighbors.num_nodes} nodes"
            raise InputError(
                f"softness={self.softness} with {found} for {len(positives)} tokens: give the tokens' graph"
            )
        # The logarithm of the sum is that of the one-hot target: only what is asked for differs.
        asked = neighbour_sum(positives, neighbors.edge_index, neighbors.edge_weight.to(positives.dtype))
        asked = asked if share is None else asked[share.rows(len(asked))]
        moved = (anchor * (positive - asked)).sum() * (self.softness / temperature)
        return loss + moved * ((1 if self.reduction == "mean" else len(positives)) / len(anchor))

    def embed(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors ``[M, d]`` of both whose products are the cosines of the projections."""
        anchor, positive = self.project_student(student), self.project_teacher(teacher)
        dim = anchor.shape[1]
        if teacher.shape[1] + 1 < dim:
            anchor, positive = _narrowed(anchor, positive, teacher, self.project_teacher)
        elif student.shape[1] + 1 < dim:
            positive, anchor = _narrowed(positive, anchor, student, self.project_student)
        else:
            anchor, positive = l2_normalize(anchor), l2_normalize(positive)
        return anchor, positive


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
