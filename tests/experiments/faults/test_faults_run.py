import json

import pytest

from experiments.faults import run
from experiments.faults.fault import Fault, Trial
from experiments.faults.soak import SoakReport, summary


class Kind(Fault):
    """Two faults a trial; of the numbers in ``losing`` something is lost."""

    name, counted, times = "kind of fault", "how", 4
    losing: frozenset[int] = frozenset()
    empty: frozenset[int] = frozenset()
    seen: list[tuple[int, float]] = []  # noqa: RUF012 - begun anew by each test

    def trial(self, bench):
        self.seen.append((bench.number, bench.random.random()))
        (bench.folder / "file").touch()
        if bench.number in self.empty:
            return Trial()
        return Trial(2, ["weights differ"] if bench.number in self.losing else [], {"here": 2})


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr(run, "known_faults", lambda: {Kind.name: Kind})
    monkeypatch.setattr(Kind, "seen", [])


def call(tmp_path, *arguments):
    return run.main([*arguments, "--output", str(tmp_path)])


def squeezed(text):
    return " ".join(text.split())


def test_nothing_lost_is_exit_code_0_and_a_table(tmp_path, capsys):
    assert call(tmp_path) == 0
    assert "| kind of fault | 4 | 4 | 0 | how | here: 4 |" in squeezed(capsys.readouterr().out)
    (line,) = (tmp_path / "table.jsonl").read_text().splitlines()
    assert json.loads(line)["survived"] == 4
    assert "kind of fault" in (tmp_path / "table.md").read_text()
    assert list((tmp_path / "work").iterdir()) == []


def test_anything_lost_is_exit_code_1_and_can_be_looked_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Kind, "losing", {1})
    assert call(tmp_path) == 1
    assert "| kind of fault | 4 | 2 | 1 |" in squeezed(capsys.readouterr().out)
    (kept,) = (tmp_path / "lost").iterdir()
    assert (kept / "file").exists()
    # It stays lost.
    assert call(tmp_path) == 1
    assert len(Kind.seen) == 2


def test_something_lost_without_a_fault_is_exit_code_1_too(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Kind, "trial", lambda self, bench: Trial(1 if bench.number else 0, [] if bench.number else ["x"])
    )
    assert call(tmp_path) == 1


def test_a_call_goes_on_where_another_was_interrupted(tmp_path, monkeypatch):
    def interrupt(self, bench):
        raise KeyboardInterrupt

    whole = tmp_path / "whole"
    call(whole)
    expected = list(Kind.seen)
    Kind.seen.clear()
    call(tmp_path / "broken", "--times", "2")
    with monkeypatch.context() as patch:
        patch.setattr(Kind, "trial", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call(tmp_path / "broken")
    assert call(tmp_path / "broken") == 0
    assert Kind.seen == expected
    assert call(tmp_path / "broken") == 0
    assert Kind.seen == expected


def test_trials_in_which_no_fault_took_place_are_made_again_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(Kind, "empty", {0, 2})
    assert call(tmp_path) == 0
    assert [number for number, _ in Kind.seen] == [0, 1, 2, 3]
    monkeypatch.setattr(Kind, "empty", range(1000))
    with pytest.raises(RuntimeError, match="no fault took place in 30 trials in a row"):
        call(tmp_path / "other")


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert call(tmp_path, "kind of fualt") == 2
    assert "did you mean kind of fault" in capsys.readouterr().err
    assert call(tmp_path, "--times", "0") == 2
    assert "--times 0: give 1 or more" in capsys.readouterr().err
    assert call(tmp_path, "--soak", "0.1") == 2
    assert "half a minute" in capsys.readouterr().err
    assert Kind.seen == []


def test_memory_that_is_not_flat_is_exit_code_1(tmp_path, monkeypatch):
    for growth, code in ((0.0, 0), (0.1, 1)):
        soaked = summary("TRG", [(second, 500 + growth * second) for second in range(600)], 75)
        monkeypatch.setattr(run, "soak", lambda minutes, output, soaked=soaked: SoakReport([soaked]))
        assert call(tmp_path, "--soak", "10") == code
