import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trg_pyg.batch import Batch
from trg_pyg.distillers import KD, SRD
from trg_pyg.models import Networks, TappedModel, build_model
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map

SIDE = 32


def tapped(name: str, seed: int, classes: int = 5) -> TappedModel:
    torch.manual_seed(seed)
    network = TappedModel(build_model(name, classes))
    network.describe(SIDE)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that no norm is the identity
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return network.eval().requires_grad_(False)


def images(count: int = 4) -> torch.Tensor:
    return torch.randint(256, (count, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)).byte()


def step_of(networks: Networks, labelled: int = 4, unlabelled: int = 0) -> Step:
    rows = (labelled, unlabelled) if unlabelled else (labelled,)
    return Step(torch.arange(labelled), 0.5, torch.Generator(), torch.arange(labelled), networks, rows)


def as_teacher(method: SRD) -> SRD:
    """The method with a translation that changes nothing."""
    method.phi = nn.Identity()
    return method


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenet_v1", "vit_tiny_patch4_32"])
def test_the_teachers_own_map_is_answered_as_the_teacher_does(name):
    """The layers between the tap and the classifier are its own: the last norm of a wide ResNet lies behind its tap."""
    teacher = tapped(name, 0)
    info = teacher.describe(SIDE)
    if info.features[-1].prefix_tokens:
        pytest.skip("a class token is none of the map")
    heard = teacher(images())
    method = as_teacher(SRD(info, info))
    parts = method(heard, heard, step_of(Networks(teacher, teacher))).parts
    assert parts["cross"].item() == pytest.approx(0, abs=1e-10)
    assert parts["feature"].item() == 0


def test_the_parts_are_those_of_the_paper_on_all_rows():
    networks = [tapped("resnet8", 0).double(), tapped("wrn_16_2", 1).double()]
    infos = [network.describe(SIDE) for network in networks]
    torch.manual_seed(2)
    method = SRD(*infos, weight=2.0, feature_weight=10.0, kd_weight=0.5).double()
    student, teacher = (network(images(5).double() / 255) for network in networks)
    maps = student.features[-1].requires_grad_()
    student = student._replace(features=(maps,))
    step = step_of(Networks(*networks), 3, 2)
    parts = method.weighted_parts(student, teacher, step)
    assert [(name, weight) for name, (weight, _) in parts.items()] == [
        ("ce", 1.0),
        ("kd", 0.5),
        ("cross", 2.0),
        ("feature", 20.0),
    ]
    conv, norm = method.phi[0], method.phi[1]
    assert conv.bias is None
    rows = torch.einsum("bchw,dc->bdhw", maps, conv.weight[:, :, 0, 0])
    mean, var = rows.mean((0, 2, 3), keepdim=True), rows.var((0, 2, 3), keepdim=True, correction=0)
    scale, shift = (each[:, None, None] for each in (norm.weight, norm.bias))
    found = (scale * (rows - mean) / (var + norm.eps).sqrt() + shift).clamp(min=0)
    model = networks[1].model  # whose last norm and ReLU lie behind the tap
    answers = torch.relu(model.bn1(found)).mean((2, 3)) @ model.fc.weight.T + model.fc.bias
    expected = {
        "ce": cross_entropy(student.logits[:3], step.target),
        "kd": KD(*infos).logit(student.logits, teacher.logits),
        "cross": sum((a - z).square() for a, z in zip(answers.flatten(), teacher.logits.flatten(), strict=True)) / 25,
        "feature": (found.mean((2, 3)) - teacher.features[-1].mean((2, 3))).square().mean(),
    }
    for name, (_, value) in parts.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=0)
    for name in ("cross", "feature"):
        inputs = [maps, conv.weight, norm.weight, norm.bias]
        found_grads = torch.autograd.grad(parts[name][1], inputs, retain_graph=True)
        wanted = torch.autograd.grad(expected[name], inputs, retain_graph=True)
        for grad, want in zip(found_grads, wanted, strict=True):
            torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


def test_the_gradient_reaches_the_map_and_its_translation_and_nothing_of_the_teacher():
    student, teacher = tapped("resnet8", 0), tapped("resnet14", 1)
    student.requires_grad_(True)
    method = SRD(student.describe(SIDE), teacher.describe(SIDE), feature_weight=0.0)
    with torch.no_grad():
        heard = teacher(images())
    before = copy.deepcopy(teacher.state_dict())
    parts = method.weighted_parts(student(images()), heard, step_of(Networks(student, teacher)))
    parts["cross"][1].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.phi.parameters())
    assert student.model.conv1.weight.grad.abs().sum() > 0
    assert student.model.fc.weight.grad is None  # only its map is read
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_unlabelled_images_come_after_the_labelled_ones_and_have_no_label(networks, outputs, step):
    black, white = (torch.full((count, 3, 4, 4), value, dtype=torch.uint8) for count, value in ((3, 0), (2, 255)))
    here = replace(step(), pool={"unlabelled": Batch(white, torch.zeros(2).long(), torch.arange(2), whole=2)})
    method = SRD(*networks)
    seen, rows = method.see(black, here)
    assert (rows, seen.flatten(1).max(1).values.tolist()) == ((3, 2), [0, 0, 0, 255, 255])
    assert SRD(*networks, unlabelled=False).see(black, here)[1] == (3,)
    assert method.see(black, step())[1] == (3,)
    student, teacher = outputs(5)
    ce = method.weighted_parts(student, teacher, replace(here, rows=rows))["ce"][1]
    assert torch.equal(ce, cross_entropy(student.logits[:3], here.target))


def test_unlabelled_images_are_float_where_the_others_are(networks, step):
    grey = torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)
    unlabelled = Batch(grey, torch.zeros(2).long(), torch.arange(2), whole=2)
    here = replace(step(), pool={"unlabelled": unlabelled})
    seen, _ = SRD(*networks).see(torch.zeros(3, 3, 4, 4), here)
    assert seen[3:].unique().tolist() == [pytest.approx(0.2)]


def test_a_map_on_another_grid_keeps_its_means_and_fills_class_tokens(networks, outputs, step):
    method = SRD(*networks)
    student, teacher = outputs()
    seen = []
    here = step()
    here.networks.head = lambda feature, tap: seen.append(feature) or here.networks.classifier("teacher")(feature[:, 0])
    method.weighted_parts(student, teacher, here)
    (tokens,) = seen
    found = copy.deepcopy(method).phi(student.features[-1])
    assert tokens.shape == (3, 17, 4)  # an 8x8 map of the student, 4x4 patches behind a class token
    assert torch.allclose(tokens[:, 0], found.mean((2, 3)), atol=1e-6)
    grid = as_map(tokens, networks[1].features[-1])
    assert torch.allclose(grid, found.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5)), atol=1e-6)


def test_maps_are_compared_place_by_place_where_that_is_asked_for():
    info = NetworkInfo(5, (FeatureInfo("last", "map", 2, (2, 2)),))
    method = as_teacher(SRD(info, info, cross_weight=0.0, pooled=False))
    maps = [torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    parts = method.others(*(Outputs(torch.zeros(3, 5), (each,)) for each in maps), step=None)
    assert parts.keys() == {"feature"}
    assert parts["feature"][1].item() == pytest.approx((maps[0] - maps[1]).square().mean().item())
