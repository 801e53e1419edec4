import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trg_pyg.errors import InputError
from trg_pyg.training.calibration import calibration


def plain(confidence: list[float], correct: list[bool], bins: int) -> float:
    """Sum over bins ((m - 1) / M, m / M] of |B_m| / n |acc - conf|; the first bin takes 0 too."""
    total = 0.0
    for m in range(1, bins + 1):
        inside = [
            (p, right)
            for p, right in zip(confidence, correct, strict=True)
            if (m - 1) / bins < p <= m / bins or (m == 1 and p == 0)
        ]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            mean = sum(p for p, _ in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    bins=st.sampled_from([1, 2, 4, 15]),
)
def test_the_error_is_its_equation(pairs, bins):
    confidence, correct = [p for p, _ in pairs], [right for _, right in pairs]
    found = calibration(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct), bins)
    assert found.error == pytest.approx(plain(confidence, correct, bins), abs=1e-12)
    assert found.count.sum() == len(pairs)


def test_written_out():
    found = calibration(torch.tensor([0.6, 0.6, 1.0, 0.2]), torch.tensor([True, False, True, False]), bins=2)
    # Bin (0, 0.5]: confidence 0.2, none right. Bin (0.5, 1]: mean confidence 2.2 / 3, two of three right.
    assert found.count.tolist() == [1, 3]
    assert found.accuracy.tolist() == pytest.approx([0, 2 / 3])
    assert found.confidence.tolist() == pytest.approx([0.2, 2.2 / 3])
    assert found.error == pytest.approx(0.25 * 0.2 + 0.75 * (2.2 - 2) / 3)


def test_an_empty_bin_has_no_mean_and_no_part_in_the_error():
    found = calibration(torch.tensor([0.9]), torch.tensor([True]), bins=2)
    assert found.accuracy[0].isnan()
    assert found.error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "message"),
    [
        ([0.5], [True], 0, "bins=0"),
        ([], [], 15, "at least one prediction"),
        ([0.5, 0.5], [True], 15, "give one value of each"),
        ([1.5], [True], 15, "which is no probability"),
        ([float("nan")], [True], 15, "which is no probability"),
    ],
)
def test_bad_input(confidence, correct, bins, message):
    with pytest.raises(InputError, match=message):
        calibration(torch.tensor(confidence), torch.tensor(correct, dtype=torch.bool), bins)
