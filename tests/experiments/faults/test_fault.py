import random
import signal
import sys

import pytest

from experiments.faults import fault, process
from experiments.faults.fault import Bench, Trial, Watch
from experiments.faults.recipe import RECIPES
from experiments.faults.reference import Reference
from experiments.faults.standing import Place


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, len(RECIPES) + 1, random.Random(0), lambda recipe: Reference(tmp_path / recipe, 4.0, 8.0))


def test_a_trial_counts_faults_by_place_and_what_is_not_as_expected():
    trial = Trial()
    for where in ("here", "there", "here"):
        trial.hit(where)
    trial.expect(True, "fine")
    assert (trial.injected, trial.where, trial.lost) == (3, {"here": 2, "there": 1}, [])
    trial.expect(False, "gone")
    assert trial.lost == ["gone"]


def test_recipes_take_turns(bench):
    assert bench.recipe == RECIPES[1]
    assert bench.reference.tree.name == RECIPES[1]


def test_moments_are_spread_over_the_life_of_a_process_and_later_after_such_as_got_nowhere(bench):
    moments = sorted(bench.moment(4.0) for _ in range(1000))
    assert 0 <= moments[0] < 0.05
    assert 3.95 < moments[-1] <= 4.0
    assert 900 < sum(moment < 3.8 for moment in moments) < 990
    assert max(bench.moment(4.0, fruitless=4) for _ in range(1000)) > 9


def test_a_watch_sees_what_goes_back_between_two_processes(bench, monkeypatch):
    folder = bench.tree / "TRG" / "seed0"
    stands = [
        ({}, []),
        ({folder: Place(0, 50)}, []),
        ({folder: Place(0, 50)}, ["damaged"]),
        ({folder: Place(0, 0)}, []),
    ]
    monkeypatch.setattr(fault, "standing", lambda tree: stands.pop(0))
    trial = Trial()
    watch = Watch(bench, trial)
    seen = []
    for _ in range(3):
        watch.look("")
        seen.append((watch.fruitless, len(trial.lost)))
    assert seen == [(0, 0), (1, 1), (0, 2)]


def sleeper(tmp_path, monkeypatch, code="import time; print('up', flush=True); time.sleep(60)"):
    file = tmp_path / "experiments" / "run.py"
    file.parent.mkdir()
    file.write_text(code)
    monkeypatch.setattr(process, "ROOT", tmp_path)
    return process.start_anew([], tmp_path / "logs" / "log")


def test_a_process_that_is_killed_says_by_what(tmp_path, monkeypatch):
    training = sleeper(tmp_path, monkeypatch)
    assert training.wait(until=lambda: "up" in training.printed()) is None
    assert training.wait(0.01) is None
    assert not training.listens(signal.SIGUSR1)
    assert training.send(signal.SIGKILL)
    assert training.wait() == -signal.SIGKILL
    assert not training.send(signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads handlers of signals where Linux has them")
def test_a_process_with_a_handler_is_seen_to_listen(tmp_path, monkeypatch):
    code = "import signal, time; signal.signal(signal.SIGUSR1, print); print('up', flush=True); time.sleep(60)"
    training = sleeper(tmp_path, monkeypatch, code)
    training.wait(until=lambda: "up" in training.printed())
    assert training.listens(signal.SIGUSR1)
    assert not training.listens(signal.SIGTERM)
    training.send(signal.SIGKILL)
    training.wait()


def test_a_process_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LIMIT_SECONDS", 0.05)
    training = sleeper(tmp_path, monkeypatch)
    with pytest.raises(TimeoutError, match=r"did not end within 0\.05 s"):
        training.wait()
    monkeypatch.setattr(process, "LIMIT_SECONDS", 60.0)
    assert training.wait() == -signal.SIGKILL
