import pickle

import pytest

from trg_pyg.errors import InputError, count, near, require


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("lr=0: too low", "lr=0: too low"),
        ("größer, 图 and a \\ stay", "größer, 图 and a \\ stay"),
        ("a\nb\r\x0bc\u2028d", r"a\nb\r\x0bc\u2028d"),
        ("\x1b[31mred\udc80", r"\x1b[31mred\udc80"),
    ],
)
def test_a_message_is_one_line_that_can_be_printed(message: str, shown: str) -> None:
    with pytest.raises(InputError) as error:
        require(False, message)
    assert str(error.value) == shown
    assert str(error.value).encode()
    assert str(pickle.loads(pickle.dumps(error.value))) == shown


def test_a_count_has_its_noun_in_the_plural_unless_it_is_1() -> None:
    assert [count(1, what) for what in ("image", "class", "batch")] == ["1 image", "1 class", "1 batch"]
    counted = [count(1438, what) for what in ("image", "class", "batch", "epoch")]
    assert counted == ["1,438 images", "1,438 classes", "1,438 batches", "1,438 epochs"]
    assert count(0, "step") == "0 steps"


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("trg", ["TRG", "TRGPaper"], "; did you mean TRG?"),
        ("batch-size", ["train.batch_size", "data.size"], "; did you mean train.batch_size?"),
        ("lr", ["teacher.train.lr", "train.lr", "train.gamma"], "; did you mean train.lr, teacher.train.lr?"),
        ("train.lrr", ["train.lr", "train.gamma"], "; did you mean train.lr?"),
        ("xyz", ["alpha", "beta"], "; known: alpha, beta"),
        ("xyz", [], ""),
    ],
)
def test_the_nearest_name_is_found_whatever_its_case_and_group(name: str, known: list[str], said: str) -> None:
    assert near(name, known) == said
