import subprocess
import sys
from pathlib import Path

import pytest

import trg_pyg
from trg_pyg.cli import commands, main


def test_every_command_says_what_it_does(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert {"run", "report", "evaluate", "compare-cost"} <= commands().keys()
    for command, what in commands().items():
        assert f"  {command} " in shown
        assert what
        assert what in shown


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"trg_pyg {trg_pyg.__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["reprot"]) == 2
    assert capsys.readouterr().err.startswith("trg: error: reprot: no such command; did you mean report")


def test_a_package_that_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    for module in [name for name in sys.modules if name.startswith(("trg_pyg.cli.", "trg_pyg.config"))]:
        monkeypatch.delitem(sys.modules, module)
    assert main(["run"]) == 2
    assert 'jsonargparse is not installed: pip install "trg_pyg[lab]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "start", [["-m", "trg_pyg", "run"], [str(Path(trg_pyg.__file__).parents[1] / "experiments/run.py")]]
)
def test_a_class_of_the_working_folder_can_be_named(tmp_path, start):
    (tmp_path / "mine.py").write_text('from trg_pyg.distillers import KD\n\n\nclass Mine(KD):\n    """Mine."""\n')
    given = ["--distiller", "mine.Mine", "--print_config"]
    done = subprocess.run([sys.executable, *start, *given], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mine.Mine" in done.stdout
