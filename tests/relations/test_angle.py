import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD
from torch import Tensor
from torch_geometric.data import Batch, Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph
from trg_pyg.relations import Angle

COMPLETE = CompleteGraph(None, self_loops=True)


def by_loop(x: Tensor, edge_index: Tensor) -> Tensor:
    """Anchor by anchor, every ordered pair of the nodes with an edge to it."""
    cosines = []
    for anchor in range(len(x)):
        ends = edge_index[0, edge_index[1] == anchor].tolist()
        for j in ends:
            for k in ends:
                cosines.append((equations.unit(x[j] - x[anchor]) * equations.unit(x[k] - x[anchor])).sum())
    return torch.stack(cosines) if cosines else x[:0].sum(1)


def compare(close, value: Tensor, expected: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12)
    weight = torch.linspace(1, 2, len(value), dtype=value.dtype)
    close((value * weight).sum(), (expected * weight).sum(), [x])


def test_a_right_triangle_written_out():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    half = 0.5**0.5
    # At node 0, a row for each j and a column for each k; the node itself has no direction.
    at_0 = [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    at_1 = [[1, 0, half], [0, 0, 0], [half, 0, 1]]
    at_2 = [[1, half, 0], [half, 1, 0], [0, 0, 0]]
    value = Angle()(COMPLETE(x[None])).view(3, 3, 3)
    torch.testing.assert_close(value, torch.tensor([at_0, at_1, at_2]).float())
    # Without the loops, the two others only.
    value = Angle()(CompleteGraph(None)(x[None]))
    assert value.tolist() == pytest.approx([1, 0, 0, 1, 1, half, half, 1, 1, half, half, 1])


@settings(max_examples=25)
@given(nodes=st.integers(3, 6), width=st.integers(2, 4), seed=st.integers(0, 2**31))
def test_all_triples_of_a_complete_graph_equal_a_triple_loop(close, nodes, width, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, width, generator=generator, dtype=torch.float64).requires_grad_()
    value = Angle()(COMPLETE(x[None]))
    e = [[equations.unit(x[j] - x[i]) for j in range(nodes)] for i in range(nodes)]
    expected = [(e[i][j] * e[i][k]).sum() for i in range(nodes) for j in range(nodes) for k in range(nodes)]
    assert len(value) == nodes**3
    compare(close, value, torch.stack(expected), x)


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize(
    "builder",
    [COMPLETE, KNNGraph(2, None), KNNGraph(2, None, symmetric=True), KNNGraph(3, None, scope="batch")],
    ids=str,
)
def test_hard_inputs_on_complete_and_nearest_neighbour_graphs(kind, builder, hard, close):
    x = hard(kind, 8, 5).requires_grad_()
    graph = builder(x.view(2, 4, 5))
    compare(close, Angle()(graph), by_loop(x, graph.edge_index), x)


@settings(max_examples=40)
@given(
    nodes=st.integers(3, 7),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    block_bytes=st.sampled_from([1, 300, 1 << 20]),
    seed=st.integers(0, 2**31),
)
def test_unequal_degrees_in_any_order_of_edges_and_in_blocks(close, nodes, density, block_bytes, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, 3, generator=generator, dtype=torch.float64).requires_grad_()
    edges = (torch.rand(nodes, nodes, generator=generator) < density).nonzero()
    graph = Data(x=x, edge_index=edges[torch.randperm(len(edges), generator=generator)].T)
    relation, expected = Angle(block_bytes), by_loop(x, graph.edge_index)
    compare(close, relation(graph), expected, x)
    compare(close, torch.cat([relation(graph, block) for block in relation.blocks(graph)]), expected, x)


def test_ragged_batches(close, hard):
    x = hard("random", 12, 3).requires_grad_()
    graph = KNNGraph(2, None)(Batch.from_data_list([Data(x=x[:4]), Data(x=x[4:7]), Data(x=x[7:])]))
    compare(close, Angle()(graph), by_loop(x, graph.edge_index), x)


def test_blocks_are_no_larger_than_asked_for():
    """A node that hears all others among nodes that hear one: blocks go by the longest row."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    ring = torch.stack([torch.arange(64).roll(1), torch.arange(64)])
    star = torch.stack([torch.arange(1, 64), torch.zeros(63, dtype=torch.long)])
    graph = Data(x=x, edge_index=torch.cat([ring, star[:, :-1]], dim=1))
    for relation in (Angle(1), Angle(4 * 63 * (63 + 4) * 8)):
        blocks = relation.blocks(graph)
        steps = {block.stop - block.start for block in blocks}
        assert steps == ({1} if relation.block_bytes == 1 else {8})
        assert [block.start for block in blocks] == list(range(0, 64, steps.pop()))
    assert len(Angle().blocks(graph)) == 1


def test_the_memory_of_a_block_is_bounded_where_degrees_are_unequal(largest_tensor):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    ring = torch.stack([torch.arange(64).roll(1), torch.arange(64)])
    star = torch.stack([torch.arange(1, 63), torch.zeros(62, dtype=torch.long)])
    graph, relation = Data(x=x, edge_index=torch.cat([ring, star], dim=1)), Angle(4 * 63 * (63 + 4) * 2)
    with largest_tensor() as largest:
        for block in relation.blocks(graph):
            relation(graph, block)
    assert largest.numel <= 2 * 63 * 63


@pytest.mark.parametrize("nodes", [1, 2])
def test_fewer_than_three_nodes_are_refused(nodes):
    for graph in (
        COMPLETE(torch.randn(1, nodes, 3)),
        Data(x=torch.randn(nodes, 3), edge_index=torch.zeros(2, 1).long()),
    ):
        with pytest.raises(InputError, match=f"angles on a graph of {nodes} nodes: .*at least 3 images, or"):
            Angle()(graph)
        with pytest.raises(InputError, match=f"angles on a graph of {nodes} nodes"):
            Angle().blocks(graph)


def test_one_small_graph_of_a_batch_is_seen():
    batch = Batch.from_data_list([Data(x=torch.randn(4, 3)), Data(x=torch.randn(2, 3))])
    with pytest.raises(InputError, match="angles on a graph of 2 nodes"):
        Angle()(COMPLETE(batch))


def test_on_a_line_nodes_lie_on_one_side_or_on_both():
    x = torch.tensor([[0.0], [1.0], [3.0]])
    assert Angle()(CompleteGraph(None)(x[None])).tolist() == [1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1, 1]


def test_moving_scaling_and_rotating_does_not_matter(hard):
    x, rotation = hard("random", 5, 3), torch.linalg.qr(hard("random", 3, 3, seed=1)).Q
    value = Angle()(COMPLETE(x[None]))
    torch.testing.assert_close(Angle()(COMPLETE((3 * x @ rotation + 7)[None])), value)


def test_duplicates_and_loops_have_no_direction():
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]], requires_grad=True)
    value = Angle()(COMPLETE(x[None]))
    value.sum().backward()
    at_0 = value.view(3, 3, 3)[0]
    assert at_0.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert x.grad.isfinite().all()
