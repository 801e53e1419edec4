import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, GraphBuilder, GridGraph, KNNGraph, LabelGraph
from trg_pyg.relations import Distance


def edges(graph: Data) -> list[list[int]]:
    return graph.edge_index.T.tolist()


def test_same_and_different_classes_written_out(tokens):
    x, labels = tokens(2, 3, 4), torch.tensor([[5, 7, 5], [1, 1, 1]])
    same, different = LabelGraph()(x, labels), LabelGraph(keep="different")(x, labels)
    assert edges(same) == [[2, 0], [0, 2], [4, 3], [5, 3], [3, 4], [5, 4], [3, 5], [4, 5]]
    assert edges(different) == [[1, 0], [0, 1], [2, 1], [1, 2]]
    assert [one.num_edges for one in same.to_data_list()] == [2, 6]
    assert [one.num_edges for one in different.to_data_list()] == [4, 0]


@settings(max_examples=30)
@given(
    images=st.integers(1, 3),
    size=st.integers(2, 6),
    classes=st.integers(1, 4),
    scope=st.sampled_from(["image", "batch"]),
    inner=st.sampled_from(["knn", "symmetric", "complete"]),
    seed=st.integers(0, 2**31),
)
def test_the_two_choices_part_the_edges_of_the_inner_builder(images, size, classes, scope, inner, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, size, 3, generator=generator)
    labels = torch.randint(classes, (images, size), generator=generator)
    if inner == "complete":
        builder: GraphBuilder = CompleteGraph(scope=scope, self_loops=True)
    else:
        builder = KNNGraph(1, scope=scope, symmetric=inner == "symmetric")
    whole = builder(x)
    of_node = labels.flatten().tolist()
    for keep in ("same", "different"):
        graph = LabelGraph(builder, keep)(x, labels)
        wanted = [
            e
            for e in range(whole.num_edges)
            if (of_node[edges(whole)[e][0]] == of_node[edges(whole)[e][1]]) == (keep == "same")
        ]
        assert edges(graph) == [edges(whole)[e] for e in wanted]
        torch.testing.assert_close(graph.edge_weight, whole.edge_weight[wanted])
        assert graph.validate()
        assert sum(one.num_edges for one in graph.to_data_list()) == len(wanted)


def test_around_nearest_neighbours_in_the_whole_batch():
    """Four points on a line, of two images; each hears its nearest in either image."""
    x = torch.tensor([[[0.0], [10.0]], [[1.0], [12.0]]])
    builder = KNNGraph(1, Distance(), normalize=False, scope="batch")
    assert edges(builder(x)) == [[2, 0], [3, 1], [0, 2], [1, 3]]
    labels = torch.tensor([[0, 0], [0, 1]])
    same, different = LabelGraph(builder)(x, labels), LabelGraph(builder, "different")(x, labels)
    assert (edges(same), same.edge_weight.tolist()) == ([[2, 0], [0, 2]], [1.0, 1.0])
    assert (edges(different), different.edge_weight.tolist()) == ([[3, 1], [1, 3]], [2.0, 2.0])
    assert same.image.tolist() == [0, 0, 1, 1]
    assert same.num_graphs == 1


def test_classes_of_a_graph_are_its_y(tokens):
    x, y = tokens(1, 4, 3)[0], torch.tensor([0, 1, 0, 1])
    graph = LabelGraph()(Data(x=x, y=y))
    assert edges(graph) == [[2, 0], [3, 1], [0, 2], [1, 3]]
    assert torch.equal(graph.y, y)
    assert torch.equal(graph.edge_weight, LabelGraph()(x[None], y[None]).edge_weight)


@pytest.mark.parametrize("inner", [CompleteGraph(), KNNGraph(1), KNNGraph(2, symmetric=True)], ids=str)
@pytest.mark.parametrize("keep", ["same", "different"])
def test_a_ragged_batch_equals_each_graph_alone(inner, keep):
    generator = torch.Generator().manual_seed(0)
    graphs = [
        Data(x=torch.randn(n, 3, generator=generator), y=torch.randint(2, (n,), generator=generator))
        for n in (3, 5, 3, 4)
    ]
    builder = LabelGraph(inner, keep)
    batch = builder(Batch.from_data_list(graphs))
    for actual, graph in zip(batch.to_data_list(), graphs, strict=True):
        alone = builder(graph)
        assert torch.equal(actual.edge_index, alone.edge_index)
        torch.testing.assert_close(actual.edge_weight, alone.edge_weight)
        assert torch.equal(actual.y, graph.y)


def test_a_ragged_batch_in_the_scope_of_the_batch():
    graphs = [Data(x=torch.randn(n, 3), y=torch.arange(n)) for n in (2, 3)]
    graph = LabelGraph(CompleteGraph(scope="batch"))(Batch.from_data_list(graphs))
    assert edges(graph) == [[2, 0], [3, 1], [0, 2], [1, 3]]
    assert graph.image.tolist() == [0, 0, 1, 1, 1]


def test_two_of_them_nest(tokens):
    x, labels = tokens(1, 4, 3), torch.tensor([[0, 0, 1, 1]])
    assert LabelGraph(LabelGraph(), "different")(x, labels).num_edges == 0
    assert edges(LabelGraph(LabelGraph(GridGraph(2, 2)))(x, labels)) == [[1, 0], [0, 1], [3, 2], [2, 3]]


def test_without_classes_it_is_refused(tokens):
    x, message = tokens(2, 3, 4), r"LabelGraph has no labels: call it with \(tokens, labels\), or on a graph with y"
    for data in (x, Data(x=x[0]), Data(x=x[0], y=torch.tensor([1]))):  # the last has the class of the graph alone
        with pytest.raises(InputError, match=message):
            LabelGraph()(data)


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_the_class_of_a_graph_is_that_of_its_nodes(tokens, scope):
    x = tokens(3, 2, 4)
    graphs = Batch.from_data_list([Data(x=x[i], y=torch.tensor([label])) for i, label in enumerate((0, 1, 0))])
    edges = LabelGraph(CompleteGraph(scope=scope))(graphs).edge_index
    expected = LabelGraph(CompleteGraph(scope=scope))(x, torch.tensor([[0, 0], [1, 1], [0, 0]])).edge_index
    assert torch.equal(edges, expected)


@pytest.mark.parametrize("builder", [LabelGraph(), CompleteGraph(), KNNGraph(1)], ids=str)
@pytest.mark.parametrize("shape", [(2,), (6,), (3, 2), (2, 4), (2, 3, 1)])
def test_labels_of_another_shape_are_refused_by_every_builder(builder, shape, tokens):
    with pytest.raises(InputError, match=r"labels of shape .* for tokens \(2, 3, 4\): give the class of each token"):
        builder(tokens(2, 3, 4), torch.zeros(shape, dtype=torch.long))


def test_labels_beside_a_graph_are_refused(tokens):
    with pytest.raises(InputError, match="give the class of each node as the graph's attribute y"):
        LabelGraph()(Data(x=tokens(1, 3, 4)[0]), torch.zeros(3, dtype=torch.long))


def test_there_are_two_choices():
    with pytest.raises(InputError, match="keep=all: choose same or different"):
        LabelGraph(keep="all")


def test_reweight_keeps_the_chosen_edges(tokens):
    builder = LabelGraph(CompleteGraph())
    graph = builder(tokens(2, 3, 4), torch.tensor([[0, 0, 1], [1, 1, 1]]))
    scored = builder.reweight(graph, tokens(2, 3, 2, seed=1))
    assert scored.edge_index is graph.edge_index
    assert scored.edge_weight.shape == (8,)
