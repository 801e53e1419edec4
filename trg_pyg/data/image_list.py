"""Image files that two lists name, such as ImageNet-LT."""

import codecs
import os
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trg_pyg._size import Size
from trg_pyg.data.base import IMAGENET_MEAN, IMAGENET_STD
from trg_pyg.data.files.image_files import Crop, ImageFiles, Listing
from trg_pyg.errors import InputError, few, require

_MOST_DIGITS = 18  # of a label: more are not one of int64


class _Entries(NamedTuple):
    """What a list names: paths, their labels, and the line of each."""

    files: list[str]
    labels: list[int]
    lines: list[int]


class ImageList(ImageFiles):
    """Images named by a training and a test list, one ``relative/path.jpg label`` a line, labels from 0.

    That is the format of ``ImageNet_LT_train.txt`` (115,846 images) and ``ImageNet_LT_test.txt`` (50,000), whose paths
    begin at the folder that holds ImageNet's ``train`` and ``val``. A path may contain spaces: the label is the last
    field. Empty lines are passed over; a line that names an image once more is taken, with a warning. A list may come
    from somebody else, so a path that is absolute or has ``..`` in it, which could lead out of the root, is refused;
    links under the root are followed, as they are yours.

    Args:
        root: folder that the paths are relative to.
        train_list: file that names the training images.
        test_list: file that names the test images; both lists have the same classes.
        size: side of square images, in pixels, >= 1, or ``[height, width]``; None takes what a pretrained network of
            the study expects, else 224.
        class_names: file with the name of class i on line i, counted from 0; None names each class by its label.
        long_tailed: whether the training list is long-tailed, so that accuracy is reported for classes of many, medium
            and few images; ``imbalance`` makes any list long-tailed.
        crop: of the training images: padded or resized, see :class:`ImageFiles`.
        crop_share: share of the resized shorter side that the centre cut keeps, in (0, 1].
        mean: mean of each channel in [0, 1]; the default is ImageNet's, None computes mean and std from training images
            in memory.
        std: standard deviation of each channel on the same scale, > 0; given together with ``mean``.
        **kwargs: the options of :class:`ImageFiles`.

    Raises:
        InputError: an option is out of range, or two of them contradict each other.
    """

    def __init__(
        self,
        root: str,
        train_list: str,
        test_list: str,
        size: Size | None = None,
        class_names: str | None = None,
        long_tailed: bool = True,
        crop: Crop = "resized",
        crop_share: float = 0.875,
        mean: tuple[float, float, float] | None = IMAGENET_MEAN,
        std: tuple[float, float, float] | None = IMAGENET_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root, 224 if size is None else size, crop=crop, crop_share=crop_share, mean=mean, std=std, **kwargs
        )
        self.train_list = Path(train_list).expanduser()
        self.test_list = Path(test_list).expanduser()
        self.class_names = None if class_names is None else Path(class_names).expanduser()
        self._long_tailed = long_tailed

    @property
    def long_tailed(self) -> bool:
        """Whether accuracy is worth reporting for classes with many, medium and few training images."""
        return self._long_tailed or super().long_tailed

    def _list(self) -> Listing:
        require(self.root.is_dir(), f"root {self.root} is not a folder; give the one that the listed paths begin at")
        train, test = _read_list(self.train_list), _read_list(self.test_list)
        count = _count_classes(set(train.labels), set(test.labels), self.train_list, self.test_list)
        classes = _names(self.class_names, count, self.train_list)
        _check_present(self.root, train, self.train_list)
        _check_present(self.root, test, self.test_list)
        targets = torch.tensor(train.labels + test.labels)
        tested = torch.arange(len(targets)) >= len(train.labels)
        return Listing(train.files + test.files, targets, tested, classes)


def _read_list(file: Path) -> _Entries:
    entries = _Entries([], [], [])
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        path, *label = line.strip().rsplit(maxsplit=1)
        place = f"{file}, line {number}"
        require(
            not os.path.isabs(path) and ".." not in path.replace("\\", "/").split("/"),
            f"{place}: {path!r} leads out of the root; write a path that begins there, without ..",
        )
        require(len(label) == 1, f"{place}: {path!r} stands alone; write path.jpg label")
        # Not int(): it would also take "1_000" and "-1".
        whole = label[0].isascii() and label[0].isdecimal() and len(label[0]) <= _MOST_DIGITS
        shown = label[0] if len(label[0]) <= _MOST_DIGITS else f"{label[0][:_MOST_DIGITS]}..."
        require(whole, f"{place}: label {shown!r} is not a whole number of at least 0; write path.jpg label")
        entries.files.append(path)
        entries.labels.append(int(label[0]))
        entries.lines.append(number)
    require(len(entries.files) > 0, f"{file} names no image; write path.jpg label on a line for each")
    _tell_of_repeated(entries, file)
    return entries


def _tell_of_repeated(entries: _Entries, file: Path) -> None:
    first: dict[str, int] = {}
    again = [
        place for place, path in enumerate(entries.files) if first.setdefault(os.path.normpath(path), place) != place
    ]
    if again:
        other = sum(entries.labels[first[os.path.normpath(entries.files[i])]] != entries.labels[i] for i in again)
        labelled = f", {other} of them with another label" if other else ""
        warnings.warn(
            f"{len(again)} of {len(entries.files)} lines of {file} name an image that a line before names{labelled}: "
            f"{few([f'{entries.files[place]} on line {entries.lines[place]}' for place in again])}; each line counts "
            "as an image, so take out those that are there by mistake",
            stacklevel=2,
        )


def _lines(file: Path) -> list[str]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give a list of images or of names") from error
    require(
        not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
        f"{file} is UTF-16, by its byte order mark; save it as UTF-8",
    )
    # Editors on Windows put a mark before UTF-8. Names that are no UTF-8 survive as os.fsencode expects them.
    text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _count_classes(train: set[int], test: set[int], train_list: Path, test_list: Path) -> int:
    if train != test:
        parts = [f"{test_list} lacks {_labels(train - test)}"] if train - test else []
        parts += [f"{train_list} lacks {_labels(test - train)}"] if test - train else []
        raise InputError(f"the lists have different classes: {' and '.join(parts)}; name images of each class in both")
    count = len(train)
    if max(train) >= count:
        missing = next(label for label in range(count) if label not in train)
        raise InputError(
            f"{train_list} has {count} classes and the label {max(train)}, but no label {missing}; count labels from 0 "
            "without a gap"
        )
    return count


def _labels(labels: set[int]) -> str:
    return few([str(label) for label in sorted(labels)])


def _names(file: Path | None, count: int, train_list: Path) -> tuple[str, ...]:
    if file is None:
        return tuple(map(str, range(count)))
    names = [line.strip() for line in _lines(file)]
    while names and not names[-1]:
        names.pop()
    require(
        len(names) == count,
        f"{file} names {len(names)} classes and {train_list} has {count}; write one name a line, that of class 0 first",
    )
    return tuple(names)


def _check_present(root: Path, listed: _Entries, file: Path) -> None:
    # A look into each folder, not one for each file: on a network drive a million of those takes many minutes.
    wanted: dict[str, list[int]] = defaultdict(list)
    for position, path in enumerate(listed.files):
        wanted[os.path.dirname(path)].append(position)
    missing = []
    for folder, positions in wanted.items():
        try:
            present = set(os.listdir(root / folder))
        except OSError:
            present = set()
        missing += [position for position in positions if os.path.basename(listed.files[position]) not in present]
    if missing:
        missing.sort()
        first = listed.files[missing[0]]
        slashes = "\\" in first and (root / first.replace("\\", "/")).exists()
        remedy = "write a slash between folders, no backslash" if slashes else "check root, or take the lines out"
        raise InputError(
            f"{len(missing)} of {len(listed.files)} images in {file} are not under {root}: "
            f"{few([listed.files[position] for position in missing])} (the first on line {listed.lines[missing[0]]}); "
            f"{remedy}"
        )
