import pytest

from trg_pyg.errors import InputError
from trg_pyg.report.paired import Difference, paired_difference


def test_two_seeds_by_hand():
    # Differences 1 and 3: mean 2, deviation sqrt(2), standard error 1. For one degree of freedom Student's t is the
    # distribution of Cauchy, whose 0.975 quantile is tan(0.475 pi) = 12.7062.
    found = paired_difference([51.0, 63.0], [50.0, 60.0])
    assert str(found) == "+2.00 [-10.71, 14.71]"
    assert (found.mean, found.seeds) == (2.0, 2)
    assert (found.low, found.high) == pytest.approx((2 - 12.7062047, 2 + 12.7062047))


def test_three_seeds_by_hand():
    # Differences 1, 3 and 2: deviation 1, standard error 1 / sqrt(3). For two degrees of freedom the quantile at p is
    # (2p - 1) / sqrt(2p (1 - p)), here 0.95 / sqrt(2 * 0.975 * 0.025) = 4.30265.
    found = paired_difference([51.0, 73.0, 62.0], [50.0, 70.0, 60.0])
    half = 0.95 / (2 * 0.975 * 0.025) ** 0.5 / 3**0.5
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2 - half, 2 + half))


def test_pairs_that_differ_by_the_same_have_an_interval_of_no_width():
    assert paired_difference([51.0, 61.0, 71.0], [50.0, 60.0, 70.0]) == Difference(1.0, 1.0, 1.0, 3)


def test_the_other_way_round_is_the_negative():
    a, b = [51.0, 73.0, 62.0, 55.0], [50.0, 70.0, 64.0, 54.0]
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_one_seed_has_no_interval():
    found = paired_difference([48.5], [50.0])
    assert found == Difference(-1.5, None, None, 1)
    assert str(found) == "-1.50"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], "1 and 2 values: a paired difference needs the same seeds of both"),
        ([], [], "a paired difference needs the values of at least one seed"),
    ],
)
def test_values_that_are_no_pairs_are_refused(a, b, message):
    with pytest.raises(InputError, match=message):
        paired_difference(a, b)


def test_the_p_value_is_that_of_the_paired_t_test():
    stats = pytest.importorskip("scipy.stats")
    a, b = [51.0, 73.0, 62.0, 55.0], [50.0, 70.0, 64.0, 51.5]
    assert paired_difference(a, b).p == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=1e-12)


def test_differences_without_spread_have_no_p_value():
    # Not equal to the last bit.
    assert paired_difference([0.1 + 0.2, 1.3], [0.0, 1.0]).p is None
    assert paired_difference([1.0], [0.0]).p is None
