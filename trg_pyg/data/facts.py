"""What a network knows of its data, in the folder of its run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from trg_pyg._files import write_text
from trg_pyg._size import Size, read_size, sides
from trg_pyg.batch import Inputs
from trg_pyg.data.base import Splits
from trg_pyg.data.input_set import InputSet
from trg_pyg.data.text.vocabulary import Vocabulary
from trg_pyg.errors import InputError

_FILE = "data.json"


@dataclass(frozen=True)
class DataFacts:
    """What a network knows of its data: enough to use it where they are not.

    Attributes:
        classes: C names, in the order of the logits.
        image_size: side of square images, or of frames, in pixels, or height and width; 0 of what is neither.
        mean: channel means of the training images, in [0, 1]; empty of what is no images.
        std: channel standard deviations on the same scale, > 0.
        vocabulary: how texts become numbers; ``None`` of what is no texts.
        frames: of a clip; 0 of what is no clips.
        digest: hash of what the data hold, see :class:`~trg_pyg.data.base.Splits`; ``None`` where it is not known.
    """

    classes: tuple[str, ...]
    image_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str | None = None
    vocabulary: Vocabulary | None = None
    frames: int = 0

    @property
    def example(self) -> Size | Inputs:
        """What networks are described with."""
        if self.frames:
            return torch.zeros(1, *self.shape, dtype=torch.uint8)
        return self.image_size if self.vocabulary is None else self.vocabulary.encode(["a"])

    @property
    def item(self) -> str:
        """What networks of these data take one of."""
        return "clip" if self.frames else "image" if self.vocabulary is None else "text"

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return len(self.mean)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height and width of every image; of a clip channels, frames, height and width."""
        return (self.channels, *([self.frames] if self.frames else []), *sides(self.image_size))

    @classmethod
    def of(cls, splits: Splits) -> "DataFacts":
        """Return those of data that were read."""
        size = 0 if isinstance(splits.train, InputSet) else splits.image_size
        digest = splits.digest or None
        return cls(splits.classes, size, splits.mean, splits.std, digest, splits.vocabulary, splits.frames)

    @classmethod
    def read(cls, folder: Path) -> "DataFacts | None":
        """Read what :meth:`write` wrote; ``None`` where there is no file.

        Raises:
            InputError: the file is damaged.
        """
        file = folder / _FILE
        if not file.exists():
            return None
        try:
            stored = json.loads(file.read_text())
            if "vocabulary" in stored:
                return cls._of_texts(stored)
            classes, size, mean, std = (stored[name] for name in ("classes", "image_size", "mean", "std"))
            digest = stored.get("digest")  # older files have none
            named = digest is None or isinstance(digest, str)
            frames, images = stored.get("frames", 0), [size, mean, std] != [0, [], []]
            size = read_size(size) if images else 0
            channels = not images or (_all(mean, float) and _all(std, float) and len(mean) == len(std))
            if not (_all(classes, str) and channels and named and type(frames) is int):
                raise ValueError("a value of another kind")
        except (OSError, UnicodeDecodeError, TypeError, AttributeError, KeyError, ValueError, RecursionError) as error:
            raise InputError(f"{file} is damaged ({error}): delete it, and the data are read instead") from error
        return cls(tuple(classes), size, tuple(mean), tuple(std), digest, frames=frames)

    @classmethod
    def _of_texts(cls, stored: dict[str, Any]) -> "DataFacts":
        classes, digest, vocabulary = stored["classes"], stored["digest"], stored["vocabulary"]
        most, words, tokenizer = (vocabulary[name] for name in ("max_tokens", "words", "tokenizer"))
        sound = _all(classes, str) and isinstance(digest, str) and isinstance(most, int) and isinstance(tokenizer, str)
        if not sound or not (words == [] or _all(words, str)):
            raise ValueError("a value of another kind")
        return cls(tuple(classes), 0, (), (), digest, Vocabulary(most, tuple(words), tokenizer))

    def write(self, folder: Path) -> None:
        """Write them to the folder of a run.

        Raises:
            InputError: the file cannot be written.
        """
        told = {name: value for name, value in asdict(self).items() if name not in ("vocabulary", "frames") or value}
        write_text(folder / _FILE, json.dumps(told) + "\n")


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(isinstance(value, kind) for value in values)
