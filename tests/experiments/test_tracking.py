import pytest
import wandb

from experiments.tracking import Tracker

OPTIONS = {"project": "p", "group": "g", "name": "n", "config": {"lr": 1}}


class FakeRun:
    def __init__(self, fail=()):
        self.fail, self.logged, self.axes = fail, [], []

    def define_metric(self, name, step_metric=None):
        self.axes.append((name, step_metric))

    def log(self, metrics):
        if "log" in self.fail:
            raise RuntimeError("no\nspace left")
        self.logged.append(metrics)

    def finish(self, exit_code):
        if "finish" in self.fail:
            raise RuntimeError("hangs")


@pytest.fixture
def fake(monkeypatch):
    calls = []

    def use(run):
        monkeypatch.setattr(wandb, "init", lambda **options: calls.append(options) or run)
        return calls

    return use


def test_disabled_does_not_even_start_wandb(tmp_path, fake):
    calls = fake(FakeRun())
    tracker = Tracker(tmp_path, "disabled", resume=False, **OPTIONS)
    tracker.log({"epoch": 1})
    tracker.finish()
    assert calls == []
    assert list(tmp_path.iterdir()) == []


def test_metrics_have_the_epoch_as_their_axis(tmp_path, fake):
    run = FakeRun()
    fake(run)
    Tracker(tmp_path, "offline", resume=False, **OPTIONS).log({"epoch": 1, "test/top1": 50.0})
    assert run.axes == [("epoch", None), ("*", "epoch")]
    assert run.logged == [{"epoch": 1, "test/top1": 50.0}]


def test_a_resumed_run_keeps_its_id_and_a_new_one_gets_another(tmp_path, fake):
    calls = fake(FakeRun())
    for resume in (False, True, False):
        Tracker(tmp_path, "offline", resume=resume, **OPTIONS)
    first, resumed, fresh = (call["id"] for call in calls)
    assert resumed == first
    assert fresh != first


@pytest.mark.parametrize("where", ["log", "finish"])
def test_a_failure_is_one_line_and_the_run_goes_on(tmp_path, fake, capsys, where):
    run = FakeRun(fail=[where])
    fake(run)
    tracker = Tracker(tmp_path, "offline", resume=False, **OPTIONS)
    tracker.log({"epoch": 1})
    tracker.log({"epoch": 2})
    tracker.finish()
    (line,) = capsys.readouterr().err.splitlines()
    assert "metrics.jsonl goes on" in line


def test_a_failure_to_start_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    def refuse(**options):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    tracker = Tracker(tmp_path, "online", resume=False, **OPTIONS)
    tracker.log({"epoch": 1})
    tracker.finish()
    assert "no route to host" in capsys.readouterr().err


def test_offline_needs_neither_network_nor_account(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    tracker = Tracker(tmp_path, "offline", resume=False, **OPTIONS)
    tracker.log({"epoch": 1, "test/top1": 10.0})
    tracker.finish()
    assert capsys.readouterr().err == ""
    (kept,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert kept.stat().st_size > 0
    assert (tmp_path / "wandb_id").read_text() in kept.name


def test_runs_side_by_side_are_apart(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    trackers = [Tracker(folder, "offline", resume=False, **OPTIONS) for folder in folders]
    for number, tracker in enumerate(trackers):
        tracker.log({"epoch": 1, "test/top1": float(number)})
    for tracker in trackers:
        tracker.finish()
    ids = [(folder / "wandb_id").read_text() for folder in folders]
    for folder, run_id in zip(folders, ids, strict=True):
        (run,) = (folder / "wandb").glob("offline-run-*")
        assert run.name.endswith(run_id)
