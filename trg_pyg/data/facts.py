"""What a network knows of its data, in the folder of its run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trg_pyg._files import write_text
from trg_pyg._size import Size, read_size
from trg_pyg.data.base import Splits
from trg_pyg.errors import InputError

_FILE = "data.json"


@dataclass(frozen=True)
class DataFacts:
    """What a network knows of its data: enough to use it where they are not.

    Attributes:
        classes: C names, in the order of the logits.
        image_size: side of square images, in pixels, or height and width.
        mean: channel means of the training images, in [0, 1].
        std: channel standard deviations on the same scale, > 0.
        digest: hash of what the data hold, see :class:`~trg_pyg.data.base.Splits`; ``None`` where it is not known.
    """

    classes: tuple[str, ...]
    image_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str | None = None

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return len(self.mean)

    @classmethod
    def of(cls, splits: Splits) -> "DataFacts":
        """Return those of data that were read."""
        return cls(splits.classes, splits.image_size, splits.mean, splits.std, splits.digest or None)

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
            classes, size, mean, std = (stored[name] for name in ("classes", "image_size", "mean", "std"))
            digest = stored.get("digest")  # older files have none
            named = digest is None or isinstance(digest, str)
            size = read_size(size)
            if not (_all(classes, str) and _all(mean, float) and _all(std, float) and len(mean) == len(std) and named):
                raise ValueError("a value of another kind")
        except (OSError, UnicodeDecodeError, TypeError, AttributeError, KeyError, ValueError, RecursionError) as error:
            raise InputError(f"{file} is damaged ({error}): delete it, and the data are read instead") from error
        return cls(tuple(classes), size, tuple(mean), tuple(std), digest)

    def write(self, folder: Path) -> None:
        """Write them to the folder of a run.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(folder / _FILE, json.dumps(asdict(self)) + "\n")


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(isinstance(value, kind) for value in values)
