"""The loss that every relational method is: relation x divergence on two graphs."""

import pytest
import torch
from inputs import draw
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from trg_pyg.divergences import KL, MSE, InfoNCE, SmoothL1
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph, node_batch
from trg_pyg.losses import ContextualLoss, LocalStructureLoss, RelationalLoss
from trg_pyg.relations import (
    Angle,
    Cosine,
    Distance,
    DotProduct,
    EdgeRelation,
    Gaussian,
    GivenWeight,
    NodeFeatures,
    Scaled,
    Softmax,
)

COMPLETE = CompleteGraph(None, self_loops=True)


def graphs(student: Tensor, teacher: Tensor, builder=None) -> tuple[Batch, Batch]:
    """Both on the teacher's edges."""
    builder = builder or KNNGraph(2)
    graph_t = builder(teacher)
    return builder.reweight(graph_t, student), graph_t


def equal(actual: RelationalLoss, expected: RelationalLoss, builder=None) -> None:
    student, teacher = draw(0, 3, 5, 4).requires_grad_(), draw(1, 3, 5, 6)
    values = [loss(*graphs(student, teacher, builder)) for loss in (actual, expected)]
    gradients = [torch.autograd.grad(value, student)[0] for value in values]
    assert values[0] > 0
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("direction", ["teacher", "student"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("support", ["neighbors", "all"])
def test_local_structure_composed_by_hand(direction, reduction, support):
    by_hand = RelationalLoss(Softmax(GivenWeight(), 0.3, support), KL(direction, reduction))
    equal(by_hand, LocalStructureLoss(support, direction, 0.3, reduction))


def test_a_kernel_of_the_nodes_is_the_weight_that_a_builder_makes():
    by_hand = RelationalLoss(Softmax(Gaussian(), 0.3), KL())
    equal(by_hand, LocalStructureLoss("neighbors", temperature=0.3), KNNGraph(2, normalize=False))


def test_contextual_composed_by_hand():
    equal(RelationalLoss(Softmax(DotProduct(scaled=True)), MSE()), ContextualLoss("graph"))
    equal(RelationalLoss(Softmax(DotProduct(scaled=True)), MSE()), ContextualLoss("dense"), COMPLETE)


@pytest.mark.parametrize(
    ("relation", "divergence"),
    [
        (Softmax(GivenWeight()), KL()),
        (Softmax(Cosine(), 0.1, "all"), KL("student")),
        (Scaled(Distance(), "mean"), SmoothL1()),
        (Angle(block_bytes=1), MSE()),
        (NodeFeatures(), InfoNCE()),
    ],
    ids=["weights", "all", "distances", "angles", "nodes"],
)
def test_the_teacher_keeps_its_gradient_only_where_it_is_asked_for(relation, divergence):
    student, teacher = draw(0, 2, 5, 4).requires_grad_(), draw(1, 2, 5, 4).requires_grad_()
    values = []
    for detach in (True, False):
        student.grad = teacher.grad = None
        loss = RelationalLoss(relation, divergence, detach=detach)(*graphs(student, teacher))
        loss.backward()
        values.append((loss.detach(), student.grad))
        assert (student.grad != 0).any()
        assert (teacher.grad is None) == detach
        assert detach or (teacher.grad != 0).any()
    torch.testing.assert_close(values[0], values[1])


def test_the_graphs_are_left_alone():
    student, teacher = graphs(draw(0, 2, 4, 3), draw(1, 2, 4, 3).requires_grad_())
    RelationalLoss(Softmax(GivenWeight()), KL())(student, teacher)
    assert teacher.x.requires_grad
    assert teacher.edge_weight.requires_grad


class Projected(EdgeRelation):
    """A relation that learns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=torch.float64))

    def between(self, x: Tensor, edge_index: Tensor, num_graphs: int = 1) -> Tensor:
        return (x[edge_index[0]] - x[edge_index[1]]) @ self.weight


def test_a_pair_of_relations_is_one_for_each_network():
    edge_index = torch.tensor([[0], [1]])
    student, teacher = Data(x=torch.tensor([[3.0, 4.0], [0.0, 0.0]])), Data(x=torch.tensor([[2.0], [0.0]]))
    student.edge_index = teacher.edge_index = edge_index
    loss = RelationalLoss((Distance(), DotProduct()), MSE())
    assert loss(student, teacher) == (5 - 0) ** 2
    assert RelationalLoss((DotProduct(), Distance()), MSE())(student, teacher) == (0 - 2) ** 2


@pytest.mark.parametrize("detach", [True, False])
def test_what_both_relations_learn_gets_its_gradient(detach):
    pair = Projected(4), Projected(6)
    loss = RelationalLoss(pair, MSE(), detach=detach)
    assert len(list(loss.parameters())) == 2
    teacher = draw(1, 2, 5, 6).requires_grad_()
    loss(*graphs(draw(0, 2, 5, 4), teacher)).backward()
    assert all((relation.weight.grad != 0).any() for relation in pair)
    assert (teacher.grad is None) == detach


def test_one_relation_that_learns_is_learned_once():
    loss = RelationalLoss(Projected(4), MSE())
    assert len(list(loss.parameters())) == 1
    restored = RelationalLoss(Projected(4), MSE())
    restored.load_state_dict(loss.state_dict())


def test_both_of_a_pair_are_checked():
    for pair in ((Angle(), Softmax(Cosine())), (Softmax(Cosine()), Angle())):
        with pytest.raises(InputError, match="KL of Angle"):
            RelationalLoss(pair, KL())


def test_graphs_with_other_edges_are_refused_where_the_same_are_needed():
    student, teacher = KNNGraph(2)(draw(0, 2, 6, 3)), KNNGraph(2)(draw(1, 2, 6, 3))
    message = (
        r"RelationalLoss compares values on the same edges, .* score the student on the teacher's edges .*reweight"
    )
    for relation, divergence in ((Distance(), MSE()), (Softmax(Distance()), KL()), (Angle(), SmoothL1())):
        with pytest.raises(InputError, match=message):
            RelationalLoss(relation, divergence)(student, teacher)
    for relation, divergence in ((Softmax(Distance(), support="all"), KL()), (NodeFeatures(), InfoNCE())):
        assert RelationalLoss(relation, divergence)(student, teacher) > 0
    fewer = Data(x=teacher.x, edge_index=teacher.edge_index[:, 1:])
    with pytest.raises(InputError, match="same edges"):
        RelationalLoss(Distance(), MSE())(teacher, fewer)


def test_equal_edges_need_not_be_one_tensor():
    student, teacher = graphs(draw(0, 2, 5, 4), draw(1, 2, 5, 4))
    loss = RelationalLoss(Distance(), MSE())
    expected = loss(student, teacher)
    student.edge_index = student.edge_index.clone()
    assert torch.equal(loss(student, teacher), expected)


def test_a_divergence_may_serve_several_losses():
    """What it needs depends on the relation, and one loss must not change it for another."""
    student, teacher = KNNGraph(2)(draw(0, 2, 6, 3)), KNNGraph(2)(draw(1, 2, 6, 3))
    divergence = KL()
    neighbours = RelationalLoss(Softmax(Distance()), divergence)
    everywhere = RelationalLoss(Softmax(Distance(), support="all"), divergence)
    with pytest.raises(InputError, match="same edges"):
        neighbours(student, teacher)
    RelationalLoss(Softmax(Distance()), divergence)
    assert everywhere(student, teacher) > 0


def test_graphs_of_other_nodes_are_refused():
    for loss in (RelationalLoss(Distance(), MSE()), RelationalLoss(NodeFeatures(), InfoNCE())):
        with pytest.raises(InputError, match=r"student graph of 4 nodes, teacher graph of 6: .* same positions"):
            loss(node_batch(draw(0, 2, 2, 3)), node_batch(draw(1, 2, 3, 3)))


@pytest.mark.parametrize(
    ("relation", "divergence", "message"),
    [
        (Distance(), KL(), "KL of Distance: its values are no distribution"),
        (Angle(), KL(), "KL of Angle: the relation has values on triples"),
        (Cosine(), InfoNCE(), "InfoNCE of Cosine: the relation has values on edges"),
        (Scaled(Cosine(shifted=True), "sum"), KL(), "give eps"),
    ],
)
def test_pieces_that_do_not_go_together_are_refused_when_built(relation, divergence, message):
    with pytest.raises(InputError, match=message):
        RelationalLoss(relation, divergence)


def test_nodes_without_any_edges_compare():
    student, teacher = Data(x=draw(0, 4, 3)), Data(x=draw(1, 4, 3))
    for divergence in (MSE(), InfoNCE()):
        assert RelationalLoss(NodeFeatures(), divergence)(student, teacher) > 0
    linked = Data(x=teacher.x, edge_index=torch.tensor([[0], [1]]))
    for divergence in (MSE(), InfoNCE()):
        assert RelationalLoss(NodeFeatures(), divergence)(student, linked) > 0


@pytest.mark.parametrize(
    ("relation", "divergence"),
    [
        (Angle(block_bytes=1), SmoothL1()),
        (Scaled(DotProduct(), "norm"), MSE()),
        (Softmax(Cosine(), 0.1), KL()),
        (Projected(4).float(), MSE()),
    ],
    ids=["blocks", "scaled", "softmax", "learned"],
)
def test_autocast_changes_neither_value_nor_gradient(relation, divergence):
    """The backward pass of blocks, which makes them again, runs outside of it."""
    student, teacher = draw(0, 2, 5, 4).float().requires_grad_(), draw(1, 2, 5, 4).float()
    both, loss = graphs(student, teacher, COMPLETE), RelationalLoss(relation, divergence)
    expected = loss(*both)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(*both)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    gradients = [torch.autograd.grad(one, student, retain_graph=True)[0] for one in (value, expected)]
    assert torch.equal(gradients[0], gradients[1])
