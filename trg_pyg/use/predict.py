"""Classes of image files, of clips or of texts, by a trained network."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from trg_pyg.batch import Inputs, changed
from trg_pyg.data.clips import read_clips
from trg_pyg.data.loose_images import read_images
from trg_pyg.errors import InputError, require
from trg_pyg.use.load import TrainedNetwork


class Prediction(NamedTuple):
    """What is known of an image.

    Attributes:
        file: that was read, or the text.
        classes: the likeliest, with their probabilities in [0, 1], the likeliest first; empty where it was not read.
        error: why it cannot be read; ``None`` if it can.
    """

    file: Path | str
    classes: list[tuple[str, float]]
    error: str | None = None

    def as_json(self) -> str:
        """Return it as a line of JSON."""
        item = {"text" if isinstance(self.file, str) else "file": str(self.file)}
        if self.error is not None:
            return json.dumps(item | {"error": self.error})
        listed = [{"class": name, "probability": probability} for name, probability in self.classes]
        return json.dumps(item | {"classes": listed})


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
        files: images; for a network of clips, folders of frames or video files.
        top: classes of each; all, where there are fewer.
        device: where the network runs.
        batch_size: images a forward pass.

    Raises:
        InputError: the network's outputs are not finite, or the memory does not suffice.
    """
    trained.network.to(device)
    facts = trained.facts
    for start in range(0, len(files), batch_size):
        part = files[start : start + batch_size]
        if facts.frames:
            images, failures = read_clips(part, facts.frames, facts.image_size)
        else:
            images, failures = read_images(part, *trained.preparation)
        errors = {failure.position: failure.reason for failure in failures}
        sound = [i for i in range(len(part)) if i not in errors]
        answers: list[list[tuple[str, float]]] = [[] for _ in part]
        if sound:
            which = f"{'a clip' if facts.frames else 'an image'} of {part[sound[0]]} to {part[sound[-1]]}"
            found = _classes(trained, images[sound].to(device), top, which)
            for i, classes in zip(sound, found, strict=True):
                answers[i] = classes
        for i, file in enumerate(part):
            yield Prediction(file, answers[i], errors.get(i))


@torch.inference_mode()
def predict_texts(
    trained: TrainedNetwork,
    texts: Sequence[str],
    top: int = 5,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
) -> Iterator[Prediction]:
    """Classify texts, batch by batch, in their order.

    Args:
        trained: the network; it is moved to the device.
        texts: as they are.
        top: classes of each; all, where there are fewer.
        device: where the network runs.
        batch_size: texts a forward pass.

    Raises:
        InputError: the network takes images, or its outputs are not finite.
    """
    vocabulary = trained.facts.vocabulary
    if vocabulary is None:
        raise InputError(f"{trained.path} takes images, and these are texts")
    trained.network.to(device)
    for start in range(0, len(texts), batch_size):
        part = texts[start : start + batch_size]
        inputs = changed(vocabulary.encode(part), lambda each: each.to(device))
        for text, classes in zip(part, _classes(trained, inputs, top, "a text"), strict=True):
            yield Prediction(text, classes)


def _classes(trained: TrainedNetwork, inputs: Inputs, top: int, which: str) -> list[list[tuple[str, float]]]:
    """Return the likeliest classes of each item, ``which`` for the message."""
    logits = trained.network(inputs).logits.float()
    require(
        bool(logits.isfinite().all()),
        f"{trained.weights.path}: the network's outputs are not finite for {which}; its training diverged, or the file "
        "is damaged",
    )
    shares, ids = logits.softmax(dim=1).topk(min(top, logits.shape[1]), dim=1)
    names = trained.facts.classes
    return [
        [(names[k], share) for k, share in zip(those, of_item, strict=True)]
        for those, of_item in zip(ids.tolist(), shares.tolist(), strict=True)
    ]
