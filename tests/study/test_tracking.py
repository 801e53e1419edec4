import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import wandb

from trg_pyg.study.tracking import Limits, Tracker

ROOT = Path(__file__).parents[2]
OPTIONS = {"project": "p", "group": "g", "name": "n", "config": {"lr": 1}}


# For what is to hang: so short that a test does not notice, and for what it is not to wait for.
SHORT, LONG = 0.05, 60.0


@pytest.fixture
def hang():
    """What hangs waits for this, until the end of the test."""
    event = threading.Event()
    yield event
    event.set()
    until_ended("wandb calls")


def until_ended(name):
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.fixture
def teardowns(monkeypatch):
    calls = []
    monkeypatch.setattr(wandb, "teardown", lambda: calls.append(threading.current_thread().name))
    return calls


def error_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("wandb failed and is off for this run, metrics.jsonl goes on: ")
    return line.partition("goes on: ")[2]


class FakeRun:
    def __init__(self, fail=(), hang=None, where=()):
        self.fail, self.hang, self.where = fail, hang, where
        self.logged, self.axes, self.finished = [], [], []

    def define_metric(self, name, step_metric=None):
        self.axes.append((name, step_metric))

    def log(self, metrics):
        if "log" in self.where:
            self.hang.wait()
        if "log" in self.fail:
            raise RuntimeError("no\nspace left")
        self.logged.append(metrics)

    def finish(self, exit_code):
        if "finish" in self.where:
            self.hang.wait()
        if "finish" in self.fail:
            raise RuntimeError("no disk")
        self.finished.append(exit_code)


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
    tracker = Tracker(tmp_path, "offline", resume=False, **OPTIONS)
    tracker.log({"epoch": 1, "test/top1": 50.0})
    tracker.finish()
    assert run.axes == [("epoch", None), ("*", "epoch")]
    assert run.logged == [{"epoch": 1, "test/top1": 50.0}]


def test_a_run_has_the_tags_notes_and_entity_of_the_study(tmp_path, fake):
    calls = fake(FakeRun())
    Tracker(tmp_path, "offline", resume=False, entity="team", tags=["a"], notes="why", **OPTIONS).finish()
    assert {name: calls[0][name] for name in ("entity", "tags", "notes")} == {
        "entity": "team",
        "tags": ["a"],
        "notes": "why",
    }


def test_a_resumed_run_keeps_its_id_and_a_new_one_gets_another(tmp_path, fake):
    calls = fake(FakeRun())
    for resume in (False, True, False):
        Tracker(tmp_path, "offline", resume=resume, **OPTIONS).finish()
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


def test_a_start_that_hangs_is_given_up_after_its_limit_and_comes_too_late_afterwards(
    tmp_path, monkeypatch, capsys, hang, teardowns
):
    run = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **options: hang.wait() and run)
    tracker = Tracker(tmp_path, "online", resume=False, limits=Limits(init=SHORT), **OPTIONS)
    tracker.log({"epoch": 1})
    tracker.finish()
    assert error_line(capsys) == "wandb.init did not return within 0.05 s"
    hang.set()
    until_ended("wandb calls")
    assert (run.axes, run.logged, run.finished) == ([], [], [])
    assert not (tmp_path / "wandb_id").exists()


def test_wandb_itself_gives_up_a_start_before_we_do(tmp_path, fake):
    calls = fake(FakeRun())
    Tracker(tmp_path, "online", resume=False, limits=Limits(init=50), **OPTIONS).finish()
    assert calls[0]["settings"].init_timeout == 40


def test_epochs_wait_for_a_log_that_takes_long_and_are_sent_in_order(tmp_path, fake, capsys, hang):
    run = FakeRun(hang=hang, where=["log"])
    fake(run)
    tracker = Tracker(tmp_path, "offline", resume=False, limits=Limits(log=SHORT), **OPTIONS)
    epochs = [{"epoch": epoch} for epoch in range(1, 6)]
    for metrics in epochs:
        tracker.log(metrics)
    assert run.logged == []
    hang.set()
    tracker.finish(failed=True)
    assert run.logged == epochs
    assert run.finished == [1]
    assert capsys.readouterr().err == ""


def test_only_the_first_of_the_epochs_that_wait_is_waited_for(tmp_path, fake, monkeypatch, hang):
    fake(FakeRun(hang=hang, where=["log"]))
    tracker = Tracker(tmp_path, "offline", resume=False, limits=Limits(log=SHORT), **OPTIONS)
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda event, timeout=None: waits.append(timeout))
    for epoch in (1, 2, 3):
        tracker.log({"epoch": epoch})
    monkeypatch.undo()
    hang.set()
    tracker.finish()
    assert waits.count(SHORT) == 1


def test_a_full_queue_is_one_line_that_says_what_is_not_sent(tmp_path, fake, capsys, hang, teardowns):
    run = FakeRun(hang=hang, where=["log"])
    fake(run)
    tracker = Tracker(tmp_path, "offline", resume=False, limits=Limits(log=SHORT, waiting=2), **OPTIONS)
    for epoch in (1, 2, 3, 4):
        tracker.log({"epoch": epoch})
    tracker.finish()
    assert error_line(capsys) == "its log did not return while 2 epochs waited; not sent: 3 of 3 epochs"
    hang.set()
    until_ended("wandb calls")
    assert run.logged == [{"epoch": 1}]  # which was under way
    assert run.finished == []


@pytest.mark.parametrize(("where", "missing"), [("log", "; not sent: 2 of 2 epochs"), ("finish", "")])
def test_a_run_that_does_not_finish_is_given_up_and_its_service_too(
    tmp_path, fake, capsys, hang, teardowns, where, missing
):
    fake(FakeRun(hang=hang, where=[where]))
    tracker = Tracker(tmp_path, "offline", resume=False, limits=Limits(log=SHORT, finish=SHORT), **OPTIONS)
    for epoch in (1, 2):
        tracker.log({"epoch": epoch})
    tracker.finish()
    assert error_line(capsys) == f"it did not finish within 0.05 s{missing}"
    until_ended("wandb teardown")
    assert teardowns == ["wandb teardown"]  # not this thread, which it might hold up


def test_the_service_is_given_up_once_no_other_run_uses_it(tmp_path, fake, teardowns):
    runs = [FakeRun(fail=["log"]), FakeRun(), FakeRun(fail=["log"])]
    trackers = []
    for run in runs:
        fake(run)
        trackers.append(Tracker(tmp_path, "offline", resume=False, limits=Limits(log=LONG), **OPTIONS))
    trackers[0].log({"epoch": 1})
    assert teardowns == []
    trackers[1].finish()
    assert teardowns == []
    trackers[2].log({"epoch": 1})
    assert teardowns == ["wandb calls"]


def test_threads_end_with_their_runs(tmp_path, fake, capsys):
    for fail in ([], ["log"], ["finish"]):
        fake(FakeRun(fail=fail))
        tracker = Tracker(tmp_path, "offline", resume=False, **OPTIONS)
        tracker.log({"epoch": 1})
        tracker.finish()
    until_ended("wandb calls")


def services():
    found = [child for child in psutil.Process().children() if child.name().startswith("wandb-core")]
    return [service for service in found if service.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def real():
    """wandb with a service of its own, which does not outlive the test."""
    wandb.teardown()
    yield
    wandb.teardown()
    for service in services():
        service.kill()
        service.wait()


def failures(capsys):
    # wandb has lines of its own for what it was doing when its service went away.
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("wandb failed")]


@pytest.mark.parametrize("blow", ["kill", "suspend"])
def test_a_service_that_dies_or_hangs_costs_one_line_and_the_next_run_gets_a_new_one(tmp_path, capsys, real, blow):
    folders = [tmp_path / name for name in ("one", "two")]
    first = Tracker(folders[0], "offline", resume=False, limits=Limits(finish=1.0), **OPTIONS)
    first.log({"epoch": 1})
    (service,) = services()
    getattr(service, blow)()
    for epoch in (2, 3):
        first.log({"epoch": epoch})
    first.finish()
    (kept,) = (folders[0] / "wandb").glob("offline-run-*")
    (line,) = failures(capsys)
    assert line.endswith(f"; what it has so far can be sent by: wandb sync {kept}")
    second = Tracker(folders[1], "offline", resume=False, **OPTIONS)
    second.log({"epoch": 1})
    second.finish()
    wandb.teardown()  # which waits until all is written
    assert failures(capsys) == []
    assert b"epoch" in next(folders[1].glob("wandb/offline-run-*/run-*.wandb")).read_bytes()


HANGING = """
import sys
from pathlib import Path
import psutil
from trg_pyg.study.tracking import Limits, Tracker
folder = Path(sys.argv[1])
tracker = Tracker(
    folder, "offline", resume=False, limits=Limits(finish=0.5), project="p", group="g", name="n", config={}
)
(service,) = (child for child in psutil.Process().children() if child.name().startswith("wandb-core"))
(folder / "service").write_text(str(service.pid))
service.suspend()
tracker.finish()
print("end")
"""


@pytest.mark.slow
def test_a_process_ends_although_the_service_of_wandb_hangs(tmp_path):
    # No pipe: the service would keep it open.
    with (tmp_path / "log").open("w") as log:
        try:
            done = subprocess.run(
                [sys.executable, "-c", HANGING, tmp_path], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=100
            )
        finally:
            if (tmp_path / "service").is_file():
                psutil.Process(int((tmp_path / "service").read_text())).kill()
    assert done.returncode == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert "end" in lines
    assert [line for line in lines if "it did not finish within 0.5 s" in line]


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
