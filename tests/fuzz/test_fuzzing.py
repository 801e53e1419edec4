from collections import Counter, defaultdict

import fuzzing
import pytest
import torch
from contracts import DISTILLERS, LOSSES, builders, divergences, relations
from fuzzing import judged, table
from odd_tensors import check_finite

from trg_pyg.errors import InputError


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> defaultdict[str, Counter[str]]:
    tally: defaultdict[str, Counter[str]] = defaultdict(Counter)
    monkeypatch.setattr(fuzzing, "TALLY", tally)
    return tally


def test_what_is_read_and_what_is_refused_is_counted() -> None:
    for error in (None, InputError("lr=0: too low"), None):
        with judged("files"):
            if error:
                raise error
    assert table() == [
        "files                              3 inputs       1 refused       2 accepted",
        "all                                3 inputs       1 refused       2 accepted",
    ]


@pytest.mark.parametrize("error", [IndexError("0"), ValueError("no"), RuntimeError("torch"), SystemExit(2)])
def test_any_other_error_is_a_defect(error: BaseException) -> None:
    with pytest.raises(type(error)), judged("files"):
        raise error


def test_a_refusal_says_something() -> None:
    with pytest.raises(AssertionError), judged("files"):
        raise InputError("  ")


def test_what_is_not_finite_is_a_defect_where_the_input_is_tame() -> None:
    x = torch.zeros(2, requires_grad=True)
    with pytest.raises(AssertionError, match="not finite"):
        check_finite(1 / x.sum(), x)
    x.grad = None
    with pytest.raises(AssertionError, match="gradient not finite"):
        check_finite(x[0].sqrt(), x)
    x.grad = None
    with pytest.raises(AssertionError, match="gradient is NaN"):
        check_finite(x.sqrt().sum() * 0, x)
    huge = torch.full((2,), 1e30, requires_grad=True)
    check_finite(huge.square().sum(), huge)


def test_the_classes_of_the_contract_tests_are_fuzzed() -> None:
    for found in (builders(), relations(), divergences(), LOSSES, DISTILLERS):
        assert len(found) >= 4
