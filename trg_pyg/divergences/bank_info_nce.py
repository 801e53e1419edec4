"""InfoNCE with negatives out of a memory bank."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from trg_pyg.divergences.base import Divergence, Related
from trg_pyg.divergences.pair_memory import PairMemory
from trg_pyg.errors import InputError, check_choice, check_positive, require
from trg_pyg.relations.base import Place
from trg_pyg.step import Step
from trg_pyg.tokens.normalize import full_precision, l2_normalize


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
        anchor.dim() == 2 and anchor.shape == positive.shape and anchor.numel() > 0,
        f"anchors {tuple(anchor.shape)} and positives {tuple(positive.shape)}: both must be [items, width], at least "
        "one of each",
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


class BankInfoNCE(Divergence):
    """Each image picks itself out of the other network's memory, among images of other classes.

    Both networks' nodes are anchors, so what embeds the teacher learns too. Nodes are images, of one width.

    Args:
        dim: width of a node.
        negatives: K of each anchor, or auto.
        temperature: of the contrast.
        momentum: share of its old vector that an image keeps in memory.
        bank: negatives from the ``"other"`` network's memory, where the positive is from, or from the anchor's
            ``"own"``.

    Raises:
        InputError: an option is impossible; in use, as :class:`~trg_pyg.divergences.pair_memory.PairMemory`.
    """

    accepts: ClassVar[tuple[Place, ...]] = ("nodes",)

    def __init__(
        self,
        dim: int = 128,
        negatives: int | Literal["auto"] = "auto",
        temperature: float = 0.07,
        momentum: float = 0.5,
        bank: Literal["other", "own"] = "other",
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_choice("bank", bank, ("other", "own"))
        self.memory = PairMemory(dim, negatives, momentum)
        self.temperature, self.bank = temperature, bank

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the memories."""
        self.memory.bind(targets, generator)

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the sum over both networks' anchors; in training mode, remember the batch afterwards."""
        s, t = l2_normalize(student.values()), l2_normalize(teacher.values())
        dim = self.memory.dim
        require(
            s.shape == t.shape and s.shape[1] == dim,
            f"nodes {tuple(s.shape)} and {tuple(t.shape)} in a memory of width {dim}: embed both in width {dim}",
        )
        if step is None:
            raise InputError("a memory bank needs labels and sample positions: give the loss its step")
        require(
            len(s) == len(step.target),
            f"{len(s)} nodes of {len(step.target)} images: a memory bank has one vector an image; compare nodes of "
            "which there is one an image, such as Instances",
        )
        seen = self.memory.recall(step.target, step.index, step.generator)
        from_student, from_teacher = seen.teacher_pool, seen.student_pool
        if self.bank == "own":
            from_student, from_teacher = from_teacher, from_student
        loss = bank_info_nce(s, seen.teacher, from_student, seen.allowed, self.temperature)
        loss = loss + bank_info_nce(t, seen.student, from_teacher, seen.allowed, self.temperature)
        if self.training:
            self.memory.update(step.index, s, t)
        return loss
