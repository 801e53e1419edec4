import json
import shutil

import pytest
import torch

from tests.conftest import write_images
from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, pretrained=False):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, stride=4)
        self.head = nn.Linear(4, num_classes)
        if pretrained:
            self.load_state_dict({name: torch.ones_like(value) for name, value in self.state_dict().items()})

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))
"""


@pytest.fixture
def study(small, tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    given = [argument for argument in small if not argument.startswith("--teacher.name")]
    return [*given, "--methods", "KD", "--train.epochs=1", "--teacher.name=nets.Net"]


def test_a_network_that_comes_trained_is_measured_and_not_trained(study, tmp_path, capsys):
    assert main([*study, "--teacher.args={pretrained: true}", "--teacher.trained=true"]) == 0
    printed = capsys.readouterr().out
    assert "teacher nets.Net  epoch" not in printed
    assert "teacher nets.Net: 33.33 % top-1 on 12 test images (nets.Net(pretrained=True) states no accuracy)" in printed
    (file,) = (tmp_path / "runs").glob("ImageFolder/nets.Net-resnet8/KD-*/seed0/environment.json")
    notes = json.loads(file.read_text())["teacher"]
    assert notes["weights"] == "nets.Net(pretrained=True)"
    assert len(notes["sha256"]) == 64
    assert not (tmp_path / "runs" / "teachers").exists()


def test_a_network_that_loads_weights_can_be_trained_further(study, capsys):
    assert main([*study, "--teacher.args={pretrained: true}", "--teacher.trained=false"]) == 0
    assert "teacher nets.Net  epoch 1/1" in capsys.readouterr().out


def test_a_kept_teacher_is_one_of_these_images_and_classes(small, images, tmp_path, capsys):
    given = [*small, "--methods", "KD", "--train.epochs=1"]

    def trained():
        assert main(given) == 0
        return "teacher resnet8  epoch 1/1" in capsys.readouterr().out

    assert trained()
    shutil.rmtree(images)
    counts = {"red": 12, "green": 12, "blue": 12}
    write_images(images, {"train": counts, "test": dict.fromkeys(counts, 4)})
    assert not trained()  # the same images, written anew
    for split in ("train", "test"):
        for old, new in (("red", "x"), ("blue", "red"), ("x", "blue")):
            (images / split / old).rename(images / split / new)
    assert trained()  # of other classes, as many images of each
    shutil.copy(images / "train" / "red" / "0.png", images / "train" / "red" / "more.png")
    assert trained()  # of one image more, in a folder of its own
    assert len(list((tmp_path / "runs" / "teachers" / "ImageFolder").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--teacher.name=torchvision:resnet18", "--teacher.args={weights: IMAGENET1K_V1}"], "weights=IMAGENET1K_V1"),
        (["--teacher.name=timm:deit_tiny_patch16_224", "--teacher.args={pretrained: true}"], "teacher.trained=true"),
        (["--teacher.name=torchvision:resnet18", "--teacher.trained=true"], "resnet18 would start at random"),
        (["--teacher.name=timm:vit.a", "--teacher.args={pretrained: false}", "--teacher.trained=true"], "at random"),
        (["--teacher.trained=true"], "resnet20 would start at random; give teacher.weights"),
        (["--teacher.weights=a.pth", "--teacher.trained=false"], "teacher.weights=a.pth: a teacher from a file"),
    ],
)
def test_whether_a_teacher_is_trained_is_never_guessed(arguments, line):
    with pytest.raises(InputError, match="teacher") as error:
        read_choices(arguments)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--teacher.name=torchvision:resnet18", "--teacher.args={weights: null}"],
        ["--teacher.name=torchvision:resnet18", "--teacher.args={weights: DEFAULT}", "--teacher.trained=true"],
        ["--teacher.name=nets.Net", "--teacher.trained=true"],
        ["--teacher.weights=a.pth", "--teacher.trained=true"],
        ["--teacher.trained=false"],
    ],
)
def test_what_is_clear_is_taken(arguments):
    read_choices(arguments)


def test_weights_whose_head_timm_would_replace_are_refused(study, tmp_path, capsys):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), tmp_path / "timm.pth")
    loaded = f"{{pretrained: true, pretrained_cfg_overlay: {{file: {tmp_path / 'timm.pth'}}}}}"
    chosen = [*study, "--teacher.name=timm:test_resnet", f"--teacher.args={loaded}", "--teacher.trained=true"]
    assert main(chosen) == 2
    assert "its weights have 1,000 classes, the data have 3" in capsys.readouterr().err
