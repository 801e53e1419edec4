import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import write_images
from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError
from trg_pyg.models import resnet8

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
        (
            ["--teacher.weights=repdistiller/resnet56_cifar100", "--teacher.trained=false"],
            "published weights are used as they are; name their file",
        ),
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
        ["--teacher.weights=a.pth", "--teacher.trained=false"],
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
    assert "its head would be untrained, fc from zero (1,000 classes there, 3 here)" in capsys.readouterr().err


@pytest.fixture
def from_file(small, tmp_path):
    def run(change, **beside):
        net = resnet8(3)
        torch.nn.init.zeros_(net.fc.weight)  # always the same class: a third of a balanced set
        change(net)
        torch.save({"model": net.state_dict(), **beside}, tmp_path / "teacher.pth")
        given = [argument for argument in small if not argument.startswith("--teacher.name")]
        return main([*given, "--methods=KD", "--teacher.name=resnet8", f"--teacher.weights={tmp_path / 'teacher.pth'}"])

    return run


def spoil_weight(net):
    net.conv1.weight.data[0, 0, 0, 0] = torch.nan


def spoil_variance(net):
    net.bn1.running_var.fill_(-1)


@pytest.mark.parametrize(("spoil", "line"), [(spoil_weight, "conv1.weight is not"), (spoil_variance, "its outputs")])
def test_a_teacher_that_is_not_finite_is_refused_when_it_is_measured(from_file, capsys, spoil, line):
    assert from_file(spoil) == 2
    assert line in capsys.readouterr().err


def test_an_accuracy_that_may_be_a_share_is_refused_by_its_unit(from_file, capsys):
    assert from_file(lambda net: None, best_acc=0.3333) == 2
    assert "its unit (percent is read, and 0.3333 may be a share)" in capsys.readouterr().err


@pytest.fixture
def of_imagenet(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    file = tmp_path / "imagenet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


def test_a_file_of_other_classes_is_trained_further_as_its_library_prepares_images(
    small, of_imagenet, tmp_path, capsys
):
    given = [argument for argument in small if not argument.startswith(("--teacher.name", "--data.size"))]
    chosen = ["--teacher.name=timm:test_resnet", f"--teacher.weights={of_imagenet}", "--teacher.trained=false"]
    probe = ["--teacher.train.freeze_epochs=1", "--methods=KD", "--train.epochs=1"]
    assert main([*given, *chosen, *probe]) == 0
    printed = capsys.readouterr().out
    assert f"; from weights {of_imagenet}, fc.weight, fc.bias from zero (1,000 classes there, 3 here), mean" in printed
    (folder,) = tmp_path.glob("runs/teachers/ImageFolder/test_resnet-*")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert (settings["data"]["init_args"]["size"], settings["data"]["init_args"]["interpolation"]) == (160, "bilinear")
    assert settings["student"]["mean"] == [0.5, 0.5, 0.5]
    began = torch.load(of_imagenet, weights_only=True)
    trained = load_file(folder / "last.safetensors")
    assert all(torch.equal(trained[name], began[name]) for name in began if not name.startswith("fc."))
    assert trained["fc.weight"].any()
    # A file of the same name with other content is another teacher.
    torch.save({name: value * 1.5 for name, value in began.items()}, of_imagenet)
    assert main([*given, *chosen, *probe]) == 0
    assert len(list(tmp_path.glob("runs/teachers/ImageFolder/test_resnet-*"))) == 2


def test_a_file_of_other_classes_is_not_used_as_it_is(small, of_imagenet, capsys):
    given = [argument for argument in small if not argument.startswith("--teacher.name")]
    assert main([*given, "--methods=KD", "--teacher.name=timm:test_resnet", f"--teacher.weights={of_imagenet}"]) == 2
    assert "with a new head (a teacher by teacher.trained=false)" in capsys.readouterr().err


@pytest.mark.parametrize("args", ["{num_classes: 5}", "{name: resnet20}"])
def test_what_the_data_or_the_name_say_is_no_argument(small, capsys, args):
    assert main([*small, "--methods=KD", f"--teacher.args={args}"]) == 2
    assert "which is not for you to choose there" in capsys.readouterr().err
