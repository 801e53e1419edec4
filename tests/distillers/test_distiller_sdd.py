from dataclasses import replace

import modern_logit_equations as equations
import pytest
import relational_equations
import torch
from torch import nn

from trg_pyg.batch import Batch
from trg_pyg.distillers import DKD, SDD
from trg_pyg.errors import InputError
from trg_pyg.models import Networks, TappedModel
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.step import Step

IMAGES = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
TARGET = torch.tensor([0, 1, 2, 0])


class Net(nn.Module):
    """A map of 4x4, its mean, what comes between, a classifier."""

    default_taps = ("maps",)
    classifier_path = "fc"

    def __init__(self, seed: int, width: int, between: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.maps = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.Tanh())
        self.between = between or nn.Identity()
        self.fc = nn.Linear(width, 3)

    def forward(self, images):
        return self.fc(self.between(self.maps(images).mean((2, 3))))


def pair(student: nn.Module, teacher: nn.Module) -> tuple[TappedModel, TappedModel]:
    return TappedModel(student), TappedModel(teacher).eval()


def made(networks, **options) -> SDD:
    return SDD(*(network.describe(8) for network in networks), **options)


def step_of(networks, progress: float = 0.5) -> Step:
    return Step(TARGET, progress, torch.Generator(), networks=Networks(*networks))


@pytest.fixture
def nets() -> tuple[TappedModel, TappedModel]:
    return pair(Net(0, 5), Net(1, 7))


def test_regions_are_classified_by_the_networks_own_classifiers(nets):
    outputs = [net(IMAGES) for net in nets]
    losses = made(nets)(*outputs, step_of(nets))
    scores = [
        torch.einsum("kc,bchw->bkhw", net.model.fc.weight, each.features[-1]) + net.model.fc.bias[:, None, None]
        for net, each in zip(nets, outputs, strict=True)
    ]
    sdd = equations.sdd(*scores, TARGET, (1, 2, 4), 4.0, 2.0)
    expected = 0.1 * relational_equations.cross_entropy(outputs[0].logits, TARGET) + 0.9 * sdd
    assert losses.parts["sdd"].item() == pytest.approx(sdd.item(), rel=1e-5)
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=0)
    losses.total.backward()
    assert all(parameter.grad is not None for parameter in nets[0].parameters())
    assert all(parameter.grad is None for parameter in nets[1].parameters())


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (1 / 24, 0.5), (0.5, 1.0)])
def test_the_form_of_dkd_of_the_whole_image_is_dkd(progress, share, nets):
    outputs = [net(IMAGES) for net in nets]
    sdd = made(nets, form="dkd", grids=(1,), ce_weight=1.0, weight=1.0, warmup=1 / 12)
    dkd = DKD(*(network.describe(8) for network in nets))
    step = step_of(nets, progress)
    torch.testing.assert_close(sdd(*outputs, step).total, dkd(*outputs, step).total)
    assert sdd.weight_of("sdd", step) == pytest.approx(share)


def looked_at(networks) -> dict[str, float]:
    batch = Batch(inputs=IMAGES, target=TARGET, index=torch.arange(4), whole=4)
    return made(networks).meet(Networks(*networks), lambda: [batch], torch.Generator())


def test_what_is_dropped_before_the_classifier_does_not_matter():
    student, teacher = pair(Net(0, 5, nn.Dropout(0.9)), Net(1, 7))
    student.train()
    assert looked_at((student, teacher)) == {}
    assert student.training


@pytest.mark.parametrize("owner", ["student", "teacher"])
def test_a_classifier_that_does_not_take_the_mean_over_the_map_is_refused(owner):
    nets = {
        name: Net(seed, 5, nn.ReLU() if name == owner else None) for seed, name in enumerate(("student", "teacher"))
    }
    with pytest.raises(
        InputError, match=rf"classifier of the {owner} does not take the mean over its last map \(maps\)"
    ):
        looked_at(pair(**nets))


def test_what_has_no_such_regions_is_refused_at_once(networks):
    student, teacher = networks
    with pytest.raises(InputError, match=r"last map of the student \(layer3\) has 6 channels, its classifier takes 9"):
        SDD(replace(student, embedding=9), teacher)
    with pytest.raises(InputError, match=r"grids=\(1, 8\): the last map of the teacher \(blocks.11\) is 4x4"):
        SDD(student, teacher, grids=(1, 8))
    with pytest.raises(InputError, match="tap"):
        SDD(NetworkInfo(5, (), 6), teacher)
    with pytest.raises(InputError, match=r"^warmup=1\.5"):
        SDD(student, teacher, warmup=1.5)


def test_a_classifier_of_several_layers_is_refused():
    class Deep(Net):
        def __init__(self, seed: int, width: int) -> None:
            super().__init__(seed, width)
            self.fc = nn.Sequential(nn.Linear(width, 3), nn.Tanh())

    nets = pair(Net(0, 5), Deep(1, 7))
    with pytest.raises(InputError, match="the classifier of the teacher is Sequential, not one linear layer"):
        made(nets)(*(net(IMAGES) for net in nets), step_of(nets))
