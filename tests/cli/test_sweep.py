import json
import os
import shlex
import signal
import time
from pathlib import Path
from threading import Thread

import pytest
import yaml

from trg_pyg.cli.run import check_trial
from trg_pyg.cli.run import main as run
from trg_pyg.cli.sweep import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError

ROOT = Path(__file__).parents[2]
BAYES = {"method": "bayes", "run_cap": 12, "parameters": {"train.lr": {"min": 0.6, "max": 0.9}}}
# Stands for run.py: its accuracy is 100 times the learning rate; some rates fail, crash, or take as long as they may.
PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
args = dict(each.lstrip("-").partition("=")[::2] for each in sys.argv[1:])
with open("calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
lr = float(args["train.lr"])
if lr == 0.3:
    sys.exit("run.py: stopped: KD: the loss is nan")
if lr == 0.4:
    os.kill(os.getpid(), signal.SIGKILL)
if lr == 0.5 and "resume" not in args:
    signal.signal(signal.SIGTERM, lambda *_: (Path("saved").touch(), sys.exit(75)))
    Path("long").touch()
    time.sleep(60)
print("epoch 1")
about = dict(study="s", command="c", settings={}, environment={}, teacher=None, reference=None)
history = [[{"epoch": 1, "test/top1": 100 * lr + seed}] for seed in (0, 1)]
runs = [dict(method="KD", seed=seed, distiller={}, history=history[seed]) for seed in (0, 1)]
Path(args["table"]).with_suffix(".jsonl").write_text("".join(json.dumps(line) + "\\n" for line in (about, *runs)))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.py").write_text(PROGRAM)
    return tmp_path


def write(place, rates, **keys):
    content = {
        "program": "run.py",
        "method": "grid",
        "metric": {"name": "test/top1", "goal": "maximize"},
        "parameters": {"methods": {"value": "KD"}, "train.lr": {"values": rates}},
        "command": ["${program}", "--data.validation=0.25", "--wandb=online", "${args}"],
    }
    (place / "sweep.yaml").write_text(yaml.safe_dump({**content, **keys}, sort_keys=False))


def calls(place):
    file = place / "calls"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def rates(place):
    return [argument for call in calls(place) for argument in call if argument.startswith("--train.lr")]


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]


def test_the_table_is_sorted_failed_trials_are_told_and_the_sweep_goes_on(place, capsys):
    write(place, [0.1, 0.3, 0.2, 0.4])
    assert main(["sweep.yaml"]) == 1
    out = capsys.readouterr().out
    table = [row[:3] for row in rows(out)]
    assert table == [
        ["trial", "test/top1", "train.lr"],
        ["2", "20.50 ± 0.71", "0.2"],
        ["0", "10.50 ± 0.71", "0.1"],
        ["1", "failed (1)", "0.3"],
        ["3", "failed (-9)", "0.4"],
    ]
    assert "2 of 4 trials failed:\n* trial 1: run.py: stopped: KD: the loss is nan; runs/sweeps/sweep-" in out
    assert "* trial 3: exit code -9; " in out
    assert "best so far 20.50 ± 0.71, trial 2" in out
    (folder,) = (place / "runs" / "sweeps").iterdir()
    assert (folder / "sweep.md").read_text() in out
    assert (folder / "trials" / "0000" / "log.txt").read_text() == "epoch 1\n"
    for call in calls(place):
        assert call[:2] == ["--data.validation=0.25", "--wandb=online"]
        assert call[-2] == "--wandb=offline"  # the last one counts: no account is needed


def test_the_best_setting_is_tested_on_the_test_images(place, capsys):
    write(place, [0.1, 0.2])
    assert main(["sweep.yaml", "--train.epochs", "3", "--device", "cpu"]) == 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    command = shlex.split(line)
    assert command[:2] == ["python", "run.py"]
    choices = read_choices(command[2:])
    assert choices.config.data.validation is None
    assert (choices.config.train.lr, choices.config.train.epochs) == (0.2, 3)
    assert [method.name for method in choices.methods] == ["KD"]
    assert choices.seeds == [0, 1, 2]
    assert choices.config.wandb == "offline"


def test_the_smallest_is_the_best_where_the_file_says_so(place, capsys):
    write(place, [0.2, 0.1], metric={"name": "test/top1", "goal": "minimize"})
    assert main(["sweep.yaml"]) == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == ["trial", "1", "0"]


def test_a_resumed_sweep_keeps_what_ended_well_and_tries_the_others_again(place, capsys):
    write(place, [0.1, 0.3])
    assert main(["sweep.yaml"]) == 1
    first = capsys.readouterr().out
    assert main(["sweep.yaml", "--resume", "--device=cpu"]) == 1  # where it runs changes no result
    again = capsys.readouterr().out
    assert [row[:3] for row in rows(again)] == [row[:3] for row in rows(first)]
    assert "  before, test/top1 10.50 ± 0.71" in again
    assert rates(place) == ["--train.lr=0.1", "--train.lr=0.3", "--train.lr=0.3"]
    assert ["--resume" in call for call in calls(place)] == [False, False, True]
    # Other options are another training.
    assert main(["sweep.yaml", "--resume", "--train.epochs=7"]) == 1
    assert len(calls(place)) == 5
    # Without --resume all is done again.
    assert main(["sweep.yaml"]) == 1
    assert len(calls(place)) == 7


def test_a_trial_of_the_same_values_is_not_trained_again(place, capsys):
    write(place, [0.1, 0.1], method="random", run_cap=3)
    assert main(["sweep.yaml"]) == 0
    out = capsys.readouterr().out
    assert "trial 1 of 3: methods=KD, train.lr=0.1: as trial 0" in out
    assert [row[1] for row in rows(out)] == ["test/top1", *["10.50 ± 0.71"] * 3]
    assert len(calls(place)) == 1


def test_bayes_draws_a_trial_by_those_before_it_and_one_that_was_begun_stays_what_it_was(place, capsys):
    write(place, [], **BAYES)
    assert main(["sweep.yaml"]) == 0
    assert len(rows(capsys.readouterr().out)) == 13
    drawn = rates(place)
    assert len(set(drawn)) == 12
    (trials,) = (place / "runs" / "sweeps").glob("*/trials")

    def edit(number, **keys):
        file = trials / f"{number:04d}" / "trial.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | keys))

    def again():
        before = len(calls(place))
        assert main(["sweep.yaml", "--resume"]) == 0
        return rates(place)[before:]

    (trials / "0011" / "trial.json").unlink()
    assert again() == drawn[11:]
    edit(3, metric=[200.0])
    edit(11, metric=[], exit_code=None)
    assert again() == drawn[11:]
    (trials / "0011" / "trial.json").unlink()
    assert again() != drawn[11:]


def test_tasks_of_an_array_run_a_trial_each_and_the_table_follows(place, capsys):
    write(place, [0.1, 0.2])
    for task in (1, 0):
        assert main(["sweep.yaml", "--count=2", f"--trial={task}", "--resume"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"trial {task} of 2: methods=KD, train.lr=0.{task + 1} ...\n")
        assert rows(out) == []
    assert main(["sweep.yaml", "--resume"]) == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == ["trial", "1", "0"]
    assert len(calls(place)) == 2


def test_a_signal_is_passed_on_and_the_sweep_goes_on_from_there(place, capsys):
    write(place, [0.1, 0.5])

    def stop():
        deadline = time.monotonic() + 60
        while not (place / "long").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    other = Thread(target=stop)
    other.start()
    assert main(["sweep.yaml"]) == 75
    other.join()
    assert capsys.readouterr().err == "trg sweep: SIGTERM in trial 1; it is saved, --resume goes on\n"
    assert (place / "saved").exists()
    assert main(["sweep.yaml", "--resume"]) == 0
    assert len(calls(place)) == 3


@pytest.mark.parametrize(
    ("keys", "arguments", "message"),
    [
        ({"command": ["${program}", "${args}"]}, [], "trial 0 (methods=KD, train.lr=0.1): a sweep chooses by what it"),
        ({"parameters": {"train.lrr": {"value": 1}}}, [], "trial 0 (train.lrr=1): unknown key train.lrr; did you mean"),
        ({"parameters": {"train.lr": {"values": [0.1, -1]}}}, [], "trial 1 (train.lr=-1): train.lr = -1.0: give a"),
        ({"program": "ran.py"}, [], "program=ran.py: no such file; start the sweep from the folder above it"),
        ({"early_terminate": {}}, [], "sweep file sweep.yaml: early_terminate needs wandb's server"),
        (BAYES, ["--trial=1"], "trial=1: bayes draws a trial by those before it; leave --trial out"),
        ({}, ["--train.lr=3"], "--train.lr=3: the sweep sets train.lr; change it in sweep.yaml"),
        ({}, ["--table=x.md"], "--table=x.md: the sweep sets table"),
        ({}, ["--trial=1"], "trial=1: the sweep has 1, numbered from 0"),
        ({}, ["--count=0"], "count=0: give 1 or more"),
        ({}, ["--count=few"], "--count few: expected int"),
        ({}, ["--seed=-1"], "seed=-1: give 0 or more"),
        ({}, ["--trian.epochs=3"], "unknown key trian.epochs; did you mean train.epochs"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(place, capsys, keys, arguments, message):
    write(place, [0.1], **keys)
    assert main(["sweep.yaml", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("trg sweep: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert calls(place) == []


def test_a_metric_that_there_is_not_is_a_failed_trial(place, capsys):
    write(place, [0.1], metric={"name": "test/top2", "goal": "maximize"})
    assert main(["sweep.yaml"]) == 1
    assert "metric test/top2 is not among those of the last epoch; did you mean test/top1?" in capsys.readouterr().out


def test_a_trial_of_the_installed_command_is_one_of_the_same_python(place, capsys):
    (place / "trg_pyg").mkdir()
    (place / "trg_pyg" / "__init__.py").touch()
    (place / "trg_pyg" / "__main__.py").write_text(PROGRAM.replace("sys.argv[1:]", "sys.argv[2:]"))
    write(place, [0.1], command=["trg", "run", "--data.validation=0.25", "${args}"])
    assert main(["sweep.yaml"]) == 0
    assert rates(place) == ["--train.lr=0.1"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("trg run --methods=KD --train.lr=0.1 ")


def test_trials_are_runs_of_run_py(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A file of the checkout, from another folder.
    write(tmp_path, [0.1], program=os.path.relpath(ROOT / "experiments" / "run.py", tmp_path))
    assert main(["sweep.yaml", *small, "--train.epochs=1"]) == 0
    out = capsys.readouterr().out
    (run,) = (tmp_path / "runs").glob("ImageFolder-val/resnet8-resnet8/KD-*/seed0/metrics.jsonl")
    top1 = json.loads(run.read_text().splitlines()[-1])["test/top1"]
    assert rows(out)[1][1] == f"{top1:.2f}"
    config = yaml.safe_load((run.parent / "config.yaml").read_text())
    assert (config["train"]["lr"], config["data"]["init_args"]["validation"]) == (0.1, 0.25)


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """The environment that wandb's agent gives a trial."""
    parameters = tmp_path / "config-trial007.yaml"
    parameters.write_text("wandb_version: 1\ntrain.lr:\n  value: 0.1\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc12345")
    monkeypatch.setenv("WANDB_RUN_ID", "trial007")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))


@pytest.mark.parametrize("arguments", [["--methods", "KD", "TRG"], ["--methods", "KD", "--seeds", "0", "1"]])
def test_a_trial_of_wandbs_agent_is_one_run(agent, monkeypatch, arguments):
    check_trial(read_choices(["--data.validation=0.1", "--methods", "KD"]))
    several = read_choices(["--data.validation=0.1", *arguments])
    with pytest.raises(InputError, match="a trial of a wandb sweep is one run, and this has 2: name one method"):
        check_trial(several)
    monkeypatch.delenv("WANDB_SWEEP_ID")
    check_trial(several)


def test_the_agents_run_is_the_students_and_not_the_teachers(small, tmp_path, agent, capsys):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads the environment once
    try:
        arguments = [*small, "--methods", "KD", "--data.validation=0.25", "--wandb=offline", "--train.epochs=1"]
        assert run(arguments) == 0
    finally:
        wandb.teardown()
    assert "wandb failed" not in capsys.readouterr().err
    (found,) = tmp_path.glob("runs/**/offline-run-*")
    assert found.name.endswith("-trial007")
    assert found.is_relative_to(tmp_path / "runs" / "ImageFolder-val")
    assert (found.parents[1] / "wandb_id").read_text() == "trial007"


def test_what_is_no_trial_ends_the_agents_process_with_a_line(agent, capsys):
    assert run([]) == 2
    assert "trg run: error: a sweep chooses by what it measures" in capsys.readouterr().err
