"""What the scripts have in common."""

import sys
from pathlib import Path

import pytest

from experiments.data import hands, newsgroups, nuclei, r8, trees
from experiments.data._common import run
from trg_pyg.errors import InputError


@pytest.mark.parametrize(
    "script", [hands, newsgroups, nuclei, r8, trees], ids=lambda script: script.__name__.rpartition(".")[2]
)
def test_packages_with_other_files_and_a_target_that_is_there_are_refused(script, tmp_path):
    for name in script.SHA256:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("other")
    with pytest.raises(InputError, match=r" is missing or another file; the first lines of the script say what to"):
        script.write(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="is there already; give another folder"):
        script.write(tmp_path, tmp_path)


def test_a_command_line_prints_what_was_written_or_one_line_of_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiments/data/trees.py", str(tmp_path), str(tmp_path / "out")])

    def write(packages: Path, target: Path) -> str:
        return f"{packages} to {target}"

    assert run(write) == 0
    assert capsys.readouterr().out == f"{tmp_path} to {tmp_path / 'out'}\n"
    assert run(trees.write) == 2
    assert capsys.readouterr().err.startswith(f"trees.py: error: {tmp_path}/deepforest/")
