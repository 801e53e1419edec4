"""Every configuration is built and makes a step, on made-up images of the right shape."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from trg_pyg.config.choices import read_choices
from trg_pyg.data.base import ImageSet
from trg_pyg.data.cifar import CIFAR100
from trg_pyg.study.study import build_network, prepare, short_name
from trg_pyg.training.loop import fit

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = sorted((EXPERIMENTS / "tables").glob("*/*.yaml"))
# Of the cells, those of pairs that have no table; a pair's have the same settings, see tests/config/test_choices.py.
CELLS = [
    EXPERIMENTS / "configs" / pair / "TRG.yaml"
    for pair in (
        "cifar100/resnet56-vit_tiny_patch4_32",
        "cifar100-lt/resnet56-resnet20",
        "imagenet/deit_base_distilled-deit_tiny",
    )
]
IMAGES = 4  # of a step


def title(file: Path) -> str:
    return str(file.relative_to(EXPERIMENTS).with_suffix(""))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four classes of photographs in folders, and lists of them as ImageNet-LT has them."""
    for split in ("train", "val"):
        lines = []
        for number in range(IMAGES):
            file = tmp_path / split / f"class{number % 4}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(torch.randint(0, 256, (80, 72, 3)).to(torch.uint8).numpy()).save(file)
            lines.append(f"{file.relative_to(tmp_path)} {number % 4}\n")
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    return tmp_path


def small(file: Path, photos: Path) -> list[str]:
    """The command line of a configuration, its images replaced; a transformer takes one size only."""
    arguments = [f"--config={file}", "--device=cpu", f"--output={photos / 'runs'}"]
    if "imagenet" not in title(file):
        return arguments
    arguments += [f"--data.root={photos}", *([] if "deit" in title(file) else ["--data.size=64"])]
    if "imagenet-lt" in title(file):
        arguments += [f"--data.train_list={photos}/train.txt", f"--data.test_list={photos}/val.txt"]
    return arguments


def made_up(data: CIFAR100) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """As many images a class as the imbalance needs."""
    of_class = int(data.imbalance or 2)
    targets = torch.arange(100).repeat_interleave(of_class)
    images = torch.randint(0, 256, (len(targets), 3, 32, 32)).to(torch.uint8)
    classes = tuple(f"class {number}" for number in range(100))
    return ImageSet(images, targets), ImageSet(images[::of_class], targets[::of_class]), classes


def minutes(file: Path) -> object:
    """A parameter; transformers of 224x224 images take their time."""
    return pytest.param(file, marks=pytest.mark.slow if "deit" in title(file) else (), id=title(file))


@pytest.mark.parametrize("file", [minutes(file) for file in (*TABLES, *CELLS)])
def test_a_configuration_is_built_and_makes_a_step(file, photos, monkeypatch):
    monkeypatch.setattr(CIFAR100, "_read", made_up)
    choices = read_choices(small(file, photos))
    study = prepare(choices)  # tries every method on noise of the features' shapes
    images = study.splits.train.select(torch.arange(0, len(study.splits.train), len(study.splits.train) // IMAGES))
    config = choices.config
    recipe = replace(config.train, epochs=1, batch_size=len(images), schedule="constant", warmup_epochs=0)
    method = choices.methods[-1]
    student, teacher = (
        build_network(network, study.splits, 0, method.taps) for network in (config.student, config.teacher)
    )
    distiller = method.build(*study.pairs[method.taps])
    (epoch,) = fit(student, teacher, distiller, images, images, recipe, augment=config.data.augment())
    assert method.name == "TRG"
    assert math.isfinite(epoch["train/total"])


def test_tables_are_named_after_their_pairs_and_those_of_the_benchmark_have_its_recipe():
    crd = read_choices(["--recipe=crd"]).config.train
    slower = set()
    for file in TABLES:
        config = read_choices([f"--config={file}"]).config
        networks = [
            short_name(network.name).removesuffix("_patch16_224") for network in (config.teacher, config.student)
        ]
        assert "-".join(networks) == file.stem
        if file.parent.name == "cifar100":
            assert replace(config.train, lr=0.05) == crd
            slower |= {networks[1]} if config.train.lr == 0.01 else set()
    assert sum(file.parent.name == "cifar100" for file in TABLES) == 13
    assert slower == {"mobilenetv2", "shufflenet_v1", "shufflenet_v2"}
