from typing import Any

import pytest
import torch

from trg_pyg.errors import InputError
from trg_pyg.models import FeatureInfo, TappedModel, build_model, vit_tiny_patch4_32


def test_default_tap_is_the_class_token_and_an_8x8_grid() -> None:
    model = vit_tiny_patch4_32(num_classes=100, depth=2)
    info = TappedModel(model).describe(32)
    assert info.num_classes == 100
    assert info.features == (FeatureInfo("encoder.ln", "sequence", 192, (8, 8), prefix_tokens=1),)


@pytest.mark.parametrize(
    ("depth", "blocks"), [(1, []), (2, [0]), (3, [0, 1]), (4, [0, 1, 2]), (6, [0, 2, 3]), (12, [2, 5, 8])]
)
def test_default_taps_are_the_ends_of_the_quarters(depth: int, blocks: list[int]) -> None:
    expected = (*(f"encoder.layers.encoder_layer_{index}" for index in blocks), "encoder.ln")
    model = vit_tiny_patch4_32(depth=depth)
    assert TappedModel(model, "stages").taps == expected
    assert TappedModel(model).taps == ("encoder.ln",)


def test_embedding_is_the_class_token() -> None:
    outputs = TappedModel(vit_tiny_patch4_32(depth=1))(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(outputs.embedding, outputs.features[0][:, 0])


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


SMALL = {"img_size": 32, "patch_size": 4, "depth": 2}


@pytest.mark.parametrize(
    ("name", "size", "args", "prefix", "side"),
    [
        ("timm:deit_tiny_patch16_224", 32, SMALL, 1, 8),
        ("timm:deit_tiny_distilled_patch16_224", 32, SMALL, 2, 8),
        ("timm:vit_tiny_patch16_224", 32, {**SMALL, "reg_tokens": 4}, 5, 8),
        ("timm:vit_tiny_patch16_224", 32, {**SMALL, "class_token": False, "global_pool": "avg"}, 0, 8),
        ("timm:deit_tiny_patch16_224", 224, {"depth": 2}, 1, 14),
        ("timm:deit_tiny_distilled_patch16_224", 224, {"depth": 2}, 2, 14),
        ("timm:vit_tiny_patch16_224", 224, {"depth": 2}, 1, 14),
    ],
)
def test_timm_transformers(name: str, size: int, args: dict[str, Any], prefix: int, side: int) -> None:
    pytest.importorskip("timm")
    tapped = TappedModel(build_model(name, 7, **args), "stages")
    info = tapped.describe(size)
    expected = [FeatureInfo(path, "sequence", 192, (side, side), prefix) for path in ("blocks.0", "norm")]
    assert list(info.features) == expected
    assert (tapped.classifier, info.num_classes, info.embedding) == ("head", 7, 192)
    assert TappedModel(tapped.model).describe(size).features == info.features[-1:]
    for training in (True, False):
        outputs = tapped.train(training)(torch.rand(2, 3, size, size))
        assert outputs.logits.shape == (2, 7)
        assert [feature.shape for feature in outputs.features] == [(2, prefix + side * side, 192)] * 2
        pooled = outputs.features[-1][:, 0] if prefix else outputs.features[-1].mean(1)
        torch.testing.assert_close(outputs.embedding, tapped.model.fc_norm(pooled))


def test_embedding_of_a_distilled_transformer_is_its_class_token_while_both_heads_learn() -> None:
    pytest.importorskip("timm")
    model = build_model("timm:deit_tiny_distilled_patch16_224", 7, **SMALL)
    tapped = TappedModel(model).train()
    model.set_distilled_training(True)
    outputs = tapped(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(model.head(outputs.embedding), outputs.logits)
    torch.testing.assert_close(outputs.embedding, outputs.features[0][:, 0])


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_whole_timm_transformers_at_32(name: str) -> None:
    pytest.importorskip("timm")
    model = build_model(f"timm:{name}", 100, img_size=32, patch_size=4)
    info = TappedModel(model, "stages").describe(32)
    assert [feature.path for feature in info.features] == ["blocks.2", "blocks.5", "blocks.8", "norm"]
    assert {feature.grid for feature in info.features} == {(8, 8)}
    with pytest.raises(InputError, match=r"tap 'blocks.12' is no module of .*; did you mean .*blocks\.11\?"):
        TappedModel(model, ["blocks.12"])


def test_torchvision_transformer() -> None:
    model = build_model("torchvision:vit_b_16", 7, image_size=32)
    info = TappedModel(model, "stages").describe(32)
    paths = [*(f"encoder.layers.encoder_layer_{index}" for index in (2, 5, 8)), "encoder"]
    assert list(info.features) == [FeatureInfo(path, "sequence", 768, (2, 2), 1) for path in paths]
    outputs = TappedModel(model, "stages").train()(torch.rand(2, 3, 32, 32))
    assert outputs.logits.shape == (2, 7)
    torch.testing.assert_close(outputs.embedding, outputs.features[-1][:, 0])


def test_what_is_found_is_what_the_network_of_this_package_declares() -> None:
    model = vit_tiny_patch4_32(depth=5)
    declared = TappedModel(model, "stages").taps
    del model.default_taps
    tapped = TappedModel(model, "stages")
    assert tapped.describe(32).features[-1].grid == (8, 8)
    assert tapped.taps == (*declared[:-1], "encoder")  # which ends with its encoder.ln
