import os
import pickle
import traceback

import numpy as np
import pytest
import torch
from batches import tensors
from PIL import Image

from trg_pyg.batch import Batch
from trg_pyg.data import (
    Augment,
    FileLoader,
    FileSet,
    ImageSet,
    RandomResizedCrop,
    encode_paths,
    make_loader,
)
from trg_pyg.data.files._decode import decode_images
from trg_pyg.data.loading import file_loader
from trg_pyg.errors import InputError

NAMES = [f"a folder/é {number}.{'jpg' if number % 2 else 'png'}" for number in range(11)]


@pytest.fixture
def files(tmp_path) -> FileSet:
    """Eleven noisy images of various sizes; image i has target 100 + i."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "a folder").mkdir()
    for number, name in enumerate(NAMES):
        pixels = torch.randint(0, 256, (20 + number, 31 - number, 3), generator=generator).byte().numpy()
        Image.fromarray(pixels).save(tmp_path / name)
    return FileSet(tmp_path, encode_paths(NAMES), torch.arange(100, 111), image_size=8, shorter=10)


def decoded(files: FileSet) -> ImageSet:
    names = [os.fsdecode(name) for name in files.files]
    return ImageSet(decode_images(files.root, names, files.image_size, files.shorter)[0], files.targets)


def with_workers(files: FileSet, workers: int) -> FileSet:
    return FileSet(files.root, files.files, files.targets, files.image_size, files.shorter, workers, prefetch=1)


def epochs(image_set, augment, *, number=2, batch_size=4, seed=0, **options) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    loader = make_loader(image_set, batch_size, augment=augment, generator=generator, **options)
    batches = []
    for _ in range(number):
        batches += loader
    return batches


def same(some, others) -> bool:
    pairs = zip(some, others, strict=True)
    return all(torch.equal(a, b) for pair in pairs for a, b in zip(*map(tensors, pair), strict=True))


def test_a_set_of_files_selects_and_moves_as_one_of_images_does(files):
    assert len(files) == 11
    chosen = files.select(torch.tensor([3, 0]))
    assert [os.fsdecode(name) for name in chosen.files] == [NAMES[3], NAMES[0]]
    assert chosen.targets.tolist() == [103, 100]
    assert files.select(files.targets == 102).targets.tolist() == [102]
    assert files.to("meta").targets.device.type == "meta"
    assert same(epochs(chosen, None, shuffle=False), epochs(decoded(chosen), None, shuffle=False))
    assert len(files.select(torch.arange(0))) == 0


@pytest.mark.parametrize("augment", [None, Augment(2, True)], ids=["plain", "augmented"])
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_decoded_images(files, augment, workers):
    streamed = epochs(with_workers(files, workers), augment)
    assert same(streamed, epochs(decoded(files), augment))
    assert streamed[0].inputs.dtype == torch.uint8
    assert streamed[0].inputs.shape == (4, 3, 8, 8)


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}, {"batch_size": 64}])
def test_the_options_mean_the_same_for_both_kinds(files, options):
    streamed = epochs(files, None, **options)
    assert same(streamed, epochs(decoded(files), None, **options))
    size, drop_last = options.get("batch_size", 4), options.get("drop_last", False)
    assert 2 * len(make_loader(files, size, drop_last=drop_last)) == len(streamed)


@pytest.mark.parametrize("scaled", [False, True])
def test_crops_depend_on_the_seed_and_not_on_the_number_of_workers(files, scaled):
    crop = RandomResizedCrop(scaled=scaled)
    alone, one, two = (epochs(with_workers(files, workers), crop) for workers in (0, 1, 2))
    assert same(alone, two)
    assert same(alone, one)
    other = epochs(files, crop, seed=1)
    assert not same(alone, other)
    assert same(alone, epochs(files, RandomResizedCrop())) != scaled


def test_an_image_is_cropped_anew_in_each_epoch_and_independently_of_its_batch(files):
    generator = torch.Generator().manual_seed(0)
    loader = make_loader(files, 4, augment=RandomResizedCrop(), generator=generator, shuffle=False)
    first, second = (torch.cat([batch.inputs for batch in loader]) for _ in range(2))
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    (whole,) = epochs(files, RandomResizedCrop(), number=1, batch_size=11, shuffle=False)
    assert torch.equal(whole.inputs, first)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_state_of_the_generator_continues_a_run(files, workers, scaled):
    files, crop = with_workers(files, workers), RandomResizedCrop(scaled=scaled)
    generator = torch.Generator().manual_seed(5)
    loader = make_loader(files, 4, augment=crop, generator=generator)
    list(loader)
    state = generator.get_state()
    expected = list(loader)
    resumed = torch.Generator().set_state(state)
    assert same(make_loader(files, 4, augment=crop, generator=resumed), expected)
    assert torch.equal(resumed.get_state(), generator.get_state())


def test_an_epoch_that_was_broken_off_does_not_leak_into_the_next(files):
    generator = torch.Generator().manual_seed(0)
    loader = make_loader(with_workers(files, 2), 2, generator=generator)
    next(iter(loader))
    generator.manual_seed(0)
    assert same(loader, epochs(decoded(files), None, number=1, batch_size=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_file_is_named_in_one_line(files, workers):
    (files.root / NAMES[2]).write_bytes(b"no image")
    (files.root / NAMES[3]).unlink()
    with pytest.raises(InputError) as error:
        epochs(with_workers(files, workers), RandomResizedCrop(), shuffle=False)
    # Else the loader is left to the garbage collector, which may take the queues before their workers: they would wait.
    traceback.clear_frames(error.tb)
    message = str(error.value)
    assert f"2 of 4 images of a batch from {files.root} cannot be read: {NAMES[2]}, {NAMES[3]} (the first: " in message
    assert "\n" not in message


def test_how_many_workers_there_are(files, monkeypatch):
    monkeypatch.setattr(file_loader, "_cores", lambda: 64)
    count = file_loader._workers
    assert count(files, 100) == 0
    assert count(with_workers(files, 3), 100) == 3
    assert count(with_workers(files, 3), 2) == 2  # one without a batch would have nothing to do
    large = files.select(torch.zeros(512, dtype=torch.int64))
    assert count(large, 100) == 8
    monkeypatch.setattr(file_loader, "_cores", lambda: 2)
    assert count(large, 100) == 2


def test_what_a_worker_gets_can_be_sent_to_it_and_is_small(files):
    large = files.select(torch.zeros(100_000, dtype=torch.int64))
    decoder = file_loader._Decoder(large, RandomResizedCrop())
    assert len(pickle.dumps(decoder)) < 20 * 100_000
    key = np.array([1, 4]), np.array([7, 8])
    assert torch.equal(pickle.loads(pickle.dumps(decoder))[key], decoder[key])


def test_refusals(files):
    with pytest.raises(InputError, match="batch_size 0 is below 1"):
        make_loader(files, 0)
    with pytest.raises(InputError, match=r"batch_size 12 is larger than the 11 images .* at most 11"):
        make_loader(files, 12, drop_last=True)
    with pytest.raises(InputError, match="a RandomResizedCrop cuts out of image files, and these images are in memory"):
        make_loader(decoded(files), 4, augment=RandomResizedCrop())


@pytest.mark.gpu
@pytest.mark.parametrize("augment", [None, Augment(2, True), RandomResizedCrop()], ids=["plain", "padded", "resized"])
def test_on_a_gpu_the_batches_are_the_same(files, augment):
    files = with_workers(files, 2)
    on_gpu = epochs(files, augment, device="cuda")
    assert all(part.is_cuda for batch in on_gpu for part in batch)
    assert same([batch.to("cpu") for batch in on_gpu], epochs(files, augment))
    assert isinstance(make_loader(files.to("cuda"), 4), FileLoader)
