import os
from pathlib import Path

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.pt"
    save_checkpoint(path, {"weight": torch.tensor([1.0, 2.0]), "epoch": 3, "history": [{"loss": 0.5}]})
    state = load_checkpoint(path)
    assert state["weight"].tolist() == [1.0, 2.0]
    assert (state["epoch"], state["history"]) == (3, [{"loss": 0.5}])
    assert os.listdir(path.parent) == ["checkpoint.pt"]


def test_an_interruption_leaves_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1})

    def interrupted(state, file) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"epoch": 2})
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    assert load_checkpoint(path) == {"epoch": 1}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*file.*choose another folder"):
        save_checkpoint(tmp_path / "file" / "checkpoint.pt", {})


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*checkpoint.pt; start without resuming"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_file_names_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read checkpoint .*; delete it and start without resuming") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"call": os.system}, path)
    with pytest.raises(InputError, match="cannot read checkpoint"):
        load_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(InputError, match="holds a list, not a checkpoint"):
        load_checkpoint(path)
