import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph
from trg_pyg.losses import LocalStructureLoss
from trg_pyg.relations import Cosine, Gaussian

OPTIONS = {
    "direction": st.sampled_from(["teacher", "student"]),
    "temperature": st.sampled_from([0.05, 0.1, 1.0, 3.0]),
    "reduction": st.sampled_from(["mean", "sum"]),
}
few = settings(max_examples=30)


def random_graph(seed: int, nodes: int, density: float, low: float = 0.0) -> Data:
    """Any edges in any order; weights from ``low`` to 1; self loops if none is negative."""
    generator = torch.Generator().manual_seed(seed)
    joined = torch.rand(nodes, nodes, generator=generator) < density
    if low < 0:
        joined.fill_diagonal_(False)
    edge_index = joined.nonzero().T
    edge_index = edge_index[:, torch.randperm(edge_index.shape[1], generator=generator)]
    weight = torch.rand(edge_index.shape[1], generator=generator, dtype=torch.float64) * (1 - low) + low
    return Data(edge_index=edge_index, edge_weight=weight.requires_grad_(), num_nodes=nodes)


def with_weights_of(graph: Data, weight: Tensor) -> Data:
    return Data(edge_index=graph.edge_index, edge_weight=weight, num_nodes=graph.num_nodes)


def dense(graph: Data) -> Tensor:
    return equations.adjacency(graph.edge_index, graph.edge_weight, graph.num_nodes)


def over_all(student: Data, teacher: Data, direction="teacher", temperature=1.0, reduction="mean") -> Tensor:
    return equations.local_over_all(dense(student), dense(teacher).detach(), direction, temperature, reduction)


def test_three_nodes_written_out():
    """Teacher: one edge 0 -> 1 of weight log 2. Student: one edge 0 -> 2 of weight log 3. Rows 1 and 2 are empty."""
    teacher = Data(edge_index=torch.tensor([[0], [1]]), edge_weight=torch.tensor([math.log(2)]), num_nodes=3)
    student = Data(edge_index=torch.tensor([[0], [2]]), edge_weight=torch.tensor([math.log(3)]), num_nodes=3)
    # Row 0: teacher (1, 2, 1) / 4, student (1, 1, 3) / 5.
    teacher_student = 1 / 4 * math.log(5 / 4) + 2 / 4 * math.log(10 / 4) + 1 / 4 * math.log(5 / 12)
    student_teacher = 1 / 5 * math.log(4 / 5) + 1 / 5 * math.log(4 / 10) + 3 / 5 * math.log(12 / 5)
    assert LocalStructureLoss(reduction="sum")(student, teacher).item() == pytest.approx(teacher_student, rel=1e-5)
    assert LocalStructureLoss()(student, teacher).item() == pytest.approx(teacher_student / 3, rel=1e-5)
    as_printed = LocalStructureLoss(direction="student", reduction="sum")
    assert as_printed(student, teacher).item() == pytest.approx(student_teacher, rel=1e-5)


def test_neighbours_written_out():
    """Node 2 hears 0 and 1: teacher (1, 1) / 2, student (1, 3) / 4; a single neighbour, at node 0, is certain."""
    edge_index = torch.tensor([[0, 1, 2], [2, 2, 0]])
    teacher = Data(edge_index=edge_index, edge_weight=torch.tensor([0.4, 0.4, 0.9]), num_nodes=3)
    student = Data(edge_index=edge_index, edge_weight=torch.tensor([0.0, math.log(3), 0.1]), num_nodes=3)
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    loss = LocalStructureLoss("neighbors", reduction="sum")
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert LocalStructureLoss("neighbors")(student, teacher).item() == pytest.approx(expected / 3, rel=1e-5)


@few
@given(
    nodes=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    low=st.sampled_from([0.0, -1.0]),
    seed=st.integers(0, 2**31),
    **OPTIONS,
)
def test_all_nodes_each_network_on_its_own_edges(close, nodes, density, low, seed, **options):
    student, teacher = random_graph(seed, nodes, density, low), random_graph(seed + 1, nodes, 0.5, low)
    loss = LocalStructureLoss("all", **options)(student, teacher)
    close(loss, over_all(student, teacher, **options), [student.edge_weight])


@few
@given(nodes=st.integers(1, 9), density=st.sampled_from([0.2, 1.0]), seed=st.integers(0, 2**31), **OPTIONS)
def test_all_nodes_both_on_the_teachers_edges(close, nodes, density, seed, **options):
    teacher = random_graph(seed, nodes, density)
    student = with_weights_of(teacher, torch.rand_like(teacher.edge_weight).requires_grad_())
    loss = LocalStructureLoss("all", **options)(student, teacher)
    close(loss, over_all(student, teacher, **options), [student.edge_weight])


@few
@given(nodes=st.integers(1, 9), density=st.sampled_from([0.2, 1.0]), seed=st.integers(0, 2**31), **OPTIONS)
def test_neighbours_only(close, nodes, density, seed, **options):
    teacher = random_graph(seed, nodes, density, low=-1.0)
    student = with_weights_of(teacher, torch.rand_like(teacher.edge_weight).requires_grad_())
    expected = equations.local_over_neighbours(
        teacher.edge_index, student.edge_weight, teacher.edge_weight.detach(), nodes, **options
    )
    close(LocalStructureLoss("neighbors", **options)(student, teacher), expected, [student.edge_weight])


# 11 = N - 1: the complete graph
@pytest.mark.parametrize(
    ("kind", "k", "direction", "edges"),
    pairs(["random", *HARD], [3, 11], ["teacher", "student"], ["own", "teacher"]),
)
def test_from_tokens_to_the_loss(kind, k, direction, edges, hard, close):
    """The whole chain in the equation's words: Gaussian weights of unit tokens on kNN edges, then the dense softmax."""
    tokens_s, tokens_t = hard(kind, 12, 5).requires_grad_(), hard(kind, 12, 4, seed=1)
    builder = KNNGraph(k, scope="batch")
    teacher = builder(tokens_t.view(2, 6, 4))
    graph_s = builder(tokens_s.view(2, 6, 5)) if edges == "own" else builder.reweight(teacher, tokens_s)
    a_s = equations.adjacency(graph_s.edge_index, equations.gaussian(tokens_s, graph_s.edge_index), 12)
    a_t = equations.adjacency(teacher.edge_index, equations.gaussian(tokens_t, teacher.edge_index), 12)
    loss = LocalStructureLoss("all", direction)(graph_s, teacher)
    close(loss, equations.local_over_all(a_s, a_t, direction, 1.0, "mean"), [tokens_s])
    if edges == "teacher":
        expected = equations.local_over_neighbours(
            teacher.edge_index,
            equations.gaussian(tokens_s, teacher.edge_index),
            equations.gaussian(tokens_t, teacher.edge_index),
            12,
            direction,
            0.1,
            "mean",
        )
        close(LocalStructureLoss("neighbors", direction, 0.1)(graph_s, teacher), expected, [tokens_s])


@pytest.mark.parametrize("weight", [Gaussian(), Gaussian("auto"), Cosine()])
@pytest.mark.parametrize("normalize", [True, False])
def test_rotating_features_does_not_matter(weight, normalize, hard):
    student, teacher = hard("random", 10, 4).view(2, 5, 4), hard("random", 10, 4, seed=1).view(2, 5, 4)
    rotation = torch.linalg.qr(hard("random", 4, 4, seed=2)).Q
    builder = KNNGraph(3, weight, normalize=normalize, scope="batch")
    loss = LocalStructureLoss()(builder(student), builder(teacher))
    torch.testing.assert_close(LocalStructureLoss()(builder(student @ rotation), builder(teacher)), loss)
    assert loss > 0


@pytest.mark.parametrize("scope", ["image", "batch"])
def test_moving_images_and_tokens_of_both_does_not_matter(scope, hard):
    student, teacher = hard("random", 12, 4).view(3, 4, 4), hard("random", 12, 4, seed=1).view(3, 4, 4)
    builder = KNNGraph(2, scope=scope)
    images, places = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])

    def move(tokens: Tensor) -> Tensor:
        return tokens[images][:, places]

    loss = LocalStructureLoss()(builder(student), builder(teacher))
    torch.testing.assert_close(LocalStructureLoss()(builder(move(student)), builder(move(teacher))), loss)
    assert loss > 0


def test_the_order_of_edges_does_not_matter():
    student, teacher = random_graph(0, 8, 0.4), random_graph(1, 8, 0.4)
    order = torch.randperm(teacher.num_edges)
    shuffled = Data(
        edge_index=teacher.edge_index[:, order], edge_weight=teacher.edge_weight[order].detach(), num_nodes=8
    )
    torch.testing.assert_close(LocalStructureLoss()(student, shuffled), LocalStructureLoss()(student, teacher))


def test_a_constant_added_to_the_weights_of_a_node_does_not_matter_among_neighbours():
    teacher = random_graph(0, 8, 0.5)
    student = with_weights_of(teacher, torch.rand_like(teacher.edge_weight))
    shifted = with_weights_of(teacher, student.edge_weight + 7.0 * teacher.edge_index[1])
    loss = LocalStructureLoss("neighbors")
    torch.testing.assert_close(loss(shifted, teacher), loss(student, teacher))


@pytest.mark.parametrize("support", ["all", "neighbors"])
@pytest.mark.parametrize("direction", ["teacher", "student"])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_zero_with_zero_gradient_where_the_graphs_are_equal(support, direction, temperature):
    teacher = random_graph(0, 8, 0.5)
    student = with_weights_of(teacher, teacher.edge_weight.detach().clone().requires_grad_())
    loss = LocalStructureLoss(support, direction, temperature)(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.edge_weight.grad.abs().max() < 1e-12


@few
@given(seed=st.integers(0, 2**31), **OPTIONS)
def test_never_negative(seed, **options):
    student, teacher = random_graph(seed, 6, 0.5), random_graph(seed + 1, 6, 0.5)
    assert LocalStructureLoss(**options)(student, teacher) > -1e-12


def test_gradient_reaches_pairs_that_only_the_teacher_joined_on_the_teachers_edges():
    """On its own edges the student gets no gradient for a pair that it has not yet made neighbours."""
    tokens_t = torch.tensor([[[0.0], [0.1], [5.0], [5.1]]])
    tokens_s = torch.tensor([[[0.0], [2.0], [0.2], [2.3]]], requires_grad=True)  # 0 is near 2, not near 1
    builder = KNNGraph(1, normalize=False)
    teacher, own = builder(tokens_t), builder(tokens_s)
    assert teacher.edge_index[:, 0].tolist() == [1, 0]
    assert [1, 0] not in own.edge_index.T.tolist()
    scored = builder.reweight(teacher, tokens_s)
    (gradient,) = torch.autograd.grad(LocalStructureLoss()(scored, teacher), scored.edge_weight)
    assert gradient[0] < 0  # a step down the gradient makes the pair closer


def test_no_gradient_reaches_the_teacher():
    student, teacher = random_graph(0, 8, 0.5), random_graph(1, 8, 0.5)
    LocalStructureLoss()(student, teacher).backward()
    assert teacher.edge_weight.grad is None
    same = with_weights_of(teacher, torch.rand_like(teacher.edge_weight).requires_grad_())
    LocalStructureLoss("neighbors", "student")(same, teacher).backward()
    assert teacher.edge_weight.grad is None


@pytest.mark.parametrize(
    ("support", "dtype", "temperature"),
    pairs(["all", "neighbors"], [torch.float32, torch.float16, torch.bfloat16], [0.05, 1.0]),
)
def test_lower_precision_is_near_float64(support, dtype, temperature):
    teacher, other = random_graph(0, 64, 0.1), random_graph(1, 64, 0.1)
    weight_s, weight_t = torch.rand(teacher.num_edges).to(dtype), teacher.edge_weight.detach().to(dtype)
    student = with_weights_of(teacher if support == "neighbors" else other, weight_s[: other.num_edges])
    if support == "neighbors":
        student.edge_weight = weight_s
    else:
        student.edge_weight = other.edge_weight.detach().to(dtype)
    student.edge_weight.requires_grad_()
    low_teacher = with_weights_of(teacher, weight_t)
    loss = LocalStructureLoss(support, temperature=temperature)(student, low_teacher)
    loss.backward()
    exact = LocalStructureLoss(support, temperature=temperature)(
        with_weights_of(student, student.edge_weight.detach().double()), with_weights_of(teacher, weight_t.double())
    )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)
    assert student.edge_weight.grad.isfinite().all()


def test_float32_keeps_the_small_difference_of_two_large_partition_sums():
    """With thousands of nodes Z is close to M for both networks, and the KL is about 1e-3 of log M a node."""
    nodes, k = 2000, 4
    edges = torch.stack([torch.arange(nodes * k) // k, torch.arange(nodes * k) * 7 % nodes])
    edges = torch.unique(edges, dim=1)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.rand(edges.shape[1], generator=generator) for _ in range(2)]
    student, teacher = (Data(edge_index=edges, edge_weight=w, num_nodes=nodes) for w in weights)
    exact = over_all(
        *(Data(edge_index=edges, edge_weight=w.double(), num_nodes=nodes) for w in weights),
    )
    assert LocalStructureLoss()(student, teacher).item() == pytest.approx(exact.item(), rel=1e-4)


@pytest.mark.parametrize("support", ["all", "neighbors"])
@pytest.mark.parametrize("temperature", [1e-4, 1e4])
def test_extreme_temperatures_are_finite(support, temperature):
    teacher = random_graph(0, 8, 0.5)
    student = with_weights_of(teacher, torch.rand(teacher.num_edges).requires_grad_())
    loss = LocalStructureLoss(support, temperature=temperature)(student, teacher)
    loss.backward()
    assert loss.isfinite()
    assert student.edge_weight.grad.isfinite().all()


def test_a_row_of_nothing_but_very_negative_weights():
    """A complete graph with self loops whose weights are all -1, at temperature 0.05: both rows are uniform."""
    edge_index = torch.ones(3, 3).nonzero().T
    teacher = Data(edge_index=edge_index, edge_weight=torch.full((9,), -1.0), num_nodes=3)
    student = with_weights_of(teacher, torch.full((9,), -0.9).requires_grad_())
    loss = LocalStructureLoss(temperature=0.05)(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert student.edge_weight.grad.isfinite().all()


@pytest.mark.parametrize("support", ["all", "neighbors"])
def test_a_graph_without_edges_has_no_loss(support):
    empty = Data(edge_index=torch.empty(2, 0, dtype=torch.long), edge_weight=torch.empty(0), num_nodes=3)
    assert LocalStructureLoss(support)(empty, empty.clone()) == 0


def test_graph_of_an_image_pair_is_the_same_as_the_two_images():
    """With the softmax over neighbours the images of a block-diagonal batch do not see each other."""
    teacher, student = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    builder, loss = CompleteGraph(), LocalStructureLoss("neighbors", reduction="sum")
    together = loss(builder(student), builder(teacher))
    apart = sum(loss(builder(student[i : i + 1]), builder(teacher[i : i + 1])) for i in range(2))
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"support": "some"}, "support=some: choose all or neighbors"),
        ({"direction": "both"}, "direction=both: choose teacher or student"),
        ({"reduction": "none"}, "reduction=none: choose mean or sum"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": -1}, "temperature=-1"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        LocalStructureLoss(**options)


def test_graphs_must_have_the_same_nodes():
    with pytest.raises(InputError, match="student graph of 4 nodes, teacher graph of 5"):
        LocalStructureLoss()(random_graph(0, 4, 0.5), random_graph(0, 5, 0.5))


def test_graphs_need_weights():
    plain = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3)
    with pytest.raises(InputError, match=r"the graph has no edge_weight"):
        LocalStructureLoss()(plain, random_graph(0, 3, 0.5))
    with pytest.raises(InputError, match=r"the graph has no edge_weight"):
        LocalStructureLoss()(random_graph(0, 3, 0.5), plain)


def test_neighbours_need_the_same_edges():
    student, teacher = random_graph(0, 6, 0.5), random_graph(1, 6, 0.5)
    with pytest.raises(InputError, match=r"different ones: .*teacher's edges.*reweight.*support=all"):
        LocalStructureLoss("neighbors")(student, teacher)
    equal = with_weights_of(teacher, teacher.edge_weight.detach())
    equal.edge_index = teacher.edge_index.clone()
    assert LocalStructureLoss("neighbors")(equal, teacher).item() == pytest.approx(0, abs=1e-12)
