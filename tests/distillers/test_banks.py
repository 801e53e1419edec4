"""The methods that remember every image of the training set: what a bank does in a batch and in a training."""

import copy
from pathlib import Path

import bank_equations as equations
import pytest
import torch
from inputs import generator
from torch import Tensor, nn
from toys import LABELS, batch

from trg_pyg.data.base import ImageSet
from trg_pyg.distillers import CRD, HKD
from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, build_model
from trg_pyg.step import Step
from trg_pyg.training import TrainConfig, fit

FEW_IMAGES = {HKD: {"dim": 4, "k": 2}, CRD: {"dim": 4}}
EACH = pytest.mark.parametrize("method", FEW_IMAGES)


def make(method, networks, seed: int = 0, labels: Tensor = LABELS, **options):
    torch.manual_seed(seed)
    distiller = method(*networks, **FEW_IMAGES[method], **options)
    distiller.bind(labels, generator(seed))
    return distiller


def memory(distiller):
    return next(module for module in distiller.modules() if type(module).__name__ == "PairMemory")


def banks(distiller) -> tuple[Tensor, Tensor]:
    return memory(distiller).student.vectors.clone(), memory(distiller).teacher.vectors.clone()


@EACH
def test_binding_alike_draws_alike(method, networks, outputs):
    one, same, other = (make(method, networks) for _ in range(3))
    other.bind(LABELS, generator(1))
    assert all(torch.equal(a, b) for a, b in zip(banks(one), banks(same), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(banks(one), banks(other), strict=True))
    assert not torch.equal(*banks(one))
    assert torch.equal(*(d(*outputs(4), batch([0, 1, 2, 3])).total for d in (one, same)))


@EACH
def test_banks_follow_the_dtype_whenever_they_are_bound(method, networks, outputs):
    distiller = method(*networks).double()
    distiller.bind(LABELS, generator())
    assert {x.dtype for x in distiller.state_dict().values()} == {torch.float64}
    assert distiller(*outputs(9, dtype=torch.float64), batch(list(range(9)))).total.isfinite()


@EACH
def test_a_state_dict_goes_on_in_a_fresh_distiller(method, networks, outputs):
    distiller, fresh = make(method, networks, 0, negatives=5), make(method, networks, 1, negatives=5)
    distiller(*outputs(4), batch([0, 1, 2, 3]))
    fresh.load_state_dict(distiller.state_dict())
    for seed, index in enumerate(([2, 3, 4, 5], [3, 2, 9, 0]), start=1):
        assert torch.equal(*(d(*outputs(4, seed=seed), batch(index, seed)).total for d in (distiller, fresh)))
        torch.testing.assert_close(fresh.state_dict(), distiller.state_dict(), rtol=0, atol=0)


@EACH
def test_eval_mode_stores_nothing(method, networks, outputs):
    distiller = make(method, networks).eval()
    before = copy.deepcopy(distiller.state_dict())
    values = [distiller(*outputs(4), batch([0, 1, 2, 3])).total for _ in range(2)]
    assert torch.equal(*values)
    torch.testing.assert_close(distiller.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(distiller.train()(*outputs(4), batch([0, 1, 2, 3])).total, values[0])
    assert not torch.equal(distiller(*outputs(4), batch([0, 1, 2, 3])).total, values[0])


@EACH
def test_what_a_step_lacks_is_named(method, networks, outputs):
    arguments = outputs(4)
    with pytest.raises(InputError) as unbound:
        method(*networks, **FEW_IMAGES[method])(*arguments, batch([0, 1, 2, 3]))
    assert str(unbound.value) == "bind(targets, generator) first: a memory bank needs the training set's labels"
    distiller = make(method, networks)
    with pytest.raises(InputError) as no_index:
        distiller(*arguments, Step(LABELS[:4], 0.5, generator()))
    assert str(no_index.value) == "a memory bank needs each image's position in the training set (Step.index)"
    with pytest.raises(InputError, match="position 31 in a memory bank of 30 images: make the bank for the training"):
        distiller(*arguments, Step(LABELS[:4], 0.5, generator(), torch.tensor([0, 1, 2, 31])))


@EACH
def test_more_negatives_than_there_are(method, networks):
    with pytest.raises(InputError) as error:
        make(method, networks, negatives=25)
    assert str(error.value) == (
        "negatives=25: the training set has only 24 images of other classes than class 0; choose at most 24, or auto"
    )
    assert make(method, networks, negatives=24)
    with pytest.raises(InputError, match="the training set has images of class 3 only"):
        make(method, networks, labels=torch.full((9,), 3))


class Flat(nn.Module):
    """Nothing in it depends on the batch."""

    classifier_path = "head"

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def random_set(size: int, side: int, classes: int, seed: int) -> ImageSet:
    images = torch.randint(0, 256, (size, 3, side, side), generator=generator(seed))
    return ImageSet(images.to(torch.uint8), torch.arange(size) % classes)


@EACH
def test_in_a_training_each_image_is_remembered_in_its_own_place(method):
    torch.manual_seed(0)
    student, teacher = TappedModel(Flat(), []), TappedModel(Flat(), [])
    torch.manual_seed(1)
    distiller = method(student.describe(4), teacher.describe(4), momentum=0.0, **FEW_IMAGES[method])
    train = random_set(11, 4, 3, seed=0)
    fit(student, teacher, distiller, train, train, TrainConfig(epochs=1, batch_size=4, lr=1e-30, milestones=[]))
    assert torch.equal(memory(distiller).draw.targets, train.targets)
    with torch.no_grad():
        seen = student(train.images).embedding, teacher(train.images).embedding
    layers = [m for m in distiller.modules() if type(m).__name__ == "Projection"]
    for f, layer, bank in zip(seen, layers, (memory(distiller).student, memory(distiller).teacher), strict=True):
        torch.testing.assert_close(bank.vectors, equations.embedded(f, layer))


@EACH
def test_a_resumed_training_equals_an_uninterrupted_one(method, tmp_path: Path):
    class Stop(Exception):
        pass

    def stop(metrics):
        if metrics["epoch"] == 1:
            raise Stop

    def train(folder: Path, **options):
        torch.manual_seed(0)
        networks = [TappedModel(build_model("resnet8", num_classes=4), distiller_taps) for _ in range(2)]
        distiller = method(*(n.describe(8) for n in networks), **FEW_IMAGES[method])
        images = random_set(34, 8, 4, seed=0)
        config = TrainConfig(epochs=3, batch_size=12, lr=0.05, milestones=[2])
        history = fit(*networks, distiller, images, images.select(torch.arange(8)), config, folder=folder, **options)
        weights = {**networks[0].state_dict(), **{f"d.{k}": v for k, v in distiller.state_dict().items()}}
        return history, weights

    distiller_taps = method.taps
    history, weights = train(tmp_path / "whole")
    name = "holistic" if method is HKD else "contrast"
    assert all(torch.tensor([epoch[f"train/{name}"], epoch["train/total"]]).isfinite().all() for epoch in history)
    assert sum("vectors" in key for key in weights) == 2
    with pytest.raises(Stop):
        train(tmp_path / "cut", on_epoch=stop)
    resumed, others = train(tmp_path / "cut", resume=True)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert [epoch["train/total"] for epoch in history] == [epoch["train/total"] for epoch in resumed]


def test_a_training_with_batches_too_small_does_not_start():
    torch.manual_seed(0)
    network, train = TappedModel(Flat(), []), random_set(20, 4, 3, seed=0)
    distiller = HKD(network.describe(4), network.describe(4))
    with pytest.raises(InputError, match="batch of 1 of 20 training images, and HKD needs 2 images for its neighbours"):
        fit(network, copy.deepcopy(network), distiller, train, train, TrainConfig(batch_size=19))


@EACH
def test_a_training_set_without_the_negatives_does_not_start(method):
    torch.manual_seed(0)
    network, train = TappedModel(Flat(), []), random_set(20, 4, 3, seed=0)
    distiller = method(network.describe(4), network.describe(4), negatives=14)
    with pytest.raises(InputError, match="only 13 images of other classes than class 0; choose at most 13, or auto"):
        fit(network, copy.deepcopy(network), distiller, train, train, TrainConfig(batch_size=20))
