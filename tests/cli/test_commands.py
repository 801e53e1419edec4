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


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("predict", "the following arguments are required: RUN_OR_EXPORT, IMAGE; --help shows what can be chosen"),
        ("predict run a.jpg --tpo 3", "unknown option --tpo; did you mean --top"),
        ("predict run a.jpg --whic best", "unknown option --whic; did you mean --which?"),
        ("export run --output new --formats ONNX", "--formats ONNX: choose safetensors, onnx, torch_export; did you m"),
        ("export run --output FILE/new", "--output=FILE/new: nothing can be written in "),
        ("evaluate run --output FILE/new/out.json", "--output=FILE/new/out.json: nothing can be written in "),
        ("evaluate run --batchsize 4", "unknown key batchsize; did you mean batch_size?"),
        ("evaluate --weights w.pth --student.name resnet8 --data Digits --student.mean [1,2,3]", "--student.mean (1.0"),
        ("report runs --output FILE/new/page.html", "--output=FILE/new/page.html: nothing can be written in "),
        ("table --x a.jsonl", "unknown option --x"),
        ("visualize run --picture token_graph", "unknown option --picture; did you mean --pictures?"),
        ("visualize run --output FILE/new", "--output=FILE/new: nothing can be written in "),
        ("sweep", "the following arguments are required: file; --help shows what can be chosen"),
        ("sweep x.yaml --count few", "--count few: expected int"),
        ("sweep SWEEP --folder FILE/new --count 1", "--folder=FILE/new: nothing can be written in "),
        ("diagnose --probe_images few", "--probe_images few: expected int"),
        ("diagnose --lr 1", "unknown key lr; did you mean train.lr, teacher.train.lr?"),
        ("run --output FILE/runs --table FILE", "output=FILE/runs: nothing can be written in "),
    ],
)
def test_a_usage_error_is_one_line_with_the_nearest_right_thing(arguments, line, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    places = {"FILE": str(file), "SWEEP": "experiments/sweeps/trg.yaml"}
    for name, place in places.items():
        arguments, line = arguments.replace(name, place), line.replace(name, place)
    assert main(arguments.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"trg {arguments.split()[0]}: error: {line}")


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
