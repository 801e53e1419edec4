"""What a network takes each image for, and how sure it is."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trg_pyg.data.base import Source
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.errors import require
from trg_pyg.training.metrics import evaluating


@dataclass(frozen=True, eq=False)
class Predictions:
    """The guesses of a network, on the CPU.

    Attributes:
        targets: class of each image, int64 [N].
        predicted: the class that it is taken for, int64 [N].
        confidence: the probability that this class is given, float32 [N], in [0, 1].
    """

    targets: Tensor
    predicted: Tensor
    confidence: Tensor

    @property
    def correct(self) -> Tensor:
        """Whether each guess is right, bool [N]."""
        return self.predicted == self.targets

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        return 100 * self.correct.double().mean().item()


@torch.no_grad()
def top_predictions(
    model: nn.Module, image_set: Source, batch_size: int, device: torch.device | str = "cpu"
) -> Predictions:
    """Return the most probable class of every item, measured in eval mode; every module's mode is restored.

    Args:
        model: on ``device``; images uint8 ``[B, C, H, W]``, or other inputs, to :class:`~trg_pyg.models.taps.Outputs`.
        image_set: at least one image; on any device, or in files. Its order is kept.
        batch_size: images a forward pass.
        device: where the forward pass runs, in float32.

    Raises:
        InputError: there is no image, or a probability is NaN.
    """
    item = image_set.task.item
    require(len(image_set) > 0, f"the set has 0 {item}s: nothing to predict; choose a set with {item}s")
    device = torch.device(device)
    confidences, classes = [], []
    with evaluating(model):
        for batch in make_loader(image_set, batch_size, shuffle=False, device=device):
            probability = model(batch.to(device).inputs).logits.float().softmax(1)
            confidence, predicted = probability.max(dim=1)
            confidences.append(confidence.cpu())
            classes.append(predicted.cpu())
    confidence = torch.cat(confidences)
    bad = int((~confidence.isfinite()).sum())
    require(bad == 0, f"{bad} of {len(confidence)} {item}s have logits that are not finite: the network has diverged")
    return Predictions(image_set.targets.cpu(), torch.cat(classes), confidence)
