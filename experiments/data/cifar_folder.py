"""CIFAR-100 as a folder of image files under their original names, for ``--data ImageFolder``.

    python experiments/data/cifar_folder.py data/cifar100

A seed chooses images by their place in a data set, and a folder is read in the order of its names, not in that of the
archive. A study that was made on the folder is therefore repeated on the folder, not on ``--data CIFAR100``. Labels are
the same in both, since CIFAR-100's classes are in alphabetical order.
"""

import hashlib
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision import datasets
from tqdm import tqdm

from experiments.data._common import run
from trg_pyg._files import made_whole
from trg_pyg.data._torchvision import read_splits
from trg_pyg.errors import few, require

_SPLITS = ("train", "test")


def write(target: Path, root: Path = Path("data"), quiet: bool = False) -> str:
    """Write ``target/train/<class>/<file name>.png`` and ``target/test/...``, and return what was written.

    The pixels are those of the archive, since PNG loses none. An interruption leaves no target.

    Args:
        target: folder to make; it may be there if it is empty.
        root: folder that holds ``cifar-100-python``, or where torchvision downloads it to (169 MB).
        quiet: no progress bar.

    Raises:
        InputError: the target is not empty, or the archive cannot be had, is damaged, names an image twice, or has a
            name that is that of no file in the target.
    """
    target, root = target.expanduser(), root.expanduser()
    if target.exists():
        free = target.is_dir() and not any(target.iterdir())
        require(free, f"{target} is not an empty folder; give another one, or remove it to write it again")
    target = target.absolute()  # "." cannot be removed
    cifar = datasets.CIFAR100
    files = [name for name, _ in cifar.train_list + cifar.test_list] + [cifar.meta["filename"]]
    splits = dict(zip(_SPLITS, read_splits(cifar, str(root), True, cifar.base_folder, files), strict=True))
    names = {split: _names(split, dataset) for split, dataset in splits.items()}
    with made_whole(target) as folder:
        for split, dataset in splits.items():
            for name in dataset.classes:
                (folder / split / name).mkdir(parents=True)
            images = zip(names[split], dataset.data, strict=True)
            for name, pixels in tqdm(images, split, len(names[split]), leave=False, disable=quiet or None):
                Image.fromarray(pixels).save(folder / split / name)
        if target.exists():
            target.rmdir()
    return f"{sum(map(len, names.values())):,} images in {target}"


def _names(split: str, dataset: Any) -> list[str]:
    """Return ``<class>/<file name>`` of each image, in the order of the archive."""
    entries = dataset.train_list if split == "train" else dataset.test_list
    file_names = [
        name
        for file, md5 in entries
        for name in _verified(Path(dataset.root) / dataset.base_folder / file, md5)["filenames"]
    ]
    labels = (dataset.classes[target] for target in dataset.targets)
    names = [f"{label}/{name}" for label, name in zip(labels, file_names, strict=True)]
    for name in names:
        plain = all(part not in ("", ".", "..") and "\\" not in part and "\0" not in part for part in name.split("/"))
        require(plain and name.count("/") == 1, f"the {split} split names {name!r}, which would be written elsewhere")
    twice = [name for name, count in Counter(names).items() if count > 1]
    require(not twice, f"the {split} split names {few(twice)} twice, and a folder holds one image of a name")
    return names


def _verified(file: Path, md5: str) -> Any:
    """Return the content of a pickle of the archive.

    A pickle can run any code, so only the one that CIFAR-100's authors published is read: torchvision has compared the
    file with the MD5 sum in its own source, and the very bytes that are unpickled are compared again here, since the
    file may have been exchanged meanwhile. To make another file of a given MD5 sum is beyond what is known to be
    possible; what is easy, two files of one sum, would have had to be done by the authors.
    """
    content = file.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    require(
        found == md5, f"{file}: its md5 is {found}, torchvision has {md5}: it was not read; remove it and try again"
    )
    return pickle.loads(content, encoding="latin1")


if __name__ == "__main__":
    sys.exit(run(write))
