import hashlib

import pytest

from experiments.data import newsgroups, r8
from trg_pyg.data import TextFiles

ROWS = {
    "train": [("earn", "profit of the year "), ("acq", "one firm buys another"), ("earn", "net loss")],
    "test": [("earn", "net loss"), ("acq", "shares bought")],
}


@pytest.fixture
def packages(tmp_path, monkeypatch, script):
    """Files at the places and of the form of those in the packages."""
    for name in script.SHA256:
        file = tmp_path / "packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        split = file.stem.rpartition("-")[2]
        rows = [*r8.HEAD, *("\t".join(row) for row in ROWS.get(split, []))]
        file.write_text("\n".join(rows) + "\n" if split in ROWS else name)
        monkeypatch.setitem(script.SHA256, name, hashlib.sha256(file.read_bytes()).hexdigest())
    return tmp_path / "packages"


@pytest.mark.parametrize("script", [r8, newsgroups], ids=lambda script: script.__name__.rpartition(".")[2])
def test_it_writes_texts_that_are_read_and_counts_those_in_both_splits(script, packages, tmp_path):
    said = script.write(packages, tmp_path / "texts")
    assert said == "3 training and 2 test texts, 1 of these among the former"
    splits = TextFiles(str(tmp_path / "texts" / "train.tsv"), str(tmp_path / "texts" / "test.tsv")).load()
    assert splits.classes == ("acq", "earn")
    assert splits.train.targets.tolist() == [1, 0, 1]
    assert (tmp_path / "texts" / "tokenizer.json").read_text() == f"{r8.MODEL}/tokenizer.json"
