"""The kinds of faults, in real processes, above all that they notice what they are there to notice."""

import math
import random
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest
import torch
from test_standing import bank, edit_checkpoint, stop_after_the_first_epoch, student_of

from experiments.faults import fault, process
from experiments.faults.fault import Bench, Trial
from experiments.faults.kinds import damaged, disk_full, kill, not_finite, signals
from experiments.faults.nan_distiller import Poison
from experiments.faults.recipe import RECIPES, arguments
from experiments.faults.reference import Reference
from experiments.faults.run import choose, known_faults
from experiments.faults.standing import Place, run_folders
from trg_pyg.cli.run import main
from trg_pyg.models.taps import Outputs

KINDS = {"kill -9", "SIGTERM, SIGINT, SIGUSR1", "damaged checkpoint", "disk full", "read-only folder"}
KINDS |= {"two runs in a folder", "NaN in an image"}


def test_a_file_is_enough_for_a_kind_to_be_known():
    known = known_faults()
    assert known.keys() >= KINDS
    assert {cls.name for cls in choose([], known)} >= KINDS


@pytest.mark.parametrize("kind", damaged._DAMAGES)
def test_every_damage_changes_the_content(kind):
    content = random.Random("content").randbytes(3000)
    for seed in range(20):
        found = damaged._DAMAGES[kind](content, random.Random(seed))
        assert found != content
        assert len(found) < 3000 or kind in ("bits flipped", "rubbish")


def test_a_place_that_is_not_the_named_one_is_lost():
    said = "run.py: SIGTERM after step 12 of 60 of epoch 2 of 2; everything is saved, resume to go on"
    for places, lost in (({"a": Place(1, 12)}, 0), ({"a": Place(1, 11)}, 1), ({}, 1)):
        trial = Trial()
        signals._check_place(trial, said, places)
        assert len(trial.lost) == lost
    trial = Trial()
    signals._check_place(trial, said.replace("step 12 of 60 of ", ""), {"a": Place(2, 0)})
    assert trial.lost == []
    signals._check_place(trial, "stopped", {"a": Place(2, 0)})
    assert len(trial.lost) == 1


def outputs():
    torch.manual_seed(0)
    return Outputs(torch.randn(3, 4, requires_grad=True).clone(), (torch.randn(3, 2, 2, 2),), torch.randn(3, 5))


def test_the_first_image_of_a_chosen_step_is_spoiled():
    poison = Poison([1], "output", None)
    plain, spoiled, after = (poison(outputs()) for _ in range(3))
    for each in (plain, after):
        assert not not_finite.not_finite(list(each))
    for tensor in (spoiled.logits, spoiled.features[0], spoiled.embedding):
        assert tensor[0].isnan().all()
        assert tensor[1:].isfinite().all()


def test_a_gradient_is_spoiled_alone():
    given = outputs()
    logits = Poison([0], "gradient", None)(given).logits
    logits.retain_grad()
    loss = logits.square().sum()
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad[0].isnan().all()
    assert logits.grad[1:].isfinite().all()


def test_what_is_not_finite_is_named():
    state = {"a": [torch.ones(2), {"b": torch.tensor([1.0, math.inf])}], "c": torch.arange(2), "d": "text"}
    assert not_finite.not_finite(state) == [".a[1].b"]


def test_the_length_of_the_files_of_a_process_is_limited_for_a_while():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        with disk_full._limited(SimpleNamespace(pid=process.pid), 3000) as took_place:
            assert took_place()
            assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[0] == 13_000
        assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[0] == before[0]
    finally:
        process.kill()
        process.wait()


def test_a_small_disk_gets_full_and_has_space_again(tmp_path):
    bench = Bench(tmp_path, 0, random.Random(0), lambda recipe: Reference(tmp_path, 1, 1))
    bench.tree.mkdir()
    with disk_full._small_disk(bench) as is_mounted:
        if not is_mounted:
            pytest.skip("no file system can be mounted here")
        with disk_full._filled(bench.tree, 0) as was_full:
            while not was_full():
                pass
            with pytest.raises(OSError, match="No space left"):
                (bench.tree / "file").write_bytes(bytes(2**20))
        (bench.tree / "file").write_bytes(bytes(2**20))
    assert not (bench.tree / "file").exists()


class InPlace:
    """A training in this process, which has ended when it has begun."""

    pid = 0

    def __init__(self, given, log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file, redirect_stdout(file):
            self.code = main(given)
        self.log = log

    def wait(self, *given, **options):
        return self.code

    def send(self, number):
        return False

    def printed(self):
        return self.log.read_text()


@pytest.fixture
def bench(finished, tmp_path):
    """For a trial of CRD in which no process is killed, and none started anew, as the first two of every eight are."""
    number = next(n for n in range(99) if n % 8 >= 2 and RECIPES[n % len(RECIPES)] == "CRD")
    return Bench(tmp_path, number, random.Random(3), lambda recipe: Reference(finished, 8.0, 30.0), InPlace)


def test_a_training_that_goes_on_as_it_should_has_lost_nothing(bench, monkeypatch):
    stop_after_the_first_epoch(bench.tree, monkeypatch)
    trial = kill.Kill().trial(bench)
    assert (trial.injected, trial.lost) == (0, [])


def test_a_state_that_is_changed_before_a_resumption_is_counted(bench, monkeypatch):
    """The checkpoint is whole in itself, as if the wrong state had been saved."""
    stop_after_the_first_epoch(bench.tree, monkeypatch)
    edit_checkpoint(bench.tree, bank)
    trial = kill.Kill().trial(bench)
    assert [what for what in trial.lost if "last.safetensors" in what]


def starting_over(recipe, output, resume):
    return [*arguments(recipe, output, resume=False), "--overwrite"]


def with_another_seed(recipe, output, resume):
    return [*arguments(recipe, output), "--seeds", "1"]


@pytest.mark.parametrize(("changed", "said"), [(starting_over, "done again"), (with_another_seed, "not expected")])
def test_a_process_that_does_not_resume_is_counted(bench, monkeypatch, changed, said):
    stop_after_the_first_epoch(bench.tree, monkeypatch)
    monkeypatch.setattr(fault, "arguments", changed)
    assert [what for what in kill.Kill().trial(bench).lost if said in what]


def test_files_that_are_left_half_written_are_counted(bench, finished, monkeypatch):
    shutil.copytree(finished, bench.tree)
    (student_of(bench.tree) / ".checkpoint.pt.1.tmp").touch()
    monkeypatch.setattr("trg_pyg.study.folder.RunFolder._delete_half_written", lambda folder: None)
    (what,) = kill.Kill().trial(bench).lost
    assert what.endswith(".checkpoint.pt.1.tmp was left half-written")


@pytest.mark.slow
def test_a_forked_training_prints_ends_and_is_killed_as_one_that_was_started_anew(tmp_path):
    refused = process.start(["--train.epochs=0"], tmp_path / "refused.log")
    assert refused.wait() == 2
    assert "run.py: error: " in refused.printed()
    killed = process.start(arguments("TRG", tmp_path / "runs"), tmp_path / "killed.log")
    killed.wait(until=lambda: bool(run_folders(tmp_path / "runs")))
    killed.send(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
