"""A teacher's outputs in files: exact, whoever writes them, whatever happens to them."""

import os
import random
import resource
import signal
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import FRESH
from torch import Tensor, nn

from trg_pyg.errors import InputError
from trg_pyg.models.taps import TappedModel
from trg_pyg.training import teacher_store
from trg_pyg.training.modules import FrozenTeacher
from trg_pyg.training.teacher_store import StoredTeacher, TeacherStore, Views

SHAPE = (3, 6, 6)
SLOTS = 40


class Net(nn.Module):
    """A small teacher; ``of`` says what else of a batch a row depends on."""

    def __init__(self, seed: int = 0, of: str = "itself") -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head, self.of = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4), of

    def forward(self, images: Tensor) -> Tensor:
        added = {"itself": 0.0, "size": 0.001 * len(images), "others": images[0].mean()}[self.of]
        return self.head(self.body(images).relu().mean(dim=(2, 3))) + added


def frozen(taps=("body",), net: nn.Module | None = None, **options) -> FrozenTeacher:
    return FrozenTeacher(TappedModel(Net() if net is None else net, list(taps)), **options)


def pictures(slots: Tensor) -> Tensor:
    """The pixels of each slot, always the same."""
    every = torch.randint(256, (SLOTS, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(9))
    return every[slots]


def opened(folder: Path, network: FrozenTeacher | None = None, level="maps", batch=16, images="a", views=2, **options):
    store = TeacherStore(folder, level, images, **options)
    return store.open(network or frozen(), SHAPE, batch, Views(views, "some"), SLOTS)


def ask(teacher: StoredTeacher, slots: list[int]):
    """Logits, embedding and map of some slots, and how many images went through the network."""
    before = teacher._store.computed
    outputs = teacher(pictures(torch.tensor(slots)), torch.tensor(slots))
    found = [outputs.logits, outputs.embedding, outputs.features[0]]
    return found, teacher._store.computed - before


def check(found: list[Tensor], slots: list[int], network: FrozenTeacher | None = None) -> None:
    """They are what the network gives, in the layout that it gives it in."""
    logits, (feature,), embedding = (network or frozen())(pictures(torch.tensor(slots)))
    for one, other in zip(found, (logits, embedding, feature), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()


def test_what_is_there_is_not_computed_again_and_the_rest_in_batches_of_eight(tmp_path):
    teacher = opened(tmp_path)
    for slots, computed in (
        (range(16), 16),
        (range(15, -1, -1), 0),
        (range(13, 29), 16),  # 13 of them are new
        (range(24, 34), 8),  # 5 are
    ):
        found, passed = ask(teacher, list(slots))
        check(found, list(slots))
        assert passed == computed
    again = opened(tmp_path)
    found, passed = ask(again, [33, 0, 20])
    check(found, [33, 0, 20])
    assert passed == 0


def test_rows_keep_the_layout_of_channels_last_networks(tmp_path):
    network = frozen(net=Net().to(memory_format=torch.channels_last))
    for _ in range(2):
        found, _ = ask(opened(tmp_path, network), [3, 1, 2])
        check(found, [3, 1, 2], network)
    assert found[2].is_contiguous(memory_format=torch.channels_last)


def test_rows_are_shared_by_who_taps_a_network_differently_and_by_nobody_else(tmp_path):
    ask(opened(tmp_path), list(range(16)))
    untapped = opened(tmp_path, frozen(taps=()))
    logits = untapped(pictures(torch.arange(16)), torch.arange(16)).logits
    assert torch.equal(logits, frozen()(pictures(torch.arange(16))).logits)
    assert untapped._store.computed == 0
    for other in (
        opened(tmp_path, frozen(net=Net(1))),
        opened(tmp_path, frozen(precision="bf16")),
        opened(tmp_path, frozen(rounded=True)),
        opened(tmp_path, images="b"),
        TeacherStore(tmp_path, "maps", "a").open(frozen(), SHAPE, 16, Views(2, "others"), SLOTS),
    ):
        assert ask(other, list(range(16)))[1] == 16


def test_what_nobody_looks_at_is_neither_read_nor_computed(tmp_path):
    ask(opened(tmp_path), list(range(16)))
    (maps,) = tmp_path.glob("*-tap_body-*")
    maps.write_bytes(b"")
    teacher = opened(tmp_path)
    outputs = teacher(pictures(torch.arange(16)), torch.arange(16))
    assert torch.equal(outputs.embedding, frozen()(pictures(torch.arange(16))).embedding)
    assert teacher._store.computed == 0
    check([outputs.logits, outputs.embedding, outputs.features[-1]], list(range(16)))
    assert teacher._store.computed == 16


def test_who_looks_at_more_than_is_stored_has_the_teacher_asked_and_is_told(tmp_path):
    teacher = opened(tmp_path, level="logits")
    with pytest.warns(UserWarning, match="a method looks at embedding, which is not stored"):
        found, _ = ask(teacher, list(range(16)))
    check(found, list(range(16)))
    with warnings.catch_warnings(action="error"):
        found, passed = ask(teacher, list(range(16)))
    check(found, list(range(16)))
    assert passed == 16


@pytest.mark.parametrize("damage", ["torn", "moved", "flipped", "cut"])
def test_a_row_that_is_not_whole_or_not_in_its_place_is_computed_again(tmp_path, damage):
    ask(opened(tmp_path), list(range(16)))
    (file,) = tmp_path.glob("*-logits-*")
    content = bytearray(file.read_bytes())
    size = len(content) // 16
    row = slice(3 * size, 4 * size)
    content[row] = {
        "torn": content[3 * size : 4 * size - 5] + bytes(5),
        "moved": content[4 * size : 5 * size],
        "flipped": bytes([content[3 * size] ^ 1]) + content[3 * size + 1 : 4 * size],
        "cut": b"",
    }[damage]
    file.write_bytes(content[: 3 * size + 7] if damage == "cut" else content)
    found, passed = ask(opened(tmp_path), list(range(16)))
    check(found, list(range(16)))
    assert passed == (16 if damage == "cut" else 8)


def test_where_a_row_depends_on_the_size_of_its_batch_whole_batches_run(tmp_path):
    network = frozen(net=Net(of="size"))
    teacher = opened(tmp_path, network)
    first, second = list(range(16)), list(range(15, 31))
    for slots, computed in ((first, 16), (second, 16), (first, 0), (first[:9], 9), (second, 0)):
        found = teacher(pictures(torch.tensor(slots)), torch.tensor(slots)).logits
        assert torch.equal(found, network(pictures(torch.tensor(slots))).logits)
        assert teacher._store.computed == computed
        teacher._store.computed = 0
    larger = opened(tmp_path, network, batch=17)
    larger(pictures(torch.arange(17)), torch.arange(17)).logits  # noqa: B018
    assert larger._store.computed == 17


def test_where_a_row_depends_on_the_others_nothing_is_stored(tmp_path):
    with pytest.warns(UserWarning, match="is not the same in every batch: nothing is stored"):
        assert opened(tmp_path, frozen(net=Net(of="others"))) is None
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_a_size_that_rounds_differently_is_computed(tmp_path, monkeypatch):
    network = frozen()
    teacher = opened(tmp_path, network)
    monkeypatch.setattr(teacher._trial, "_fits", {1: False})
    slot = torch.tensor([2])
    assert torch.equal(teacher(pictures(slot), slot).logits, network(pictures(slot)).logits)
    assert not any(file.stat().st_size for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("most_bytes", "files"),
    [(40 * (16 + 16), 1), (40 * (32 + 16 + 64), 2), (40 * (32 + 80 + 16 + 2304), 3)],
)
def test_auto_takes_the_most_that_the_budget_holds(tmp_path, most_bytes, files):
    opened(tmp_path / "fits", level="auto", most_bytes=most_bytes)
    assert len(list((tmp_path / "fits").iterdir())) == files
    if files == 1:
        with pytest.warns(UserWarning, match="all logits of Net take 1,280 bytes, more than 1,279: nothing is stored"):
            assert opened(tmp_path / "none", level="auto", most_bytes=most_bytes - 1) is None


def test_rounded_outputs_take_half_and_are_the_same_computed_or_read(tmp_path):
    network = frozen(rounded=True)
    for _ in range(2):
        found, _ = ask(opened(tmp_path, network), list(range(16)))
        check(found, list(range(16)), network)
    exact = frozen()(pictures(torch.arange(16)))
    assert torch.equal(found[0], exact.logits.half().float())
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) == 16 * (3 * 16 + 2 * (4 + 16 + 576))


def test_on_a_gpu_rows_are_kept_there_and_in_the_file(tmp_path, monkeypatch):
    ask(opened(tmp_path), [3])
    monkeypatch.setattr(teacher_store, "_free_bytes", lambda device: 2**30)
    teacher = opened(tmp_path)
    found, passed = ask(teacher, list(range(16)))
    check(found, list(range(16)))
    assert passed == 16
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    found, passed = ask(teacher, list(range(15, -1, -1)))
    check(found, list(range(15, -1, -1)))
    assert passed == 0


def test_a_full_disk_is_told_once_and_what_is_there_is_read(tmp_path):
    teacher = opened(tmp_path)
    ask(teacher, list(range(8)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2320 * 9 + 100, hard))
        with pytest.warns(UserWarning, match=r"tap_body-\w+.rows cannot be written .*: nothing more is stored"):
            found, _ = ask(teacher, list(range(16)))
        check(found, list(range(16)))
        with warnings.catch_warnings(action="error"):
            found, _ = ask(teacher, list(range(16)))
        check(found, list(range(16)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ask(opened(tmp_path), list(range(8)))[1] == 0


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be written to .*: nothing is stored"):
        assert opened(tmp_path / "file" / "below") is None


def test_a_level_is_known(tmp_path):
    with pytest.raises(InputError, match="teacher_store=all: choose logits or embedding or maps or auto"):
        TeacherStore(tmp_path, "all", "a")


def write_forever(folder: str, seed: int, batches: int | None) -> None:
    """Ask for random slots, and end with exit code 3 where a row is not what it should be."""
    torch.set_num_threads(1)
    teacher, draws = opened(Path(folder)), np.random.default_rng(seed)
    expected = frozen()(pictures(torch.arange(SLOTS)))
    while batches is None or batches > 0:
        slots = torch.from_numpy(draws.permutation(SLOTS)[:16])
        outputs = teacher(pictures(slots), slots)
        same = torch.equal(outputs.logits, expected.logits[slots])
        if not same or not torch.equal(outputs.features[0], expected.features[0][slots]):
            os._exit(3)
        if batches is None and draws.random() < 0.5:  # so that there is always something to be written
            for file in Path(folder).glob("*.rows"):
                os.truncate(file, 0)
        batches = None if batches is None else batches - 1


def test_processes_that_write_the_same_rows_at_once_agree(tmp_path):
    writers = [FRESH.Process(target=write_forever, args=(str(tmp_path), seed, 20)) for seed in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found, passed = ask(opened(tmp_path), list(range(SLOTS))[:16])
    check(found, list(range(16)))
    assert passed == 0


@pytest.mark.slow
def test_twenty_kills_while_rows_are_written_lose_nothing(tmp_path):
    draws = random.Random(0)
    start = partial(FRESH.Process, target=write_forever)
    other = start(args=(str(tmp_path), 100, None))
    other.start()
    try:
        for number in range(20):
            writer = start(args=(str(tmp_path), number, None))
            writer.start()
            while not list(tmp_path.glob("*.rows")):
                time.sleep(0.01)
            time.sleep(draws.uniform(0.2, 1.0))
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            assert writer.exitcode == -signal.SIGKILL
            found, _ = ask(opened(tmp_path), list(range(16)))
            check(found, list(range(16)))
            assert other.is_alive()
    finally:
        other.kill()
        other.join()
