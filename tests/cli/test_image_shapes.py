"""Images of any height, width and number of channels, from the training to the export."""

import json

import pytest
import torch
from PIL import Image

from tests.conftest import write_images
from trg_pyg.cli import main
from trg_pyg.data import ImageData, ImageSet
from trg_pyg.use import load

METHODS = ["KD", "TRG", "FitNet", "AT", "SP", "AdversarialKD"]


class Bars(ImageData):
    """Images of 24x40, a level of brightness for each of three classes."""

    def __init__(self, channels: int = 3, **options) -> None:
        super().__init__(**options)
        self.channels = channels

    def _read(self):
        generator = torch.Generator().manual_seed(0)

        def images(each):
            targets = torch.arange(3 * each) % 3
            pixels = torch.randint(60, (3 * each, self.channels, 24, 40), generator=generator)
            return ImageSet((pixels + 60 * targets[:, None, None, None]).to(torch.uint8), targets)

        return images(6), images(2), ("dark", "grey", "bright")


def run(tmp_path, *given):
    arguments = [
        *("run", "--student.name=resnet8", "--teacher.name=resnet8", "--train.epochs=1", "--train.batch_size=18"),
        *("--teacher.train.epochs=1", "--teacher.train.batch_size=18", "--wandb=disabled", "--device=cpu", "--quiet"),
    ]
    return main([*arguments, f"--output={tmp_path / 'runs'}", *given])


@pytest.fixture
def data(request, tmp_path):
    if request.param == "folder":
        images = write_images(tmp_path / "images", {"train": dict.fromkeys("abc", 6), "test": dict.fromkeys("abc", 2)})
        return ["--data=ImageFolder", f"--data.root={images}", "--data.size=[24, 40]", "--data.crop_share=0.8"]
    return [f"--data={__name__}.Bars", f"--data.channels={request.param}"]


@pytest.mark.parametrize("data", [1, 3, 4, "folder"], indirect=True)
def test_a_run_and_its_student_go_all_the_way(data, tmp_path, capsys):
    assert run(tmp_path, *data, "--methods", *METHODS) == 0
    (folder,) = tmp_path.glob("runs/*/*/TRG-*/seed0")
    assert json.loads((folder / "data.json").read_text())["image_size"] == [24, 40]
    assert main(["evaluate", str(folder), "--attack", "2"]) == 0
    assert "of 24x40, 3 classes" in capsys.readouterr().out
    assert main(["visualize", str(folder), "--features=6"]) == 0
    assert main(["compare-cost", str(folder), "--batches", "1", "--rounds", "1"]) == 0
    assert "images of 24x40" in capsys.readouterr().out
    exported = tmp_path / "student"
    assert main(["export", str(folder), "--output", str(exported), "--formats", "safetensors", "torch_export"]) == 0
    assert load(exported).facts.image_size == (24, 40)


@pytest.mark.parametrize("data", ["folder"], indirect=True)
def test_files_are_predicted_in_the_shape_of_the_training(data, tmp_path, capsys):
    assert run(tmp_path, *data, "--methods", "Vanilla") == 0
    (folder,) = tmp_path.glob("runs/*/*/Vanilla-*/seed0")
    Image.new("RGB", (100, 30)).save(tmp_path / "wide.png")
    assert main(["predict", str(folder), str(tmp_path / "wide.png")]) == 0
    assert "wide.png" in capsys.readouterr().out


@pytest.mark.parametrize("data", [1], indirect=True)
def test_what_needs_squares_or_colours_is_refused(data, tmp_path, capsys):
    assert run(tmp_path, *data, "--methods", "SSKD") == 2
    assert "images of 24x40 cannot be turned: crop or resize them to squares" in capsys.readouterr().err
    assert run(tmp_path, *data, "--methods", "Vanilla", "--student.mean=[0.5, 0.5, 0.5]") == 2
    assert "mean (0.5, 0.5, 0.5) of images with 1 channel; leave it out" in capsys.readouterr().err
    assert run(tmp_path, *data, "--methods", "Vanilla", "--student.name=vit_tiny_patch4_32") == 2
    assert (
        "VisionTransformer does not take images of 24x40 and 1 channel: Wrong image height" in capsys.readouterr().err
    )
    assert run(tmp_path, *data, "--methods", "Vanilla") == 0
    (folder,) = tmp_path.glob("runs/*/*/Vanilla-*/seed0")
    Image.new("RGB", (40, 24)).save(tmp_path / "red.png")
    capsys.readouterr()
    assert main(["predict", str(folder), str(tmp_path / "red.png")]) == 2
    assert "takes images of 1 channel, and image files become RGB: give it tensors" in capsys.readouterr().err
    assert main(["evaluate", str(folder), "--corruptions", "contrast"]) == 2
    assert "images to corrupt are torch.uint8 [6, 1, 24, 40]" in capsys.readouterr().err
