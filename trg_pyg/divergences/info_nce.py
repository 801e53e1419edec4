"""InfoNCE whose logits never exist as a whole."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trg_pyg.divergences.base import Divergence, Reduction, Related, reduce
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.relations.base import Place
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import l2_normalize


def info_nce(
    anchor: Tensor,
    positive: Tensor,
    temperature: float,
    *,
    reduction: Reduction = "mean",
    chunk_bytes: int = 64 << 20,
) -> Tensor:
    r"""InfoNCE (van den Oord et al., arXiv 1807.03748) with every other item's positive as a negative.

    .. math:: L = -\frac{1}{M} \sum_i
        \log \frac{\exp(\cos(a_i, b_i) / \tau)}{\sum_j \exp(\cos(a_i, b_j) / \tau)}

    The M x M logits are made and dropped in chunks of rows, in the forward and again in the backward pass: memory is
    O(M d + chunk). Gradient reaches both arguments.

    Args:
        anchor: ``[M, d]``.
        positive: ``[M, d]``; row i belongs to anchor i.
        temperature: tau, positive.
        reduction: mean or sum over anchors.
        chunk_bytes: largest block of logits held at a time, in bytes.

    Returns:
        A scalar, 0 for a single item.

    Raises:
        InputError: the shapes differ, or the temperature is not positive.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    check_positive("temperature", temperature)
    require(
        anchor.dim() == 2 and anchor.shape == positive.shape,
        f"anchors {tuple(anchor.shape)} and positives {tuple(positive.shape)}: both must be [items, width]",
    )
    anchor, positive = l2_normalize(anchor), l2_normalize(positive)
    rows = max(1, chunk_bytes // (anchor.shape[0] * anchor.element_size()))
    with torch.autocast(anchor.device.type, enabled=False):
        per_anchor = _StreamedInfoNCE.apply(anchor / temperature, positive, rows)
    return reduce(per_anchor, reduction)


class InfoNCE(Divergence):
    """Each student node picks its own teacher node among all of them, see :func:`info_nce`.

    Args:
        temperature: tau, positive.
        reduction: mean or sum over nodes.
        chunk_bytes: largest block of logits held at a time, in bytes.

    Raises:
        InputError: an option is impossible; or the two networks' nodes differ in number or width.
    """

    accepts: ClassVar[tuple[Place, ...]] = ("nodes",)

    def __init__(self, temperature: float = 0.07, reduction: Reduction = "mean", chunk_bytes: int = 64 << 20) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_choice("reduction", reduction, ("mean", "sum"))
        self.temperature, self.reduction, self.chunk_bytes = temperature, reduction, chunk_bytes

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the loss, 0 for a single node."""
        return info_nce(
            student.values(),
            teacher.values(),
            self.temperature,
            reduction=self.reduction,
            chunk_bytes=self.chunk_bytes,
        )


class _StreamedInfoNCE(torch.autograd.Function):
    """Per-item loss ``[M]`` of anchors that are already divided by the temperature."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, positive: Tensor, rows: int) -> Tensor:
        items = anchor.shape[0]
        loss, log_z = torch.empty_like(anchor[:, 0]), torch.empty_like(anchor[:, 0])
        for r in range(0, items, rows):
            logits = anchor[r : r + rows] @ positive.T
            log_p = logits.log_softmax(1)
            loss[r : r + rows] = -log_p.diagonal(r)
            log_z[r : r + rows] = logits.diagonal(r) - log_p.diagonal(r)
        # A single chunk is within the byte budget, so it is kept instead of being made twice.
        ctx.save_for_backward(anchor, positive, log_z, log_p if rows >= items else None)
        ctx.rows = rows
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        anchor, positive, log_z, kept = ctx.saved_tensors
        grad = grad.unsqueeze(1)
        grad_anchor, grad_positive = -grad * positive, -grad * anchor
        with torch.autocast(anchor.device.type, enabled=False):
            for r in range(0, anchor.shape[0], ctx.rows):
                block = slice(r, r + ctx.rows)
                # The softmax again, from the log-partition that the forward pass kept.
                log_p = (anchor[block] @ positive.T).sub_(log_z[block, None]) if kept is None else kept
                weighted = log_p.exp().mul_(grad[block])
                grad_anchor[block].addmm_(weighted, positive)
                grad_positive.addmm_(weighted.T, anchor[block])
        return grad_anchor, grad_positive, None
