import pytest
import torch

from trg_pyg.data import Reviews, TextFiles, read_texts
from trg_pyg.errors import InputError

ROWS = [("good", "warm bread, fresh tea"), ("bad", "cold soup"), ("good", 'a "fine" cake'), ("bad", "stale bread")]


def table(path, rows=ROWS, names=("label", "text"), separator=","):
    def cell(value):
        return '"' + value.replace('"', '""') + '"' if separator == "," else value

    path.write_text("\n".join(separator.join(map(cell, row)) for row in [names, *rows]) + "\n", encoding="utf-8")
    return str(path)


def lines(path):
    import json

    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in ROWS))
    return str(path)


def read(file, **options):
    return TextFiles(file, test_file=file, **options).load()


def test_all_kinds_of_files_give_the_same_texts(tmp_path):
    comma, tab = table(tmp_path / "a.csv"), table(tmp_path / "a.tsv", separator="\t")
    found = [read(file, max_tokens=6) for file in (comma, tab, lines(tmp_path / "a.jsonl"))]
    assert found[0].classes == ("bad", "good")
    assert found[0].train.targets.tolist() == [1, 0, 1, 0]
    assert found[0].vocabulary.words[:2] == ('"', "bread")
    assert len({splits.digest for splits in found}) == 1
    inputs = found[0].train.inputs
    assert {name: each.shape for name, each in inputs.items()} == {
        "input_ids": (4, 6),
        "attention_mask": (4, 6),
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_lines_end_where_those_of_files_do(tmp_path, name, ending):
    odd = "tea\u2028and\x85bread\x0c"
    file = tmp_path / name
    separator = "," if name == "a.csv" else "\t"
    rows = [separator.join(row) for row in (("label", "text"), ("good", odd), ("bad", "soup"))]
    file.write_bytes(ending.join(rows).encode())
    assert read_texts(file, "text", "label") == ([odd, "soup"], ["good", "bad"])


def test_test_texts_are_read_by_the_words_of_the_training_texts(tmp_path):
    train = table(tmp_path / "train.csv")
    test = table(tmp_path / "test.csv", [("bad", "soup of unheard things"), ("good", "tea")])
    splits = TextFiles(train, test, max_tokens=5).load()
    number = {word: at for at, word in enumerate(splits.vocabulary.words, 3)}
    assert splits.test.inputs["input_ids"].tolist() == [[2, number["soup"], 1, 1, 1], [2, number["tea"], 0, 0, 0]]


def test_other_texts_other_labels_and_other_words_are_other_data(tmp_path):
    digests = {
        read(table(tmp_path / f"{number}.csv", rows), **options).digest
        for number, (rows, options) in enumerate(
            [
                (ROWS, {}),
                ([*ROWS[:3], ("bad", "stale cake")], {}),
                ([*ROWS[:3], ("good", "stale bread")], {}),
                (ROWS, {"words": 2}),
                (ROWS, {"max_tokens": 5}),
            ]
        )
    }
    assert len(digests) == 5


def test_a_fifth_of_each_class_is_held_out_where_there_are_no_test_texts(tmp_path):
    rows = [(label, f"text {number} of {label}") for number in range(10) for label in ("a", "b", "c")]
    splits = TextFiles(table(tmp_path / "a.csv", rows)).load()
    assert splits.class_counts == (8, 8, 8)
    assert torch.bincount(splits.test.targets).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"label,text\ngood,caf\xe9\n", r"line 2: byte 0xe9 is no UTF-8; save the file as UTF-8"),
        (b"label,body\ngood,tea\n", r"line 2: no column 'text'; it has label, body: set data.text"),
        (b"kind,text\ngood,tea\n", r"line 2: no column 'label'; it has kind, text: set data.label"),
        (b"label,text\ngood,tea\nbad, \n", r"line 3: 'text' is empty"),
        (b"label,text\n,tea\n", r"line 2: 'label' is empty"),
        (b"label,text\ngood,tea,more\n", r"line 2: 3 cells under 2 names"),
        (b'label,text\ngood,"tea\n', r"line 2: .*mend the row"),
        (b"label,text\n", "it has no texts"),
        (b"label,text,text\ngood,tea,soup\n", "line 1: text names several columns; name each once"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, content, message):
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(str(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "tea"', "line 1: no JSON"),
        ("[1]", "line 1: no object"),
        ('{"text": 5, "label": "a"}', "line 1: 'text' is 5; give a text"),
    ],
)
def test_what_is_wrong_with_a_line_of_json_is_named(tmp_path, line, message):
    file = tmp_path / "a.jsonl"
    file.write_text(line)
    with pytest.raises(InputError, match=message):
        read(str(file))


def test_other_files_and_labels_that_nothing_was_trained_for_are_refused(tmp_path):
    train = table(tmp_path / "train.csv")
    with pytest.raises(InputError, match=r"files that end in \.csv, \.tsv, \.jsonl"):
        read(str(tmp_path / "a.txt"))
    with pytest.raises(InputError, match="no such file"):
        read(str(tmp_path / "b.csv"))
    with pytest.raises(InputError, match="label 'odd' of test text 2 is none of the training labels, bad, good"):
        TextFiles(train, table(tmp_path / "test.csv", [("bad", "a"), ("odd", "b")])).load()
    with pytest.raises(InputError, match="no text in the test split for class good"):
        TextFiles(train, table(tmp_path / "test.csv", [("bad", "a")])).load()


def test_the_embedded_reviews_are_balanced_whole_and_of_no_text_twice():
    splits = Reviews().load()
    assert splits.classes == ("complaint", "mixed", "praise")
    assert splits.class_counts == (320, 320, 320)
    both = [part.inputs["input_ids"] for part in (splits.train, splits.test)]
    assert len(torch.cat(both).unique(dim=0)) == 1200
    assert all((ids[:, -1] == 0).all() for ids in both)  # nothing is cut off
    assert not any((ids == 1).any() for ids in both)


def test_a_long_tail_and_held_out_texts_are_as_of_images():
    splits = Reviews(imbalance=10, validation=0.1, heldout=0.1).load()
    assert splits.evaluated == "validation"
    assert splits.class_counts == (259, 82, 25)
    assert (len(splits.test), len(splits.heldout)) == (96, 41)
