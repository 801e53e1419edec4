import pytest

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError
from trg_pyg.study.trial import check_trial, check_trial_of_wandb, is_of_wandb


def test_a_trial_on_the_test_images_is_refused():
    check_trial(read_choices(["--data.validation=0.1"]))
    with pytest.raises(InputError, match=r"never on the test images: add --data.validation=0\.1 to the sweep file's"):
        check_trial(read_choices([]))


@pytest.mark.parametrize("arguments", [["--methods", "KD", "TRG"], ["--methods", "KD", "--seeds", "0", "1"]])
def test_a_trial_of_wandb_is_one_run(arguments):
    check_trial_of_wandb(read_choices(["--data.validation=0.1", "--methods", "KD"]))
    with pytest.raises(InputError, match="a trial of a wandb sweep is one run, and this has 2: name one method"):
        check_trial_of_wandb(read_choices(["--data.validation=0.1", *arguments]))


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """The environment that wandb's agent gives a trial."""
    parameters = tmp_path / "config-trial007.yaml"
    parameters.write_text("wandb_version: 1\ntrain.lr:\n  value: 0.1\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc12345")
    monkeypatch.setenv("WANDB_RUN_ID", "trial007")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))


def test_the_agents_run_is_the_students_and_not_the_teachers(small, tmp_path, agent, capsys):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads the environment once
    try:
        arguments = [*small, "--methods", "KD", "--data.validation=0.25", "--wandb=offline", "--train.epochs=1"]
        assert is_of_wandb()
        assert main(arguments) == 0
    finally:
        wandb.teardown()
    assert "wandb failed" not in capsys.readouterr().err
    (run,) = tmp_path.glob("runs/**/offline-run-*")
    assert run.name.endswith("-trial007")
    assert run.is_relative_to(tmp_path / "runs" / "ImageFolder-val")
    assert (run.parents[1] / "wandb_id").read_text() == "trial007"


def test_what_is_no_trial_ends_the_agents_process_with_a_line(agent, capsys):
    assert main([]) == 2
    assert "trg run: error: a sweep chooses by what it measures" in capsys.readouterr().err


def test_other_starts_are_no_trials():
    assert not is_of_wandb()
