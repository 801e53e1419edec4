"""What all nodes promise, for every class that there is: a new file is tested as soon as it exists."""

import inspect

import pytest
import torch

import trg_pyg.nodes
from trg_pyg._discover import subclasses
from trg_pyg.nodes import Instances, Nodes

IMAGES = 3
CLASSES = [cls for cls in subclasses(Nodes) if cls.__module__.startswith(f"{trg_pyg.nodes.__name__}.")]


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def nodes(request, networks) -> Nodes:
    torch.manual_seed(0)
    if "nodes" in inspect.signature(request.param).parameters:
        return request.param(Instances(*networks)).double()
    return request.param(*networks).double()


def test_there_are_nodes():
    names = {cls.__name__ for cls in CLASSES}
    assert {"Embedded", "FlattenedMaps", "Instances", "Probabilities", "StageMaps", "Tokens"} <= names


def test_shapes_are_those_promised(nodes, outputs, step):
    pair = nodes(*outputs(), step)
    assert pair.student.dim() == pair.teacher.dim() == 3
    assert pair.student.shape[:2] == pair.teacher.shape[:2]
    assert pair.student.shape[0] == (IMAGES if nodes.per_image else 1)
    assert (pair.student.shape[2], pair.teacher.shape[2]) == (nodes.student_dim, nodes.teacher_dim)


def test_gradient_reaches_the_student_and_not_the_teacher(nodes, outputs, step):
    student, teacher = outputs()
    pair = nodes(student, teacher, step)
    assert pair.student.requires_grad
    assert pair.teacher.requires_grad == (not nodes.frozen_teacher)
    (pair.student.square().sum() + pair.teacher.square().sum()).backward()
    grads = [x.grad for x in (student.logits, *student.features, student.embedding) if x.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)
    assert all(x.grad is None for x in (teacher.logits, *teacher.features, teacher.embedding))


def test_every_parameter_learns(nodes, outputs, step):
    pair = nodes(*outputs(), step)
    (pair.student.square().sum() + pair.teacher.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in nodes.parameters())


def test_labels_are_those_of_the_images(nodes, outputs, step):
    pair = nodes(*outputs(), step)
    labels = nodes.labels(step.target, pair.teacher.shape[1])
    assert labels.shape == pair.teacher.shape[:2]
    if nodes.per_image:
        assert all(row.unique().item() == target for row, target in zip(labels, step.target, strict=True))
    else:
        assert labels.view(-1, IMAGES).tolist() == [step.target.tolist()] * (labels.numel() // IMAGES)


def test_the_global_generator_is_left_alone(nodes, outputs, step):
    state = torch.get_rng_state()
    first, second = nodes(*outputs(), step), nodes(*outputs(), step)
    assert torch.equal(first.student, second.student)
    assert torch.equal(first.teacher, second.teacher)
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_under_autocast_is_finite(nodes, outputs, step):
    student, teacher = outputs(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        pair = nodes.float()(student, teacher, step)
    (pair.student.float().square().sum() + pair.teacher.float().square().sum()).backward()
    assert pair.student.isfinite().all()
    assert pair.teacher.isfinite().all()
