import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.conftest import CLASSES, make_network, make_set
from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.distillers.adversarial_kd import AdversarialTraining
from trg_pyg.distillers.kd import KD
from trg_pyg.distillers.vanilla import Vanilla
from trg_pyg.errors import InputError
from trg_pyg.models.taps import TappedModel
from trg_pyg.step import Step
from trg_pyg.training.class_balance import ClassBalance
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import check_batches, fit

CONFIG = TrainConfig(epochs=2, batch_size=8, lr=0.05, schedule="constant")
TAIL = torch.tensor([0] * 7 + [1] * 4 + [2])


def tail() -> ImageSet:
    images = make_set(12, seed=1)
    return ImageSet(images.images, TAIL)


def train(config: TrainConfig, method: type = Vanilla, **options):
    student, teacher = make_network(0), make_network(1)
    distiller = method(student.describe(6), teacher.describe(6))
    history = fit(student, teacher, distiller, tail(), make_set(9, seed=2), config, **options)
    return student, history


def test_the_prior_is_the_logarithm_of_the_share_of_each_class():
    balance = ClassBalance(TAIL, 3, replace(CONFIG, logit_adjustment=1.5))
    assert balance.prior.tolist() == pytest.approx([1.5 * math.log(n / 12) for n in (7, 4, 1)])


def test_weights_are_inverse_effective_numbers_of_mean_one_after_the_deferred_epochs():
    config = replace(CONFIG, epochs=5, effective_number=0.9, deferred_epochs=3)
    balance = ClassBalance(TAIL, 3, config)
    expected = torch.tensor([(1 - 0.9) / (1 - 0.9**n) for n in (7, 4, 1)])
    weights = balance.weights(3)
    assert balance.weights(2) is None
    assert weights[TAIL].mean().item() == pytest.approx(1)
    torch.testing.assert_close(weights / weights[0], expected / expected[0])


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_is_that_of_shifted_logits_in_the_mean_of_weighted_images(soft):
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(4, 3, generator=generator), torch.tensor([0, 2, 1, 2])
    shares = torch.softmax(torch.randn(4, 3, generator=generator), 1) if soft else torch.eye(3)[target]
    prior, weights = torch.tensor([0.3, -1.0, -2.0]), torch.tensor([0.5, 1.0, 3.0])
    step = Step(target, 0.0, generator, soft=shares if soft else None, prior=prior, class_weights=weights)
    z = logits.double() + prior.double()
    log_p = z - z.exp().sum(1, keepdim=True).log()
    expected = -(weights.double() * shares.double() * log_p).sum() / 4
    torch.testing.assert_close(step.cross_entropy(logits).double(), expected)


def test_logit_distillation_does_not_see_the_prior():
    parts = []
    for prior in (None, torch.tensor([0.0, -1.0, -3.0])):
        torch.manual_seed(0)
        student, teacher = make_network(0).eval(), make_network(1).eval()
        method = KD(student.describe(6), teacher.describe(6))
        images = make_set(4, seed=1)
        step = Step(images.targets, 0.0, torch.Generator(), prior=prior)
        parts.append(method(student(images.images), teacher(images.images), step).parts)
    assert parts[0]["kd"] == parts[1]["kd"]
    assert parts[0]["ce"] != parts[1]["ce"]


def test_a_balanced_epoch_draws_classes_by_a_power_of_their_size():
    targets = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    images = ImageSet(torch.zeros(1000, 3, 1, 1, dtype=torch.uint8), targets)
    for balanced, sizes in ((1.0, (1, 1, 1)), (0.5, (30, math.sqrt(90), math.sqrt(10)))):
        loader = make_loader(images, 100, balanced=balanced)
        drawn = torch.cat([batch.target for _ in range(5) for batch in loader]).bincount() / 5000
        assert drawn.tolist() == pytest.approx([size / sum(sizes) for size in sizes], abs=0.03)


def test_adjusting_after_training_takes_the_prior_off_the_logits_that_are_evaluated_and_saved(tmp_path):
    plain, _ = train(CONFIG)
    seen = []
    student, _ = train(
        replace(CONFIG, logit_adjustment=2.0, adjust_after=True),
        probe=lambda shown: seen.append(shown.model.head.bias.clone()) or {},
    )
    shift = 2 * torch.log(torch.tensor([7, 4, 1]) / 12)
    torch.testing.assert_close(student.model.head.bias, plain.model.head.bias - shift)
    assert torch.equal(student.model.head.weight, plain.model.head.weight)
    assert torch.equal(seen[-1], student.model.head.bias)


def test_a_method_with_a_cross_entropy_of_its_own_refuses_to_pass_it_by():
    info = make_network(0).describe(6)
    for option in ("logit_adjustment", "effective_number"):
        with pytest.raises(InputError, match=rf"train.{option} = 0.5: AdversarialTraining has a cross-entropy of its"):
            check_batches(AdversarialTraining(info, info), 16, replace(CONFIG, **{option: 0.5}))


@pytest.mark.parametrize("option", ["logit_adjustment", "effective_number"])
def test_a_class_without_a_training_image_is_refused(option):
    with pytest.raises(InputError, match=rf"train.{option} = 0.5: 2 of 5 classes have no training image, the first is"):
        ClassBalance(TAIL, 5, replace(CONFIG, **{option: 0.5}))


def test_labels_that_are_not_one_class_each_have_no_balance():
    with pytest.raises(InputError, match=r"labels \(4, 2\) of type torch.int64 are not one class each"):
        ClassBalance(torch.zeros(4, 2, dtype=torch.int64), 2, replace(CONFIG, logit_adjustment=1.0))
    images = ImageSet(torch.zeros(4, 3, 1, 1, dtype=torch.uint8), torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(InputError, match=r"balanced_sampling 1: labels \(4, 2\)"):
        make_loader(images, 2, balanced=1.0)


def test_a_classifier_without_a_bias_cannot_be_adjusted():
    student = make_network(0)
    student.model.head = nn.Linear(6, CLASSES, bias=False)
    student = TappedModel(student.model, ["body"], None)
    config = replace(CONFIG, logit_adjustment=1.0, adjust_after=True)
    with pytest.raises(InputError, match=r"train.adjust_after: TinyNet has no classifier with a bias that is known"):
        fit(student, None, Vanilla(student.describe(6), None), tail(), make_set(9, seed=2), config)
