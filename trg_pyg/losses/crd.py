"""Contrastive representation distillation."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trg_pyg.divergences.pair_memory import PairMemory, Recall
from trg_pyg.errors import check_positive, require
from trg_pyg.losses.base import DistillationLoss, check_rows
from trg_pyg.nn.projection import Projection
from trg_pyg.tokens.normalize import l2_normalize

_EPS = 1e-7


class CRDLoss(DistillationLoss):
    r"""Contrastive representation distillation (Tian et al., arXiv 1910.10699) as in its code, RepDistiller.

    Both networks' features are embedded, linearly and at unit length. With anchors a of one network and the memory
    bank v of the other, the same image y's vector is the positive, those of K images n of other classes the negatives:

    .. math:: L_a = -\frac{1}{B} \sum_i \Big[ \log \frac{P_{i y_i}}{P_{i y_i} + K/N + \epsilon}
        + \sum_{n} \log \frac{K/N}{P_{i n} + K/N + \epsilon} \Big], \qquad P_{ij} = \frac{e^{a_i v_j / \tau}}{Z}

    and L is the sum of the two directions. Z is N times the mean of :math:`e^{a v / \tau}` over the 1 + K entries of
    all anchors of the first training batch, one for each direction, and stays fixed. After the loss both banks move to
    the current embeddings, in training mode only. In eval mode nothing is stored: a Z that is not fixed yet is the
    batch's own.

    :class:`~trg_pyg.divergences.class_negatives.ClassNegatives` says how negatives are drawn. The teacher's features
    are detached; its embedding trains with the student's.

    Args:
        student_dim: width of the student's features.
        teacher_dim: width of the teacher's features.
        dim: width of the embeddings.
        negatives: K, or ``"auto"``: 16384, or all images that are not of the largest class where they are fewer.
        temperature: tau.
        momentum: of the memory banks.

    Shapes:
        - student features ``[B, D_S]``, teacher features ``[B, D_T]``, ``target`` and ``index`` ``[B]``, int64

    Raises:
        InputError: an option is impossible, the numbers of rows differ, ``index`` is None or not of the training set,
            or :meth:`bind` was not called.
    """

    log_z: Tensor

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        dim: int = 128,
        negatives: int | Literal["auto"] = "auto",
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.project_student = Projection(student_dim, dim)
        self.project_teacher = Projection(teacher_dim, dim)
        self.memory = PairMemory(dim, negatives, momentum)
        self.temperature = temperature
        # Student anchors, teacher anchors; NaN until the first training batch.
        self.register_buffer("log_z", torch.full((2,), torch.nan))
        # Count of writes to log_z at which both were known to be fixed, so that nobody need look until the next one.
        self._fixed_at: int | None = None

    def bind(self, targets: Tensor, generator: torch.Generator) -> None:
        """Make the memory banks, and forget Z: once, before the first forward pass or a state dict is loaded.

        Args:
            targets: labels of the training set ``[N]``, int64.
            generator: CPU generator of the banks' first vectors.

        Raises:
            InputError: the training set does not have the negatives.
        """
        self.memory.bind(targets, generator)
        self.log_z.fill_(torch.nan)

    def forward(
        self, student: Tensor, teacher: Tensor, target: Tensor, index: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Return the sum of both directions; in training mode, then update the banks.

        Args:
            student: the student's features.
            teacher: the teacher's features.
            target: label of each image.
            index: position of each image in the training set.
            generator: CPU generator of the negatives.
        """
        seen = self.memory.recall(target, index, generator)
        check_rows(student, teacher)
        require(target.shape == student.shape[:1], f"target {tuple(target.shape)} for {len(student)} images")
        student = l2_normalize(self.project_student(student))
        teacher = l2_normalize(self.project_teacher(teacher.detach()))
        forbidden = ~seen.allowed
        with torch.autocast(student.device.type, enabled=False):
            loss = self._contrast(student, seen.teacher, seen.teacher_pool, forbidden, self.log_z[0], seen)
            loss = loss + self._contrast(teacher, seen.student, seen.student_pool, forbidden, self.log_z[1], seen)
        if self.training:
            self.memory.update(index, student, teacher)
            self._fixed_at = self.log_z._version
        return loss

    def _contrast(
        self, anchor: Tensor, remembered: Tensor, pool: Tensor, forbidden: Tensor, log_z: Tensor, seen: Recall
    ) -> Tensor:
        """One direction's loss.

        Args:
            anchor: embeddings ``[B, d]``.
            remembered: the other network's vectors of the same images, ``[B, d]``.
            pool: its vectors of the images drawn, ``[P, d]``.
            forbidden: what of the pool is no negative of an anchor, ``[B, P]``.
            log_z: view of the buffer, written at the first training batch.
            seen: for K and N.
        """
        negatives, items = seen.negatives, seen.items
        anchor = anchor / self.temperature
        positive = (anchor * remembered).sum(1)
        # An entry of score -inf has P = 0, hence the logarithm of 1, and no gradient.
        negative = (anchor @ pool.T).masked_fill(forbidden, -torch.inf)
        z = (
            log_z
            if self._fixed_at == self.log_z._version
            else self._normaliser(positive, negative, negatives, items, log_z)
        )
        # P / (P + c) is a sigmoid of log P - log c, whose logarithm neither overflows nor rounds to 0.
        noise = negatives / items
        level = z + math.log(noise + _EPS)
        log_p, log_n = logsigmoid(positive - level), logsigmoid(level - negative).sum(1)
        return -(log_p + log_n).mean() + negatives * math.log1p(_EPS / noise)

    @torch.no_grad()
    def _normaliser(self, positive: Tensor, negative: Tensor, negatives: int, items: int, log_z: Tensor) -> Tensor:
        total = torch.logaddexp(positive.logsumexp(0), negative.flatten().logsumexp(0))
        current = total - math.log(len(positive) * (1 + negatives)) + math.log(items)
        # Whether a loaded Z is fixed is asked on the device: the program need not wait for the answer.
        current = torch.where(log_z.isnan(), current, log_z)
        if self.training:
            log_z.copy_(current)
        return current
