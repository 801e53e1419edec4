"""InfoNCE whose logits never exist as a whole."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trg_pyg.divergences.base import Divergence, Reduction, Related
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.nn.blocks import chunk_rows
from trg_pyg.relations.base import Place
from trg_pyg.step import Share, Step
from trg_pyg.tokens.normalize import check_type, l2_normalize

# The quotient of a sum of ten million exponentials of up to this and of the inverse of one is finite in float32.
_EXPONENT = 36.0


def info_nce(
    anchor: Tensor,
    positive: Tensor,
    temperature: float,
    *,
    reduction: Reduction = "mean",
    chunk_bytes: int = 64 << 20,
    share: Share | None = None,
) -> Tensor:
    r"""InfoNCE (van den Oord et al., arXiv 1807.03748) with every other item's positive as a negative.

    .. math:: L = -\frac{1}{M} \sum_i
        \log \frac{\exp(\cos(a_i, b_i) / \tau)}{\sum_j \exp(\cos(a_i, b_j) / \tau)}

    The M x M logits are made and dropped in chunks of rows. A chunk holds whole rows, hence whole softmaxes, so that
    the gradient of the loss is made of it at once and backward only scales it: three matrix products in all, one where
    no gradient is wanted. Memory is O(M d + chunk). Gradient reaches both arguments.

    Args:
        anchor: ``[M, d]``.
        positive: ``[M, d]``; row i belongs to anchor i.
        temperature: tau, positive.
        reduction: mean or sum over anchors.
        chunk_bytes: largest block of logits held at a time, in bytes.
        share: whose anchors and positives these are, where the other positives are gathered from other processes.

    Returns:
        A scalar, 0 for a single item.

    Raises:
        InputError: the shapes differ, or the temperature is not positive.
    """
    check_choice("reduction", reduction, ("mean", "sum"))
    check_positive("temperature", temperature)
    require(
        anchor.dim() == 2 and anchor.shape == positive.shape and anchor.numel() > 0,
        f"anchors {tuple(anchor.shape)} and positives {tuple(positive.shape)}: "
        "both must be [items, width], at least one of each",
    )
    anchor, positive = l2_normalize(anchor), l2_normalize(positive)
    positive = positive if share is None else share.gather(positive)
    return info_nce_of_cosines(anchor, positive, temperature, reduction=reduction, chunk_bytes=chunk_bytes, share=share)


def info_nce_of_cosines(
    anchor: Tensor,
    positive: Tensor,
    temperature: float,
    *,
    reduction: Reduction = "mean",
    chunk_bytes: int = 64 << 20,
    share: Share | None = None,
) -> Tensor:
    """:func:`info_nce` of vectors whose products, anchor by positive, are the cosines, whatever they are.

    Args:
        anchor: ``[M, d]``; with ``share``, those of its own images.
        positive: ``[M, d]``; with ``share``, those of all images.
        temperature: as there, like all others.
        reduction: mean or sum.
        chunk_bytes: largest block of logits.
        share: whose anchors these are.
    """
    check_type(anchor, positive)
    items, first = len(positive), 0 if share is None else share.rows(len(positive)).start
    rows = chunk_rows(anchor, items, chunk_bytes)
    with torch.autocast(anchor.device.type, enabled=False):
        # A function cannot ask inside whether its gradient will be wanted.
        loss: Tensor = _StreamedInfoNCE.apply(
            anchor / temperature, positive, first, rows, temperature * _EXPONENT >= 1, torch.is_grad_enabled()
        )
    if reduction == "mean":
        return loss / len(anchor)
    return loss if share is None else loss * (items / len(anchor))


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
            share=None if step is None else step.share,
        )


class _StreamedInfoNCE(torch.autograd.Function):
    """Loss summed over the anchors, which are already divided by the temperature; ``first`` is the place of their own.

    ``bounded`` promises that no logit is above ``_EXPONENT`` in absolute value.
    """

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, positive: Tensor, first: int, rows: int, bounded: bool, differentiate: bool
    ) -> Tensor:
        items = anchor.shape[0]
        right = positive[first : first + items]
        for_anchor, for_positive = (differentiate and needed for needed in ctx.needs_input_grad[:2])
        loss = anchor.new_empty(items)
        grad_anchor = torch.empty_like(anchor) if for_anchor else None
        # Turned, since a processor sums wide rows faster than long columns.
        grad_positive = positive.new_zeros(positive.shape[::-1]) if for_positive else None
        if grad_positive is not None:
            torch.neg(anchor.T, out=grad_positive[:, first : first + items])
        # One block for all chunks: a large allocation costs as much as the pass over it.
        buffer = anchor.new_empty(min(rows, items), len(positive))
        for r in range(0, items, rows):
            block = slice(r, r + rows)
            logits = torch.mm(anchor[block], positive.T, out=buffer[: items - r])
            if not bounded:
                logits -= logits.amax(1, keepdim=True)
            own = logits.diagonal(first + r).clone()
            weight = logits.exp_()
            total = weight.sum(1)
            # The quotient keeps the digits of a loss near 0, but its divisor may only be as small as the bound allows.
            loss[block] = (total / own.exp()).log() if bounded else total.log() - own
            total = total.unsqueeze(1)
            if grad_anchor is not None:
                torch.mm(weight, positive, out=grad_anchor[block]).div_(total).sub_(right[block])
            if grad_positive is not None:
                grad_positive.addmm_((anchor[block] / total).T, weight)
        ctx.save_for_backward(grad_anchor, grad_positive)
        return loss.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        grad_anchor, grad_positive = (None if kept is None else grad * kept for kept in ctx.saved_tensors)
        if grad_positive is not None:
            grad_positive = grad_positive.T.contiguous()
        return grad_anchor, grad_positive, None, None, None, None
