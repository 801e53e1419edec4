import itertools
import math

import pytest

from trg_pyg.errors import InputError
from trg_pyg.losses import TemperatureSchedule


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ("cosine", [0.5, 0.1 + 0.4 * (1 + math.cos(math.pi / 4)) / 2, 0.3, 0.1]),
        ("linear", [0.5, 0.4, 0.3, 0.1]),
        ("constant", [0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_values_along_training(curve, expected):
    schedule = TemperatureSchedule(0.5, 0.1, curve)
    assert [schedule(progress) for progress in (0, 0.25, 0.5, 1)] == pytest.approx(expected)


def test_high_first_then_lower_by_default():
    schedule = TemperatureSchedule()
    values = [schedule(step / 100) for step in range(101)]
    assert (values[0], values[-1]) == (pytest.approx(0.5), pytest.approx(0.07))
    assert all(later < earlier for earlier, later in itertools.pairwise(values))


@pytest.mark.parametrize("options", [{"start": 0}, {"end": -0.1}])
def test_temperatures_are_positive(options):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"tau_{name}={value}"):
        TemperatureSchedule(**options)


def test_unknown_curve_names_the_choices():
    with pytest.raises(InputError, match="tau_curve=step: choose cosine or linear or constant"):
        TemperatureSchedule(curve="step")
