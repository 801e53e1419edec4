import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trg_pyg._files import write_text
from trg_pyg.errors import InputError
from trg_pyg.study.folder import RunFolder, environment


def test_metrics_are_one_line_an_epoch(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_history([])
    folder.append({"epoch": 1, "test/top1": 50.0})
    folder.append({"epoch": 2, "test/top1": 60.0})
    assert folder.metrics.read_text() == '{"epoch": 1, "test/top1": 50.0}\n{"epoch": 2, "test/top1": 60.0}\n'


def test_a_line_that_does_not_fit_on_the_disk_leaves_the_others_as_they_were(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append({"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (folder.metrics.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.append({"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.metrics.read_text() == '{"epoch": 1}\n'
    folder.append({"epoch": 2})
    assert folder.metrics.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*below .*; free some space or choose another output"):
        RunFolder(tmp_path / "file" / "below")
    with pytest.raises(InputError, match=r"cannot write .*table\.md"):
        write_text(tmp_path / "file" / "table.md", "text")
    folder = RunFolder(tmp_path / "run")
    folder.metrics.mkdir()
    (tmp_path / "run" / ".lock").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*metrics\.jsonl"):
        folder.write_history([])
    with pytest.raises(InputError, match=r"cannot write .*\.lock"), folder.owned():
        pass


def test_files_that_were_left_half_written_are_deleted_by_who_owns_the_folder(tmp_path):
    names = [".checkpoint.pt.1.tmp", ".last.safetensors.abc.tmp"]
    for name in [*names, "checkpoint.pt"]:
        (tmp_path / name).touch()
    with RunFolder(tmp_path).owned():
        assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "checkpoint.pt"]
        (tmp_path / names[0]).touch()
        with pytest.raises(InputError, match="another run"), RunFolder(tmp_path).owned():
            pass
        assert (tmp_path / names[0]).exists()


def test_where_there_are_no_locks_half_written_files_stay_since_they_may_be_another_runs(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError("no locks available")

    (tmp_path / ".a.tmp").touch()
    monkeypatch.setattr("trg_pyg.study.folder.fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="are not noticed"), RunFolder(tmp_path).owned():
        assert (tmp_path / ".a.tmp").exists()


def test_a_folder_can_be_resumed_once_it_has_a_checkpoint(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.has_checkpoint
    (tmp_path / "checkpoint.pt").touch()
    assert folder.has_checkpoint


def test_a_second_run_in_a_folder_is_refused_as_long_as_the_first_runs(tmp_path):
    with RunFolder(tmp_path).owned():
        with (
            pytest.raises(InputError, match=rf"another run writes there \(process {os.getpid()} on .*\); wait"),
            RunFolder(tmp_path).owned(),
        ):
            pass
        with RunFolder(tmp_path / "other").owned():
            pass
    with RunFolder(tmp_path).owned():
        pass


def test_a_killed_process_leaves_its_folder_to_others(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from trg_pyg.study.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).owned():\n"
        "    print('mine', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match=rf"\(process {other.pid} on "), RunFolder(tmp_path).owned():
            pass
        other.kill()
        other.wait()
    with RunFolder(tmp_path).owned():
        pass


def test_who_waits_gets_the_folder_in_the_end(tmp_path, monkeypatch, capsys):
    first = RunFolder(tmp_path).owned()
    first.__enter__()
    monkeypatch.setattr(time, "sleep", lambda seconds: first.__exit__(None, None, None))
    with RunFolder(tmp_path).owned(wait=True):
        assert "waiting for another run (process" in capsys.readouterr().out


def test_description_leaves_no_temporary_files(tmp_path):
    RunFolder(tmp_path).describe({"train": {"lr": 0.1}}, {"command": "typed"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.yaml", "environment.json"]
    assert (tmp_path / "config.yaml").read_text() == "train:\n  lr: 0.1\n"
    assert json.loads((tmp_path / "environment.json").read_text()) == {"command": "typed"}


def test_environment_names_versions_commit_and_hardware():
    found = environment("typed")
    assert {"command", "commit", "python", "packages", "processor", "cores", "threads", "gpu"} <= set(found)
    assert found["packages"]["torch"] is not None
    assert found["threads"] >= 1
