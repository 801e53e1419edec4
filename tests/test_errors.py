import pickle

import pytest

from trg_pyg.errors import InputError, require


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
