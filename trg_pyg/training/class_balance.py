"""What a recipe does about classes of which there are few training images."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from trg_pyg.errors import InputError, require
from trg_pyg.models._probe import Example
from trg_pyg.models.taps import TappedModel
from trg_pyg.training.config import TrainConfig


class ClassBalance:
    r"""How cross-entropy makes up for long tails; the terms of distillation are not touched.

    With ``logit_adjustment`` t it is that of the logits :math:`z_c + t \log \pi_c`, :math:`\pi_c` the share of class c
    in the training images (Menon et al., arXiv 2007.07314); t = 1 is balanced softmax (Ren et al., arXiv 2007.10740).
    With ``adjust_after`` it is as ever, and the trained network is given a classifier that answers
    :math:`z_c - t \log \pi_c`.

    With ``effective_number`` :math:`\beta` an image of a class of :math:`n_c` has the weight
    :math:`w_c \propto (1 - \beta) / (1 - \beta^{n_c})` (Cui et al., arXiv 1901.05555), of mean 1 over the training
    images, once ``deferred_epochs`` are over (Cao et al., arXiv 1906.07413).

    Args:
        targets: of the training images, int64 ``[N]``.
        classes: that the student has.
        config: what of it is on.
        device: where the losses are computed.

    Attributes:
        shift: :math:`t \log \pi_c`, float32 ``[classes]``; ``None`` where t is 0.
        prior: the shift, where cross-entropy is that of shifted logits.

    Raises:
        InputError: labels are not one class each, or a class has no training image.
    """

    def __init__(self, targets: Tensor, classes: int, config: TrainConfig, device: torch.device | str = "cpu") -> None:
        self._config = config
        self._weights: Tensor | None = None
        self.shift: Tensor | None = None
        self.prior: Tensor | None = None
        if not config.balances:
            return
        require(
            targets.dim() == 1 and targets.dtype == torch.int64,
            f"{config.balances}: labels {tuple(targets.shape)} of type {targets.dtype} are not one class each; leave "
            "it out (0)",
        )
        counts = torch.bincount(targets.cpu(), minlength=classes).double()
        empty = (counts == 0).nonzero().flatten().tolist()
        require(
            not empty,
            f"{config.balances}: {len(empty)} of {len(counts)} classes have no training image, the first is class "
            f"{empty[0] if empty else ''}; give each one, or leave it out (0)",
        )
        share = counts / counts.sum()
        if config.logit_adjustment:
            self.shift = (config.logit_adjustment * share.log()).float().to(device)
            self.prior = None if config.adjust_after else self.shift
        if config.effective_number:
            beta = config.effective_number
            weights = (1 - beta) / (1 - beta**counts)
            self._weights = (weights / (share * weights).sum()).float().to(device)

    def weights(self, epoch: int) -> Tensor | None:
        """Return the weight of an image of each class in an epoch, counted from 0; ``None`` where all have 1."""
        return self._weights if epoch >= self._config.deferred_epochs else None

    @torch.no_grad()
    def take_off(self, bias: Tensor) -> None:
        """Let a classifier of this bias give logits without the shift."""
        bias.sub_(cast(Tensor, self.shift))

    @contextmanager
    def taken_off(self, bias: Tensor) -> Iterator[None]:
        """Do so for a while; the bias comes back to the bit."""
        own = bias.detach().clone()
        self.take_off(bias)
        try:
            yield
        finally:
            with torch.no_grad():
                bias.copy_(own)


def bias_of(student: TappedModel, example: Example) -> Tensor:
    """Return the bias of a network's classifier.

    Raises:
        InputError: the classifier is not known, or has none.
    """
    student.describe(example)
    path = student.classifier
    bias = None if path is None else getattr(student.model.get_submodule(path), "bias", None)
    if bias is None:
        raise InputError(
            f"train.adjust_after: {type(student.model).__name__} has no classifier with a bias that is known; declare "
            "it as classifier_path, or adjust the loss (train.adjust_after=false)"
        )
    return bias
