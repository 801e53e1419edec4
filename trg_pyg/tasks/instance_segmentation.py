"""Images with the instances in them, a number for each pixel."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trg_pyg._transfer import in_double
from trg_pyg.batch import Batch
from trg_pyg.errors import require
from trg_pyg.tasks._segments import agreement, mutex_watershed, without_fragments
from trg_pyg.tasks.base import Groups, Task

if TYPE_CHECKING:
    from trg_pyg.models.taps import Outputs
    from trg_pyg.step import Step


class InstanceSegmentation(Task):
    """Label maps, int64 ``[B, H, W]``: 0 of background, 1 to n of the instances of an image, in any order.

    A network answers for each pixel: logits of background and foreground, then an embedding, which is to be alike
    within an instance and unlike across (:func:`~trg_pyg.losses.affinity.affinities`). Instances are what the mutex
    watershed makes of the affinities within the foreground.
    """

    score: ClassVar[str] = "sbd"
    answers_for: ClassVar[Literal["", "pixel", "anchor"]] = "pixel"

    def width(self, classes: int) -> int:
        """Return the logits of the classes and the numbers of the embedding."""
        from trg_pyg.models.unet import PIXEL_EMBEDDING

        return classes + PIXEL_EMBEDDING

    def check_step(self, outputs: "Outputs", step: "Step") -> None:
        """Refuse labels that are no label maps of the images, and those that are mixed or smoothed."""
        _check(outputs.logits, step.target)
        changed = "mixed images" if step.soft is not None else step.alters_labels
        require(not changed, f"{changed}: labels of pixels are learnt as they are; leave it out")

    def supervised(self, outputs: "Outputs", step: "Step") -> dict[str, Tensor]:
        """Return ``foreground``, the mean cross-entropy of all pixels, and ``affinity``.

        The latter is :func:`~trg_pyg.losses.affinity.affinity_loss`; both have weight 1.
        """
        foreground, affinity = _losses(step.labelled(outputs.logits), step.target)
        return {"foreground": foreground.mean(), "affinity": affinity.mean()}

    def rows(self, outputs: "Outputs", step: "Step") -> Tensor:
        """Return the logits of background and foreground of each pixel."""
        return _classes(step.labelled(outputs.logits)).movedim(1, -1).flatten(0, -2)

    def running(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return ``pixel_accuracy``, the pixels that are right about foreground, in percent."""
        right = (_classes(outputs.logits).argmax(1) == 1) == (batch.target > 0)
        return {"pixel_accuracy": 100 * right.float().mean()}

    def check_set(self, outputs: "Outputs", targets: Tensor, groups: Groups) -> None:
        """Refuse labels that are no label maps of the images."""
        _check(outputs.logits, targets[: len(outputs.logits)])

    def measure(self, outputs: "Outputs", batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each image, and ``agreement``, float64: what is known of its instances."""
        logits = outputs.logits.float()
        pairs = zip(instances_of(logits).numpy(), batch.target.cpu().numpy(), strict=True)
        found = torch.tensor([agreement(*pair) for pair in pairs], dtype=torch.float64)
        foreground, affinity = _losses(logits, batch.target)
        return {"loss": foreground + affinity, "agreement": found.to(logits.device)}

    def metrics(self, measured: Mapping[str, Tensor], targets: Tensor, groups: Groups) -> dict[str, float]:
        """Return the metrics, means over images but for the last two.

        Returns:
            ``sbd`` (symmetric best Dice) in percent; ``dic``, the size of the difference in count; ``voi`` (variation
            of information, split and merge errors together) in bits; ``arand`` (adapted Rand error) in percent, both
            over true foreground; ``ap50`` in percent, pairs with more than half of their union in common, over these
            and all instances that have no partner, of all images together; ``loss``, that of the labels.
        """
        sbd, difference, split, merged, arand, *counts = measured["agreement"].cpu().unbind(1)
        matches, found, true = (each.sum().item() for each in counts)
        return {
            "sbd": 100 * sbd.mean().item(),
            "dic": difference.abs().mean().item(),
            "voi": (split + merged).mean().item(),
            "arand": 100 * arand.mean().item(),
            "ap50": 100 * matches / max(found + true - matches, 1),
            "loss": in_double(measured["loss"]).mean().item(),
        }


@torch.no_grad()
def instances_of(logits: Tensor) -> Tensor:
    """Return the instances that a network finds, int64 ``[B, H, W]`` on the CPU, 0 of background, others from 1.

    The mutex watershed of the affinities (Wolf et al., arXiv 1904.12654) within the pixels whose logit of foreground is
    the higher one; pieces below 10 pixels join the neighbour with the longest common border, or are left out.

    Args:
        logits: ``[B, 2 + D, H, W]``.
    """
    from trg_pyg.losses.affinity import DISTANCES, affinities, pixel_embedding

    foreground = (_classes(logits).argmax(1) == 1).cpu().numpy()
    found = affinities(pixel_embedding(logits)).cpu().numpy()
    maps = [
        without_fragments(mutex_watershed(affinity, DISTANCES, inside))
        for affinity, inside in zip(found, foreground, strict=True)
    ]
    return torch.stack([torch.from_numpy(each) for each in maps])


def _classes(logits: Tensor) -> Tensor:
    return logits[:, :2]


def _losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two losses of each image."""
    from trg_pyg.losses.affinity import affinity_loss, pixel_embedding

    foreground = cross_entropy(_classes(logits).float(), (labels > 0).long(), reduction="none").mean((1, 2))
    return foreground, affinity_loss(pixel_embedding(logits), labels)


def _check(logits: Tensor, labels: Tensor) -> None:
    require(
        labels.dtype == torch.int64 and logits.dim() == 4 and labels.shape == (len(logits), *logits.shape[2:]),
        f"label maps {tuple(labels.shape)} of type {labels.dtype} for logits {tuple(logits.shape)}: give a number for "
        "each pixel, int64",
    )
