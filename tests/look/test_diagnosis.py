import copy
import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trg_pyg.config.choices import read_choices
from trg_pyg.errors import InputError
from trg_pyg.look.diagnosis import (
    Diagnosis,
    FeatureLeaf,
    diagnosis_table,
    draw_probe,
    gradient_measures,
    read_lines,
)
from trg_pyg.models.taps import TappedModel
from trg_pyg.step import Step
from trg_pyg.study.agenda import planned
from trg_pyg.study.study import build_network, prepare


def test_gradients_are_those_of_the_equations():
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64).requires_grad_()
    head = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    logits, target = feature.mean((2, 3)) @ head, torch.tensor([0, 4, 4, 2])
    parts = {
        "ce": (2.0, cross_entropy(logits, target)),
        "length": (3.0, feature.square().sum() / 2),
        "nothing": (1.0, torch.tensor(7.0)),
    }
    measures = gradient_measures(parts, feature, logits)
    # d CE / d logits = (softmax - one hot) / B; of a mean over 4 cells, each cell has a quarter.
    of_logits = (logits.softmax(1) - nn.functional.one_hot(target, 5)).detach() / 4
    of_feature = (of_logits @ head.t() / 4)[:, :, None, None].expand_as(feature)
    x = feature.detach()
    expected = {
        "value/ce": parts["ce"][1].item(),
        "grad/ce": 2 * float(of_feature.norm()),
        "grad_logits/ce": 2 * float(of_logits.norm()),
        "value/length": float(x.square().sum() / 2),
        "grad/length": 3 * float(x.norm()),
        "grad_logits/length": 0.0,
        "value/nothing": 7.0,
        "grad/nothing": 0.0,
        "grad_logits/nothing": 0.0,
        "cosine/length": float((x * of_feature).sum() / (x.norm() * of_feature.norm())),
        "cosine/nothing": None,
    }
    assert measures == {name: value if value is None else pytest.approx(value) for name, value in expected.items()}


def test_a_method_without_cross_entropy_has_no_cosine():
    x = torch.ones(2, 3, requires_grad=True)
    assert set(gradient_measures({"a": (1.0, x.sum())}, x, x)) == {"value/a", "grad/a", "grad_logits/a"}


class Pair(NamedTuple):
    map: Any
    other: Any


class Stem(nn.Module):
    """A module of one output or of several; what follows may overwrite the map."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.kind = nn.Conv2d(3, 4, 3, bias=False), kind

    def forward(self, x):
        out = self.conv(x)
        return {"tensor": out, "tuple": (out, 1), "named": Pair(out, 1)}[self.kind]


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.stem, self.head, self.kind = Stem(kind), nn.Linear(4, 5), kind

    def forward(self, x):
        out = self.stem(x)
        out = out if self.kind == "tensor" else out.map if self.kind == "named" else out[0]
        return self.head(out.mul_(2).relu_().mean((2, 3)))


@pytest.mark.parametrize("kind", ["tensor", "tuple", "named"])
def test_both_the_logits_and_the_tapped_feature_depend_on_the_leaf(kind):
    torch.manual_seed(0)
    net = Net(kind)
    tapped = TappedModel(net, ["stem"])
    images = torch.rand(2, 3, 6, 6)
    plain = tapped(images)
    leaf = FeatureLeaf(net.stem)
    outputs = tapped(images)
    assert torch.equal(outputs.logits, plain.logits)
    assert torch.equal(outputs.features[0], plain.features[0])
    (of_logits,) = torch.autograd.grad(outputs.logits.square().sum(), leaf.value, retain_graph=True)
    (of_feature,) = torch.autograd.grad(outputs.features[0].square().sum(), leaf.value)
    x = net.stem.conv(images).detach().requires_grad_()
    torch.testing.assert_close(of_feature, 2 * x.detach())
    net.head((2 * x).relu().mean((2, 3))).square().sum().backward()
    torch.testing.assert_close(of_logits, x.grad)


def test_a_second_pass_of_as_many_images_adds_to_the_gradient_of_the_leaf_and_another_does_not():
    torch.manual_seed(0)
    net = Net("tensor")
    leaf = FeatureLeaf(net.stem)
    images = torch.rand(2, 3, 6, 6, requires_grad=True)
    (of_one,) = torch.autograd.grad(net(images).square().sum(), leaf.value)
    both = net(images).square().sum() + net(images).square().sum() + net(images[:1]).square().sum()
    torch.testing.assert_close(torch.autograd.grad(both, leaf.value)[0], 2 * of_one)
    # A gradient of the images, which lie before the module.
    (seen,) = torch.autograd.grad(net(images).square().sum(), images, create_graph=True)
    assert torch.autograd.grad(seen.square().sum(), leaf.value)[0].norm() > 0
    leaf.forget()
    with torch.no_grad():
        net(images[:1])
    assert len(leaf.value) == 1


@pytest.fixture
def study(small):
    return prepare(
        read_choices(
            [*small, "--method_options={TRG: {k: 5}}", "--methods", "Vanilla", "TRG", "CRD", "HKD", "AdversarialKD"]
        )
    )


@pytest.fixture
def trainings(study):
    """A run and its network by method, as they are when a training starts."""
    made = {}
    for method in study.choices.methods:
        run = planned(study, method, 0)
        _ = run.distiller  # made now, as it sets the global random state
        network = build_network(study.config.student, study.splits, 0, method.taps)
        made[method.name] = run, network
    return made


@pytest.fixture
def diagnosis(study):
    return Diagnosis(study, build_network(study.config.teacher, study.splits, 1), draw_probe(study, 36, 18))


def state(run, network):
    modules = [*network.modules(), *run.distiller.modules()]
    tensors = {**network.state_dict(), **{f"distiller.{k}": v for k, v in run.distiller.state_dict().items()}}
    grads = [None if p.grad is None else p.grad.clone() for m in (network, run.distiller) for p in m.parameters()]
    hooks = [len(module._forward_hooks) for module in modules]
    return copy.deepcopy(tensors), [m.training for m in modules], grads, hooks, torch.get_rng_state()


@pytest.mark.parametrize("method", ["Vanilla", "TRG", "CRD", "HKD", "AdversarialKD"])
def test_a_look_leaves_no_trace(method, study, trainings, diagnosis):
    run, network = trainings[method]
    run.distiller.bind(study.splits.train.targets, torch.Generator().manual_seed(5))
    network.train()
    run.distiller.train()
    network(study.splits.train.images[:9]).logits.sum().backward()
    before = state(run, network)
    first = diagnosis.measure(run, network, 1)
    after = state(run, network)
    torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)
    assert diagnosis.measure(run, network, 1) == first
    assert diagnosis.measure(run, network, 0).keys() == first.keys()
    assert first["grad/ce"] > 0


def test_values_and_gradients_are_those_of_the_loss_in_evaluation_mode(study, trainings, diagnosis):
    run, network = trainings["TRG"]
    measures = diagnosis.measure(run, network, 1)
    network.eval()
    run.distiller.eval()
    teacher = TappedModel(diagnosis._teacher.model, "last", diagnosis._teacher.normalize)
    values, norms = [], []
    for number, batch in enumerate(draw_probe(study, 36, 18)):
        assert torch.equal(batch.inputs, study.splits.train.images[batch.index])
        assert torch.equal(batch.target, study.splits.train.targets[batch.index])
        said = network(batch.inputs)
        step = Step(batch.target, 0.5, torch.Generator().manual_seed(number), batch.index)
        with torch.no_grad():
            heard = teacher(batch.inputs)
        values.append(run.distiller(said, heard, step).parts)
        # Relational parts reach the network by its tapped feature alone.
        step = Step(batch.target, 0.5, torch.Generator().manual_seed(number), batch.index)
        weight, value = run.distiller.weighted_parts(said, heard, step)["local"]
        norms.append(torch.autograd.grad(weight * value, said.features[-1])[0].norm().item())
    assert set(values[0]) == {"ce", "kd", "inner", "local", "global", "graph"}
    for name in values[0]:
        assert measures[f"value/{name}"] == pytest.approx(sum(float(each[name]) for each in values) / 2, rel=1e-5)
        assert measures[f"grad/{name}"] > 0
    assert measures["grad/local"] == pytest.approx(sum(norms) / 2, rel=1e-4)
    assert measures["grad_logits/ce"] > 0 == measures["grad_logits/inner"]
    assert -1 <= measures["cosine/kd"] <= 1
    assert "cosine/ce" not in measures
    assert (measures["k"], measures["tokens"]) == (5, 16)


def test_a_student_that_is_its_teacher_finds_all_edges(study, trainings):
    run, network = trainings["Vanilla"]
    measures = Diagnosis(study, network, draw_probe(study, 18, None)).measure(run, network, 0)
    assert measures["recall/image"] == measures["recall/batch"] == 1
    assert measures["cross/share"] == measures["cross/student"]
    assert measures["cross/same_class"] == measures["cross/same_class_student"]
    assert {name for name in measures if name.startswith(("value", "grad"))} == {
        "value/ce",
        "grad/ce",
        "grad_logits/ce",
    }


def test_the_probe_is_the_same_each_time_and_refuses_what_cannot_be(study):
    first, again = draw_probe(study, 36, None), draw_probe(study, 36, None)
    assert [len(each.target) for each in first] == [18, 18]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, again, strict=True))
    assert len(torch.cat([each.index for each in first]).unique()) == 36
    assert [len(each.target) for each in draw_probe(study, 10, None)] == [10]
    for images, batch, message in (
        (37, None, "training set has 36 images; choose 1 to 36"),
        (0, None, "probe_images=0"),
        (20, None, "leaves a batch of 2, whose graph is not like the others: choose probe_images=36"),
        (20, 0, "probe_batch=0"),
    ):
        with pytest.raises(InputError, match=message):
            draw_probe(study, images, batch)


def test_a_file_of_another_probe_and_a_batch_that_is_too_small_are_refused(study, trainings, diagnosis):
    run, network = trainings["HKD"]
    run.folder.mkdir(parents=True)
    diagnosis.watch(run, network, False)
    run.distiller.bind(study.splits.train.targets, torch.Generator())
    diagnosis.watch(run, network, True)({"epoch": 1.0})
    assert [line["epoch"] for line in read_lines(run.folder / "diagnosis.jsonl")] == [0, 1]
    other = Diagnosis(study, network, draw_probe(study, 36, 12))
    with pytest.raises(InputError, match="probe_images=36 and probe_batch=18: go on with the same"):
        other.watch(run, network, True)
    few = Diagnosis(study, network, draw_probe(study, 1, None))
    with pytest.raises(InputError, match="probe_batch=1: HKD seed 0 needs 2 images"):
        few.watch(run, network, False)
    with (run.folder / "diagnosis.jsonl").open("a") as file:
        file.write('{"epoch": 2, "reca')
    with pytest.raises(InputError, match="cut off"):
        read_lines(run.folder / "diagnosis.jsonl")


def test_the_table_has_the_first_middle_and_last_line_with_chance_beside():
    lines = [
        {
            "epoch": epoch,
            "k": 8,
            "recall/batch": epoch / 10,
            "recall/batch_chance": 0.125,
            "recall/batch_corrected": (epoch / 10 - 0.125) / 0.875,
            "cross/share_chance": 0.75,
            "cross/student": 1.0,
            "cosine/kd": None,
        }
        for epoch in range(6)
    ]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in diagnosis_table(lines).splitlines()]
    assert rows[0] == ["measure", "epoch 0", "epoch 2", "epoch 5", "chance"]
    assert rows[2:] == [
        ["recall/batch", "0", "0.2", "0.5", "0.125"],
        ["recall/batch_corrected", "-0.143", "0.0857", "0.429", "0"],
        ["cross/student", "1", "1", "1", "0.75"],
        ["cosine/kd", "", "", "", ""],
    ]
    assert diagnosis_table(lines[:1]).splitlines()[0].count("epoch") == 1
    assert not math.isnan(float(rows[2][1]))
