import math

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.training.calibration import calibration


def transcribed(confidence: list[float], correct: list[bool], bins: int) -> float:
    """Guo et al., 2017, equations 1 to 3 and 5, word by word."""
    n, error = len(confidence), 0.0
    for m in range(1, bins + 1):
        inside = [i for i in range(n) if (m - 1) / bins < confidence[i] <= m / bins]
        if inside:
            acc = sum(correct[i] for i in inside) / len(inside)
            conf = sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / n * abs(acc - conf)
    return error


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_the_error_is_that_of_the_paper(bins):
    generator = torch.Generator().manual_seed(bins)
    confidence = torch.rand(200, generator=generator)
    correct = torch.rand(200, generator=generator) < confidence
    expected = transcribed(confidence.double().tolist(), correct.tolist(), bins)
    assert calibration(confidence, correct, bins).error == pytest.approx(expected, abs=1e-12)


def test_bins_by_hand():
    # Two bins: (0, 0.5] has 0.4 right and 0.5 wrong, (0.5, 1] has 1.0 right.
    found = calibration(torch.tensor([0.4, 0.5, 1.0], dtype=torch.float64), torch.tensor([True, False, True]), 2)
    assert found.count.tolist() == [2, 1]
    assert found.confidence.tolist() == pytest.approx([0.45, 1.0])
    assert found.accuracy.tolist() == [0.5, 1.0]
    assert found.error == pytest.approx(2 / 3 * 0.05)


def test_edges_belong_to_the_bin_below_and_zero_to_the_first():
    edges = torch.arange(16, dtype=torch.float64) / 15
    assert calibration(edges, torch.ones(16, dtype=torch.bool)).count.tolist() == [2] + [1] * 14


def test_an_empty_bin_is_nan_and_counts_nothing():
    found = calibration(torch.tensor([1.0]), torch.tensor([True]))
    assert found.error == 0
    assert math.isnan(found.accuracy[0])
    assert math.isnan(found.confidence[0])


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "message"),
    [
        ([], [], 15, "at least one prediction"),
        ([0.5], [True, False], 15, r"confidence \[1\] and correct \[2\]"),
        ([1.5], [True], 15, r"confidence holds \[1.5\], which is no probability"),
        ([float("nan")], [True], 15, r"confidence holds \[nan\]"),
        ([0.5], [True], 0, "bins=0: give at least one"),
    ],
)
def test_what_is_no_prediction_is_refused(confidence, correct, bins, message):
    with pytest.raises(InputError, match=message):
        calibration(torch.tensor(confidence), torch.tensor(correct, dtype=torch.bool), bins)
