"""Training and evaluation on images that are read from files batch by batch."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from trained import Stop, stop_at, without_clock

from trg_pyg.data.base import ImageSet, Splits
from trg_pyg.data.files.random_resized_crop import RandomResizedCrop
from trg_pyg.data.image_folder import ImageFolder
from trg_pyg.data.loading.augment import Augment
from trg_pyg.errors import InputError
from trg_pyg.training.checkpoint import load_checkpoint
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import fit
from trg_pyg.training.metrics import evaluate

CONFIG = TrainConfig(epochs=2, batch_size=8, lr=0.1, schedule="cosine", eval_batch_size=4)
SHOTS = {"many": [0], "few": [1, 2]}


@pytest.fixture
def root(tmp_path: Path, train_set: ImageSet, test_set: ImageSet) -> Path:
    for split, images in (("train", train_set), ("test", test_set)):
        for number, (image, target) in enumerate(zip(images.images, images.targets.tolist(), strict=True)):
            folder = tmp_path / "images" / split / str(target)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def run(root, network, hints):
    """Trains a fresh pair on the folder and returns its history without the clock, and the student's weights."""

    def run(augment, *, stream: bool = True, workers: int = 0, check: str = "headers", **options):
        splits = load(root, stream, workers, check)
        student = network(0)
        history = fit(student, network(1), hints(), splits.train, splits.test, CONFIG, augment=augment, **options)
        return without_clock(history), student.state_dict()

    return run


def load(root: Path, stream: bool, workers: int = 0, check: str = "headers") -> Splits:
    return ImageFolder(str(root), size=6, stream=stream, workers=workers, cache=False, check=check).load()


def same(a, b) -> bool:
    return a[0] == b[0] and all(torch.equal(a[1][name], b[1][name]) for name in a[1])


def test_a_stream_trains_as_the_images_in_memory_do(run) -> None:
    augment = Augment(crop_padding=1, flip=True)
    assert same(run(augment), run(augment, stream=False))


def test_workers_do_not_change_a_training(run) -> None:
    assert same(run(RandomResizedCrop()), run(RandomResizedCrop(), workers=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_equals_uninterrupted(run, tmp_path: Path, workers) -> None:
    whole = run(RandomResizedCrop(), workers=workers)
    with pytest.raises(Stop):
        run(RandomResizedCrop(), workers=workers, folder=tmp_path / "cut", on_epoch=stop_at(1))
    assert same(whole, run(RandomResizedCrop(), folder=tmp_path / "cut", resume=True))


@pytest.mark.parametrize(("workers", "steps"), [(0, 2), (0, 5), (2, 2)])
def test_resumed_within_an_epoch_equals_uninterrupted(run, tmp_path: Path, monkeypatch, workers, steps) -> None:
    whole, folder = run(RandomResizedCrop()), tmp_path / "cut"
    monkeypatch.setattr("trg_pyg.training.loop._CHECK_EVERY", 1)
    with pytest.raises(Stop):
        run(RandomResizedCrop(), workers=workers, folder=folder, on_step=stop_at(steps), checkpoint_seconds=0.0)
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    assert (len(checkpoint["history"]), checkpoint["step"]) == divmod(steps - 1, 3)
    assert same(whole, run(RandomResizedCrop(), workers=workers, folder=folder, resume=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_equals_that_in_memory(root, network, workers) -> None:
    streamed, memory = load(root, True, workers).test, load(root, False).test
    assert evaluate(network(0), streamed, 4, SHOTS) == evaluate(network(0), memory, 4, SHOTS)


def test_the_random_stream_of_the_caller_is_left_alone(root, network) -> None:
    model, test = network(0), load(root, True, workers=1).test
    before = torch.get_rng_state()
    evaluate(model, test, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_file_ends_a_training_with_its_name(run, root) -> None:
    damaged = root / "train" / "1" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(InputError, match=r"1 of \d images of a batch from .* cannot be read: train/1/1\.png"):
        run(RandomResizedCrop(), workers=2, check="never")


def test_a_resized_crop_needs_files(run) -> None:
    with pytest.raises(InputError, match="these images are in memory; stream them"):
        run(RandomResizedCrop(), stream=False)
