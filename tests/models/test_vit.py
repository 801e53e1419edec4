import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models import FeatureInfo, TappedModel, vit_tiny_patch4_32


def test_default_tap_is_the_class_token_and_an_8x8_grid() -> None:
    model = vit_tiny_patch4_32(num_classes=100, depth=2)
    info = TappedModel(model).describe(32)
    assert info.num_classes == 100
    assert info.features == (FeatureInfo("encoder.ln", "sequence", 192, (8, 8), prefix_tokens=1),)


def test_it_is_as_large_as_deit_tiny_without_its_patches_and_classes() -> None:
    blocks = 12 * (12 * 192 * 192 + 13 * 192)
    ends = 192 * 3 * 4 * 4 + 192 + 65 * 192 + 192 + 2 * 192 + 192 * 10 + 10
    assert sum(p.numel() for p in vit_tiny_patch4_32().parameters()) == blocks + ends


def test_image_size_sets_the_grid() -> None:
    info = TappedModel(vit_tiny_patch4_32(image_size=16, depth=1)).describe(16)
    assert info.features[0].grid == (4, 4)


def test_image_size_is_a_multiple_of_the_patch() -> None:
    with pytest.raises(InputError, match="image_size 30"):
        vit_tiny_patch4_32(image_size=30)


def test_gradient_reaches_the_patches_from_the_feature() -> None:
    tapped = TappedModel(vit_tiny_patch4_32(depth=1))
    tapped(torch.rand(2, 3, 32, 32)).features[0].square().sum().backward()
    assert tapped.model.conv_proj.weight.grad.abs().sum() > 0
