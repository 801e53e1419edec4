"""A batch built from whole tensors is, field by field, the batch that PyG makes of the single images."""

import copy
import io
import pickle

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from trg_pyg.graphs import CompleteGraph, GridGraph, KNNGraph, detach_graph, replace_nodes, with_features
from trg_pyg.relations import layout_of

BUILDERS = [
    KNNGraph(2),
    KNNGraph(2, symmetric=True),
    KNNGraph(2, weight=None),
    CompleteGraph(),
    CompleteGraph(self_loops=True),
    GridGraph(2, 3),
]


@pytest.fixture(params=BUILDERS, ids=str)
def builder(request):
    return request.param


@pytest.mark.parametrize("images", [1, 3])
def test_equals_from_data_list_field_by_field(builder, images, tokens, same_batch, separate):
    batch = builder(tokens(images, 6, 4))
    same_batch(batch, Batch.from_data_list(separate(batch)))


def test_batch_scope_is_a_batch_of_one_graph(tokens, same_batch):
    batch = KNNGraph(2, scope="batch")(tokens(3, 4, 2))
    one = Data(x=batch.x, image=batch.image, edge_index=batch.edge_index, edge_weight=batch.edge_weight)
    same_batch(batch, Batch.from_data_list([one]))


def test_bookkeeping_written_out():
    batch = KNNGraph(1, normalize=False)(torch.tensor([[[0.0], [1.0], [5.0]], [[0.2], [9.0], [8.0]]]))
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.ptr.tolist() == [0, 3, 6]
    assert (batch.num_graphs, batch.num_nodes, batch.num_edges) == (2, 6, 6)
    assert batch[1].edge_index.tolist() == [[2, 2, 1], [0, 1, 2]]
    assert str(batch) == "DataBatch(x=[6, 1], edge_index=[2, 6], edge_weight=[6], batch=[6], ptr=[3])"


def test_single_images_come_back(builder, tokens, separate):
    x = tokens(3, 6, 4)
    batch = builder(x)
    graphs = batch.to_data_list()
    assert len(graphs) == 3
    for image, (graph, expected) in enumerate(zip(graphs, separate(batch), strict=True)):
        assert type(graph) is Data
        assert sorted(graph.keys()) == sorted(expected.keys())
        assert torch.equal(graph.x, x[image])
        assert torch.equal(graph.edge_index, expected.edge_index)
        assert torch.equal(batch[image].edge_index, expected.edge_index)
        assert graph.validate()
        if "edge_weight" in expected:
            assert torch.equal(graph.edge_weight, expected.edge_weight)
    assert [torch.equal(g.x, x[i]) for g, i in zip(batch[[2, 0]], [2, 0], strict=True)] == [True, True]


def test_gradient_flows_through_a_single_image(tokens):
    x = tokens(3, 6, 4).requires_grad_()
    KNNGraph(2)(x)[1].edge_weight.sum().backward()
    assert x.grad[1].abs().sum() > 0
    assert x.grad[[0, 2]].abs().sum() == 0


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda batch: batch.clone(),
        lambda batch: batch.to("cpu"),
        lambda batch: batch.contiguous(),
        lambda batch: pickle.loads(pickle.dumps(batch)),
    ],
    ids=["copy", "deepcopy", "clone", "to", "contiguous", "pickle"],
)
def test_copies_are_whole(builder, copied, tokens, same_batch):
    batch = builder(tokens(2, 6, 4))
    other = copied(batch)
    same_batch(other, batch)
    assert torch.equal(other[1].edge_index, batch[1].edge_index)


def test_a_saved_batch_loads(tokens, same_batch):
    batch = KNNGraph(2)(tokens(2, 6, 4))
    file = io.BytesIO()
    torch.save(batch.to_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert torch.equal(loaded["edge_index"], batch.edge_index)


def test_features_and_weights_in_another_type(tokens):
    batch = KNNGraph(2)(tokens(2, 6, 4)).apply(torch.Tensor.double, "x", "edge_weight")
    assert batch.edge_weight.dtype == torch.float64
    assert batch.edge_index.dtype == torch.int64
    assert batch[1].x.dtype == torch.float64


def test_a_loader_collates_graphs_of_single_images_to_the_same_batch(tokens, same_batch):
    x = tokens(4, 6, 3)
    builder = KNNGraph(2)
    images = [builder(Data(x=image)) for image in x]
    first, second = DataLoader(images, batch_size=2)
    same_batch(first, builder(x[:2]))
    same_batch(second, builder(x[2:]))


def test_batches_join_to_a_larger_batch(tokens):
    builder = KNNGraph(2)
    parts = builder(tokens(2, 6, 3)), builder(tokens(1, 6, 3, seed=1))
    joined = Batch.from_data_list([graph for part in parts for graph in part.to_data_list()])
    assert torch.equal(joined.x, torch.cat([part.x for part in parts]))
    assert torch.equal(joined[2].edge_index, parts[1][0].edge_index)


def test_detach_graph_cuts_features_and_weights_of_a_copy(tokens):
    graph = KNNGraph(2)(tokens(2, 6, 3).requires_grad_())
    detached = detach_graph(graph)
    assert (detached.x.requires_grad, detached.edge_weight.requires_grad) == (False, False)
    assert (graph.x.requires_grad, graph.edge_weight.requires_grad) == (True, True)
    assert torch.equal(detached.edge_weight, graph.edge_weight)
    assert detached.edge_index is graph.edge_index
    assert not detach_graph(KNNGraph(2, weight=None)(tokens(2, 6, 3).requires_grad_())).x.requires_grad


def test_other_features_keep_edges_and_weights(tokens):
    graph = KNNGraph(1)(tokens(2, 3, 4))
    other = tokens(2, 3, 5, seed=1)
    changed = with_features(graph, other)
    assert torch.equal(changed.x, other.flatten(0, 1))
    assert changed.edge_index is graph.edge_index
    assert changed.edge_weight is graph.edge_weight
    assert torch.equal(changed[1].x, other[1])
    assert graph.x.shape == (6, 4)


def test_what_a_builder_knew_of_a_graph_is_forgotten_where_its_edges_or_nodes_change():
    batch = KNNGraph(2)(torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)))
    known = layout_of(batch)
    assert known is not None
    assert (known.graphs, known.degree) == (3, 2)
    assert layout_of(replace_nodes(batch, torch.ones(12, 7))) is known
    assert layout_of(batch.subgraph(torch.arange(8))) is None
    batch.edge_index = batch.edge_index[:, 1:]
    assert layout_of(batch) is None
