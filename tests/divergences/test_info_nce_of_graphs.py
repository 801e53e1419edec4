"""InfoNCE as a divergence: between the nodes of two graphs."""

import loss_equations as equations
import pytest
import torch
from inputs import HARD
from pairs import pairs
from torch_geometric.data import Data

from trg_pyg.divergences import InfoNCE, Related
from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph, node_batch
from trg_pyg.relations import Angle, Cosine, NodeFeatures, Softmax


@pytest.mark.parametrize(("reduction", "chunk_bytes", "kind"), pairs(["mean", "sum"], [1, 1 << 20], ["random", *HARD]))
def test_equals_its_equation_whatever_the_edges(reduction, chunk_bytes, kind, compare, close, hard):
    x_s, x_t = hard(kind, 6, 4).requires_grad_(), hard(kind, 6, 4, seed=1).requires_grad_()
    student, teacher = node_batch(x_s.view(2, 3, 4)), KNNGraph(2)(x_t.view(2, 3, 4))
    loss = compare(InfoNCE(0.2, reduction, chunk_bytes), NodeFeatures(), student, teacher)
    close(loss, equations.info_nce(x_s, x_t, 0.2, reduction), [x_s, x_t])
    assert not InfoNCE().needs_same_edges(NodeFeatures())


def test_a_single_node_is_always_right(compare):
    x = torch.ones(1, 3, requires_grad=True)
    loss = compare(InfoNCE(), NodeFeatures(), Data(x=x), Data(x=-x.detach()))
    loss.backward()
    assert loss == 0
    assert torch.equal(x.grad, torch.zeros(1, 3))


def test_half_precision_and_autocast_give_float32(compare, hard):
    student, teacher = Data(x=hard("random", 6, 4).half()), Data(x=hard("random", 6, 4, seed=1).half())
    exact = compare(InfoNCE(), NodeFeatures(), Data(x=student.x.double()), Data(x=teacher.x.double()))
    with torch.autocast("cpu", torch.bfloat16):
        loss = compare(InfoNCE(), NodeFeatures(), student, teacher)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("relation", "on"), [(Cosine(), "edges"), (Softmax(Cosine()), "edges"), (Angle(), "triples")], ids=str
)
def test_relations_of_several_nodes_are_refused(relation, on):
    message = f"InfoNCE of {type(relation).__name__}: the relation has values on {on}, .* compares values on nodes"
    with pytest.raises(InputError, match=message):
        InfoNCE().check(relation, relation)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0}, "temperature=0: it must be positive"), ({"reduction": "entries"}, "choose mean or sum")],
)
def test_impossible_options_are_refused_when_built(options, message):
    with pytest.raises(InputError, match=message):
        InfoNCE(**options)


def test_nodes_of_different_widths_are_refused():
    with pytest.raises(InputError, match=r"anchors \(4, 3\) and positives \(4, 2\)"):
        InfoNCE()(Related(NodeFeatures(), Data(x=torch.ones(4, 3))), Related(NodeFeatures(), Data(x=torch.ones(4, 2))))
