"""A part of an image folder: fewer classes, fewer images, and others of its images without labels.

    python experiments/data/part_folder.py data/cifar100 data/cifar100_6000 60
    python experiments/data/part_folder.py data/cifar100 data/cifar100_open 200 --classes 10 --rest 1800

Classes are the first ones by name. Images are chosen by a hash of their file names, the same ones everywhere.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from experiments.data._common import check_new, run
from trg_pyg._files import made_whole
from trg_pyg.errors import require


def write(source: Path, target: Path, images: int, classes: int | None = None, rest: int = 0) -> str:
    """Write a part of an image folder: ``target/train``, ``target/test`` and, where asked for, ``target/rest``.

    Args:
        source: folder with ``train/<class>`` and ``test/<class>``.
        target: folder to make.
        images: training images of each class, at least 1; test images are all taken.
        classes: how many; None takes all.
        rest: further training images, without labels: so many of the part's classes, ``rest/known``, and so many of the
            others, ``rest/others``, where there are any; of each class as many, rounded down, and none whose file is
            that of a test image.

    Raises:
        InputError: the target is there, or the source lacks classes or images.
    """
    check_new(target)
    for split in ("train", "test"):
        require((source / split).is_dir(), f"{source} has no folder {split}; give the one that cifar_folder.py writes")
    names = sorted(folder.name for folder in (source / "train").iterdir())
    wanted = len(names) if classes is None else classes
    require(1 <= wanted <= len(names), f"classes={classes}: {source} has {len(names)}; give 1 to {len(names)}")
    require(images >= 1 and rest >= 0, f"images={images}, rest={rest}: give at least 1 and 0")
    measured = {file.read_bytes() for file in (source / "test").glob("*/*")} if rest else set()
    copies: list[tuple[Path, Path]] = []
    for place, name in enumerate(names):
        known = place < wanted
        taken, unlabelled = (images, rest // wanted) if known else (0, rest // (len(names) - wanted))
        files = sorted((source / "train" / name).iterdir(), key=_hash_of_name)
        spare = [file for file in files[taken:] if unlabelled and file.read_bytes() not in measured]
        require(
            len(files) >= taken and len(spare) >= unlabelled,
            f"{source}/train/{name} has {len(files)} images, {taken + unlabelled} are asked for: lower images or rest",
        )
        copies += [(file, Path("train", name, file.name)) for file in files[:taken]]
        kind = "known" if known else "others"
        copies += [(file, Path("rest", kind, name, file.name)) for file in spare[:unlabelled]]
        if known:
            copies += [(file, Path("test", name, file.name)) for file in sorted((source / "test" / name).iterdir())]
    with made_whole(target.absolute()) as folder:
        for file, place_of_copy in copies:
            (folder / place_of_copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / place_of_copy)
    return f"{len(copies):,} images in {target}"


def _hash_of_name(file: Path) -> str:
    return hashlib.sha256(file.name.encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(run(write))
