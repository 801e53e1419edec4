import pytest
import torch
import torchvision
from torch import nn

from trg_pyg.errors import InputError
from trg_pyg.models.cost import Cost, cost
from trg_pyg.models.vit import vit_tiny_patch4_32
from trg_pyg.models.zoo import build_model


def test_a_convolution_and_a_classifier_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 8 * 8, 7)
    )
    parameters = 3 * 5 * 9 + 5 + 2 * 5 + 5 * 64 * 7 + 7
    multiply_adds = 3 * 5 * 9 * 64 + 5 * 64 * 7
    assert cost(model, 8) == Cost(parameters, 2 * multiply_adds)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_32"])
def test_what_torchvision_says_of_its_networks(name: str) -> None:
    said = torchvision.models.get_model_weights(name).DEFAULT.meta
    counted = cost(build_model(f"torchvision:{name}", 1000), 224)
    assert counted.parameters == said["num_params"]
    # Billions of multiply-adds, to three digits.
    assert counted.flops / 2e9 == pytest.approx(said["_ops"], abs=0.0006)


def test_attention_is_counted() -> None:
    """By hand, since the counter of PyTorch does not see the fused attention of the CPU."""
    depth, tokens, width, classes = 2, 65, 192, 10
    block = tokens * width * (3 * width + width + 4 * width + 4 * width) + 2 * tokens * tokens * width
    patches = 64 * width * 3 * 16
    counted = cost(vit_tiny_patch4_32(classes, depth=depth), 32)
    assert counted.flops == 2 * (patches + depth * block + width * classes)


def test_shared_parameters_count_once() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    assert cost(nn.Sequential(first, second), 3) == Cost(9, 2 * 2 * 27 * 3)


def test_the_network_and_the_settings_are_as_before() -> None:
    model = build_model("resnet8", 10).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    cost(model, 32)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_size_than_the_network_takes_is_refused() -> None:
    with pytest.raises(InputError, match="VisionTransformer does not take images of 16x16"):
        cost(vit_tiny_patch4_32(10, depth=1), 16)
    with pytest.raises(InputError, match="image_size 0 is below 1"):
        cost(nn.Linear(1, 1), 0)
