import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.training.calibration import expected_calibration_error


def with_confidence(values):
    confidence = torch.tensor(values)
    return torch.stack([confidence, 1 - confidence], dim=1)


def test_by_hand():
    # One bin of confidence 0.6 with half of it right, one of confidence 0.9 with all of it right.
    probabilities = with_confidence([0.6, 0.6, 0.9, 0.9])
    targets = torch.tensor([0, 1, 0, 0])
    assert expected_calibration_error(probabilities, targets, bins=10) == pytest.approx(100 * (0.5 * 0.1 + 0.5 * 0.1))


def test_gaps_of_one_bin_cancel_and_those_of_two_do_not():
    probabilities, targets = with_confidence([0.75, 0.85]), torch.tensor([1, 0])
    assert expected_calibration_error(probabilities, targets, bins=1) == pytest.approx(30)
    assert expected_calibration_error(probabilities, targets, bins=5) == pytest.approx(100 * (0.75 + 0.15) / 2)


def test_a_network_that_is_right_as_often_as_it_says_has_none():
    generator = torch.Generator().manual_seed(0)
    probabilities = (2 * torch.randn(50_000, 10, generator=generator)).softmax(dim=1)
    targets = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    assert expected_calibration_error(probabilities, targets) < 1
    sharper = (3 * probabilities.log()).softmax(dim=1)
    assert expected_calibration_error(sharper, targets) > 20


def test_certainty_falls_into_the_last_bin():
    assert expected_calibration_error(torch.eye(4), torch.arange(4)) == 0
    assert expected_calibration_error(torch.eye(4), torch.arange(4).roll(1)) == 100


@pytest.mark.parametrize(
    ("probabilities", "targets", "bins", "message"),
    [
        (torch.ones(2, 3), torch.zeros(2), 15, "rows that sum to 1; take the softmax of logits"),
        (torch.tensor([[2.0, -1.0]]), torch.zeros(1), 15, "must be at least 0"),
        (torch.full((1, 2), float("nan")), torch.zeros(1), 15, "must be at least 0"),
        (torch.eye(2), torch.zeros(3), 15, r"probabilities \[2, 2\] and targets \[3\]"),
        (torch.zeros(0, 2), torch.zeros(0), 15, "N >= 1"),
        (torch.eye(2), torch.zeros(2), 0, "bins 0 is below 1"),
    ],
)
def test_odd_inputs_are_refused(probabilities, targets, bins, message):
    with pytest.raises(InputError, match=message):
        expected_calibration_error(probabilities, targets, bins)
