"""The two sides of a distillation: what is trained, and what is not."""

import torch
from torch import Tensor, nn

from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.config import Precision
from trg_pyg.training.precision import autocast


class DistillationModule(nn.Module):
    """Student and distiller as one module, so that one optimiser, one checkpoint and one DDP hold both.

    Args:
        student: the network that learns.
        distiller: its losses are computed in float32, whatever the precision of the networks.
        precision: of the student's forward pass.
    """

    def __init__(self, student: TappedModel, distiller: Distiller, precision: Precision = "fp32") -> None:
        super().__init__()
        self.student = student
        self.distiller = distiller
        self.precision = precision

    def forward(self, images: Tensor, teacher: Outputs | None, step: Step) -> tuple[Losses, Tensor]:
        """Return the losses of a batch and the student's logits ``[B, classes]``, float32.

        Args:
            images: uint8 ``[B, 3, H, W]``.
            teacher: the teacher's float32 outputs for the same images; None if the distiller needs none.
            step: labels, progress and generator of this step.
        """
        with autocast(images.device, self.precision):
            outputs = _float32(self.student(images))
        return self.distiller(outputs, teacher, step), outputs.logits


class FrozenTeacher(nn.Module):
    """A teacher that cannot learn: eval mode always, no gradients, and no parameter that asks for one.

    Args:
        teacher: frozen in place.
        precision: of its forward pass.
    """

    def __init__(self, teacher: TappedModel, precision: Precision = "fp32") -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.precision = precision
        self.eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in eval mode, whatever ``mode``: statistics of the student's batches are not the teacher's."""
        return super().train(False)

    # Not inference_mode: its tensors cannot be saved for the backward pass of a loss that they take part in.
    @torch.no_grad()
    def forward(self, images: Tensor) -> Outputs:
        """Return the float32 outputs for images uint8 ``[B, 3, H, W]``."""
        if self.teacher.training:  # the caller still holds the teacher, and may have called its train()
            self.teacher.eval()
        with autocast(images.device, self.precision):
            return _float32(self.teacher(images))


def _float32(outputs: Outputs) -> Outputs:
    # Losses need float32, and a projection cannot mix a lower-precision feature with its float32 weights.
    embedding = None if outputs.embedding is None else outputs.embedding.float()
    return Outputs(outputs.logits.float(), tuple(feature.float() for feature in outputs.features), embedding)
