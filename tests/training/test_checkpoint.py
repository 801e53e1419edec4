import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.training.checkpoint import CheckpointNotWritten, has_checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoint.pt"


def saved(path: Path, *epochs: int, keep: int = 1) -> None:
    for epoch in epochs:
        save_checkpoint(path, {"epoch": epoch, "weight": torch.arange(1000.0)}, keep)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def test_round_trip(path: Path) -> None:
    save_checkpoint(path, {"weight": torch.tensor([1.0, 2.0]), "epoch": 3, "history": [{"loss": 0.5}]})
    state = load_checkpoint(path)
    assert state["weight"].tolist() == [1.0, 2.0]
    assert (state["epoch"], state["history"]) == (3, [{"loss": 0.5}])
    assert names(path) == ["checkpoint.pt"]


@pytest.mark.parametrize(("keep", "kept"), [(1, [5]), (2, [5, 4]), (3, [5, 4, 3]), (9, [5, 4, 3, 2, 1])])
def test_the_last_ones_are_kept(path: Path, keep: int, kept: list[int]) -> None:
    saved(path, 1, 2, 3, 4, 5, keep=keep)
    files = ["checkpoint.pt", *(f"checkpoint.{number}.pt" for number in range(1, len(kept)))]
    assert names(path) == sorted(files)
    assert [load_checkpoint(path.with_name(name))["epoch"] for name in files] == kept


def test_fewer_are_kept_from_now_on(path: Path) -> None:
    saved(path, 1, 2, 3, 4, keep=4)
    saved(path, 5, keep=2)
    assert names(path) == ["checkpoint.1.pt", "checkpoint.pt"]
    assert load_checkpoint(path.with_name("checkpoint.1.pt"))["epoch"] == 4


def test_without_hard_links_the_one_before_is_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    saved(path, 1, 2, keep=2)
    assert load_checkpoint(path.with_name("checkpoint.1.pt"))["epoch"] == 1


@pytest.mark.parametrize("place", [0, 30, 200, -1])
def test_a_flipped_bit_is_noticed_and_the_one_before_is_used(path: Path, place: int) -> None:
    saved(path, 1, 2, keep=2)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"checkpoint.pt: .*Going on from checkpoint.1.pt, the one before"):
        assert load_checkpoint(path)["epoch"] == 1


@pytest.mark.parametrize("length", [0, 10, 91, 500])
def test_a_file_that_was_cut_off_is_noticed(path: Path, length: int) -> None:
    saved(path, 1, 2, keep=2)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(UserWarning, match="Going on from checkpoint.1.pt"):
        assert load_checkpoint(path)["epoch"] == 1


def test_the_first_may_be_gone(path: Path) -> None:
    saved(path, 1, 2, keep=2)
    path.unlink()
    assert has_checkpoint(path)
    assert load_checkpoint(path)["epoch"] == 1


def test_where_all_are_damaged_every_reason_is_named(path: Path) -> None:
    saved(path, 1, 2, keep=2)
    path.write_bytes(b"")
    path.with_name("checkpoint.1.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"can be read \(checkpoint.pt: cut off.*checkpoint.1.pt: cut off.*delete"):
        load_checkpoint(path)


@pytest.mark.parametrize("moment", ["fsync", "link", "replace"])
def test_an_interruption_at_any_moment_leaves_a_good_file(path: Path, monkeypatch, moment: str) -> None:
    saved(path, 1, 2, keep=2)

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path if moment == "replace" else os, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            saved(path, 3, keep=2)
    assert load_checkpoint(path)["epoch"] == 2
    saved(path, 4, keep=2)
    assert load_checkpoint(path.with_name("checkpoint.1.pt"))["epoch"] == 2


def test_a_full_disk_leaves_what_was_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(path, 1, 2, keep=2)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointNotWritten, match=r"cannot write .*checkpoint.pt \(.*No space left on device"):
            saved(path, 3, keep=2)
    assert names(path) == ["checkpoint.1.pt", "checkpoint.pt"]
    assert load_checkpoint(path)["epoch"] == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointNotWritten, match=r"cannot write .*file"):
        save_checkpoint(tmp_path / "file" / "checkpoint.pt", {})


def test_a_missing_file_names_the_remedy(path: Path) -> None:
    assert not has_checkpoint(path)
    with pytest.raises(InputError, match=r"no checkpoint at .*checkpoint.pt; start without resuming"):
        load_checkpoint(path)


def test_code_in_a_file_is_not_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(path, {"call": os.system})
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read \(checkpoint.pt: "):
        load_checkpoint(path)
    save_checkpoint(path, [1])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds a list, not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("body", [b"", b".", b"\x80\x02.", b"\x80\x02h\x05.", b"\x80\x02K\x01.", b"\x80\x02s."])
def test_other_content_under_its_right_hash_is_refused(path: Path, body: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(b"trg_pyg checkpoint sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read \(checkpoint.pt: "):
        load_checkpoint(path)
