"""Classes of image files, of clips or of texts, by a trained network."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from trg_pyg.batch import Inputs, changed
from trg_pyg.data.files.loose_images import read_images
from trg_pyg.data.video.clips import read_clips
from trg_pyg.errors import an, require
from trg_pyg.use.load import TrainedNetwork


class Prediction(NamedTuple):
    """What is known of an image, or of a text.

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
    items: Sequence[Path] | Sequence[str],
    top: int = 5,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
) -> Iterator[Prediction]:
    """Classify image files or texts, batch by batch, in their order.

    Args:
        trained: the network; it is moved to the device.
        items: image files, folders of frames or video files, or texts as they are, as the network takes them.
        top: classes of each; all, where there are fewer.
        device: where the network runs.
        batch_size: items a forward pass.

    Raises:
        InputError: the network takes the others, its outputs are not finite, or the memory does not suffice.
    """
    trained.network.to(device)
    for start in range(0, len(items), batch_size):
        part: Sequence[Path | str] = items[start : start + batch_size]
        inputs, errors = _read(trained, part)
        sound = [i for i in range(len(part)) if i not in errors]
        answers: dict[int, list[tuple[str, float]]] = {}
        if sound:
            which = an(trained.facts.item)
            which += "" if isinstance(part[0], str) else f" of {part[sound[0]]} to {part[sound[-1]]}"
            seen = _rows(inputs, sound, device)
            answers = dict(zip(sound, _classes(trained, seen, top, which), strict=True))
        for i, item in enumerate(part):
            yield Prediction(item, answers.get(i, []), errors.get(i))


def _read(trained: TrainedNetwork, part: Sequence[Path | str]) -> tuple[Inputs, dict[int, str]]:
    """Return what the network is given of files or texts, and by their places why some cannot be read."""
    vocabulary = trained.facts.vocabulary
    if vocabulary is not None:
        texts = [item for item in part if isinstance(item, str)]
        require(len(texts) == len(part), f"{trained.path} takes texts, and these are files: give texts, as str")
        return vocabulary.encode(texts), {}
    files = [item for item in part if isinstance(item, Path)]
    facts = trained.facts
    require(len(files) == len(part), f"{trained.path} takes {facts.item}s, and these are texts: give files, as Path")
    if facts.frames:
        images, failures = read_clips(files, facts.frames, facts.image_size)
    else:
        images, failures = read_images(files, *trained.preparation)
    return images, {failure.position: failure.reason for failure in failures}


def _rows(inputs: Inputs, rows: list[int], device: torch.device | str) -> Inputs:
    chosen: Inputs = changed(inputs, lambda each: each[rows].to(device))
    return chosen


def _classes(trained: TrainedNetwork, inputs: Inputs, top: int, which: str) -> list[list[tuple[str, float]]]:
    """Return the likeliest classes of each item, ``which`` for the message."""
    logits = trained.checked(trained.network(inputs).logits, which)
    shares, ids = logits.softmax(dim=1).topk(min(top, logits.shape[1]), dim=1)
    names = trained.facts.classes
    return [
        [(names[k], share) for k, share in zip(those, of_item, strict=True)]
        for those, of_item in zip(ids.tolist(), shares.tolist(), strict=True)
    ]
