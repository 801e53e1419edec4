import pytest

from experiments.studies.lasting.curves import differences
from trg_pyg.errors import InputError
from trg_pyg.report.results import Results
from trg_pyg.runs import Run


def results(**accuracies):
    runs = [
        Run(
            method,
            seed,
            {},
            [{"epoch": n + 1, **({} if top1 is None else {"test/top1": top1})} for n, top1 in enumerate(of)],
        )
        for method, of_seeds in accuracies.items()
        for seed, of in of_seeds.items()
    ]
    return Results("", "", {}, {}, None, None, runs)


def test_differences_are_those_of_each_seed_at_the_epochs_that_were_measured():
    found = differences(
        results(a={0: [1.0, None, 5.0], 2: [2.0, None, 9.0]}, b={2: [4.0, None, 6.0], 3: [0, 0, 0]}), "a", "b"
    )
    assert found == {"all": [{1: -2.0, 3: 3.0}]}


@pytest.mark.parametrize(
    ("other", "message"), [("c", "no method c: the results have a, b"), ("b", "a and b have no seed")]
)
def test_what_cannot_be_compared_is_refused(other, message):
    with pytest.raises(InputError, match=message):
        differences(results(a={0: [1.0]}, b={1: [1.0]}), "a", other)
