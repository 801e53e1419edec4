"""A builder is a transform of PyG: it rebuilds the edges of a copy of a ``Data`` or ``Batch``."""

import pytest
import torch
import torch_geometric.transforms as T
from torch_geometric.data import Batch, Data
from torch_geometric.utils import is_undirected

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph


def graph_of(size: int, label: int, width: int = 3) -> Data:
    generator = torch.Generator().manual_seed(label)
    return Data(
        x=torch.randn(size, width, generator=generator),
        edge_index=torch.tensor([[0], [1]]),
        pos=torch.arange(size * 2.0).view(size, 2),
        y=torch.tensor([label]),
        name=f"image {label}",
    )


@pytest.fixture
def ragged() -> list[Data]:
    """Graphs of unequal sizes, equal ones not side by side."""
    return [graph_of(size, label) for label, size in enumerate([3, 5, 3, 4])]


def test_data_gets_the_edges_of_the_same_tokens(tokens):
    x = tokens(1, 5, 3)
    data, batch = KNNGraph(2)(Data(x=x[0])), KNNGraph(2)(x)
    assert type(data) is Data
    assert torch.equal(data.edge_index, batch.edge_index)
    assert torch.equal(data.edge_weight, batch.edge_weight)


@pytest.mark.parametrize("builder", [KNNGraph(2), KNNGraph(2, symmetric=True), CompleteGraph()], ids=str)
def test_a_ragged_batch_equals_each_graph_alone(builder, ragged, same_batch):
    batch = builder(Batch.from_data_list(ragged))
    alone = [builder(graph) for graph in ragged]
    expected = Batch.from_data_list(alone)
    for name in ("x", "edge_index", "edge_weight", "pos", "y", "batch", "ptr"):
        torch.testing.assert_close(batch[name], expected[name], rtol=1e-6, atol=1e-6)
    assert batch.name == expected.name
    for name in expected._slice_dict:
        assert batch._slice_dict[name].tolist() == expected._slice_dict[name].tolist()
    for graph, single in zip(batch.to_data_list(), alone, strict=True):
        assert sorted(graph.keys()) == sorted(single.keys())
        assert torch.equal(graph.edge_index, single.edge_index)


def test_the_input_is_not_modified(ragged):
    batch = Batch.from_data_list(ragged)
    slices = {name: value.clone() for name, value in batch._slice_dict.items()}
    KNNGraph(2)(batch)
    assert batch.edge_index.tolist() == [[0, 3, 8, 11], [1, 4, 9, 12]]
    assert "edge_weight" not in batch
    assert batch._slice_dict.keys() == slices.keys()
    assert all(torch.equal(batch._slice_dict[name], value) for name, value in slices.items())
    assert torch.equal(batch[1].edge_index, ragged[1].edge_index)
    KNNGraph(2)(ragged[0])
    assert ragged[0].edge_index.tolist() == [[0], [1]]


def test_other_attributes_are_kept(ragged):
    data = KNNGraph(2)(ragged[1])
    assert (data.name, data.y.tolist()) == ("image 1", [1])
    assert data.pos is ragged[1].pos


def test_a_weightless_builder_drops_weights_of_old_edges(ragged):
    weighted = Batch.from_data_list([KNNGraph(2)(graph) for graph in ragged])
    plain = KNNGraph(1, weight=None)(weighted)
    assert "edge_weight" not in plain
    assert "edge_weight" not in plain[0]
    assert "edge_weight" not in KNNGraph(1, weight=None)(weighted[0])


def test_attributes_of_old_edges_do_not_outlive_them(ragged):
    """An edge_attr of one edge beside six new edges would be an invalid graph."""
    ragged[0].edge_attr = torch.ones(1, 4)
    assert "edge_attr" not in KNNGraph(2)(ragged[0])


def test_batch_scope_of_a_batch_is_one_graph_over_all_nodes(ragged):
    batch = Batch.from_data_list(ragged)
    joint = KNNGraph(2, scope="batch")(batch)
    assert joint.num_graphs == 1
    assert torch.equal(joint.image, batch.batch)
    alone = KNNGraph(2)(Data(x=batch.x))
    assert torch.equal(joint.edge_index, alone.edge_index)
    torch.testing.assert_close(joint.edge_weight, alone.edge_weight)


def test_batch_scope_agrees_between_tokens_and_batches(tokens, same_batch):
    x = tokens(3, 4, 2)
    builder = KNNGraph(3, scope="batch")
    same_batch(builder(Batch.from_data_list([Data(x=image) for image in x])), builder(x))


def test_rebuilding_a_built_batch_changes_its_neighbours(tokens, same_batch):
    x = tokens(3, 6, 4)
    same_batch(KNNGraph(3)(KNNGraph(1)(x)), KNNGraph(3)(x))


def test_inside_compose(ragged):
    transform = T.Compose([T.NormalizeFeatures(["pos"]), KNNGraph(2), T.ToUndirected()])
    data = transform(ragged[1])
    assert is_undirected(data.edge_index, data.edge_weight)
    assert data.num_edges >= 10
    assert "KNNGraph(" in str(transform)


def test_a_built_batch_can_be_made_undirected(tokens):
    batch = T.ToUndirected()(KNNGraph(2)(tokens(3, 6, 4)))
    symmetric = KNNGraph(2, symmetric=True)(tokens(3, 6, 4))
    assert sorted(batch.edge_index.T.tolist()) == sorted(symmetric.edge_index.T.tolist())
    assert is_undirected(batch.edge_index)


@pytest.mark.parametrize("data", [Data(), Data(x=torch.zeros(3)), Data(x=torch.zeros(3, 2, dtype=torch.long))])
def test_data_without_features_is_refused(data):
    with pytest.raises(InputError, match="floating-point node features x"):
        KNNGraph(2)(data)


def test_a_graph_that_is_too_small_names_its_size(ragged):
    with pytest.raises(InputError, match=r"K=3 .* 3 tokens"):
        KNNGraph(3)(Batch.from_data_list(ragged))


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_reweight_keeps_the_edges_and_scores_other_tokens(scope, tokens):
    builder = KNNGraph(2, scope=scope)
    graph = builder(tokens(2, 5, 3))
    weights = graph.edge_weight.clone()
    other = tokens(2, 5, 7, seed=1).requires_grad_()
    scored = builder.reweight(graph, other)
    assert scored.edge_index is graph.edge_index
    assert torch.equal(scored.x, other.flatten(0, 1))
    unit = other.detach().flatten(0, 1) / other.detach().flatten(0, 1).norm(dim=1, keepdim=True)
    expected = [(-(unit[i] - unit[j]).square().sum() / 2).exp().item() for i, j in graph.edge_index.T.tolist()]
    assert scored.edge_weight.tolist() == pytest.approx(expected, rel=1e-5)
    assert scored.edge_weight.requires_grad
    # The graph itself, its weights and its images are as before.
    assert torch.equal(graph.edge_weight, weights)
    assert torch.equal(scored[0].x, scored.x[: scored[0].num_nodes])


def test_reweight_with_its_own_tokens_changes_nothing(tokens):
    builder = KNNGraph(2)
    graph = builder(tokens(2, 5, 3))
    assert torch.equal(builder.reweight(graph, graph.x).edge_weight, graph.edge_weight)


def test_reweight_needs_as_many_tokens_as_nodes(tokens):
    builder = KNNGraph(2)
    with pytest.raises(InputError, match="8 tokens for a graph of 10 nodes"):
        builder.reweight(builder(tokens(2, 5, 3)), tokens(2, 4, 3))
