from experiments.benchmarks.shares import measure


def test_one_process_and_all_ways_of_several_take_turns():
    rows = measure(64, (2,), repeats=1, rounds=1)
    assert [(row.processes, row.way) for row in rows] == [(1, "rows"), (2, "rows"), (2, "whole"), (2, "sent")]
    assert all(row.ms > 0 for row in rows)
    assert rows[0].over_one == 1
