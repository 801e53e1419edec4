from experiments.faults.fault import Trial
from experiments.faults.record import Record, sources_hash, table


def test_trials_are_kept_and_counted_on(tmp_path):
    record = Record(tmp_path / "kind.jsonl", "mine")
    record.add(0, Trial(3, [], {"here": 1, "there": 2}))
    record.add(4, Trial(2, ["a", "b"], {"here": 2}))
    again = Record(tmp_path / "kind.jsonl", "mine")
    assert (again.injected, again.next_number) == (5, 5)
    row = again.row("kind", "how")
    assert (row.injected, row.survived, row.lost) == (5, 3, 2)
    assert row.where == {"here": 3, "there": 2}


def test_trials_of_other_sources_and_lines_cut_by_a_kill_do_not_count(tmp_path):
    Record(tmp_path / "kind.jsonl", "other").add(0, Trial(3))
    mine = Record(tmp_path / "kind.jsonl", "mine")
    assert mine.injected == 0
    mine.add(0, Trial(1))
    with (tmp_path / "kind.jsonl").open("a") as file:
        file.write('{"sources": "mine", "numb')
    assert Record(tmp_path / "kind.jsonl", "mine").injected == 1


def test_a_line_after_one_that_was_cut_counts(tmp_path):
    (tmp_path / "kind.jsonl").write_text('{"sources": "mine", "numb')
    Record(tmp_path / "kind.jsonl", "mine").add(0, Trial(1))
    assert Record(tmp_path / "kind.jsonl", "mine").injected == 1


def test_the_table_says_what_was_lost(tmp_path):
    record = Record(tmp_path / "kind.jsonl", "mine")
    record.add(0, Trial(2, ["weights differ"], {"here": 2}))
    printed = " ".join(table([record.row("kind", "how")]).split())
    assert "| kind | 2 | 0 | 1 | how | here: 2 |" in printed
    assert "lost, kind: weights differ" in printed


def test_other_sources_have_another_hash(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.faults.record.ROOT", tmp_path)
    (tmp_path / "trg_pyg").mkdir()
    hashes = [sources_hash()]
    for text in ("a = 1", "a = 2"):
        (tmp_path / "trg_pyg" / "a.py").write_text(text)
        hashes.append(sources_hash())
    assert len(set(hashes)) == 3
