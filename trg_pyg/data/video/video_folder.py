"""A folder of clips, one sub-folder a class."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trg_pyg._size import Size, shown_clip, sides, size_of
from trg_pyg.data.base import ImageSet, ImageSource
from trg_pyg.data.files._memory import available_memory
from trg_pyg.data.files.bad_images import unreadable
from trg_pyg.data.image_folder import IMAGE_SUFFIXES
from trg_pyg.data.splits._members import check_same_classes, split_folders
from trg_pyg.data.splits.holdout import check_fraction, holdout_indices
from trg_pyg.data.unlabelled import check_not_measured
from trg_pyg.data.video.clips import VIDEO_SUFFIXES, find_clips, read_clips
from trg_pyg.data.video.video_data import VideoData, VideoSet
from trg_pyg.errors import InputError, few, require

_GIB = 1024**3


class VideoFolder(VideoData):
    """Clips of your own, read into memory. A clip is a folder of frames, or a video file.

    Two layouts, told apart by a folder ``train`` under ``root``::

        root/train/<class>/<clip>/*.png    root/test/<class>/<clip>/*.png    # root/val, if there is no root/test
        root/<class>/<clip>/*.png                                            # a test split is held out of each class

    In the place of a clip's folder there may be a file, ``<clip>.mp4`` (avi, mkv, mov, webm, m4v, mpg, mpeg), which
    PyAV reads, of the extra ``video``. Classes are numbered by their sorted folder names. Of each clip ``frames`` are
    taken, evenly spaced over its length; frames follow one another by their names, in which numbers count as numbers.
    They become RGB, are resized (antialiased) to cover ``size``, and the centre is cut out.

    Args:
        root: the folder.
        size: side of the frames, in pixels, >= 1, or ``[height, width]``.
        frames: of each clip, >= 2.
        holdout: share of each class held out for testing in the second layout, in (0, 1); ``subset_seed`` chooses.
        labelled: share of each class of the training clips, in (0, 1), that keeps its labels; the others become the
            unlabelled clips. None keeps all labels.
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            every training clip.
        subset_seed: chooses the clips that are held out or keep their labels, and those that a long-tailed split takes.
        crop_padding: zeros on each side before the random crop, alike for all frames of a clip, >= 0; None stands for
            2.
        flip: mirror training clips left to right at random, all frames of a clip alike; None stands for no, since what
            moves to the left moves to the right in a mirror.
        validation: share of each class of the training clips, in (0, 1), that is held out and takes the place of the
            test clips; None evaluates on the test clips.
        heldout: share of each class of the training clips, in (0, 1), by which the best epoch is chosen, and of which
            methods may learn.
        unlabelled: folder of clips, at any depth, for methods that learn without labels.

    Raises:
        InputError: an option is out of range, or two of them contradict each other.
    """

    def __init__(
        self,
        root: str,
        size: Size = 32,
        frames: int = 8,
        holdout: float = 0.2,
        labelled: float | None = None,
        imbalance: float | None = None,
        subset_seed: int = 0,
        crop_padding: int | None = None,
        flip: bool | None = None,
        validation: float | None = None,
        heldout: float | None = None,
        unlabelled: str | None = None,
    ) -> None:
        super().__init__(labelled, imbalance, subset_seed, crop_padding, flip, validation, heldout, unlabelled)
        require(min(sides(size)) >= 1, f"size {size} is below 1; it is the height and width of the frames in pixels")
        require(frames >= 2, f"frames {frames}: a clip has 2 or more")
        check_fraction(holdout)
        self.root, self.holdout = Path(root).expanduser(), holdout
        self.size, self.frames = size_of(*sides(size)), frames

    def _read(self) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        train_folder, test_folder = split_folders(self.root, "clip")
        train = _class_clips(self.root / train_folder)
        classes = tuple(train)
        if test_folder is not None:
            test = _class_clips(self.root / test_folder)
            check_same_classes(classes, tuple(test), self.root / train_folder, self.root / test_folder)
            return self._set(train), self._set(test), classes
        whole: ImageSet = self._set(train)
        held = torch.zeros(len(whole), dtype=torch.bool)
        held[holdout_indices(whole.targets, classes, self.holdout, self.subset_seed)] = True
        return whole.select(~held), whole.select(held), classes

    def _set(self, clips: dict[str, list[Path]]) -> VideoSet:
        targets = torch.arange(len(clips)).repeat_interleave(torch.tensor([len(group) for group in clips.values()]))
        return VideoSet(self._pixels([clip for group in clips.values() for clip in group], self.root), targets)

    def _pixels(self, clips: list[Path], folder: Path) -> Tensor:
        # Twice: making the splits holds the whole set and its parts at the same time.
        height, width = sides(self.size)
        needed, available = 2 * len(clips) * 3 * self.frames * height * width, available_memory()
        what = f"{len(clips)} clips of {shown_clip(self.size, self.frames)}"
        require(
            available is None or needed <= available,
            f"{what} under {folder} need {needed / _GIB:.2f} GiB of memory and {(available or 0) / _GIB:.2f} GiB are "
            "available; lower data.size or data.frames",
        )
        pixels, failures = read_clips(clips, self.frames, self.size)
        if failures:
            raise unreadable(failures, f"{len(clips)} clips", "mend them or take them out, or lower data.frames")
        return pixels

    def _read_unlabelled(self, folder: Path, train: ImageSource, measured: list[tuple[str, Any]]) -> VideoSet:
        require(folder.is_dir(), f"data.unlabelled: {folder} is not a folder; give one with clips in it")
        pixels = self._pixels(find_clips([folder]), folder)
        digest = hashlib.sha256(pixels.numpy().data).hexdigest()
        clips = VideoSet(pixels, torch.zeros(len(pixels), dtype=torch.int64), digest)
        check_not_measured(clips, folder, measured)
        return clips


def _class_clips(folder: Path) -> dict[str, list[Path]]:
    """Return the sorted clips of each class; the classes are sorted by name."""
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    found: dict[str, list[Path]] = {}
    others: list[str] = []
    for name in classes:
        inside = sorted(path for path in (folder / name).iterdir() if not path.name.startswith("."))
        frames = [path.name for path in inside if path.suffix.lower() in IMAGE_SUFFIXES]
        require(
            not frames,
            f"{folder / name} has frames in the place of clips, {few(frames)}: put those of each clip into a folder of "
            f"its own, {folder / name}/<clip>/",
        )
        found[name] = [path for path in inside if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES]
        others += [str(path) for path in inside if path not in found[name]]
    require(bool(classes), f"no classes under {folder}; put clips into {folder}/<class>/<clip>/")
    empty = [name for name in classes if not found[name]]
    if empty:
        raise InputError(f"no clip for class {few(empty)} in {folder}; add some or remove the folder")
    if others:
        warnings.warn(f"passed over under {folder}: {few(others)}, which are no clips", stacklevel=2)
    return found
