import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD, draw
from torch import Tensor
from torch_geometric.data import Batch, Data

from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph
from trg_pyg.losses import ContextualLoss

temperatures = st.one_of(st.none(), st.floats(0.05, 5.0))
few = settings(max_examples=25)


def on_same_edges(builder, student: Tensor, teacher: Tensor) -> tuple[Batch, Batch]:
    graph = builder(teacher)
    return builder.reweight(graph, student), graph


def test_two_tokens_written_out():
    # D = 1. Teacher tokens 0, 0: every row is (1/2, 1/2). Student tokens 1, 0: rows softmax(1, 0) and softmax(0, 0).
    student, teacher = Data(x=torch.tensor([[1.0], [0.0]])), Data(x=torch.zeros(2, 1))
    p = math.e / (math.e + 1)
    assert ContextualLoss("dense")(student, teacher).item() == pytest.approx(2 * (p - 0.5) ** 2 / 4)


def test_on_edges_written_out():
    # Node 0 hears 1 and 2, with products 1 * 1 and 1 * 0; nodes 1 and 2 hear one node each, which is certain.
    edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 2]])
    student = Data(x=torch.tensor([[1.0], [1.0], [0.0]]), edge_index=edge_index)
    teacher = Data(x=torch.zeros(3, 1), edge_index=edge_index)
    p = math.e / (math.e + 1)
    assert ContextualLoss("graph")(student, teacher).item() == pytest.approx(2 * (p - 0.5) ** 2 / 4)


@few
@given(
    images=st.integers(1, 3),
    size=st.integers(1, 6),
    widths=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    temperature=temperatures,
    seed=st.integers(0, 2**31),
)
def test_dense_equals_its_equation(close, images, size, widths, temperature, seed):
    student, teacher = draw(seed, images, size, widths[0]).requires_grad_(), draw(seed + 1, images, size, widths[1])
    loss = ContextualLoss("dense", temperature)(*on_same_edges(CompleteGraph(), student, teacher))
    close(loss, equations.contextual_dense(list(student), list(teacher), temperature), [student])


@few
@given(
    images=st.integers(1, 3),
    size=st.integers(2, 6),
    widths=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    symmetric=st.booleans(),
    temperature=temperatures,
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_graph_equals_its_equation(close, images, size, widths, symmetric, temperature, seed, data):
    student, teacher = draw(seed, images, size, widths[0]).requires_grad_(), draw(seed + 1, images, size, widths[1])
    builder = KNNGraph(data.draw(st.integers(1, size - 1)), symmetric=symmetric)
    graph_s, graph_t = on_same_edges(builder, student, teacher)
    tokens = student.flatten(0, 1), teacher.flatten(0, 1)
    expected = equations.contextual_graph(graph_t.edge_index, *tokens, temperature)
    close(ContextualLoss("graph", temperature)(graph_s, graph_t), expected, [student])


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_graph_equals_dense_on_a_complete_graph_with_self_loops(images, size):
    student, teacher = draw(0, images, size, 4).requires_grad_(), draw(1, images, size, 3)
    graphs = on_same_edges(CompleteGraph(self_loops=True), student, teacher)
    on_graph, dense = ContextualLoss("graph")(*graphs), ContextualLoss("dense")(*graphs)
    torch.testing.assert_close(on_graph, dense, rtol=1e-6, atol=1e-15)
    torch.testing.assert_close(
        torch.autograd.grad(on_graph, student)[0], torch.autograd.grad(dense, student)[0], rtol=1e-5, atol=1e-12
    )


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("structure", ["dense", "graph"])
def test_hard_inputs(kind, structure, hard, close):
    student, teacher = hard(kind, 8, 5).requires_grad_(), hard(kind, 8, 3, seed=1)
    graph_s, graph_t = on_same_edges(KNNGraph(3), student.view(2, 4, 5), teacher.view(2, 4, 3))
    if structure == "dense":
        expected = equations.contextual_dense([student[:4], student[4:]], [teacher[:4], teacher[4:]])
    else:
        expected = equations.contextual_graph(graph_t.edge_index, student, teacher)
    close(ContextualLoss(structure)(graph_s, graph_t), expected, [student])


def test_images_of_unequal_sizes():
    """The mean runs over all entries of all images, so a larger image counts more."""
    sizes = [2, 5, 1]
    student = [draw(i, n, 4).requires_grad_() for i, n in enumerate(sizes)]
    teacher = [draw(i + 9, n, 3) for i, n in enumerate(sizes)]
    graphs = [Batch.from_data_list([Data(x=x) for x in side]) for side in (student, teacher)]
    loss, expected = ContextualLoss("dense")(*graphs), equations.contextual_dense(student, teacher)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-15)
    torch.testing.assert_close(
        torch.autograd.grad(loss, student[1])[0], torch.autograd.grad(expected, student[1])[0], rtol=1e-5, atol=1e-12
    )


def test_a_plain_data_is_one_image():
    student, teacher = Data(x=draw(0, 5, 4)), Data(x=draw(1, 5, 3))
    expected = equations.contextual_dense([student.x], [teacher.x])
    torch.testing.assert_close(ContextualLoss("dense")(student, teacher), expected)


@pytest.mark.parametrize("structure", ["dense", "graph"])
def test_images_do_not_see_each_other(structure):
    student, teacher = draw(0, 2, 5, 4), draw(1, 2, 5, 3)
    loss = ContextualLoss(structure)
    single = [loss(*on_same_edges(KNNGraph(2), student[i : i + 1], teacher[i : i + 1])) for i in range(2)]
    together = loss(*on_same_edges(KNNGraph(2), student, teacher))
    torch.testing.assert_close(together, torch.stack(single).mean())


@pytest.mark.parametrize("structure", ["dense", "graph"])
def test_moving_and_rotating_does_not_matter(structure):
    student, teacher = draw(0, 3, 5, 4), draw(1, 3, 5, 3)
    images, places, rotation = torch.tensor([1, 2, 0]), torch.randperm(5), torch.linalg.qr(draw(2, 4, 4)).Q
    loss = ContextualLoss(structure)(*on_same_edges(KNNGraph(2), student, teacher))
    moved = [side[images][:, places] for side in (student @ rotation, teacher)]
    torch.testing.assert_close(ContextualLoss(structure)(*on_same_edges(KNNGraph(2), *moved)), loss)


@pytest.mark.parametrize("structure", ["dense", "graph"])
def test_zero_where_the_tokens_are_equal_and_no_gradient_to_the_teacher(structure):
    teacher = draw(0, 2, 5, 4).requires_grad_()
    student = teacher.detach().clone().requires_grad_()
    loss = ContextualLoss(structure)(*on_same_edges(KNNGraph(2), student, teacher))
    loss.backward()
    assert loss == 0
    assert torch.equal(student.grad, torch.zeros_like(student))
    assert teacher.grad is None


@pytest.mark.parametrize("structure", ["dense", "graph"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_lower_precision_is_near_float64(structure, dtype):
    student, teacher = draw(0, 2, 5, 4).to(dtype).requires_grad_(), draw(1, 2, 5, 3).to(dtype)
    loss = ContextualLoss(structure)(*on_same_edges(KNNGraph(2), student, teacher))
    loss.backward()
    exact = ContextualLoss(structure)(*on_same_edges(KNNGraph(2), student.detach().double(), teacher.double()))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("structure", ["dense", "graph"])
def test_autocast_does_not_lower_the_precision(structure):
    student, teacher = draw(0, 2, 5, 4).float().requires_grad_(), draw(1, 2, 5, 3).float()
    expected = ContextualLoss(structure)(*on_same_edges(KNNGraph(2), student, teacher))
    with torch.autocast("cpu", torch.bfloat16):
        loss = ContextualLoss(structure)(*on_same_edges(KNNGraph(2), student, teacher))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert student.grad.isfinite().all()


def test_messages():
    with pytest.raises(InputError, match="structure=sparse: choose dense or graph"):
        ContextualLoss("sparse")
    with pytest.raises(InputError, match="student graph of 4 nodes, teacher graph of 5"):
        ContextualLoss("dense")(Data(x=torch.zeros(4, 2)), Data(x=torch.zeros(5, 2)))
    with pytest.raises(InputError, match=r"same edges.*reweight.*structure=dense"):
        ContextualLoss("graph")(KNNGraph(1)(draw(0, 1, 6, 3)), KNNGraph(1)(draw(1, 1, 6, 3)))


def test_with_a_temperature_the_length_of_tokens_does_not_matter():
    student, teacher = draw(0, 2, 6, 4), draw(1, 2, 6, 3)
    loss = ContextualLoss("graph", 0.1)
    expected = loss(*on_same_edges(KNNGraph(3, normalize=True), student, teacher))
    longer = loss(*on_same_edges(KNNGraph(3, normalize=True), 50 * student, 0.01 * teacher))
    torch.testing.assert_close(longer, expected)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(InputError, match="temperature"):
        ContextualLoss("graph", temperature)


@pytest.mark.parametrize("structure", ["dense", "graph"])
def test_cosines_of_zero_tokens_have_finite_gradients(structure):
    student, teacher = torch.zeros(2, 5, 4, requires_grad=True), draw(0, 2, 5, 3).float()
    loss = ContextualLoss(structure, 0.1)(*on_same_edges(KNNGraph(3), student, teacher))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()
