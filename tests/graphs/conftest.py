from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data


def check_same_batch(actual: Batch, expected: Batch) -> None:
    """Every field that PyG keeps of a batch: the store, the bookkeeping of its slices, and the number of graphs."""
    names = sorted(expected.keys())
    assert sorted(actual.keys()) == names
    for name in names:
        assert_same(actual[name], expected[name], name)
    assert actual.num_graphs == expected.num_graphs
    for book in ("_slice_dict", "_inc_dict"):
        assert sorted(getattr(actual, book)) == sorted(getattr(expected, book)), book
        for name, value in getattr(expected, book).items():
            assert_same(getattr(actual, book)[name], value, f"{book}[{name}]")


def assert_same(actual: Tensor, expected: Tensor, name: str) -> None:
    assert actual.dtype == expected.dtype, name
    assert actual.device == expected.device, name
    assert torch.equal(actual, expected), name


def data_of_each_image(batch: Batch) -> list[Data]:
    """The images of a batch as separate ``Data``, cut out by node numbers alone."""
    graphs = []
    for g in range(int(batch.batch.max()) + 1):
        nodes = (batch.batch == g).nonzero().flatten()
        edges = batch.batch[batch.edge_index[1]] == g
        graph = Data(x=batch.x[nodes], edge_index=batch.edge_index[:, edges] - nodes[0])
        if "edge_weight" in batch:
            graph.edge_weight = batch.edge_weight[edges]
        graphs.append(graph)
    return graphs


@pytest.fixture
def same_batch() -> Callable[[Batch, Batch], None]:
    return check_same_batch


@pytest.fixture
def separate() -> Callable[[Batch], list[Data]]:
    return data_of_each_image
