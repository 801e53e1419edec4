from dataclasses import replace

import pytest
import torch
from batches import tensors
from torch.nn import functional as F

from trg_pyg.batch import Batch
from trg_pyg.data import make_loader
from trg_pyg.distillers import (
    AEKT,
    CRD,
    DKD,
    HKD,
    KD,
    OFAKD,
    SSKD,
    TRG,
    AdversarialKD,
    AdversarialTraining,
    AnnealingKD,
    Vanilla,
)
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.pointwise import MSE
from trg_pyg.errors import InputError
from trg_pyg.graphs.label import LabelGraph
from trg_pyg.nodes.images import Instances
from trg_pyg.relations.kernels import Cosine
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.loop import check_batches, fit
from trg_pyg.training.mixing import Mixing

RECIPE = TrainConfig(epochs=1, batch_size=8, schedule="constant")


def mixed(train_set, seed=0, **options):
    """Images and labels of the first eight, and what becomes of them."""
    batch = Batch(train_set.images[:8], train_set.targets[:8], torch.arange(8), whole=8)
    found = Mixing(replace(RECIPE, **options), 3, World())(batch, torch.Generator().manual_seed(seed))
    return batch.inputs, batch.target, *tensors(found), found.soft


def test_mixup_gives_pixels_and_labels_the_same_shares(train_set):
    images, target, seen, kept, index, soft = mixed(train_set, mixup=1.0)
    assert (kept.tolist(), index.tolist()) == (target.tolist(), list(range(8)))
    share = soft[1, target[1]].item()
    assert 0.05 < share < 0.95
    before = images.roll(1, 0).double()
    assert (seen.double() - (share * images + (1 - share) * before)).abs().max() <= 0.501
    torch.testing.assert_close(soft, share * F.one_hot(target).float() + (1 - share) * F.one_hot(target.roll(1)))


@pytest.mark.parametrize("seed", range(6))
def test_cutmix_gives_labels_the_shares_of_the_area(train_set, seed):
    images, target, seen, _, _, soft = mixed(train_set, seed, cutmix=1.0)
    own = (seen == images).all(1)[1:]  # the first is of the class of its partner
    pasted = (seen == images.roll(1, 0)).all(1)[1:]
    assert (own | pasted).all()
    shares = own.double().mean((1, 2))
    torch.testing.assert_close(soft[1:].gather(1, target[1:, None])[:, 0].double(), shares)


def test_with_both_each_batch_takes_one_of_them(train_set):
    ways = [(mixed(train_set, seed, mixup=1.0, cutmix=1.0)[2][1] == train_set.images[1]).any() for seed in range(20)]
    assert 3 < sum(map(bool, ways)) < 18


@pytest.mark.parametrize("option", [{"randaugment": 9}, {"trivialaugment": True}, {"erasing": 1.0}])
def test_images_are_changed_one_by_one_by_the_generator_of_the_batches(train_set, option):
    before = torch.get_rng_state()
    images, _, seen, *_ = mixed(train_set, **option)
    torch.testing.assert_close(mixed(train_set, **option)[2], seen)
    assert torch.equal(torch.get_rng_state(), before)
    assert seen.dtype == torch.uint8
    assert (seen != images).flatten(1).any(1).sum() >= 2
    assert not torch.equal(mixed(train_set, 1, **option)[2], seen)


def test_an_erased_box_is_black(train_set):
    images, _, seen, *_ = mixed(train_set, erasing=1.0)
    changed = (seen != images).any(1)
    assert (seen.movedim(1, 3)[changed] == 0).all()
    assert all(0.01 < share < 0.5 for share in changed.double().mean((1, 2)).tolist())


def test_policies_refuse_other_images_than_grey_and_colour():
    mixing = Mixing(replace(RECIPE, trivialaugment=True), 3, World())
    batch = Batch(torch.zeros(2, 5, 6, 6, dtype=torch.uint8), torch.arange(2), torch.arange(2), whole=2)
    with pytest.raises(InputError, match=r"train\.trivialaugment = True: images of 5 channels"):
        mixing(batch, torch.Generator())


def test_both_networks_see_the_same_mixed_images_and_accuracy_counts_shares(network, train_set, test_set):
    student, teacher = network(0), network(1)
    seen = {"student": [], "teacher": []}
    for name, net in (("student", student), ("teacher", teacher)):
        net.model.body.register_forward_pre_hook(lambda _, args, name=name: seen[name].append(args[0].clone()))
    told = []

    class Told(KD):
        def weighted_parts(self, student, teacher, step):
            told.append(step.soft.gather(1, student.logits.argmax(1, keepdim=True)))
            return super().weighted_parts(student, teacher, step)

    method = Told(student.describe(6), teacher.describe(6))
    (epoch,) = fit(student, teacher, method, train_set, test_set, replace(RECIPE, mixup=1.0, randaugment=9))
    # Beside them there are the black images that a network is looked at with, and the test images.
    steps = {
        name: [images for images in all_of if len(images) in (8, 6) and images.any()] for name, all_of in seen.items()
    }
    assert [len(images) for images in steps["teacher"]] == [8, 8, 6]
    assert all(torch.equal(a, b) for a, b in zip(steps["student"], steps["teacher"], strict=True))
    assert epoch["train/top1"] == pytest.approx(100 * torch.cat(told).mean().item())


def test_cross_entropy_is_that_of_the_shares():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])
    step = Step(torch.tensor([0, 2]), 0.0, torch.Generator(), soft=soft, smoothing=0.3)
    labels = 0.7 * soft.double() + 0.1
    expected = -(labels * logits.double().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(step.cross_entropy(logits).double(), expected)


class _OfClasses(TermDistiller):
    def __init__(self, student, teacher):
        nodes = Instances(student, teacher)
        super().__init__(student, teacher, terms={"graph": (1.0, Relational(nodes, LabelGraph(), Cosine(), MSE()))})


NEEDS_ONE = [DKD, AEKT, CRD, HKD, OFAKD, SSKD, _OfClasses, AdversarialKD, AdversarialTraining]


@pytest.mark.parametrize("method", [*NEEDS_ONE, KD, Vanilla, AnnealingKD, TRG])
def test_methods_that_need_one_class_an_image_refuse_mixed_images_before_training(method, network):
    distiller = method(network(0).describe(6), network(1).describe(6))
    config = replace(RECIPE, mixup=0.2, cutmix=1.0)
    smooth = replace(RECIPE, label_smoothing=0.1)
    if method in NEEDS_ONE:
        with pytest.raises(InputError, match=f"mixup = 0.2 and train.cutmix = 1.0: {method.__name__} needs one class"):
            check_batches(distiller, 16, config)
    else:
        check_batches(distiller, 16, config)
    if method in (AdversarialKD, AdversarialTraining):
        with pytest.raises(InputError, match=r"train.label_smoothing = 0.1: Adversarial\w+ has a cross-entropy"):
            check_batches(distiller, 16, smooth)
    else:
        check_batches(distiller, 16, smooth)


def test_the_mean_of_the_weights_is_what_is_evaluated_saved_and_returned(network, train_set, test_set):
    student, weights = network(0), []
    expected = student.model.head.weight.detach().double().clone()
    shown = []
    config = replace(RECIPE, ema=0.2)
    fit(
        student,
        None,
        Vanilla(student.describe(6), None),
        train_set,
        test_set,
        config,
        on_step=lambda _: weights.append(student.model.head.weight.detach().double().clone()),
        probe=lambda net: shown.append(net.model.head.weight.detach().double().clone()) or {},
    )
    for decay, value in zip((0.1, 2 / 11, 0.2), weights, strict=True):
        expected = decay * expected + (1 - decay) * value
    torch.testing.assert_close(shown[0], expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(student.model.head.weight.double(), shown[0])


@pytest.mark.parametrize("options", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0, "erasing": 0.5}])
def test_fixed_views_are_mixed_with_the_same_images_in_the_same_shares_always(train_set, options):
    loader = make_loader(train_set, 8, generator=torch.Generator().manual_seed(2), views=2, pairs=True)
    change = Mixing(replace(RECIPE, views=2, **options), 3, World())
    known: dict[int, tuple[list, list]] = {}
    for both in [batch for _ in range(12) for batch in loader]:
        batch = change(both, torch.Generator())
        own, other = both.inputs.double().tensor_split(2)
        labels, others = F.one_hot(both.target).double().tensor_split(2)
        assert batch.index.tolist() == (batch.slot // 2).tolist() == both.index[: len(own)].tolist()
        for row in range(len(own)):
            seen, soft = batch.inputs[row].double(), batch.soft[row].double()
            assert known.setdefault(int(batch.slot[row]), (seen.tolist(), soft.tolist())) == (
                seen.tolist(),
                soft.tolist(),
            )
            share = ((soft - others[row]) @ (labels[row] - others[row]) / 2).item()
            if not torch.equal(labels[row], others[row]):
                torch.testing.assert_close(share * labels[row] + (1 - share) * others[row], soft)
                if options == {"mixup": 1.0}:
                    assert (seen - (share * own[row] + (1 - share) * other[row])).abs().max() <= 0.501
                elif options == {"cutmix": 1.0}:
                    pasted = (seen == other[row]).all(0) & ~(seen == own[row]).all(0)
                    assert ((seen == own[row]).all(0) | pasted).all()
                    assert abs(pasted.double().mean().item() - (1 - share)) < 0.06
    assert len(known) == 2 * len(train_set)
