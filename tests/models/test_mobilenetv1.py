import torch

from trg_pyg.models import TappedModel, build_model, cost


def test_it_is_as_large_and_costs_as_much_as_the_paper_says() -> None:
    found = cost(build_model("mobilenetv1", 1000), 224)
    assert found.parameters == 4_231_976  # 4.2 million in the paper's Table 4
    assert round(found.flops / 2e6) == 569  # million multiply-adds


def test_default_taps_are_the_last_maps_of_four_sizes() -> None:
    found = TappedModel(build_model("mobilenetv1", 10), "stages").describe(64)
    sizes = [(tap.channels, *tap.grid) for tap in found.features]
    assert sizes == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (1024, 2, 2)]
    assert found.embedding == 1024


def test_a_block_is_a_depthwise_and_a_pointwise_convolution() -> None:
    block = build_model("mobilenetv1", 10).eval().blocks[3]
    images = torch.rand(2, 128, 6, 6)
    depthwise, norm, _, pointwise, _, _ = block
    expected = torch.stack(
        [torch.conv2d(images[:, [c]], depthwise.weight[[c]], stride=2, padding=1)[:, 0] for c in range(128)], dim=1
    )
    expected = torch.einsum("oc,bchw->bohw", pointwise.weight[:, :, 0, 0], norm(expected).relu())
    torch.testing.assert_close(block(images), (expected / (1 + norm.eps) ** 0.5).relu(), rtol=1e-4, atol=1e-5)
