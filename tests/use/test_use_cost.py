import pytest
import torch
from torch import nn

from trg_pyg.errors import InputError
from trg_pyg.models import ImageClassifier, build_model, cost
from trg_pyg.use.cost import Measured, cost_table, measure_cost


def classifier(name):
    return ImageClassifier(build_model(name, 10), nn.Identity())


def test_networks_are_measured_side_by_side():
    networks = {"large": classifier("resnet20"), "small": classifier("resnet8")}
    measured = measure_cost(networks, 16, [1, 4], rounds=3)
    for name, network in networks.items():
        known = cost(network, 16)
        assert (measured[name].parameters, measured[name].flops) == (known.parameters, known.flops)
        assert list(measured[name].milliseconds) == [1, 4]
        assert min(measured[name].milliseconds.values()) > 0
        assert not network.training
    state = networks["small"].state_dict()
    assert measured["small"].megabytes == sum(each.numel() * each.element_size() for each in state.values()) / 1e6


LARGE = Measured(2_000_000, 8.0, 400_000_000, {1: 4.0, 100: 50.0})
SMALL = Measured(500_000, 2.0, 50_000_000, {1: 2.0, 100: 10.0})


def test_the_table_says_how_much_is_gained():
    rows = cost_table({"teacher": LARGE, "student": SMALL}, reference="teacher").splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["", "parameters", "MB", "MFLOPs", "ms, batch 1", "ms, batch 100", "images/s, batch 100"]
    assert cells[2] == ["teacher", "2,000,000", "8.00", "400.0", "4.00", "50.00", "2,000"]
    assert cells[3] == ["student", "500,000", "2.00", "50.0", "2.00", "10.00", "10,000"]
    assert cells[4] == ["gain", "4.00x", "4.00x", "8.00x", "2.00x", "5.00x", "5.00x"]
    assert len({len(row) for row in rows}) == 1
    assert "gain" not in cost_table({"student": SMALL})


def test_odd_numbers_are_refused():
    networks = {"small": classifier("resnet8")}
    with pytest.raises(InputError, match="rounds 0 is below 1"):
        measure_cost(networks, 16, [1], rounds=0)
    with pytest.raises(InputError, match=r"batches \[1, 0\] must be numbers of at least 1"):
        measure_cost(networks, 16, [1, 0], rounds=1)


@pytest.mark.gpu
def test_on_a_gpu():
    measured = measure_cost({"small": classifier("resnet8")}, 32, [1, 256], rounds=5, device="cuda")
    assert measured["small"].images_per_second(256) > measured["small"].images_per_second(1)
    assert torch.cuda.is_available()


def test_rounds_of_slow_networks_end_early_but_for_three(monkeypatch):
    monkeypatch.setattr("trg_pyg.use.cost.MOST_SECONDS", 0)
    taken = []
    monkeypatch.setattr("trg_pyg.use.cost.median", lambda values: taken.append(len(values)) or 1.0)
    measure_cost({"small": classifier("resnet8")}, 16, [1], rounds=9)
    assert taken == [3]


def test_it_says_how_far_it_is_and_stops_at_a_time_limit(monkeypatch):
    monkeypatch.setattr("trg_pyg.use.cost._seconds", lambda network, images, calls=1: len(images) * 1.0)
    said = []
    measured = measure_cost({"small": classifier("resnet8")}, 16, [1, 2, 64], rounds=2, seconds=100, tell=said.append)
    # Two passes of 64 would take 128 s by what those of 2 took.
    assert measured["small"].milliseconds == {1: 1000.0, 2: 2000.0}
    assert "batch 2: small takes 2,000.0 ms" in said
    assert said[-1] == "batch 64: left out, for it takes too long"
    with pytest.raises(InputError, match="nothing could be measured in 0 s; give more time, or smaller batches"):
        measure_cost({"small": classifier("resnet8")}, 16, [1], rounds=2, seconds=0)
