import math

import pytest
import torch

from trg_pyg.training.meter import Meter


def test_weighted_means() -> None:
    meter = Meter()
    assert meter.means() == {}
    meter.update({"ce": torch.tensor(2.0), "kd": torch.tensor(1.0)}, weight=3)
    meter.update({"ce": torch.tensor(6.0)}, weight=1)
    assert meter.means() == pytest.approx({"ce": 3.0, "kd": 1.0})


def test_keeps_no_graph_and_does_not_touch_the_values() -> None:
    meter, value = Meter(), torch.tensor(2.0, requires_grad=True)
    meter.update({"ce": value * 1}, weight=2)
    meter.update({"ce": value * 3}, weight=2)
    assert meter.means() == {"ce": 4.0}
    assert value.item() == 2.0


def test_a_value_that_is_not_finite_stays_visible() -> None:
    meter = Meter()
    meter.update({"ce": torch.tensor(math.nan)}, weight=1)
    meter.update({"ce": torch.tensor(1.0)}, weight=1)
    assert math.isnan(meter.means()["ce"])
