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


def test_a_state_goes_on_to_the_bit() -> None:
    whole, first, values = Meter(), Meter(), torch.rand(6, generator=torch.Generator().manual_seed(0))
    for value in values[:3]:
        first.update({"ce": value}, weight=3)
    second = Meter.merged([first.state_dict()])
    for value in values:
        whole.update({"ce": value}, weight=3)
    for value in values[3:]:
        second.update({"ce": value}, weight=3)
    assert second.means() == whole.means()
    assert second.state_dict() == whole.state_dict()


def test_states_of_several_processes_are_merged_by_their_weights() -> None:
    one, other = Meter(), Meter()
    one.update({"ce": torch.tensor(1.0), "kd": torch.tensor(5.0)}, weight=3)
    other.update({"ce": torch.tensor(5.0)}, weight=1)
    merged = Meter.merged([one.state_dict(), other.state_dict()])
    assert merged.means() == pytest.approx({"ce": 2.0, "kd": 5.0})
    merged.update({"ce": torch.tensor(2.0)}, weight=100)
    assert merged.means() == pytest.approx({"ce": 2.0, "kd": 5.0})


def test_names_that_a_meter_has_in_any_case_come_in_that_order_and_have_no_mean_of_their_own() -> None:
    meter = Meter.merged([], ["late", "ce"])
    assert meter.means() == {}
    meter.update({"ce": torch.tensor(2.0)}, weight=1)
    assert meter.means() == {"ce": 2.0}
    meter.update({"late": torch.tensor(3.0)}, weight=1)
    assert list(meter.means().items()) == [("late", 3.0), ("ce", 2.0)]


def test_a_value_that_is_not_finite_stays_visible() -> None:
    meter = Meter()
    meter.update({"ce": torch.tensor(math.nan)}, weight=1)
    meter.update({"ce": torch.tensor(1.0)}, weight=1)
    assert math.isnan(meter.means()["ce"])
