import json

import pytest

from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.config.methods import Method
from trg_pyg.study.agenda import Agenda, Training
from trg_pyg.study.study import prepare


def planned(tmp_path, name, seed):
    method = Method(name, {}, True, "last", build=None)
    return Training(method, seed, tmp_path / name / str(seed), {}, None, None, None, f"{name} seed {seed}")


@pytest.fixture
def runs(tmp_path):
    return [planned(tmp_path, name, seed) for name in ("KD", "TRG") for seed in (0, 1)]


def history(epochs, seconds):
    return [{"epoch": epoch + 1, "seconds": seconds} for epoch in range(epochs)]


def test_nothing_is_known_of_the_time_before_an_epoch_has_been_seen(runs):
    agenda = Agenda([[run] for run in runs], 4, {})
    assert agenda.place() == "then 4 runs"
    assert agenda.seconds_left() is None
    assert agenda.seconds_left(30.0) is None  # of a teacher
    assert (agenda.finished, agenda.begun) == ([], [])


def test_a_method_takes_what_it_took_and_an_unknown_one_what_the_others_take(runs):
    agenda = Agenda([[run] for run in runs], 4, {})
    agenda.begin([runs[0]])
    assert agenda.place() == "run 1 of 4"
    # 3 epochs of 10 s are missing of this run, 4 of each other.
    assert agenda.seconds_left(30.0, 10.0) == 30 + 3 * 40
    assert agenda.share_done(0.25) == 1 / 16
    agenda.finish([history(4, 10.0)])
    agenda.begin([runs[1]])
    assert agenda.seconds_left() == 3 * 40
    agenda.finish([history(4, 10.0)])
    agenda.begin([runs[2]])
    assert agenda.place() == "run 3 of 4"
    assert agenda.seconds_left(100.0, 50.0) == 100 + 4 * 50
    agenda.finish([history(4, 50.0)])
    agenda.begin([runs[3]])
    assert agenda.seconds_left() == 200
    agenda.finish([history(4, 50.0)])
    assert agenda.finished == runs
    assert agenda.seconds_left() == 0


def test_what_an_earlier_start_has_done_is_not_done_again(runs):
    agenda = Agenda([[run] for run in runs], 4, {runs[0].folder: history(4, 5.0), runs[2].folder: history(1, 20.0)})
    assert agenda.finished == [runs[0]]
    assert agenda.begun == [(runs[2], 1)]
    assert agenda.seconds_left() == 4 * 5 + 3 * 20 + 4 * 20
    agenda.begin([runs[1]])
    assert agenda.share_done(0.5) == (4 + 1 + 2) / 16


def test_runs_side_by_side_are_a_group(runs):
    agenda = Agenda([[runs[0], runs[2]], [runs[1], runs[3]]], 2, {})
    agenda.begin(agenda.groups[0])
    assert agenda.place() == "runs 1 to 2 of 4"
    # Each of the two has an epoch of 3 s left, and the others two.
    assert agenda.seconds_left(6.0, 3.0) == 6 + 4 * 3


def test_a_resumed_study_knows_by_its_checkpoints_what_is_done(small, capsys):
    assert main([*small, "--methods", "Vanilla", "--seeds", "0"]) == 0
    arguments = [*small, "--methods", "Vanilla", "--seeds", "0", "1", "--resume"]
    capsys.readouterr()
    agenda = Agenda.of(prepare(read_choices(arguments)))
    assert [run.title for run in agenda.finished] == ["Vanilla seed 0"]
    assert agenda.begun == []
    lines = (agenda.runs[0].folder / "metrics.jsonl").read_text().splitlines()
    assert agenda.seconds_left() == pytest.approx(sum(json.loads(line)["seconds"] for line in lines))
    # A new start that was killed at once: the checkpoint is still there, and a resumed run goes on from it.
    (agenda.runs[0].folder / "metrics.jsonl").write_text("")
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "resumed   1 of 2 runs are finished; 1 not begun\n" in out
    assert "run 1 of 2: Vanilla seed 0, finished before\n" in out
    assert "run 2 of 2: Vanilla seed 1, about 0:0" in out
    assert "Vanilla seed 0  epoch" not in out
    # What is finished is kept without --resume as well, and done again by --overwrite alone.
    assert len(Agenda.of(prepare(read_choices(arguments[:-1]))).finished) == 2
    assert Agenda.of(prepare(read_choices([*arguments[:-1], "--overwrite"]))).finished == []
