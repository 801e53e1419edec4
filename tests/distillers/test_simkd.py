from dataclasses import replace

import modern_equations as equations
import pytest
import torch
from inputs import HARD
from torch import nn
from toys import with_maps

from trg_pyg.batch import Batch
from trg_pyg.data.base import ImageSet
from trg_pyg.distillers import SimKD
from trg_pyg.errors import InputError
from trg_pyg.models import Networks, TappedModel, build_model, load_weights, save_weights
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.training import TrainConfig, fit

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def pair(student: str = "resnet8", teacher: str = "resnet8x4"):
    torch.manual_seed(0)
    networks = [TappedModel(build_model(name, 5), ["layer3"]) for name in (student, teacher)]
    return networks, [network.describe(16) for network in networks]


def met(student: TappedModel, teacher: TappedModel, distiller: SimKD) -> SimKD:
    """After what a training does before its first step."""
    distiller.extend(student)
    batch = Batch(IMAGES, torch.zeros(4, dtype=torch.long), torch.arange(4), 4)
    distiller.meet(Networks(student, teacher.eval()), lambda: iter([batch]), torch.Generator())
    return distiller


@pytest.mark.parametrize("images", [2, 3])
def test_term_equals_its_equation(images, networks, outputs, step, close):
    torch.manual_seed(images)
    term = SimKD(*networks).double().terms["projected"]
    student, teacher = outputs(images, seed=images, dtype=torch.float64)
    maps = torch.stack([equations.pooled(image, 4, 4) for image in student.features[-1]])
    goal = teacher.features[-1][:, 1:].detach().mT.unflatten(2, (4, 4))
    expected = ((equations.bottleneck(maps, term.project) - goal) ** 2).sum() / goal.numel()
    close(term(student, teacher, step(images)), expected, [student.features[-1], *term.project.parameters()])


@pytest.mark.parametrize("kind", HARD)
def test_hard_maps(kind, hard, step):
    student = hard(kind, 4, 27, dtype=torch.float32).view(4, 3, 3, 3).requires_grad_()
    (info_s, out_s), (info_t, out_t) = with_maps(student), with_maps(hard(kind, 4, 18).float().view(4, 2, 3, 3))
    losses = SimKD(info_s, info_t)(out_s, out_t, step(4))
    losses.total.backward()
    assert losses.total.isfinite()
    assert student.grad.isfinite().all()


def test_by_default_the_difference_alone_counts(networks, outputs, step):
    total, parts = SimKD(*networks)(*outputs(), step())
    assert list(parts) == ["ce", "projected"]
    assert torch.equal(total.detach(), parts["projected"])


def test_the_student_answers_with_the_teachers_classifier_on_its_projected_map(step):
    (student, teacher), infos = pair()
    distiller = met(student, teacher, SimKD(*infos))
    outputs, heard = student.eval()(IMAGES), teacher(IMAGES)
    projected = distiller.eval().terms["projected"].project(outputs.features[-1])
    torch.testing.assert_close(outputs.logits, teacher.model.fc(projected.mean((2, 3))))
    loss = distiller(outputs, heard, step(4)).parts["projected"]
    torch.testing.assert_close(loss, (projected - heard.features[-1]).square().mean())


def test_a_student_that_projects_to_the_teachers_map_answers_as_the_teacher(step):
    """One network as both, and a projector that does nothing to maps that are not negative."""
    (student, _), infos = pair()
    distiller = met(student, student, SimKD(infos[0], infos[0], factor=1))
    for layer in distiller.terms["projected"].project:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
    student.eval()
    outputs = student(IMAGES)
    assert distiller.eval()(outputs, outputs, step(4)).parts["projected"].item() == pytest.approx(0, abs=1e-6)


def test_the_projector_learns_the_copied_classifier_does_not_and_statistics_are_kept_once(step):
    (student, teacher), infos = pair()
    distiller = met(student, teacher, SimKD(*infos))
    norm = distiller.terms["projected"].project[1]
    distiller(student.train()(IMAGES), teacher(IMAGES), step(4)).total.backward()
    assert norm.num_batches_tracked == 1
    assert norm.weight.grad.any()
    assert student.model.fc.weight.grad is None
    assert not student.model.fc.weight.requires_grad


@pytest.mark.parametrize("names", [("resnet8", "resnet8x4"), ("resnet8", "resnet8"), ("resnet8x4", "resnet8")])
def test_its_weights_are_loaded_into_a_network_by_the_students_name(names, tmp_path):
    (student, teacher), infos = pair(*names)
    distiller = met(student, teacher, SimKD(*infos))
    student.eval()
    save_weights(distiller.deploy(student.model), tmp_path / "student.safetensors", {})
    other = build_model(names[0], 5)
    load_weights(other, tmp_path / "student.safetensors")
    assert torch.equal(TappedModel(other.eval(), ["layer3"])(IMAGES).logits, student(IMAGES).logits)
    assert TappedModel(other, ["layer3"]).describe(16).features == infos[0].features
    again = tmp_path / "again.safetensors"
    save_weights(other, again, {})
    load_weights(other, again)


def test_a_training_changes_all_but_the_copied_classifier():
    (student, teacher), infos = pair("resnet8", "resnet8")
    distiller, targets = SimKD(*infos), torch.arange(12) % 5
    noise = torch.Generator().manual_seed(0)
    images = ImageSet(torch.randint(256, (12, 3, 16, 16), dtype=torch.uint8, generator=noise), targets)
    before = [layer.weight.clone() for layer in (student.model.conv1, distiller.terms["projected"].project[0])]
    fit(student, teacher, distiller, images, images, TrainConfig(epochs=1, batch_size=6, lr=0.1, milestones=[]))
    after = [student.model.conv1.weight, student.model.layer3.projector[0].weight]
    assert not any(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert torch.equal(student.model.fc.weight, teacher.model.fc.weight)
    assert torch.equal(student.model.fc.bias, teacher.model.fc.bias)


def test_a_map_finer_than_the_teachers_is_averaged_in_the_student_too(step):
    class Finer(nn.Module):
        classifier_path = "fc"

        def __init__(self):
            super().__init__()
            self.stage, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5, bias=False)

        def forward(self, x):
            return self.fc(self.stage(x).mean((2, 3)))

    (_, teacher), (_, info) = pair()
    student = TappedModel(Finer(), ["stage"])
    distiller = met(student, teacher, SimKD(student.describe(16), info))
    assert student.eval()(IMAGES).logits.shape == (4, 5)
    assert distiller(student(IMAGES), teacher(IMAGES), step(4)).total.isfinite()


def test_a_student_whose_layers_behind_the_tap_need_their_channels_is_refused():
    student, teacher = (TappedModel(build_model(name, 5), ["block3"]) for name in ("wrn_16_1", "wrn_16_2"))
    with pytest.raises(InputError, match="does not go on from block3 with"):
        SimKD(student.describe(16), teacher.describe(16)).extend(student)


def test_a_teacher_whose_classifier_takes_something_else_is_refused():
    (student, _), (info, _) = pair()
    teacher = TappedModel(build_model("wrn_16_2", 5), ["block3"])
    with pytest.raises(InputError, match="takes something else than the mean over its last tap, block3"):
        met(student, teacher, SimKD(info, teacher.describe(16)))


def test_impossible_networks_and_factors_are_refused(networks):
    student, teacher = networks
    with pytest.raises(InputError, match=r"classifier takes 9 values, and its last tap blocks\.11 has 4 channels"):
        SimKD(student, replace(teacher, embedding=9))
    with pytest.raises(InputError, match="factor=5: choose from 1 to the teacher's 4 channels"):
        SimKD(*networks, factor=5)
    with pytest.raises(InputError, match="stage -1 of the student, which has 0 tapped features"):
        SimKD(NetworkInfo(5, (), 7), teacher)
