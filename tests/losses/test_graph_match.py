import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw
from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import GraphMatch

POOL = {"mean": lambda x: x.mean(1), "max": lambda x: x.amax(1), "sum": lambda x: x.sum(1)}
BUILDER = KNNGraph(2)


def read(tokens: Tensor, graph: Batch, hops: int, readout: str) -> Tensor:
    """One vector an image, after h rounds of message passing with the Gaussian weights of its graph."""
    nodes = tokens.flatten(0, 1)
    nodes = equations.propagate(nodes, graph.edge_index, equations.gaussian(nodes, graph.edge_index), hops)
    return POOL[readout](nodes.view_as(tokens))


@settings(max_examples=25)
@given(
    images=st.integers(1, 4),
    size=st.integers(3, 5),
    hops=st.integers(0, 2),
    readout=st.sampled_from(["mean", "max", "sum"]),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, images, size, hops, readout, seed):
    torch.manual_seed(seed)
    loss = GraphMatch(4, 3, dim=5, hops=hops, readout=readout, temperature=0.2).double()
    student, teacher = draw(seed, images, size, 4).requires_grad_(), draw(seed + 1, images, size, 3)
    graph_s, graph_t = BUILDER(student), BUILDER(teacher)
    a = loss.project_student(read(student, graph_s, hops, readout))
    b = loss.project_teacher(read(teacher, graph_t, hops, readout))
    close(loss(graph_s, graph_t), equations.info_nce(a, b, 0.2), [student, *loss.parameters()])


@pytest.mark.parametrize("hops", [0, 1, 2])
def test_learnable_message_passing(hops, close):
    torch.manual_seed(0)
    loss = GraphMatch(4, 3, dim=5, hops=hops, propagation="gnn").double()
    student, teacher = draw(0, 3, 5, 4).requires_grad_(), draw(1, 3, 5, 3)
    graph_s, graph_t = BUILDER(student), BUILDER(teacher)
    read_s = loss.pass_student(graph_s.x, graph_s.edge_index, graph_s.edge_weight).view(3, 5, 4).mean(1)
    read_t = loss.pass_teacher(graph_t.x, graph_t.edge_index, graph_t.edge_weight).view(3, 5, 3).mean(1)
    a, b = loss.project_student(read_s), loss.project_teacher(read_t)
    close(loss(graph_s, graph_t), equations.info_nce(a, b, 0.1), [student, *loss.parameters()])


def test_no_hops_do_not_look_at_the_edges():
    torch.manual_seed(0)
    loss = GraphMatch(4, 3, hops=0)
    student, teacher = draw(0, 3, 5, 4).float(), draw(1, 3, 5, 3).float()
    few, many = KNNGraph(1), KNNGraph(4)
    torch.testing.assert_close(loss(few(student), few(teacher)), loss(many(student), many(teacher)))


@pytest.mark.parametrize("propagation", ["free", "gnn"])
@pytest.mark.parametrize("kind", ["duplicates", "zeros", "all equal", "large", "small", "tiny"])
def test_hard_inputs_have_finite_gradients(propagation, kind, hard):
    torch.manual_seed(0)
    loss = GraphMatch(4, 3, propagation=propagation)
    student, teacher = hard(kind, 8, 4, dtype=torch.float32).requires_grad_(), hard(kind, 8, 3, dtype=torch.float32)
    value = loss(BUILDER(student.view(2, 4, 4)), BUILDER(teacher.view(2, 4, 3)))
    value.backward()
    assert value.isfinite()
    assert all(p.grad.isfinite().all() for p in [student, *loss.parameters()])


@pytest.mark.parametrize("propagation", ["free", "gnn"])
def test_moving_images_and_tokens_of_both_does_not_matter(propagation):
    torch.manual_seed(0)
    loss = GraphMatch(4, 3, propagation=propagation).double()
    student, teacher = draw(0, 3, 5, 4), draw(1, 3, 5, 3)
    images, places = torch.tensor([1, 2, 0]), torch.randperm(5)
    moved = [BUILDER(side[images][:, places]) for side in (student, teacher)]
    torch.testing.assert_close(loss(*moved), loss(BUILDER(student), BUILDER(teacher)))


def test_a_single_image_has_nothing_to_be_told_from():
    assert GraphMatch(4, 3)(BUILDER(torch.randn(1, 5, 4)), BUILDER(torch.randn(1, 5, 3))).abs() < 1e-6


def test_equal_images_cannot_be_told_apart():
    student, teacher = torch.randn(1, 5, 4).expand(6, -1, -1), torch.randn(1, 5, 3).expand(6, -1, -1)
    assert GraphMatch(4, 3)(BUILDER(student), BUILDER(teacher)).item() == pytest.approx(math.log(6), rel=1e-5)


@pytest.mark.parametrize("propagation", ["free", "gnn"])
def test_teacher_tokens_and_weights_get_no_gradient_but_its_modules_train(propagation):
    torch.manual_seed(0)
    loss = GraphMatch(4, 3, propagation=propagation)
    teacher = torch.randn(3, 5, 3, requires_grad=True)
    graph_t = BUILDER(teacher)
    loss(BUILDER(torch.randn(3, 5, 4)), graph_t).backward()
    assert teacher.grad is None
    assert graph_t.edge_weight.requires_grad  # the caller's graph is left as it was
    assert all(p.grad.abs().sum() > 0 for p in loss.project_teacher.parameters())
    assert all(p.grad.abs().sum() > 0 for p in loss.pass_teacher.parameters())


def test_the_weights_of_the_students_graph_get_a_gradient():
    student = BUILDER(torch.randn(3, 5, 4))
    student.edge_weight.requires_grad_()
    GraphMatch(4, 3)(student, BUILDER(torch.randn(3, 5, 3))).backward()
    assert (student.edge_weight.grad != 0).any()


def test_messages():
    with pytest.raises(InputError, match="3 student graphs and 2 teacher graphs"):
        GraphMatch(4, 3)(BUILDER(torch.randn(3, 5, 4)), BUILDER(torch.randn(2, 5, 3)))
    for options, message in [
        ({"propagation": "gat"}, "propagation=gat: choose free or gnn"),
        ({"temperature": 0}, "temperature=0"),
        ({"hops": -1}, "hops=-1"),
        ({"readout": "median"}, "readout=median: choose mean, max, sum"),
    ]:
        with pytest.raises(InputError, match=message):
            GraphMatch(4, 3, **options)


def test_a_subgraph_is_read_by_its_own_vector_and_an_empty_graph_is_refused():
    torch.manual_seed(0)
    loss = GraphMatch(4, 3)
    student, teacher = draw(0, 3, 5, 4).float(), draw(1, 3, 5, 3).float()
    graphs = BUILDER(student), BUILDER(teacher)
    order = torch.arange(15).view(3, 5).flip(1).flatten()  # nodes of each graph turned round
    torch.testing.assert_close(loss(*(graph.subgraph(order) for graph in graphs)), loss(*graphs))
    with pytest.raises(InputError, match=r"graph \[1\] of the batch has no node"):
        loss(*(graph.subgraph(graph.batch != 1) for graph in graphs))
    with pytest.raises(InputError, match="Batch without batch and ptr"):
        loss(*(Batch(x=graph.x, edge_index=graph.edge_index) for graph in graphs))
