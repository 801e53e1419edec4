"""Nodes made of other nodes."""

import loss_equations as equations
import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.nodes import Embedded, Instances, Tokens, UnitLength


@pytest.mark.parametrize("unit", [False, True])
def test_embeddings_are_linear_in_the_nodes_and_learn_on_both_sides(unit, networks, outputs, step):
    inner = Instances(*networks)
    nodes, (student, teacher) = Embedded(inner, dim=4).double(), outputs()
    pair = (UnitLength(nodes) if unit else nodes)(student, teacher, step)
    expected = []
    for x, layer in ((student.embedding, nodes.embed_student), (teacher.embedding, nodes.embed_teacher)):
        rows = [layer.weight @ row + layer.bias for row in x.detach()]
        expected.append(torch.stack([equations.unit(row) if unit else row for row in rows])[None])
    torch.testing.assert_close(pair.student, expected[0])
    torch.testing.assert_close(pair.teacher, expected[1])
    weight = torch.arange(4, dtype=torch.float64)
    (pair.teacher * weight).sum().backward()
    assert nodes.embed_teacher.weight.grad.abs().sum() > 0
    assert nodes.embed_student.weight.grad is None
    assert teacher.embedding.grad is None
    assert (nodes.student_dim, nodes.teacher_dim, nodes.frozen_teacher) == (4, 4, False)


def test_embedded_tokens_are_still_those_of_an_image(networks, outputs, step):
    nodes = Embedded(Tokens(*networks), dim=6).double()
    pair = nodes(*outputs(), step)
    assert pair.student.shape == pair.teacher.shape == (3, 4, 6)
    assert nodes.per_image
    assert nodes.labels(step.target, 4).tolist() == [[2] * 4, [0] * 4, [1] * 4]


def test_embedded_nodes_keep_labels_of_their_own(networks, step):
    class Reversed(Instances):
        def labels(self, target, nodes):
            return target.flip(0)[None]

    assert Embedded(Reversed(*networks)).labels(step.target, 3).tolist() == [[1, 0, 2]]


def test_an_embedding_without_width_is_refused_when_built(networks):
    with pytest.raises(InputError, match="projection from 7 to 0: widths must be at least 1"):
        Embedded(Instances(*networks), dim=0)


def test_an_embedding_of_the_teacher_that_does_not_learn_leaves_it_frozen(networks, outputs, step):
    nodes = Embedded(Instances(*networks), learn_teacher=False).double()
    assert nodes.frozen_teacher
    assert not nodes(*outputs(), step).teacher.requires_grad
