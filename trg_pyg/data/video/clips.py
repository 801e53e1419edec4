"""Clips as files: folders of frames, and video files."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trg_pyg._size import Size, sides
from trg_pyg.data.files._decode import attempt_in_threads, centre_cut, read_rgb
from trg_pyg.data.files.bad_images import BadImage
from trg_pyg.data.image_folder import IMAGE_SUFFIXES
from trg_pyg.errors import InputError, require

# How files that are taken for videos end, in small letters.
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"})


def find_clips(paths: Sequence[str | Path]) -> list[Path]:
    """Return clips, and those below folders, in the order of ``paths``, those of a folder sorted.

    A clip is a folder that has images, its frames, or a file that ends as videos do. Hidden files and folders are
    passed over, and links to folders are not followed. A clip that is named twice is there once.

    Args:
        paths: clips, and folders of clips at any depth.

    Raises:
        InputError: there is nothing of that name, a folder holds no clip, or a file is no video.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        require(path.exists(), f"{path}: there is no such file or folder")
        require(
            path.is_dir() or _is_video(path.name),
            f"{path}: a clip is a folder of frames, or a file that ends in {_listed(VIDEO_SUFFIXES)}",
        )
        clips = list(_below(path)) if path.is_dir() else [path]
        require(bool(clips), f"{path}: no clips in this folder or below; a clip is a folder of frames, or a video file")
        found += clips
    return list(dict.fromkeys(found))


def read_clips(clips: Sequence[Path], frames: int, size: Size) -> tuple[Tensor, list[BadImage]]:
    """Decode clips: as many frames of each, evenly spaced over its whole length.

    Of n frames, frame i of T is the one in the middle of the i-th of T equal parts, number floor((i + 1/2) n / T).
    Frames of a folder follow one another by their names, in which numbers count as numbers. They become RGB, are
    resized (antialiased) to cover ``size``, and the centre is cut out.

    Args:
        clips: N folders of frames or video files.
        frames: T, of each, >= 1.
        size: side of the result, or height and width, in pixels, >= 1.

    Returns:
        uint8 [N, 3, T, H, W], and the clips that cannot be used, whose pixels are undefined: of too few frames, of
        frames of several sizes, or damaged ones.

    Raises:
        InputError: a video file is to be read and PyAV is not installed, or the memory does not suffice.
    """
    if any(map(_is_video_file, clips)):
        _av()
    found = torch.empty(len(clips), 3, frames, *sides(size), dtype=torch.uint8)
    pixels = found.numpy()

    def decode(position: int, clip: str) -> None:
        read = _of_video if _is_video_file(Path(clip)) else _of_folder
        pixels[position] = np.stack(read(Path(clip), frames, size), axis=1)

    return found, attempt_in_threads([str(clip) for clip in clips], decode, os.cpu_count() or 1)


def _below(folder: Path) -> Iterator[Path]:
    if _frames(folder):
        yield folder
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
        elif _is_video(entry.name):
            yield Path(entry.path)


def _frames(folder: Path) -> list[Path]:
    """Return the frames of a clip in their order."""
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return [folder / name for name in sorted(filter(_is_image, names), key=_natural)]


def _of_folder(clip: Path, frames: int, size: Size) -> list[np.ndarray]:
    files = _frames(clip)
    found: list[np.ndarray] = []
    sizes: dict[tuple[int, int], str] = {}
    for number in _spaced(len(files), frames):
        try:
            frame = read_rgb(files[number])
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"frame {files[number].name}: {error}") from error
        sizes.setdefault(frame.size, files[number].name)
        found.append(centre_cut(frame, size, size))
    if len(sizes) > 1:
        said = " and ".join(f"{name} of {width}x{height}" for (width, height), name in list(sizes.items())[:2])
        raise ValueError(f"its frames are of several sizes, {said}")
    return found


def _of_video(clip: Path, frames: int, size: Size) -> list[np.ndarray]:
    with _av().open(str(clip)) as container:
        if not container.streams.video:
            raise ValueError("it has no pictures")
        # Resized at once: a long video would not fit in memory, and how many frames it has is known at its end.
        found = [
            centre_cut(Image.fromarray(frame.to_ndarray(format="rgb24")), size, size)
            for frame in container.decode(video=0)
        ]
    return [found[number] for number in _spaced(len(found), frames)]


def _spaced(there: int, wanted: int) -> list[int]:
    if there < wanted:
        raise ValueError(f"it has {there or 'no'} frame{'' if there == 1 else 's'} and {wanted} are wanted")
    return [(2 * i + 1) * there // (2 * wanted) for i in range(wanted)]


def _av() -> Any:
    try:
        import av  # of the extra video
    except ImportError as error:
        raise InputError(
            "video files are read by PyAV: pip install 'trg_pyg[video]', or give each clip as a folder of frames"
        ) from error
    return av


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _is_video_file(path: Path) -> bool:
    return _is_video(path.name) and not path.is_dir()


def _listed(suffixes: frozenset[str]) -> str:
    return ", ".join(sorted(suffixes))
