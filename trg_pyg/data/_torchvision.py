"""Reading torchvision's datasets, with errors that say what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trg_pyg.errors import InputError, few


def read_splits(dataset: Any, root: str, download: bool, folder: str, files: Sequence[str]) -> tuple[Any, Any]:
    """Return the training and the test split of a torchvision dataset class.

    Args:
        dataset: the class.
        root: folder that holds the datasets.
        download: fetch the files that are not there.
        folder: where the dataset keeps its files, relative to ``root``.
        files: their names, for the error message.

    Raises:
        InputError: the files are missing or damaged and were not, or could not be, downloaded.
    """
    place = Path(root).expanduser()
    try:
        return dataset(place, train=True, download=download), dataset(place, train=False, download=False)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        remedy = "check the network" if download else "turn download on"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{dataset.__name__} cannot be read from {place / folder} ({reason}); {remedy} or put its files there: "
            f"{few(files, most=len(files))}"
        ) from error
