import copy

import pytest
import torch
from inputs import generator
from torch import nn

from trg_pyg.errors import InputError
from trg_pyg.models import Networks, Normalize, TappedModel, build_model

NAMES = ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2", "vit_tiny_patch4_32"]


def network(name: str = "resnet8", seed: int = 0, taps="stages") -> TappedModel:
    torch.manual_seed(seed)
    tapped = TappedModel(build_model(name, 5), taps, Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    tapped.describe(32)
    nn.init.normal_(tapped.model.get_submodule(tapped.classifier).weight)  # a transformer's begins at 0
    return tapped


def images(count: int = 4) -> torch.Tensor:
    return torch.randint(256, (count, 3, 32, 32), generator=generator(), dtype=torch.uint8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_teacher_goes_on_from_its_own_features_to_its_own_logits(name, count):
    """Whatever is behind a tap, batch norm, activation and pooling, is the network's own."""
    teacher = network(name).eval().requires_grad_(False)
    outputs = teacher(images(count))
    networks = Networks(network(), teacher)
    for tap, feature in [*enumerate(outputs.features), (None, outputs.embedding)]:
        feature = feature.clone().requires_grad_()
        logits = networks.head(feature, tap)
        torch.testing.assert_close(logits, outputs.logits)
        logits.sum().backward()
        assert feature.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_classifier_of_each_place_takes_an_embedding_at_all_of_them():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    teacher = TappedModel(nn.Sequential(*layers)).eval()
    teacher.describe(8)
    outputs = teacher(images()[..., :8, :8])
    assert teacher.classifier == "1"
    torch.testing.assert_close(teacher.behind(outputs.embedding), outputs.logits)


def test_a_feature_that_the_logits_do_not_depend_on_alone_is_refused():
    class Around(nn.Module):
        default_taps = ("a",)

        def __init__(self):
            super().__init__()
            self.a, self.fc = nn.Conv2d(3, 3, 1), nn.Linear(3, 5)

        def forward(self, x):
            return self.fc((self.a(x) + x).mean((2, 3)))

    teacher = TappedModel(Around()).eval()
    teacher.describe(8)
    with pytest.raises(InputError, match="Around does not go on from a"):
        teacher.behind(torch.zeros(4, 3, 8, 8), 0)
    with pytest.raises(InputError, match="depend on more than a"):
        teacher.behind(torch.zeros(1, 3, 8, 8), 0)


def test_a_further_pass_of_the_student_leaves_its_statistics():
    student = network().train()
    before = copy.deepcopy(student.state_dict())
    logits = Networks(student).student(images()).logits
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    torch.testing.assert_close(logits, student(images()).logits)  # which moves them
    assert not torch.equal(student.state_dict()["model.bn1.running_mean"], before["model.bn1.running_mean"])


def test_an_attacker_sees_the_student_in_evaluation_mode_and_leaves_no_trace():
    student = network().train()
    student.model.fc.weight.requires_grad_(False)
    before = copy.deepcopy(student.state_dict())
    x = (images() / 255).requires_grad_()
    with Networks(student).attacked() as attacked:
        attacked(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in student.parameters())
    assert [name for name, p in student.named_parameters() if not p.requires_grad] == ["model.fc.weight"]
    assert student.training
    assert student.model.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    torch.testing.assert_close(attacked(x), student(x).logits)


def test_without_a_teacher_or_a_classifier_it_is_said():
    with pytest.raises(InputError, match="there is none"):
        Networks(network()).teacher(images())
    bare = TappedModel(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), ["0"])
    bare.describe(8)
    with pytest.raises(InputError, match="classifier of the student Sequential is not known"):
        Networks(bare).classifier("student")
