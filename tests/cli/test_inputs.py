"""The table of experiments/guide/inputs.md says what the program says: each row is compared with a real mistake."""

import io
import json
import os
import pickle
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from trg_pyg.cli import compare_cost, evaluate, export, predict, report, run, sweep, table, visualize
from trg_pyg.cli._exit import exit_code_of
from trg_pyg.graphs import KNNGraph
from trg_pyg.models import build_model, save_weights
from trg_pyg.study.folder import RunFolder
from trg_pyg.study.train import Report
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint

PAGE = (Path(__file__).parents[2] / "experiments" / "guide" / "inputs.md").read_text()


class Row(NamedTuple):
    """A line of the table."""

    what: str
    checked: str
    when: str
    says: str
    code: str


def rows() -> dict[str, Row]:
    """Rows by what is checked."""
    found = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in PAGE.splitlines() if line.startswith("| ")]
    table = [Row(*(cell.strip().replace(r"\|", "|") for cell in cells)) for cells in found[1:]]
    assert len({row.checked for row in table}) == len(table)
    return {row.checked: row for row in table}


ROWS = rows()


class Place(NamedTuple):
    """Where a case works: a folder of its own, a small data set, and arguments of a small study on it."""

    folder: Path
    images: Path
    small: list[str]
    run: Path  # a finished one, which no case may change

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


# What a case does: it makes the mistake and returns the exit code.
Work = Callable[[Place], int]
CASES: dict[str, Work] = {}


def case(checked: str) -> Callable[[Work], Work]:
    """Add a case for the row of what is checked."""

    def add(work: Work) -> Work:
        assert checked not in CASES
        CASES[checked] = work
        return work

    return add


def typed(*argv: str) -> Work:
    return lambda place: run.main([*argv])


def studied(*argv: str) -> Work:
    """A small study with something wrong."""
    return lambda place: run.main([*place.small, *(part.format(place=place) for part in argv)])


def configured(content: str | bytes) -> Work:
    return lambda place: run.main([f"--config={place.file('bad.yaml', content)}"])


CASES["it is there"] = typed("--config=no.yaml")
CASES["it is UTF-8 text"] = configured(b"seeds: [0]  # \xff")
CASES["it is YAML"] = configured("train: {epochs: 1")
CASES["it holds keys with values"] = configured("- 1")
CASES["no key stands twice"] = configured("train: {lr: 0.1}\ntrain: {epochs: 2}")
CASES["a number is what it looks like"] = configured("train: {epochs: 010}")
CASES["a key that must have a value has one"] = configured("train: {lr: }")
CASES["it is none of a sweep"] = configured("method: grid\nparameters: {train.lr: {value: 0.1}}")
CASES["their options are used"] = typed("--methods", "KD", "--distiller=TRG")
CASES["something can be written there"] = lambda place: run.main([f"--output={place.file('file', '')}"])
CASES["an option has a value"] = typed("--train.compile")
CASES["a group is set by its keys"] = typed("--student", "resnet20")
CASES["an option is known by its whole name"] = lambda place: predict.main(["run", "a.jpg", "--to=3"])
CASES["mean and std are of pixels in [0, 1]"] = typed("--teacher.mean=[123.7, 116.3, 103.5]")
CASES["a key is known"] = typed("--trian.epochs=3")
CASES["a key of a group is known"] = configured("train: {epoch: 1}")
CASES["an option of a method or data set is known"] = typed("--distiller=TRG", "--distiller.alfa=1")
CASES["a value has its type"] = typed("--train.epochs=many")
CASES["a class is known"] = typed("--data=CIFAR1000")
CASES["there is one of that name"] = typed("--recipe=crt")
CASES["a method is known"] = typed("--methods", "KD", "TGR")
CASES["a method is there once"] = typed("--methods", "KD", "KD")
CASES["a seed fits in 64 bits"] = typed("--seeds", str(2**64))
CASES["a value is in its range"] = typed("--train.lr=-1")
CASES["options do not contradict each other"] = typed("--train.nesterov=true", "--train.momentum=0")
CASES["its name can be that of a row and of a folder"] = configured("variants: {KD: {class_path: KD}}")
CASES["it is one of the methods"] = typed("--methods", "KD", "TRG", "--reference=SP")
CASES["it is a file that can be written"] = lambda place: run.main([f"--table={place.folder}"])
CASES["whether it is trained is clear"] = typed("--teacher.trained=true")
CASES["the device is there"] = studied("--device=cuda:99")
CASES["an option fits the networks and the data"] = studied("--distiller=TRG", "--distiller.patch=3")
CASES["it takes images of this size"] = studied("--student.name=vit_tiny_patch4_32", "--data.size=[16, 24]")
CASES["images can be turned, where it turns them"] = studied("--methods=SSKD", "--data.size=[16, 24]")
CASES["crop=resized has a square"] = studied("--data.crop=resized", "--data.size=[16, 24]")
CASES["scaled_decoding has crop=resized"] = studied("--data.scaled_decoding=true")
CASES["an attack is one"] = lambda place: evaluate.main([str(place.run), "--attack", "5", "--eps", "8"])
CASES["options of an attack have one"] = lambda place: evaluate.main([str(place.run), "--eps", "0.1"])
CASES["views of an image can be counted"] = studied("--methods=KD", "--teacher_store=auto", "--train.erasing=0.2")
CASES["what is to be filled is there"] = typed("--fill_store=true")
CASES["mixed images have several classes, and it needs one"] = studied("--methods=DKD", "--train.mixup=0.2")
CASES["its labels may be smoothed"] = studied("--methods=AdversarialTraining", "--train.label_smoothing=0.1")
CASES["a network is known"] = studied("--student.name=resnet9")
CASES["an argument of it is known"] = studied("--student.args={{depth: 3}}")
CASES["a tap is a module of it"] = studied("--distiller=TRG", "--student.taps=[layer9]")
CASES["the folder is there"] = studied("--data.root=no/such/folder")


@case("each class has images in both splits")
def other_classes(place: Place) -> int:
    (place.images / "test" / "red").rename(place.images / "test" / "pink")
    return run.main(place.small)


@case("every file is an image")
def damaged_image(place: Place) -> int:
    (place.images / "train" / "red" / "0.png").write_bytes(b"no image")
    return run.main(place.small)


@case("every file is there and can be opened")
def image_that_is_gone(place: Place) -> int:
    (place.images / "train" / "red" / "99.png").symlink_to(place.folder / "gone.png")
    return run.main(place.small)


@case("they are none that networks are measured on")
def unlabelled_test_images(place: Place) -> int:
    return run.main([*place.small, f"--data.unlabelled={place.images / 'test'}"])


@case("the folder is one")
def no_unlabelled_images(place: Place) -> int:
    return run.main([*place.small, f"--data.unlabelled={place.folder / 'nowhere'}"])


@case("there are two classes or more")
def single_class(place: Place) -> int:
    for name in ("green", "blue"):
        for split in ("train", "test"):
            shutil.rmtree(place.images / split / name)
    return run.main(place.small)


CASES["the colour below transparency is one"] = studied("--data.background=clear")


def listed(line: str | bytes) -> Work:
    def work(place: Place) -> int:
        images = place.file("images.txt", line)
        data = [f"--data.root={place.images}", f"--data.train_list={images}", f"--data.test_list={images}"]
        return run.main(["--data=ImageList", *data])

    return work


CASES["a line is a path and a label"] = listed("train/red/0.png one")
CASES["labels count from 0 without a gap"] = listed("train/red/0.png 0\ntrain/blue/0.png 2")
CASES["folders are parted by slashes"] = listed("train\\red\\0.png 0\ntrain\\blue\\0.png 1")
CASES["they are UTF-8, with or without a byte order mark"] = listed("train/red/0.png 0".encode("utf-16"))
CASES["every listed file is there"] = listed("train/red/0.png 0\ntrain/red/99.png 1")


def weights(name: str, content: Callable[[Place], bytes]) -> Work:
    def work(place: Place) -> int:
        return run.main([*place.small, f"--student.weights={place.file(name, content(place))}"])

    return work


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class Code:
    """Pickled, it asks to print."""

    def __reduce__(self) -> tuple:
        return print, ("ran",)


CASES["a weights file is there"] = studied("--student.weights=no.pth")
CASES["a safetensors file is whole"] = weights("w.safetensors", lambda place: b"\x00" * 40)
CASES["a PyTorch file is whole"] = weights("w.pth", lambda place: torch_file({"a": torch.ones(9)})[:-300])
CASES["it asks to run nothing"] = weights("w.pth", lambda place: pickle.dumps({"model": Code()}, 2))
CASES["it holds a state dict"] = weights("w.pth", lambda place: torch_file({"loss": 0.5}))
CASES["it is of this network"] = weights("w.pth", lambda place: torch_file(nn.Linear(2, 3).state_dict()))


@case("it is of as many classes")
def other_number_of_classes(place: Place) -> int:
    file = place.folder / "five.safetensors"
    save_weights(build_model("resnet8", 5), file, {})
    return run.main([*place.small, "--methods=KD", f"--teacher.weights={file}"])


def program(place: Place) -> bytes:
    torch.jit.script(nn.Linear(2, 3)).save(str(place.folder / "program.pt"))
    return (place.folder / "program.pt").read_bytes()


def two_networks(place: Place) -> bytes:
    state = build_model("resnet8", 3).state_dict()
    return torch_file({f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()})


def not_finite(place: Place) -> bytes:
    state = build_model("resnet8", 3).state_dict()
    return torch_file(state | {"fc.bias": torch.full((3,), torch.nan)})


CASES["it is no program"] = weights("w.pt", program)
CASES["it is clear which of several networks in it is meant"] = weights("w.pth", two_networks)
CASES["they are finite"] = weights("w.pth", not_finite)
CASES["there is a description of timm"] = studied("--student.name=timm:resnet18", "--student.weights=local-dir:none")
CASES["the data have the number of classes"] = studied("--student.args={{num_classes: 5}}")


@case("to push, somebody has signed in")
def nobody_signed_in(place: Place) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.get_token", lambda: None)
        given = ["--formats", "safetensors", "--push_to", "me/net"]
        return export.main([str(place.run), "--output", str(place.folder / "out"), *given])


@case("its accuracy is the one that comes with it")
def better_teacher(place: Place) -> int:
    file = place.folder / "teacher.safetensors"
    torch.manual_seed(0)
    save_weights(build_model("resnet8", 3), file, {"accuracy": "99"})
    return run.main([*place.small, "--methods=KD", f"--teacher.weights={file}"])


CASES["losses and gradients are finite"] = studied("--methods=Vanilla", "--train.lr=1e30")


@case("nobody asks it to stop")
def stopped(place: Place) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Report, "step", lambda self, progress: os.kill(os.getpid(), signal.SIGTERM))
        return run.main([*place.small, "--methods=Vanilla"])


@case("a run that stopped is not trained anew unasked")
def run_that_stopped(place: Place) -> int:
    assert stopped(place) == 75
    return run.main([*place.small, "--methods=Vanilla"])


@case("a checkpoint is whole, or the one before it")
def damaged_checkpoint(place: Place) -> int:
    file = place.folder / "checkpoint.pt"
    save_checkpoint(file, {"epoch": 1})
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    return exit_code_of(lambda: load_checkpoint(file) and None, "run")


@case("no other run is at work in it")
def second_run(place: Place) -> int:
    def work() -> None:
        with RunFolder(place.folder).owned(), RunFolder(place.folder).owned():
            pass

    return exit_code_of(work, "run")


CASES["there are figures of the pair"] = lambda place: table.main(["--published", str(place.run)])
CASES["it holds results"] = lambda place: table.main([str(place.file("table.jsonl", '{"study": "x"}'))])


CASES["it is the folder of one"] = lambda place: export.main([str(place.images), f"--output={place.folder / 'new'}"])


@case("its weights are whole")
def damaged_weights_of_a_run(place: Place) -> int:
    damaged = place.folder / "run"
    shutil.copytree(place.run, damaged)
    weights = damaged / "last.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    return predict.main([str(damaged), str(place.images)])


CASES["something is to be evaluated"] = lambda place: evaluate.main([])
CASES["a corruption is known"] = lambda place: evaluate.main([str(place.run), "--corruptions", "fogg"])
CASES["images are there"] = lambda place: predict.main([str(place.run), "no.jpg"])
CASES["a folder holds images"] = lambda place: predict.main([str(place.run), str(place.folder)])


@case("one of the images can be read")
def no_images(place: Place) -> int:
    return predict.main([str(place.run), str(place.file("a.jpg", "no image")), str(place.file("b.jpg", ""))])


CASES["nothing is overwritten"] = lambda place: export.main([str(place.run), f"--output={place.folder}"])


@case("runs can be compared")
def runs_of_unequal_images(place: Place) -> int:
    other = place.folder / "run"
    shutil.copytree(place.run, other)
    facts = json.loads((other / "data.json").read_text())
    (other / "data.json").write_text(json.dumps(facts | {"image_size": 32}))
    return compare_cost.main([str(place.run), str(other)])


CASES["a class is one of the run's"] = lambda place: visualize.main([str(place.run), "--classes", "reed", "blue"])


@case("images fit on a picture")
def many_images(place: Place) -> int:
    return visualize.main([str(place.run), "--images", str(place.images)])


@case("edge recall was measured twice or more, where its picture is asked for")
def a_single_point(place: Place) -> int:
    copy = shutil.copytree(place.run, place.folder / "run")
    metrics = copy / "metrics.jsonl"
    last = json.loads(metrics.read_text().splitlines()[-1]) | {"graph/edge_recall": 0.5}
    metrics.write_text(json.dumps(last))
    return visualize.main([str(copy), "--pictures", "edge_recall"])


CASES["there are runs or results"] = lambda place: report.main([str(place.folder)])
CASES["the page is HTML"] = lambda place: report.main([str(place.run), "--output=report.pdf"])
CASES["the sweep file is there"] = lambda place: sweep.main(["no.yaml"])


def swept(more: str = "") -> Work:
    text = (
        f"program: experiments/run.py\nmethod: random\n{more}metric: {{name: test/top1, goal: maximize}}\n"
        'parameters: {train.lr: {min: 0.1, max: 0.2}}\ncommand: ["${env}", "${interpreter}", "${program}", "${args}"]\n'
    )
    return lambda place: sweep.main([str(place.file("sweep.yaml", text)), "--count=1"])


CASES["its search works without a server"] = swept("early_terminate: {type: hyperband}\n")
CASES["images are held out"] = swept()


@case("their shape and type")
def odd_tokens(place: Place) -> int:
    return exit_code_of(lambda: KNNGraph(4)(torch.zeros(8, 16, dtype=torch.int64)) and None, "run")


@case("it is one graph or a batch")
def a_slice_of_a_batch(place: Place) -> int:
    return exit_code_of(lambda: KNNGraph(4)(KNNGraph(4)(torch.randn(3, 8, 2))[1:]) and None, "run")


@case("which graph a node is of")
def a_batch_of_other_nodes(place: Place) -> int:
    graph = Data(x=torch.randn(8, 2), batch=torch.zeros(7, dtype=torch.long))
    return exit_code_of(lambda: KNNGraph(4)(graph) and None, "run")


def pattern(says: str) -> str:
    """What a row says as a regular expression: text in backticks, ``<words>`` for what differs from case to case."""
    quoted = re.fullmatch(r"`(.+)`", says)
    assert quoted is not None, says
    parts = re.split(r"<[a-z ]+>", quoted[1])
    return ".+".join(map(re.escape, parts))


def test_every_row_has_a_case():
    assert list(ROWS.keys() ^ CASES.keys()) == []


@pytest.mark.parametrize("checked", CASES)
def test_a_row_is_what_the_program_says(
    checked: str,
    tmp_path: Path,
    images: Path,
    small: list[str],
    finished_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    code = CASES[checked](Place(folder, images, small, finished_run))
    line = capsys.readouterr().err.strip().splitlines()[-1]
    row = ROWS[checked]
    prefix = r"trg [a-z-]+: error: " if code == 2 else "trg run: "
    assert re.fullmatch(prefix + pattern(row.says), line), line
    assert str(code) == row.code
