import pytest
import torch
from torch import nn

from trg_pyg.models.taps import TappedModel
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.modules import FrozenTeacher
from trg_pyg.training.teaching import Teaching

IMAGES = torch.randint(0, 256, (5, 3, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


class Scale(nn.Module):
    """Stands for a normalisation."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.factor * images


def teach(teachers) -> Teaching:
    return Teaching(teachers, 6, TrainConfig(), World(), torch.device("cpu"))


def check(heard, tapped: TappedModel) -> None:
    """What a teacher would say were it asked alone."""
    logits, features, embedding = FrozenTeacher(TappedModel(tapped.model, tapped.taps, tapped.normalize))(IMAGES)
    assert torch.equal(heard.logits, logits)
    assert len(heard.features) == len(features)
    assert all(torch.equal(one, other) for one, other in zip(heard.features, features, strict=True))
    assert torch.equal(heard.embedding, embedding)


@pytest.mark.parametrize(
    "taps",
    [
        [["body"], ["body"]],
        [["body.0"], ["body.1"]],
        [["body.2", "body.0"], ["body.0", "body.1", "body.2"], ["body.1"]],
        [[], ["body.0"]],
        [None, ["body.0"]],
        [None, "last"],
    ],
    ids=str,
)
def test_each_student_hears_its_own_taps_in_its_own_order(network, taps) -> None:
    model = network(1).model
    tapped = [TappedModel(model, each) for each in taps]
    teaching = teach(tapped)
    assert len(teaching.networks) == 1
    for heard, each in zip(teaching(IMAGES, [True] * len(taps)), tapped, strict=True):
        check(heard, each)


def test_different_networks_are_kept_apart(network) -> None:
    one, other = network(1), network(2)
    scaled = TappedModel(one.model, ["body"], Scale(0.5))
    teachers = [one, other, scaled, None, TappedModel(one.model, ["body.0"])]
    teaching = teach(teachers)
    assert len(teaching.networks) == 3
    heard = teaching(IMAGES, [True] * 5)
    assert heard[3] is None
    for said, teacher in zip(heard, teachers, strict=True):
        if teacher is not None:
            check(said, teacher)
    assert not torch.equal(heard[0].logits, heard[1].logits)
    assert not torch.equal(heard[0].logits, heard[2].logits)


def test_who_does_not_listen_hears_nothing_and_costs_nothing(network) -> None:
    one, other = network(1), network(2)
    teaching = teach([one, other, TappedModel(one.model, ["body.0"])])
    teaching(IMAGES, [True] * 3)  # the first time it looks for the classifier
    runs = []
    for number, model in enumerate((one.model, other.model)):
        model.register_forward_pre_hook(lambda module, args, number=number: runs.append(number))
    heard = teaching(IMAGES, [False, False, True])
    assert runs == [0]
    assert heard[0] is heard[1] is None
    check(heard[2], TappedModel(one.model, ["body.0"]))


def test_joined_teachers_are_frozen_and_in_eval_mode(network) -> None:
    model = network(1).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    teaching = teach([TappedModel(model, ["body.0"]), TappedModel(model, ["body"])])
    model.train()
    heard = teaching(IMAGES, [True, True])
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(feature.requires_grad for said in heard for feature in said.features)
    assert not model.body[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
