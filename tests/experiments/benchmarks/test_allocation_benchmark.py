import pytest

from experiments.benchmarks.allocation import measure
from trg_pyg.errors import InputError


def test_a_row_for_every_method():
    (row,) = measure(("KD",), "resnet8", "resnet8", batch_size=4, steps=2)
    assert (row.method, row.ms > 0, row.kept_over_given_back > 0) == ("KD", True, True)
    assert 0 <= row.system_share <= 1
    assert row.resident_mib > 100


def test_it_is_of_a_cpu():
    with pytest.raises(InputError, match="device cuda: memory of a CPU is measured"):
        measure(device="cuda")
