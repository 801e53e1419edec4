import pytest
import torch

from trg_pyg.nn import chunk_rows


@pytest.mark.parametrize(
    ("chunk_bytes", "rows"),
    [(1, 1), (7 * 4 * 100, 7), (7 * 4 * 100 + 399, 7), (1 << 30, 1024)],  # a row at least, whole rows, the cache's cap
)
def test_rows_of_a_hundred_float32_columns(chunk_bytes, rows):
    assert chunk_rows(torch.empty(0), 100, chunk_bytes) == rows


def test_rows_of_float64_take_twice_the_bytes():
    assert chunk_rows(torch.empty(0, dtype=torch.float64), 100, 8000) == 10


def test_only_a_processor_has_a_cap():
    assert chunk_rows(torch.empty(0, device="meta"), 100, 4 * 100 * 9999) == 9999
