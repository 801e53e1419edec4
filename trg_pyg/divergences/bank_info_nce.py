"""InfoNCE with negatives out of a memory bank."""

import torch
from torch import Tensor

from trg_pyg.errors import check_positive, require
from trg_pyg.tokens.normalize import full_precision


def bank_info_nce(anchor: Tensor, positive: Tensor, bank_pool: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    r"""InfoNCE (arXiv 1807.03748) of each anchor's positive against a pool of vectors that all anchors share.

    .. math:: L = -\frac{1}{B} \sum_i \log \frac{e^{a_i p_i / \tau}}
        {e^{a_i p_i / \tau} + \sum_{j \in \mathrm{allowed}(i)} e^{a_i n_j / \tau}}

    The products are taken as they are: give vectors of unit length. What is not allowed adds nothing to the loss and to
    the gradients. Gradient reaches the anchors, and the positives and the pool where they ask for it.

    Args:
        anchor: ``[B, d]``.
        positive: ``[B, d]``; row i belongs to anchor i.
        bank_pool: ``[P, d]``.
        allowed: which of the pool are negatives of an anchor, ``[B, P]``, bool.
        temperature: tau, positive.

    Returns:
        A scalar, 0 where no anchor has a negative.

    Raises:
        InputError: the shapes do not agree, or the temperature is not positive.
    """
    check_positive("temperature", temperature)
    require(
        anchor.dim() == 2 and anchor.shape == positive.shape,
        f"anchors {tuple(anchor.shape)} and positives {tuple(positive.shape)}: both must be [items, width]",
    )
    require(
        bank_pool.dim() == 2
        and bank_pool.shape[1] == anchor.shape[1]
        and allowed.shape == (len(anchor), len(bank_pool)),
        f"anchors {tuple(anchor.shape)}, pool {tuple(bank_pool.shape)} and allowed {tuple(allowed.shape)}: "
        "they must be [B, d], [P, d] and [B, P]",
    )
    anchor = full_precision(anchor) / temperature
    with torch.autocast(anchor.device.type, enabled=False):
        right = (anchor * positive.to(anchor.dtype)).sum(1, keepdim=True)
        wrong = (anchor @ bank_pool.to(anchor.dtype).T).masked_fill(~allowed, -torch.inf)
        return -torch.cat([right, wrong], dim=1).log_softmax(1)[:, 0].mean()
