import json
from dataclasses import dataclass

import pytest
import torch

from experiments.benchmarks._measure import in_turn, peak_mib, ratio, show


@dataclass
class Row:
    name: str
    over_floor: float | None = None


def measure(names: tuple[str, ...] = ("a",), steps: int = 3, device: str = "cpu") -> list[Row]:
    return [Row(name, None if name == "a" else 12.345) for name in names]


def test_a_benchmark_is_a_command_that_prints_what_was_given_and_a_table(capsys):
    show(measure, ["--names", "[a,bc]"])
    given, _, *table = capsys.readouterr().out.splitlines()
    assert given.startswith("names ('a', 'bc'), steps 3; ")
    assert given.endswith(" CPU threads")
    assert table == [
        "| name | over floor |",
        "|------|------------|",
        "| a    |            |",
        "| bc   | 12.35      |",
    ]


def test_the_rows_go_to_a_file_too(tmp_path):
    show(measure, ["--names", "[bc]", "--json", str(tmp_path / "new" / "rows.json")])
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == [{"name": "bc", "over_floor": 12.345}]


def test_functions_take_turns_and_the_first_calls_do_not_count():
    calls = []
    taken = in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, 2, clock=lambda: len(calls))
    assert calls == list("ababab")
    assert taken == {"a": [1, 1], "b": [1, 1]}


def test_a_ratio_is_the_median_of_neighbours():
    assert ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0


def allocate(mebibytes):
    return lambda: torch.ones(mebibytes << 18).sum()


def test_peak_memory_is_that_of_the_call():
    assert 60 < peak_mib(allocate, 64) < 110


def fail():
    raise SystemExit(3)


def test_a_process_that_ends_early_is_reported():
    with pytest.raises(RuntimeError, match="exit code 3"):
        peak_mib(fail)
