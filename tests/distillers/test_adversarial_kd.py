import copy
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from trg_pyg.distillers import AdversarialKD, AdversarialTraining
from trg_pyg.errors import InputError
from trg_pyg.models import Networks, TappedModel, build_model

IMAGES = torch.randint(256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def student() -> TappedModel:
    torch.manual_seed(0)
    return TappedModel(build_model("resnet8", 5), []).train()


def test_labels_are_mixed_with_the_answers_of_the_teacher(networks, outputs, step, close):
    student, teacher = outputs(dtype=torch.float64)
    rows = []
    for s, t, y in zip(student.logits, teacher.logits.detach(), step().target.tolist(), strict=True):
        q = 0.3 * t.softmax(0)
        q[y] += 0.7
        rows.append(-(q * s.log_softmax(0)).sum())
    loss = AdversarialKD(*networks, alpha=0.3)(student, teacher, step()).total
    close(loss.double(), torch.stack(rows).mean(), [student.logits])


def test_without_the_teachers_share_it_is_adversarial_training_to_the_bit(student, networks, outputs, step):
    here = replace(step(6), networks=Networks(student))
    with_teacher, alone = AdversarialKD(*networks, alpha=0.0), AdversarialTraining(networks[0], None)
    one, other = (each.views(IMAGES, replace(here, generator=torch.Generator())) for each in (with_teacher, alone))
    assert torch.equal(*one, *other)
    own, heard = outputs(6)
    torch.testing.assert_close(with_teacher(own, heard, here).total, alone(own, None, here).total)


def test_equal_networks_leave_no_gradient(networks, outputs, step):
    student, _ = outputs()
    AdversarialKD(networks[0], networks[0], alpha=1.0)(student, student, step()).total.backward()
    assert student.logits.grad.abs().max() < 1e-6


def test_the_student_is_attacked_and_left_as_it_was(student, networks, step):
    before = copy.deepcopy(student.state_dict())
    here = replace(step(6), networks=Networks(student))
    (view,) = AdversarialKD(*networks, eps=0.1, step=0.05, steps=3).views(IMAGES, here)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in student.parameters())
    assert student.training
    student.eval()
    clean, hard = (cross_entropy(student(images).logits, here.target) for images in (IMAGES, view))
    assert hard > clean


def test_labels_are_smoothed(networks, outputs, step):
    student, _ = outputs()
    loss = AdversarialTraining(networks[0], None, smoothing=0.2)(student, None, step()).total
    log_p = student.logits.log_softmax(1)
    own = log_p.gather(1, step().target.unsqueeze(1)).mean()
    assert loss.item() == pytest.approx((-0.8 * own - 0.2 * log_p.mean()).item())


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"eps": 0}, {"step": 2}, {"steps": 0}], ids=str)
def test_impossible_options_are_named(options, networks):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        AdversarialKD(*networks, **options)
