"""A folder of tiny images that a study can be run on in a second."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from experiments.run import main


def write_images(root: Path, counts: dict[str, dict[str, int]], size: int = 16) -> Path:
    """Write ``{split: {class: images}}``, every class in a colour of its own with some noise."""
    generator = torch.Generator().manual_seed(0)
    for split, classes in counts.items():
        for number, (name, images) in enumerate(classes.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(images):
                pixels = torch.randint(60 * number, 60 * number + 60, (size, size, 3), generator=generator)
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{i}.png")
    return root


@pytest.fixture
def images(tmp_path):
    counts = {"red": 12, "green": 12, "blue": 12}
    return write_images(tmp_path / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})


@pytest.fixture
def small(images, tmp_path):
    """Arguments of a study that takes a few seconds; resnet8 on 16x16 images has a 4x4 grid, hence 16 tokens."""
    return [
        *("--data=ImageFolder", f"--data.root={images}", "--data.size=16"),
        *("--student.name=resnet8", "--teacher.name=resnet8"),
        *("--train.epochs=2", "--train.batch_size=18", "--teacher.train.epochs=1", "--teacher.train.batch_size=18"),
        *("--wandb=disabled", "--device=cpu", f"--output={tmp_path / 'runs'}"),
    ]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run of KD with its teacher, two epochs on images of 16x16; many tests read it, none may change it."""
    place = tmp_path_factory.mktemp("finished")
    counts = {"red": 12, "green": 12, "blue": 12}
    images = write_images(place / "images", {"train": counts, "test": dict.fromkeys(counts, 4)})
    given = [
        *("--data=ImageFolder", f"--data.root={images}", "--data.size=16", "--data.crop_share=0.8"),
        *("--data.imbalance=3", "--student.name=resnet8", "--teacher.name=resnet14"),
        *("--train.epochs=2", "--train.batch_size=12", "--teacher.train.epochs=1", "--teacher.train.batch_size=12"),
        *("--wandb=disabled", "--device=cpu", f"--output={place / 'runs'}", "--methods", "KD", "--quiet"),
    ]
    assert main(given) == 0
    (folder,) = (place / "runs").glob("ImageFolder-LT3/*/KD-*/seed0")
    return folder
