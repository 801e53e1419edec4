"""A part of an image folder: fewer classes, fewer images, and others of its images without labels.

    python experiments/studies/part_folder.py data/cifar100 data/cifar100_6000 60
    python experiments/studies/part_folder.py data/cifar100 data/cifar100_open 60 --classes 50 --rest 60 \
        --teacher runs/teachers/resnet56_balanced.pth

Classes are the first ones by name, so a teacher of all of them tells the part's by its first logits. Images are chosen
by a hash of their file names, the same ones everywhere.
"""

import hashlib
import shutil
import sys
from pathlib import Path

import torch
from jsonargparse import auto_cli

from trg_pyg._files import made_whole
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.errors import require
from trg_pyg.models.weights import load_weights, save_weights
from trg_pyg.models.zoo import build_model


def write_part(
    source: Path, target: Path, images: int, classes: int | None = None, rest: int = 0, teacher: Path | None = None
) -> int:
    """Write ``target/train/<class>/*``, ``target/test/<class>/*`` and what else is asked for.

    Args:
        source: folder with ``train/<class>`` and ``test/<class>``.
        target: folder to make.
        images: training images of each class, at least 1; test images are all taken.
        classes: how many; None takes all.
        rest: further training images of each class, without labels: those of the part's classes go to ``rest/known``,
            those of the others to ``rest/others``, none whose file is that of a test image.
        teacher: weights of a resnet56 for all classes; those for the part's go to ``teacher.safetensors``.

    Returns:
        The number of images.

    Raises:
        InputError: the target is there, the source lacks classes or images, or the weights are those of another
            network.
    """
    require(not target.exists(), f"{target} is there already; give another folder, or remove it to write it again")
    for split in ("train", "test"):
        require((source / split).is_dir(), f"{source} has no folder {split}; give the one that cifar_folder.py writes")
    names = sorted(folder.name for folder in (source / "train").iterdir())
    wanted = len(names) if classes is None else classes
    require(1 <= wanted <= len(names), f"classes={classes}: {source} has {len(names)}; give 1 to {len(names)}")
    require(images >= 1 and rest >= 0, f"images={images}, rest={rest}: give at least 1 and 0")
    measured = {file.read_bytes() for file in (source / "test").glob("*/*")}
    copies: list[tuple[Path, Path]] = []
    for place, name in enumerate(names):
        files = sorted((source / "train" / name).iterdir(), key=_hash_of_name)
        taken = images if place < wanted else 0
        spare = [file for file in files[taken:] if rest and file.read_bytes() not in measured]
        require(
            len(files) >= taken and len(spare) >= rest,
            f"{source}/train/{name} has {len(files)} images, {taken + rest} are asked for: lower images or rest",
        )
        copies += [(file, Path("train", name, file.name)) for file in files[:taken]]
        kind = "known" if taken else "others"
        copies += [(file, Path("rest", kind, name, file.name)) for file in spare[:rest]]
        if taken:
            copies += [(file, Path("test", name, file.name)) for file in sorted((source / "test" / name).iterdir())]
    with made_whole(target.absolute()) as folder:
        for file, place_of_copy in copies:
            (folder / place_of_copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / place_of_copy)
        if teacher is not None:
            _write_teacher(teacher, folder / "teacher.safetensors", len(names), wanted)
    return len(copies)


def _hash_of_name(file: Path) -> str:
    return hashlib.sha256(file.name.encode()).hexdigest()


def _write_teacher(weights: Path, target: Path, classes: int, wanted: int) -> None:
    whole, part = (build_model("resnet56", count) for count in (classes, wanted))
    load_weights(whole, weights)
    state = whole.state_dict()
    with torch.no_grad():
        part.load_state_dict(
            {name: state[name][: len(own)] if own.dim() else state[name] for name, own in part.state_dict().items()}
        )
    save_weights(part, target, {})


def main(
    source: Path, target: Path, images: int, classes: int | None = None, rest: int = 0, teacher: Path | None = None
) -> int:
    """Write a part of an image folder.

    Args:
        source: folder with train/<class> and test/<class>.
        target: folder to make.
        images: training images of each class.
        classes: how many, the first ones by name; all where it is not given.
        rest: further training images of each class, without labels, in rest/known and, of other classes, rest/others.
        teacher: weights of a resnet56 for all classes, to be cut to the part's, in teacher.safetensors.
    """

    def work() -> None:
        print(f"{write_part(source, target, images, classes, rest, teacher):,} images in {target}")

    return exit_code_of(work, "part_folder.py")


if __name__ == "__main__":
    sys.exit(auto_cli(main))
