"""Images of no class that anybody knows."""

import hashlib
import os
from collections.abc import Iterable
from copy import copy
from pathlib import Path

import torch

from trg_pyg.data.base import ImageData, ImageSource
from trg_pyg.data.files._contents import read_contents
from trg_pyg.data.files.file_set import FileSet
from trg_pyg.data.files.image_files import ImageFiles, Listing
from trg_pyg.data.files.loose_images import find_images
from trg_pyg.data.image_folder import ImageFolder
from trg_pyg.errors import InputError, require


def read_unlabelled(
    folder: Path, like: ImageData, train: ImageSource, measured: Iterable[tuple[str, ImageSource | None]]
) -> ImageSource:
    """Read all images below a folder, whatever the folders in it are called, as those of a data set are read.

    Args:
        folder: with images at any depth.
        like: the data set, whose options of reading are taken where it has any.
        train: its training images, whose size the others get; they are streamed where these are.
        measured: what networks are measured on, with a word for it; streamed where the training images are.

    Returns:
        The images, with the class 0 for all.

    Raises:
        InputError: there is no image, one cannot be read, or is among those that networks are measured on.
    """
    require(folder.is_dir(), f"data.unlabelled: {folder} is not a folder; give one with images in it")
    require(
        train.channels == 3,
        f"data.unlabelled: files of images have 3 channels, and the training images have {train.channels}: leave the "
        "option out",
    )
    reader = copy(like) if isinstance(like, ImageFiles) else ImageFolder(str(folder), train.image_size)
    reader.root, reader.stream = folder, isinstance(train, FileSet)
    files = [os.path.relpath(path, folder) for path in find_images([folder])]
    nothing = torch.zeros(len(files), dtype=torch.int64)
    images, _ = reader.read_listing(Listing(files, nothing, nothing.bool(), ("unlabelled",)))
    check_not_measured(images, folder, measured)
    return images


def check_not_measured(
    unlabelled: ImageSource, folder: Path, measured: Iterable[tuple[str, ImageSource | None]]
) -> None:
    """Refuse unlabelled images or clips that are among those that networks are measured on, by their content.

    Raises:
        InputError: one is.
    """
    known, item = _contents(unlabelled), unlabelled.task.item
    for what, source in measured:
        shared = 0 if source is None else len(known & _contents(source))
        if shared:
            raise InputError(
                f"data.unlabelled: {shared} of the {len(known)} {item}s under {folder} are {what} {item}s, by their "
                "content: take them out, since a network would be measured on what it has seen"
            )


def _contents(source: ImageSource) -> set[str]:
    if isinstance(source, FileSet):
        names = [os.fsdecode(name) for name in source.files]
        return {one.digest for one in read_contents(source.root, names, [])}
    return {hashlib.sha256(image.numpy()).hexdigest() for image in source.images.cpu().contiguous()}
