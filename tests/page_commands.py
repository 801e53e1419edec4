"""Commands of the README and the guides, and a folder in which each can be run in seconds.

What a page says is run as it stands, but for what makes it small: one seed, one epoch, networks that are not compiled,
no wandb, few digits, and photographs where the page takes data that have to be downloaded. A program that cannot be run
here, such as Slurm's, has its own arguments checked and the program behind it run.
"""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click import Command, Context, Group
from PIL import Image
from wandb.cli.cli import cli

from trg_pyg.cli import main as trg
from trg_pyg.config.choices import read_choices
from trg_pyg.data import (
    DetectionSet,
    Digits,
    ImageData,
    ImageSet,
    InstanceSet,
    MovingDigits,
    PastedDigits,
    Reviews,
    Texts,
    TouchingDigits,
)
from trg_pyg.models import build_model

ROOT = Path(__file__).parents[1]
GUIDES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "experiments" / "guide").glob("*.md")))

_SMALL = [
    *("--train.epochs=1", "--teacher.train.epochs=1", "--train.compile=false", "--teacher.train.compile=false"),
    *("--train.schedule=onecycle", "--teacher.train.schedule=onecycle", "--train.precision=fp32"),
    *("--train.warmup_epochs=0", "--teacher.train.warmup_epochs=0"),
    *("--seeds", "0", "--device=cpu", "--wandb=disabled"),
]
_CLASSES = ("bicycle", "bridge", "butterfly", "castle", "rose")
# What makes other commands and programs small.
_OF_OTHERS = {
    "compare-cost": ["--batches", "1", "--rounds", "1"],
    "step.py": ["--steps=1", "--batch_size=8", "--teacher=resnet20", "--student=resnet8"],
    "sweep": ["--count=1", *_SMALL, "--output=swept", "--data.imbalance=50"],  # its trial is a process of its own
    "visualize": ["--features=60"],
}
_DIGITS = 20  # images of each class, at most, in either split


def fenced(text: str, language: str) -> list[str]:
    """Return the blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the commands of a page, one a line, comments left out."""
    lines = "\n".join(fenced(text, "bash")).replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return [re.sub(r"\s+", " ", line) for line in bare if line]


def refusals(text: str) -> list[tuple[str, str]]:
    """Return the commands in a page's console blocks, ``$ trg ...``, and the line that each ends with."""
    found = []
    for block in fenced(text, "console"):
        command, _, line = block.replace("\\\n", " ").strip().partition("\n")
        found.append((re.sub(r"\s+", " ", command.removeprefix("$ ")), line.strip()))
    return found


def files(text: str) -> dict[str, str]:
    """Return the files that a page shows: blocks whose first line is their name as a comment."""
    found: dict[str, str] = {}
    for language in ("python", "yaml"):
        for block in fenced(text, language):
            first, _, rest = block.partition("\n")
            if name := re.fullmatch(r"# (\w+\.(?:py|yaml))", first):
                found[name[1]] = f"{found[name[1]]}\n\n{rest}" if name[1] in found else rest
    return found


def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Digits few images of each class."""
    read = Digits._read

    def fewer(self: Digits) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        *splits, classes = read(self)
        train, test = (
            split.select(torch.cat([(split.targets == c).nonzero()[:_DIGITS, 0] for c in range(len(classes))]))
            for split in splits
        )
        return train, test, classes

    monkeypatch.setattr(Digits, "_read", fewer)


def few_reviews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Reviews few texts of each class."""
    read = Reviews._texts

    def fewer(self: Reviews) -> tuple[Texts, None]:
        return Texts(*(each[:60] for each in read(self)[0])), None

    monkeypatch.setattr(Reviews, "_texts", fewer)


def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave TouchingDigits and PastedDigits few scenes."""
    for cls in (TouchingDigits, PastedDigits):
        monkeypatch.setattr(cls, "_read", _fewer(cls._read))


def _fewer(read: Any) -> Any:
    def fewer(self: Any) -> tuple[InstanceSet | DetectionSet, InstanceSet | DetectionSet, tuple[str, ...]]:
        *splits, classes = read(self)
        train, test = (split.select(torch.arange(8)) for split in splits)
        return train, test, classes

    return fewer


def write_cells(folder: Path) -> None:
    """Write ``cells/{images,labels}/<n>.png``, of squares, and ``new.png``."""
    for part in ("images", "labels"):
        (folder / "cells" / part).mkdir(parents=True)
    for number in range(4):
        labels = torch.zeros(64, 64, dtype=torch.uint8)
        labels[8:24, 8:24], labels[8:24, 24:40] = 1, 2
        image = labels.bool().byte()[:, :, None].repeat(1, 1, 3) * 200
        Image.fromarray(labels.numpy()).save(folder / "cells" / "labels" / f"{number}.png")
        Image.fromarray(image.numpy()).save(folder / "cells" / "images" / f"{number}.png")
    Image.fromarray(image.numpy()).save(folder / "new.png")


def write_trees(folder: Path) -> None:
    """Write ``trees/images/<n>.png``, of squares, and ``trees/boxes.json``."""
    place = folder / "trees"
    (place / "images").mkdir(parents=True)
    images, boxes = [], []
    for number in range(5):
        image = torch.zeros(64, 64, 3, dtype=torch.uint8)
        image[8 : 24 + number, 8:40] = 200
        Image.fromarray(image.numpy()).save(place / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        boxes.append({"id": number, "image_id": number, "category_id": 1, "bbox": [8, 8, 32, 16 + number]})
    listed = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "crown"}]}
    (place / "boxes.json").write_text(json.dumps(listed))


def write_texts(folder: Path) -> None:
    """Write ``reviews.csv`` and ``new.txt``."""
    texts = [
        f"{label},{label} number {number} was a {label} thing" for number in range(12) for label in ("good", "bad")
    ]
    (folder / "reviews.csv").write_text("\n".join(["label,text", *texts]) + "\n")
    (folder / "new.txt").write_text("a good thing\nsomething else\n")


def write_clips(folder: Path) -> None:
    """Write ``clips/{train,test}/<class>/<clip>/<frame>.png``."""
    splits = MovingDigits(clips=24).load()
    for split, part in (("train", splits.train), ("test", splits.test)):
        for number, (clip, target) in enumerate(zip(part.images[:, 0], part.targets.tolist(), strict=True)):
            place = folder / "clips" / split / splits.classes[target] / f"clip{number}"
            place.mkdir(parents=True)
            for at, frame in enumerate(clip):
                Image.fromarray(frame.numpy()).save(place / f"{at}.png")


def write_photos(folder: Path) -> None:
    """Write ``photos/{train,test}/<class>/<n>.jpg``, lists of them, and a single one."""
    generator = torch.Generator().manual_seed(0)
    for split, images in (("train", 3), ("test", 2)):
        lines = []
        for label, name in enumerate(_CLASSES):
            for number in range(images):
                pixels = torch.randint(40 * label, 40 * label + 90, (48, 64, 3), generator=generator).to(torch.uint8)
                file = folder / "photos" / split / name / f"{number}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.numpy()).save(file)
                lines.append(f"{split}/{name}/{number}.jpg {label}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    Image.fromarray(pixels.numpy()).save(folder / "photo.jpg")


class Place:
    """The current folder with what the pages name: photographs, weights, files that they show, a finished study."""

    def __init__(self) -> None:
        folder = Path.cwd()
        (folder / "experiments").symlink_to(ROOT / "experiments")
        write_photos(folder)
        write_texts(folder)
        write_cells(folder)
        write_trees(folder)
        write_clips(folder)
        for page in GUIDES:
            for name, text in files(page.read_text()).items():
                (folder / name).write_text(text)
        torch.manual_seed(0)
        for file, network in (("teacher.pth", "torchvision:resnet50"), ("resnet56.pth", "resnet56")):
            torch.save(build_model(network, len(_CLASSES)).state_dict(), folder / file)
        imagenet = build_model("timm:tf_efficientnet_lite0", 1000)
        torch.save(imagenet.state_dict(), folder / "tf_efficientnet_lite0.pth")
        assert trg(["run", "--methods", "KD", "TRG", *_SMALL, "--wandb=offline", "--quiet"]) == 0
        (self._run,) = Path("runs").glob("Digits/resnet20-resnet8/TRG-*/seed0")
        self._run_of: dict[Path, Path] = {}

    def execute(self, command: str, page: Path) -> None:
        """Run a command of a page, made small. ``RUN`` is the run that the page names, or one of digits.

        Raises:
            AssertionError: it fails, or nothing here knows how to run it.
        """
        if assignment := re.fullmatch(r"RUN=(\S+)", command):
            self._run_of[page] = sorted(Path().glob(re.sub("-[0-9a-f]{8}/", "-*/", assignment[1])))[0]
            return
        command = re.sub(r"\$RUN\b|\bRUN\b", str(self._run_of.get(page, self._run)), command)
        if "$" in command or "&&" in command:
            command = _expanded(command)
        if not command:  # all of it was the shell's
            return
        words = shlex.split(command)
        program, rest = words[0], words[1:]
        if program == "torchrun":
            assert rest[:1] == ["--nproc-per-node"]
            assert int(rest[1]) > 1
            assert rest[2:4] == ["-m", "trg_pyg"]
            words = ["trg", *rest[4:]]
        elif program == "sbatch":
            words = _slurm_task([word for word in rest if not re.fullmatch(r"--array=\d+-\d+", word)])
        if words[0] == "trg":
            assert _trg(self._made_small(words[1], words[2:])) == 0
        elif words[0] == "python":
            _python(words[1:])
        elif words[0] == "make":
            _check_make(words[1:])
        elif words[0] == "pip":
            _check_install(words[1:])
        elif words[0] == "wandb":
            _wandb(words[1:])
        else:
            raise AssertionError(f"no way to run {command} is known here: add one, or change the page")

    def _made_small(self, name: str, given: list[str]) -> list[str]:
        if name in ("run", "diagnose"):
            given = [*given, *self._small(given)]
        elif name == "evaluate" and "CIFAR100" in given:
            given = [*given, "--data=ImageFolder", "--data.root=photos"]
        elif name == "evaluate" and "--attack" in given:
            given = [*given, "--attack", "2"]
        elif name == "export":
            shutil.rmtree(given[given.index("--output") + 1], ignore_errors=True)  # another page's
        return [name, *given, *_OF_OTHERS.get(name, [])]

    def _small(self, given: list[str]) -> list[str]:
        if any(word.startswith("--print_config") for word in given):
            return []
        # trg diagnose has options of its own before those of trg run.
        own = [i for i, word in enumerate(given) if word.startswith("--probe_")]
        choices = read_choices([word for i, word in enumerate(given) if i not in own and i - 1 not in own])
        small = list(_SMALL)
        if choices.published:
            small += ["--teacher.weights=null"]
        data = choices.config.data
        if isinstance(data, MovingDigits):
            small += ["--data.clips=24"]
        elif (
            isinstance(data, ImageData)
            and not isinstance(data, Digits)
            and not Path(getattr(data, "root", ".")).exists()
        ):
            small += [
                "--data=ImageFolder",
                "--data.root=photos",
                *(["--data.size=128"] if getattr(data, "size", 0) > 128 else []),
            ]
            if data.imbalance:
                small += ["--data.imbalance=2"]
        return small


def _trg(words: list[str]) -> int:
    try:
        return trg(words)
    except SystemExit as end:  # --print_config and --help end so
        return int(end.code or 0)


def _python(words: list[str]) -> None:
    script, *given = words
    if script == "-m":
        _check_pytest(given)
        return
    assert (ROOT / script).is_file()
    if Path(script).name != "all.py":  # every benchmark, each of which has a test
        assert _call(ROOT / script, [*given, *_OF_OTHERS.get(Path(script).name, [])]) == 0


def _call(script: Path, given: Sequence[str]) -> int:
    """Run a program in this process, which has the packages imported already, and return its exit code."""
    before = sys.argv
    sys.argv = [str(script), *given]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def _expanded(command: str) -> str:
    """Return a command as the shell has it: ``&&`` and ``$(...)`` are run, for what they do, or for what they say."""
    *first, last = command.split(" && ")
    for each in first:
        subprocess.run(["bash", "-euc", each], check=True)
    if last.startswith(("ln ", "mkdir ")):
        subprocess.run(["bash", "-euc", last], check=True)
        return ""
    script = f"printf '%q ' {last}"
    return subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True).stdout


def _slurm_task(words: list[str]) -> list[str]:
    """Return what a job script is to start; the scripts themselves have tests of their own."""
    script, *given = words
    assert (ROOT / script).is_file()
    if given[0].endswith(".yaml"):
        return ["trg", "sweep", *given]
    return ["trg", "run", *given]


def _check_make(words: list[str]) -> None:
    target, *settings = words
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert all(re.match(r"(SEEDS|ARGS|LOCKED|PYTHON)=", setting) for setting in settings)


def _check_install(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = project["dependencies"] + [each for group in project["optional-dependencies"].values() for each in group]
    assert words[0] == "install"
    for word in words[1:]:
        if extras := re.fullmatch(r"(?:\.|trg_pyg)\[([\w,]+)\]", word):
            assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
        else:
            assert word in ("-e", "--no-build-isolation") or word in known


def _check_pytest(words: list[str]) -> None:
    assert words[0] == "pytest"
    paths = [word for word in words[1:] if "/" in word]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def _wandb(words: Sequence[str]) -> None:
    """Run what needs neither account nor terminal; of the rest, have wandb read the arguments."""
    if words[:3] == ["leet", "inspect", "--summary"]:
        done = subprocess.run([sys.executable, "-m", "wandb", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "top1" in done.stdout
        return
    command: Command = cli
    rest = list(words)
    while isinstance(command, Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    assert command is not cli, f"wandb has no command {words[0]}"
    left = [word for word in rest if "ENTITY" not in word]
    assert [word for word in left if not word.startswith("-") and not Path(word).exists()] == []
    with Context(command, info_name="wandb") as context:
        command.parse_args(context, rest)
