"""Classes of image files by a trained network."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from trg_pyg.data.loose_images import read_images
from trg_pyg.errors import require
from trg_pyg.use.load import TrainedNetwork


class Prediction(NamedTuple):
    """What is known of an image.

    Attributes:
        file: that was read.
        classes: the likeliest, with their probabilities in [0, 1], the likeliest first; empty where it was not read.
        error: why it cannot be read; ``None`` if it can.
    """

    file: Path
    classes: list[tuple[str, float]]
    error: str | None = None

    def as_json(self) -> str:
        """Return it as a line of JSON."""
        if self.error is not None:
            return json.dumps({"file": str(self.file), "error": self.error})
        listed = [{"class": name, "probability": probability} for name, probability in self.classes]
        return json.dumps({"file": str(self.file), "classes": listed})


@torch.inference_mode()
def predict(
    trained: TrainedNetwork,
    files: Sequence[Path],
    top: int = 5,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
) -> Iterator[Prediction]:
    """Classify files, batch by batch, in their order.

    Args:
        trained: the network; it is moved to the device.
        files: images.
        top: classes of each; all, where there are fewer.
        device: where the network runs.
        batch_size: images a forward pass.

    Raises:
        InputError: the network's outputs are not finite, or the memory does not suffice.
    """
    network, facts = trained.network.to(device), trained.facts
    for start in range(0, len(files), batch_size):
        part = files[start : start + batch_size]
        images, failures = read_images(part, *trained.preparation)
        errors = {failure.position: failure.reason for failure in failures}
        sound = [i for i in range(len(part)) if i not in errors]
        answers: list[list[tuple[str, float]]] = [[] for _ in part]
        if sound:
            logits = network(images[sound].to(device)).logits.float()
            require(
                bool(logits.isfinite().all()),
                f"{trained.weights.path}: the network's outputs are not finite for an image of {part[sound[0]]} to "
                f"{part[sound[-1]]}; its training diverged, or the file is damaged",
            )
            shares, ids = logits.softmax(dim=1).topk(min(top, logits.shape[1]), dim=1)
            for i, of_image, those in zip(sound, shares.tolist(), ids.tolist(), strict=True):
                answers[i] = [(facts.classes[k], share) for k, share in zip(those, of_image, strict=True)]
        for i, file in enumerate(part):
            yield Prediction(file, answers[i], errors.get(i))
