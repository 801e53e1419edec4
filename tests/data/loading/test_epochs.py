import gc
import io
import os
import subprocess
import sys
from itertools import islice

import pytest
import torch
from batches import tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trg_pyg.batch import Batch
from trg_pyg.data import Augment, FileSet, ImageSet, RandomResizedCrop, encode_paths, make_loader
from trg_pyg.data.files._decode import decode_images
from trg_pyg.errors import InputError

MOST = 13


@pytest.fixture(scope="module")
def streamed(tmp_path_factory) -> FileSet:
    """Noisy images of 20x24 pixels in files; image i has target 100 + i."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    names = [f"{number}.jpg" for number in range(MOST)]
    for name in names:
        pixels = torch.randint(1, 256, (20, 24, 3), generator=generator).byte().numpy()
        Image.fromarray(pixels).save(root / name)
    return FileSet(root, encode_paths(names), torch.arange(100, 100 + MOST), image_size=8, shorter=10)


@pytest.fixture(scope="module")
def sources(streamed):
    """The same images in memory and in files, by the number of images and of workers (None: in memory)."""
    names = [os.fsdecode(name) for name in streamed.files]
    in_memory = ImageSet(decode_images(streamed.root, names, 8, 10)[0], streamed.targets)

    def source(count: int, workers: int | None):
        if workers is None:
            return in_memory.select(torch.arange(count))
        part = streamed.select(torch.arange(count))
        return FileSet(part.root, part.files, part.targets, 8, 10, workers, prefetch=2)

    return source


AUGMENTATIONS = {"plain": None, "padded": Augment(2, True), "flipped": Augment(0, True)}
AUGMENTATIONS |= {"resized": RandomResizedCrop(), "scaled": RandomResizedCrop(scaled=True)}
IN_MEMORY = [(None, name) for name in ("plain", "padded", "flipped")]
IN_FILES = [*((0, name) for name in AUGMENTATIONS), (1, "padded"), (1, "resized")]
KINDS = pytest.mark.parametrize(("workers", "augment"), IN_MEMORY + IN_FILES)


@st.composite
def plans(draw, most_processes=1):
    """Images, images a batch, whether the last batch is dropped, and processes that can share every batch."""
    count = draw(st.integers(1, MOST))
    batch_size = draw(st.integers(1, MOST + 2))
    drop_last = draw(st.booleans()) and batch_size <= count
    smallest = batch_size if drop_last else min(count % batch_size or batch_size, count)
    return count, batch_size, drop_last, draw(st.integers(1, min(smallest, most_processes)))


def loader_of(source, batch_size, augment, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return make_loader(source, batch_size, augment=AUGMENTATIONS[augment], generator=generator, **options)


def same(some, others) -> bool:
    pairs = zip(some, others, strict=True)
    return all(torch.equal(a, b) for pair in pairs for a, b in zip(*map(tensors, pair), strict=True))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def put_together(parts):
    """Batches of one process out of those of several."""
    return [
        Batch(*(torch.cat(pieces) for pieces in zip(*map(tensors, of_a_batch), strict=True)), whole=of_a_batch[0].whole)
        for of_a_batch in parts
    ]


# --- processes that share batches


@KINDS
@settings(max_examples=12)
@given(plan=plans(most_processes=4), shuffle=st.booleans(), seed=st.integers(0, 2**31))
def test_the_parts_of_all_processes_are_the_batches_of_one(sources, workers, augment, plan, shuffle, seed):
    count, batch_size, drop_last, world_size = plan
    source, options = sources(count, workers), {"shuffle": shuffle, "drop_last": drop_last}
    single = loader_of(source, batch_size, augment, seed, **options)
    ranks = [
        loader_of(source, batch_size, augment, seed, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]
    for _ in range(2):
        whole = list(single)
        shared = list(zip(*ranks, strict=True))
        assert len(shared) == len(single) == len(ranks[0])
        assert same(put_together(shared), whole)
        for parts in shared:
            sizes = list(map(len, parts))
            assert max(sizes) - min(sizes) <= 1
            assert {part.whole for part in parts} == {sum(sizes)}
    assert all(torch.equal(loader.generator.get_state(), single.generator.get_state()) for loader in ranks)


def test_the_parts_follow_one_another(sources):
    parts = [
        [
            batch.index.tolist()
            for batch in loader_of(sources(10, None), 7, "plain", shuffle=False, rank=rank, world_size=3)
        ]
        for rank in range(3)
    ]
    assert parts == [[[0, 1, 2], [7]], [[3, 4], [8]], [[5, 6], [9]]]


@pytest.mark.parametrize("workers", [None, 0])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_size": 0}, "world_size 0 is below 1"),
        ({"rank": 2, "world_size": 2}, "rank 2 is none of 2 processes; give one from 0 to 1"),
        ({"rank": -1, "world_size": 2}, "rank -1 is none of 2 processes"),
        ({"world_size": 5}, r"batch of 4 images cannot be shared by 5 processes.* batch_size of at least 5 or fewer"),
        (
            {"world_size": 3},
            "batch_size 4 leaves a last batch of 2 of 10 images, which cannot be shared by 3 processes; choose another "
            "batch_size, fewer processes, or drop_last",
        ),
        ({"world_size": 5, "drop_last": True}, "batch of 4 images cannot be shared by 5 processes"),
        ({"batch_size": 64, "world_size": 11}, "a last batch of 10 of 10 images, which cannot be shared by 11"),
    ],
)
def test_a_process_without_images_is_refused(sources, workers, options, message):
    options = {"batch_size": 4} | options
    with pytest.raises(InputError, match=message):
        make_loader(sources(10, workers), **options)


def test_a_small_last_batch_that_is_dropped_is_none_to_share(sources):
    loader = make_loader(sources(10, None), 4, drop_last=True, rank=2, world_size=3)
    assert [len(batch) for batch in loader] == [1, 1]


# --- an epoch that was broken off


@KINDS
@settings(max_examples=12)
@given(plan=plans(), shuffle=st.booleans(), stop=st.integers(0, 2 * MOST), seed=st.integers(0, 2**31))
def test_what_follows_a_state_is_what_followed_it_before(sources, workers, augment, plan, shuffle, stop, seed):
    count, batch_size, drop_last, _ = plan
    source, options = sources(count, workers), {"shuffle": shuffle, "drop_last": drop_last}
    run = loader_of(source, batch_size, augment, seed, **options)
    length = len(run)
    stop %= 2 * length + 1  # batches before the state is taken, in the first or second of three epochs
    epochs, states = [], [run.state_dict()]
    for _ in range(3):
        epoch = []
        for batch in run:
            epoch.append(batch)
            states.append(run.state_dict())
        epochs.append(epoch)
        if len(epochs) == 1:
            between = run.state_dict()
    assert [state["batches"] for state in states] == [0, *range(1, length + 1)] + 2 * [*range(1, length + 1)]

    resumed = loader_of(source, batch_size, augment, seed + 1, **options)
    next(iter(resumed))  # what it did before is forgotten
    state = through_a_file(states[stop])
    resumed.load_state_dict(state)
    assert all(torch.equal(resumed.state_dict()[key], state[key]) for key in ("epoch", "generator"))
    broken_off = max(stop - 1, 0) // length
    assert same(resumed, epochs[broken_off][stop - broken_off * length :])
    for epoch in epochs[broken_off + 1 :]:
        assert same(resumed, epoch)
    assert torch.equal(resumed.generator.get_state(), run.generator.get_state())

    resumed.load_state_dict(through_a_file(between))
    assert same(resumed, epochs[1])


@pytest.mark.parametrize("workers", [None, 0, 1])
def test_the_state_is_of_the_batches_given_out_and_not_of_those_read_ahead(sources, workers):
    generator = torch.Generator().manual_seed(7)
    loader = make_loader(sources(12, workers), 3, augment=Augment(1, True), generator=generator)
    began = generator.get_state()
    expected = torch.Generator().set_state(began)
    torch.randperm(12, generator=expected)
    states = []
    for _ in loader:
        Augment(1, True).draw(3, expected)
        assert torch.equal(loader.state_dict()["generator"], expected.get_state())
        states.append(loader.state_dict())
    assert [state["batches"] for state in states] == [1, 2, 3, 4]
    assert all(torch.equal(state["epoch"], began) for state in states)
    after = loader.state_dict()
    assert after["batches"] == 0
    assert torch.equal(after["epoch"], generator.get_state())


@pytest.mark.parametrize("workers", [None, 1])
def test_after_the_last_batch_only_the_end_of_the_loop_ends_the_epoch(sources, workers):
    loader = loader_of(sources(6, workers), 3, "padded")
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    assert list(batches) == []
    following = list(loader)
    loader.load_state_dict(state)
    assert list(loader) == []
    assert same(loader, following)


@pytest.mark.parametrize("workers", [None, 0, 1])
def test_an_abandoned_epoch_is_continued_by_its_state_alone(sources, workers):
    loader = loader_of(sources(12, workers), 3, "padded")
    assert len(list(islice(loader, 2))) == 2
    state, rest_of_generator = loader.state_dict(), loader.generator.get_state()
    new = list(loader)
    assert len(new) == 4
    again = loader_of(sources(12, workers), 3, "padded")
    again.generator.set_state(rest_of_generator)
    assert same(again, new)
    loader.load_state_dict(state)
    assert len(list(loader)) == 2


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 1), (3, 2)])
@pytest.mark.parametrize(("workers", "augment"), [(None, "padded"), (0, "resized")])
def test_another_number_of_processes_can_continue(sources, workers, augment, before, after):
    def all_ranks(world_size):
        return [
            loader_of(sources(12, workers), 5, augment, rank=rank, world_size=world_size, drop_last=True)
            for rank in range(world_size)
        ]

    expected = list(loader_of(sources(12, workers), 5, augment, drop_last=True))
    first = all_ranks(before)
    batches = list(islice(zip(*first, strict=True), 1))
    assert same(put_together(batches), expected[:1])
    states = [loader.state_dict() for loader in first]
    assert all(torch.equal(state["generator"], states[0]["generator"]) for state in states)
    second = all_ranks(after)
    for loader in second:
        loader.load_state_dict(states[-1])
    assert same(put_together(list(zip(*second, strict=True))), expected[1:])


def test_a_state_does_not_change_with_the_loader(sources):
    loader = loader_of(sources(12, None), 3, "padded")
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    kept = {key: torch.as_tensor(value).clone() for key, value in state.items()}
    list(batches)
    loader.load_state_dict(state)
    list(loader)
    assert all(torch.equal(torch.as_tensor(state[key]), kept[key]) for key in kept)


@pytest.mark.parametrize("workers", [None, 0])
def test_the_state_of_another_loader_is_refused(sources, workers):
    loader = make_loader(sources(12, workers), 5)
    before = loader.generator.get_state()
    wholes = make_loader(sources(12, None), 5)
    for _ in wholes:
        last = wholes.state_dict()
    with pytest.raises(
        InputError, match=r"state is of one with images 13, and this one has 12; continue with the same"
    ):
        loader.load_state_dict(make_loader(sources(13, workers), 5).state_dict())
    with pytest.raises(
        InputError, match=r"state is of one with batch_size 4, and this one has 5; continue with the same"
    ):
        loader.load_state_dict(make_loader(sources(12, workers), 4).state_dict())
    with pytest.raises(
        InputError, match="this is no state of a loader, which has images, batch_size, batches, epoch, "
    ):
        loader.load_state_dict({"images": 12})
    with pytest.raises(InputError, match=r"has given out 3 batches of an epoch, which has 2 here; .* same drop_last"):
        make_loader(sources(12, workers), 5, drop_last=True).load_state_dict(last)
    assert torch.equal(loader.generator.get_state(), before)


# --- processes that decode


# In a process of its own: torch raises the news of a killed worker wherever the program happens to be.
WORKER_DIES = """
import os, signal, sys, time
from pathlib import Path
import torch
from torch.utils.data import _utils, dataloader
from trg_pyg.data import FileSet, WorkerLost, encode_paths, make_loader, worker_lost

# How often PyTorch looks whether its workers live; every 5 seconds by itself.
_utils.MP_STATUS_CHECK_INTERVAL = 0.2
dataloader._MultiProcessingDataLoaderIter._try_get_data.__defaults__ = (0.2,)

names = encode_paths([f"{number}.jpg" for number in range(12)])
loader = make_loader(FileSet(Path(sys.argv[1]), names, torch.arange(12), 8, 10, workers=2, prefetch=1), 1)
batches = iter(loader)
next(batches)
try:
    os.kill(loader._decoded._iterator._workers[0].pid, signal.SIGKILL)
    time.sleep(30)  # which the news breaks off
except RuntimeError as error:
    print(worker_lost(error))
for epoch in (batches, loader):
    try:
        list(epoch)
    except WorkerLost as error:
        print(error)
"""


def test_a_worker_that_dies_ends_this_epoch_and_the_next_with_an_error_and_not_in_a_wait(streamed):
    command = [sys.executable, "-c", WORKER_DIES, str(streamed.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    anywhere, *in_an_epoch = done.stdout.splitlines()
    assert "is lost, most often for lack of memory (DataLoader worker (pid " in anywhere
    assert "is killed by signal: Killed); set data.workers lower (0 decodes in the training process), or" in anywhere
    assert len(in_an_epoch) == 2
    assert all(line.startswith("a process that decodes images is lost") for line in in_an_epoch)


def test_a_loader_that_is_dropped_within_an_epoch_ends_its_workers(sources):
    loader = make_loader(sources(MOST, 1), 1)
    batches = iter(loader)
    next(batches)
    (worker,) = loader._decoded._iterator._workers
    assert worker.is_alive()
    del batches, loader
    gc.collect()
    worker.join(timeout=10)
    assert not worker.is_alive()
