import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import pairs
from processes import launch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.errors import InputError
from trg_pyg.models import FeatureInfo, NetworkInfo, Normalize, Outputs, TappedModel, build_model, resnet8
from trg_pyg.tokens.maps import as_map
from trg_pyg.training.distributed import World

HALF = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Net(nn.Module):
    """The smallest network with a map: stem -> head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.norm(self.stem(x)).mean((2, 3)))


class Wrap(nn.Module):
    """A network whose one tapped module is anything."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        output = self.inner(x)
        output = output if isinstance(output, Tensor) else x
        return output.flatten(1)[:, :2]


class Fixed(nn.Module):
    """Gives an output of a fixed shape per image, or any other value."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return x.new_ones(len(x), *self.output) if isinstance(self.output, list) else self.output


def pictures(batch: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)


def objective(outputs: Outputs) -> Tensor:
    rest = sum(f.square().mean() for f in (*outputs.features, outputs.embedding) if f is not None)
    return outputs.logits.square().mean() + rest


def gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    model.zero_grad()
    objective(model(images)).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_same(a: list[Tensor] | tuple[Tensor, ...], b: list[Tensor] | tuple[Tensor, ...]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y)


# What comes out


@pytest.mark.parametrize("training", [True, False])
def test_features_are_the_outputs_of_the_modules_in_tap_order(training: bool) -> None:
    model = resnet8().train(training)
    reference = copy.deepcopy(model)
    logits, (last, first), _ = TappedModel(model, ["layer3", "layer1"], HALF).train(training)(pictures())
    x = reference.conv1((pictures().float() / 255 - 0.5) / 0.5)
    expected_first = reference.layer1(reference.bn1(x).relu())
    expected_last = reference.layer3(reference.layer2(expected_first))
    torch.testing.assert_close(first, expected_first)
    torch.testing.assert_close(last, expected_last)
    torch.testing.assert_close(logits, reference.fc(expected_last.mean((2, 3))))
    assert_same(list(model.buffers()), list(reference.buffers()))


def test_bytes_and_floats_are_the_same_images() -> None:
    tapped = TappedModel(resnet8(), normalize=HALF).eval()
    assert_same(tapped(pictures())[1], tapped(pictures().float() / 255)[1])


@pytest.mark.parametrize("taps", [None, ["stem"]])
def test_precision_of_the_parameters_is_that_of_the_look(taps: list[str] | None) -> None:
    tapped = TappedModel(Net(), taps, copy.deepcopy(HALF)).double()
    assert tapped(pictures().double() / 255).embedding.dtype == torch.float64
    assert tapped.describe(8).embedding == 4


@pytest.mark.parametrize("images", [torch.zeros(2, 1, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8).long()])
def test_other_images_are_refused(images: Tensor) -> None:
    with pytest.raises(InputError, match=r"images .*(must be \[B, 3, H, W\]|needed)"):
        TappedModel(Net(), ["stem"])(images)


def test_no_taps_give_no_features() -> None:
    outputs = TappedModel(Net(), [])(pictures())
    assert outputs.features == ()
    assert outputs.logits.shape == (4, 2)


def test_tuple_stands_for_its_first_tensor() -> None:
    map_ = torch.ones(4, 5, 2, 2)
    assert_same(TappedModel(Wrap(Fixed((map_, None))), ["inner"])(pictures()).features, (map_,))

    class Auxiliary(Net):
        def forward(self, x: Tensor) -> Any:
            logits = super().forward(x)
            return logits, logits

    assert TappedModel(Auxiliary(), ["stem"])(pictures()).logits.shape == (4, 2)


@pytest.mark.parametrize("output", [None, {}, (), "text", (None, torch.ones(1))])
def test_tap_without_a_tensor_is_refused(output: Any) -> None:
    with pytest.raises(InputError, match="tap 'inner' of Wrap is not called or gives no tensor"):
        TappedModel(Wrap(Fixed(output)), ["inner"])(pictures())


def test_module_that_is_called_twice_gives_its_last_call() -> None:
    class Twice(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.stem(x)
            return super().forward(x + 1)

    model = Twice()
    (feature,) = TappedModel(model, ["stem"])(pictures()).features
    torch.testing.assert_close(feature, model.stem(pictures().float() / 255 + 1))


def test_module_that_is_not_called_is_refused() -> None:
    model = Net()
    model.unused = nn.Conv2d(3, 4, 1)
    with pytest.raises(InputError, match="tap 'unused' of Net is not called"):
        TappedModel(model, ["unused"])(pictures())


@pytest.mark.parametrize("inplace", [lambda x: F.relu(x, inplace=True), lambda x: x.mul_(3).add_(1)])
def test_a_change_in_place_behind_the_tap_does_not_reach_the_feature(inplace: Any) -> None:
    class InPlace(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(inplace(self.stem(x)).mean((2, 3)))

    model = InPlace()
    (feature,) = TappedModel(model, ["stem"])(pictures()).features
    expected = model.stem(pictures().float() / 255)
    assert expected.min() < 0
    torch.testing.assert_close(feature, expected)
    grad = torch.autograd.grad(feature.pow(3).sum(), model.stem.weight)
    assert_same(grad, torch.autograd.grad(expected.pow(3).sum(), model.stem.weight))


def test_densenet_has_a_relu_in_place_behind_its_features() -> None:
    tapped = TappedModel(build_model("torchvision:densenet121", 3), ["features"]).eval()
    with torch.no_grad():
        assert tapped(pictures(2)).features[0].min() < 0


# Which taps


def test_unknown_tap_names_near_paths() -> None:
    with pytest.raises(InputError, match=r"tap 'layer4' is no module of CifarResNet; did you mean layer3"):
        TappedModel(resnet8(), ["layer4"])
    with pytest.raises(
        InputError, match="is no module of CifarResNet; its parts are conv1, bn1, layer1, layer2, layer3, fc"
    ):
        TappedModel(resnet8(), ["zzzzzzzz"])
    for path in ("", "layer1.0.", "conv1.weight"):
        with pytest.raises(InputError, match="is no module"):
            TappedModel(resnet8(), [path])


def test_a_string_is_no_list_of_taps() -> None:
    with pytest.raises(InputError, match=r"must be a list of module paths: \['layer3'\], or last, or stages"):
        TappedModel(resnet8(), "layer3")


def test_default_taps_of_the_network() -> None:
    assert TappedModel(resnet8()).taps == ("layer3",)
    assert TappedModel(resnet8(), "last").taps == ("layer3",)
    assert TappedModel(resnet8(), "stages").taps == ("layer1", "layer2", "layer3")


@pytest.mark.parametrize(
    ("name", "size", "tap", "channels", "embedding"),
    [
        ("resnet18", 64, "layer4", 512, 512),
        ("resnet18", 32, "layer3", 256, 512),  # layer4 is 1x1 at this size
        ("shufflenet_v2_x0_5", 64, "conv5", 1024, 1024),
        ("mnasnet0_5", 64, "layers", 1280, 1280),
        ("swin_t", 64, "permute", 768, 768),
    ],
)
def test_tap_is_found(name: str, size: int, tap: str, channels: int, embedding: int) -> None:
    tapped = TappedModel(build_model(f"torchvision:{name}", 7))
    expected = NetworkInfo(7, (FeatureInfo(tap, "map", channels, (2, 2)),), embedding)
    assert tapped.taps is None
    assert tapped.describe(size) == expected
    assert tapped.taps == (tap,)
    assert tapped.describe(size) == expected


def test_tap_of_a_transformer_is_found() -> None:
    tapped = TappedModel(build_model("torchvision:vit_b_32", 7, image_size=64))
    assert tapped.describe(64).features == (FeatureInfo("encoder", "sequence", 768, (2, 2), 1),)


def test_tap_is_found_by_the_first_call_without_a_trace() -> None:
    model = Net().train()
    plain = copy.deepcopy(model)
    tapped = TappedModel(model)
    outputs = tapped(pictures())
    assert tapped.taps == ("norm",)
    torch.testing.assert_close(outputs.logits, plain(pictures().float() / 255))
    assert_same(list(model.buffers()), list(plain.buffers()))
    assert sum(len(module._forward_hooks) for module in model.modules()) == 1
    assert sum(len(module._forward_pre_hooks) for module in model.modules()) == 1


@pytest.mark.parametrize(
    ("name", "size", "args", "taps", "channels"),
    [
        ("torchvision:resnet18", 64, {}, ["layer1", "layer2", "layer3", "layer4"], [64, 128, 256, 512]),
        ("torchvision:resnet34", 224, {}, ["layer1", "layer2", "layer3", "layer4"], [64, 128, 256, 512]),
        # Its blocks begin with a convolution that still has the grid of the stage before.
        ("torchvision:resnet50", 64, {}, ["layer1", "layer2", "layer3", "layer4"], [256, 512, 1024, 2048]),
        (
            "torchvision:mobilenet_v2",
            64,
            {},
            ["features.3", "features.6", "features.13", "features"],
            [24, 32, 96, 1280],
        ),
        (
            "torchvision:densenet121",
            64,
            {},
            [*(f"features.denseblock{i}" for i in (1, 2, 3)), "features"],
            [256, 512, 1024, 1024],
        ),
        ("torchvision:swin_t", 64, {}, ["features.1", "features.3", "features.5", "permute"], [96, 192, 384, 768]),
        (
            "timm:swin_tiny_patch4_window7_224",
            64,
            {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)},
            ["layers.0", "layers.1", "layers.2", "norm"],
            [96, 192, 384, 768],
        ),
        ("timm:convnext_atto", 64, {}, ["stages.0", "stages.1", "stages.2", "norm_pre"], [40, 80, 160, 320]),
    ],
)
def test_stages_are_found(name: str, size: int, args: dict[str, Any], taps: list[str], channels: list[int]) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    model = build_model(name, 7, **args)
    info = TappedModel(model, "stages").describe(size)
    assert [feature.path for feature in info.features] == taps
    assert [feature.channels for feature in info.features] == channels
    assert [feature.grid for feature in info.features] == [(size // stride,) * 2 for stride in (4, 8, 16, 32)]
    assert info.features[-1:] == TappedModel(model, "last").describe(size).features


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 12])
def test_stages_of_one_grid_are_the_ends_of_quarters(depth: int) -> None:
    blocks = {1: [], 2: [0], 3: [0, 1], 5: [0, 1, 2], 12: [2, 5, 8]}[depth]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    class Isotropic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 4, 4, 4)
            self.trunk = nn.ModuleList(Block() for _ in range(depth))
            self.norm = nn.LayerNorm(4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).mT
            for block in self.trunk:
                x = block(x)
            return self.head(self.norm(x).mean(1))

    assert TappedModel(Isotropic(), "stages")(pictures()).features[0].shape == (4, 64, 4)
    for model, at in ((Isotropic(), ""), (nn.Sequential(nn.Identity(), Isotropic()), "1.")):
        tapped = TappedModel(model, "stages")
        info = tapped.describe(32)
        assert tapped.taps == (*(f"{at}trunk.{index}" for index in blocks), f"{at}norm")
        assert (tapped.classifier, info.embedding) == (f"{at}head", 4)


def test_stages_of_a_wrapped_network_begin_at_the_size_of_the_images() -> None:
    class Shared(nn.Module):
        """One activation for all sizes; it stands for its last call."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, 2, padding=1)
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.second(self.act(self.first(x))))

    model = nn.Sequential(nn.Identity(), Shared(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    info = TappedModel(model, "stages").describe(8)
    assert info.features == (FeatureInfo("1.first", "map", 4, (8, 8)), FeatureInfo("1", "map", 5, (4, 4)))


def test_stages_end_with_the_last_map_even_if_it_looks_like_the_images() -> None:
    down, up = nn.Conv2d(3, 3, 3, 2, padding=1), nn.Upsample(scale_factor=2)
    model = nn.Sequential(nn.Identity(), down, up, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    tapped = TappedModel(model, "stages")
    assert [feature.grid for feature in tapped.describe(8).features] == [(4, 4), (8, 8)]
    assert tapped.taps == ("1", "2")


def test_stages_of_images_that_are_no_square() -> None:
    images = torch.rand(2, 3, 32, 64)
    features = TappedModel(build_model("torchvision:resnet18", 7), "stages")(images).features
    assert [feature.shape[2:] for feature in features] == [(8, 16), (4, 8), (2, 4), (1, 2)]


def test_stages_without_a_row_of_blocks_are_the_last_map() -> None:
    tapped = TappedModel(Net(), "stages")
    assert [feature.shape for feature in tapped(pictures(size=8)).features] == [(4, 4, 8, 8)]
    assert tapped.taps == ("norm",)


def test_no_tap_is_found() -> None:
    with pytest.raises(InputError, match="no module of Wrap gives a map or a sequence larger than 1x1; name the taps"):
        TappedModel(Wrap(Fixed([8]))).describe(32)


class Scores(nn.Module):
    """Scores of each class at each place, pooled."""

    def __init__(self, pool: Callable[[Tensor], Tensor], width: int = 5) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, width, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.scores = nn.Conv2d(width, 5, 1)
        self.act = nn.ReLU()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.act(self.scores(self.drop(self.body(x)))))


@pytest.mark.parametrize("pool", [lambda x: x.mean((2, 3)), lambda x: x.amax((2, 3))], ids=["mean", "maximum"])
@pytest.mark.parametrize("width", [4, 5])
def test_class_scores_are_no_tokens_and_what_gives_them_has_an_embedding(pool, width) -> None:
    for taps in ("last", "stages"):
        tapped = TappedModel(Scores(pool, width), taps).eval()
        info = tapped.describe(8)
        assert [(feature.path, feature.channels) for feature in info.features] == [("body", width)]
        assert (tapped.classifier, info.embedding) == ("scores", width)
    outputs = tapped(pictures(size=8))
    assert outputs.embedding is not None
    torch.testing.assert_close(outputs.embedding, outputs.features[0].mean((2, 3)))


def test_features_as_wide_as_the_logits_are_tokens() -> None:
    net = Net()
    net.fc = nn.Linear(4, 4)
    tapped = TappedModel(net)
    assert [feature.path for feature in tapped.describe(8).features] == ["norm"]


def test_a_map_behind_the_classifier_is_an_auxiliary_heads() -> None:
    class Auxiliary(Net):
        def __init__(self) -> None:
            super().__init__()
            self.aux = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.stem(x))
            return self.fc(x.mean((2, 3))) + 0.5 * self.aux(x).amax((2, 3))

    tapped = TappedModel(Auxiliary())
    assert [feature.path for feature in tapped.describe(8).features] == ["norm"]
    assert tapped.classifier == "fc"


@pytest.mark.parametrize(
    ("name", "tap", "embedding"),
    [
        ("torchvision:squeezenet1_1", "features", 512),
        ("timm:dla46_c", "level5", 256),
        ("timm:dpn48b", "features", 832),
        ("timm:resnetv2_18", "norm", 512),
    ],
)
def test_networks_whose_classifier_is_a_convolution(name: str, tap: str, embedding: int) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    info = TappedModel(build_model(name, 7)).describe(64)
    assert (info.features[0].path, info.embedding) == (tap, embedding)


# What the classifier takes


class Heads(Net):
    """The map, pooled, and whatever follows."""

    def __init__(self, head: Any, **modules: nn.Module) -> None:
        super().__init__()
        self.head = head
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.head(self, self.norm(self.stem(x)).mean((2, 3)))


HEADS: dict[str, tuple[Any, str | None]] = {
    "itself": (Heads(lambda net, x: net.fc(x)), "fc"),
    "a view": (Heads(lambda net, x: net.fc(x)[:, :1]), "fc"),
    "first of a tuple": (Heads(lambda net, x: (net.fc(x), net.b(x)), b=nn.Linear(4, 2)), "fc"),
    "scaled": (Heads(lambda net, x: net.fc(x) * 2), "fc"),
    "normalised": (Heads(lambda net, x: net.b(net.fc(x)), b=nn.BatchNorm1d(2)), "fc"),
    "two beside one another": (Heads(lambda net, x: (net.fc(x) + net.b(x)) / 2, b=nn.Linear(4, 2)), "fc"),
    "of two widths": (Heads(lambda net, x: (net.b(x[:, :3]) + net.fc(x)) / 2, b=nn.Linear(3, 2)), "fc"),
    "one behind the other": (Heads(lambda net, x: net.b(net.fc(x).relu()) * 2, b=nn.Linear(2, 2)), "b"),
    "hidden": (Heads(lambda net, x: net.b(net.a(x).relu()), a=nn.Linear(4, 9), b=nn.Linear(9, 2)), "b"),
    "none": (Heads(lambda net, x: x), None),
    "of one of the tokens": (
        Heads(lambda net, x: net.fc(x[:, None] * torch.tensor([[1.0], [-2.0], [3.0]]))[:, 0]),
        None,
    ),
    "no tensor": (Heads(lambda net, x: net.fc(input=x)), None),
}


@pytest.mark.parametrize("case", HEADS)
def test_classifier_is_found(case: str) -> None:
    model, path = HEADS[case]
    tapped = TappedModel(model, ["norm"]).eval()
    outputs, info = tapped(pictures()), tapped.describe(8)
    assert tapped.classifier == path
    assert (outputs.embedding is None, info.embedding is None) == (path is None, path is None)
    if path is not None:
        linear = model.get_submodule(path)
        assert outputs.embedding.shape == (4, linear.in_features)
        assert info.embedding == linear.in_features
    if case in ("itself", "scaled"):
        torch.testing.assert_close(outputs.embedding, outputs.features[0].mean((2, 3)))


def test_linear_layer_before_the_last_map_is_no_classifier() -> None:
    class Gated(Net):
        """Its gate is as wide as its logits, which a convolution gives."""

        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Conv2d(4, 4, 1)
            self.gate = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.out(x * self.gate(x.mean((2, 3)))[:, :, None, None]).mean((2, 3))

    tapped = TappedModel(Gated())
    assert tapped.describe(8).features[0].path == "stem"
    assert tapped.classifier == "out"


def test_dropout_is_part_of_the_embedding_and_gradient_passes() -> None:
    model = Heads(lambda net, x: net.fc(net.drop(x)), drop=nn.Dropout(0.5)).train()
    outputs = TappedModel(model)(pictures())
    assert (outputs.embedding == 0).any()
    torch.testing.assert_close(model.fc(outputs.embedding), outputs.logits)
    outputs.embedding.sum().backward()
    assert model.stem.weight.grad.abs().sum() > 0
    assert model.fc.weight.grad is None


def test_call_that_does_not_reach_the_classifier_has_no_embedding() -> None:
    model = Heads(lambda net, x: net.other(x) if net.training else net.fc(x), other=nn.Linear(4, 2))
    tapped = TappedModel(model).train()
    assert tapped(pictures()).embedding is None
    assert tapped.eval()(pictures()).embedding is not None


def test_declared_classifier() -> None:
    model = Heads(lambda net, x: net.cosine(x), cosine=nn.Identity())
    model.classifier_path = "cosine"
    outputs = TappedModel(model, ["norm"])(pictures())
    torch.testing.assert_close(outputs.embedding, outputs.logits)
    assert TappedModel(model).describe(8).embedding == 4
    model.classifier_path = "cosin"
    with pytest.raises(InputError, match="classifier_path 'cosin' is no module of Heads; did you mean cosine"):
        TappedModel(model)
    model.classifier_path = "stem"
    with pytest.raises(InputError, match=r"classifier_path 'stem' of Heads takes \[2, 3, 8, 8\]; name the module that"):
        TappedModel(model).describe(8)
    model.classifier_path = "fc"
    with pytest.raises(InputError, match="classifier_path 'fc' of Heads takes nothing"):
        TappedModel(model).describe(8)


def test_the_network_is_looked_at_once() -> None:
    calls: list[int] = []
    model = Net()
    model.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    tapped = TappedModel(model, "stages")
    for _ in range(2):
        tapped(pictures())
    assert calls == [2, 4, 4]


# What is told beforehand


def test_describe_leaves_no_trace() -> None:
    class Noisy(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().forward(x + torch.rand_like(x))

    model = Noisy().train()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    info = TappedModel(model, ["stem", "norm"]).describe(8)
    assert info == NetworkInfo(2, (FeatureInfo("stem", "map", 4, (8, 8)), FeatureInfo("norm", "map", 4, (8, 8))), 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(list(model.state_dict().values()), list(before.values()))
    assert (model.training, model.stem.training, model.norm.training) == (True, True, False)


def test_mode_is_restored_after_an_error() -> None:
    tapped = TappedModel(build_model("vit_tiny_patch4_32", 10, depth=1)).train()
    with pytest.raises(
        InputError, match="VisionTransformer does not take images of 28x28: Wrong image height! Expected"
    ):
        tapped.describe(28)
    assert all(module.training for module in tapped.modules())
    assert tapped.describe(32).features[0].grid == (8, 8)


def test_too_small_an_image_gives_the_networks_own_message() -> None:
    with pytest.raises(InputError, match="Kernel size can't be greater than actual input size"):
        TappedModel(nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten()), ["0"]).describe(3)


def test_channels_last_maps() -> None:
    model = Wrap(Fixed([7, 5, 16]))
    model.output_fmt = "NHWC"
    assert TappedModel(model).describe(32).features == (FeatureInfo("inner", "map_last", 16, (7, 5)),)


def test_timm_swin_is_channels_last() -> None:
    pytest.importorskip("timm")
    model = build_model("timm:swin_tiny_patch4_window7_224", 7, img_size=64, window_size=2, depths=(1, 1, 1, 1))
    assert TappedModel(model).describe(64).features == (FeatureInfo("norm", "map_last", 768, (2, 2)),)


def test_prefix_tokens() -> None:
    model = Wrap(Fixed([18, 6]))
    expected = (FeatureInfo("inner", "sequence", 6, (4, 4), 2),)
    assert TappedModel(model, prefix_tokens=2).describe(32).features == expected
    model.num_prefix_tokens = 2
    assert TappedModel(model).describe(32).features == expected
    with pytest.raises(InputError, match="gives 18 tokens, which is not 1 prefix tokens and a square grid; set prefix"):
        TappedModel(model, prefix_tokens=1).describe(32)
    with pytest.raises(InputError, match="18 tokens, which is not 18 prefix"):
        TappedModel(model, ["inner"], prefix_tokens=18).describe(32)


@pytest.mark.parametrize("shape", [[8], [2, 2, 2, 2]])
def test_tap_without_a_grid(shape: list[int]) -> None:
    with pytest.raises(InputError, match=r"tap 'inner' gives \[2, .* no spatial grid; tap a module before the pooling"):
        TappedModel(Wrap(Fixed(shape)), ["inner"]).describe(32)


def test_logits_of_each_pixel_are_as_large_as_the_images() -> None:
    network = TappedModel(nn.Sequential(nn.Conv2d(3, 5, 1)), ["0"])
    described = network.describe((8, 12))
    assert (described.num_classes, described.pixels, described.embedding) == (5, (8, 12), None)
    assert network(torch.zeros(1, 3, 8, 12)).logits.shape == (1, 5, 8, 12)


def test_logits_are_a_matrix() -> None:
    with pytest.raises(InputError, match=r"Sequential gives logits \[2, 2, 4, 4\]"):
        TappedModel(nn.Sequential(nn.Conv2d(3, 2, 1, stride=2)), ["0"]).describe(8)

    class Dict(Net):
        def forward(self, x: Tensor) -> Any:
            return {"logits": super().forward(x)}

    with pytest.raises(InputError, match="Dict returns no tensor"):
        TappedModel(Dict(), ["stem"]).describe(8)


# How it behaves as a module


def test_no_tensor_outlives_a_call() -> None:
    tapped = TappedModel(resnet8(), ["layer1", "layer3"])
    inside: list[weakref.ref] = []
    tapped.model.layer3.register_forward_hook(lambda module, args, output: inside.append(weakref.ref(output)))
    outputs = tapped(pictures())
    references = [*inside, *(weakref.ref(t) for t in (outputs.logits, *outputs.features, outputs.embedding))]
    assert len(references) == 6  # the look called layer3 once more
    del outputs
    gc.collect()
    assert all(reference() is None for reference in references)


def test_a_failed_call_keeps_nothing_and_the_next_one_works() -> None:
    class Fails(Net):
        fail = False

        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            if self.fail:
                raise RuntimeError("once")
            return logits

    tapped = TappedModel(Fails(), ["stem"])
    tapped.describe(32)
    tapped.model.fail = True
    with pytest.raises(RuntimeError, match="once"):
        tapped(pictures())
    readers = [*tapped._readers, tapped._embedding]
    assert [(reader.reading, reader.output) for reader in readers] == [(False, None)] * 2
    tapped.model.fail = False
    assert len(tapped(pictures()).features) == 1


def test_the_network_alone_is_silent_and_two_tappings_do_not_mix() -> None:
    model = resnet8()
    a, b = TappedModel(model, ["layer1"]).eval(), TappedModel(model, ["layer2"]).eval()
    model(torch.rand(2, 3, 32, 32))
    assert (a._readers[0].output, a._embedding.output) == (None, None)
    assert a(pictures()).features[0].shape[1:] == (16, 32, 32)
    assert b(pictures()).features[0].shape[1:] == (32, 16, 16)
    assert (b._readers[0].output, b._embedding.output) == (None, None)


def test_two_calls_before_one_backward() -> None:
    tapped = TappedModel(resnet8()).eval()
    separate = [gradients(tapped, pictures(seed=seed)) for seed in (1, 2)]
    tapped.zero_grad()
    first, second = tapped(pictures(seed=1)), tapped(pictures(seed=2))
    (objective(first) + objective(second)).backward()
    together = [p.grad for p in tapped.parameters() if p.grad is not None]
    assert_same(together, [a + b for a, b in zip(*separate, strict=True)])


@pytest.mark.parametrize(
    ("duplicate", "taps", "described"),
    pairs(
        [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], [("layer2", "layer3"), "stages", None], [False, True]
    ),
)
def test_a_copy_reads_its_own_modules(duplicate: Any, taps: Any, described: bool) -> None:
    original = TappedModel(resnet8(), taps, HALF).eval()
    if described:
        original.describe(32)
    twin = duplicate(original)
    assert_same(original(pictures())[1], twin(pictures())[1])
    assert_same(original(pictures())[2:], twin(pictures())[2:])
    with torch.no_grad():
        twin.model.layer3[0].bn2.bias.add_(1)
    outputs, others = twin(pictures()), original(pictures())
    assert not torch.equal(outputs.features[-1], others.features[-1])
    assert not torch.equal(outputs.embedding, others.embedding)
    (outputs.features[-1].sum() + outputs.embedding.sum()).backward()
    assert all(p.grad is None for p in original.parameters())


def hooked(world: World, pickled: bytes) -> list[list[int]]:
    """Shapes of features and embedding, of a network with hooks that it did not have when it was pickled."""
    tapped = pickle.loads(pickled)
    for module in tapped.modules():
        for _ in range(5):
            module.register_forward_hook(lambda module, args, output: None)
            module.register_forward_pre_hook(lambda module, args: None)
    outputs = tapped(torch.rand(2, 3, 32, 32))
    return [list(tensor.shape) for tensor in (*outputs.features, outputs.embedding)]


def test_a_pickle_survives_hooks_of_a_new_process(tmp_path: Path) -> None:
    tapped = TappedModel(resnet8(), "stages")
    tapped.describe(32)
    (shapes,) = launch(partial(hooked, pickled=pickle.dumps(tapped)), 1, tmp_path, group=False)
    assert shapes == [[2, 16, 32, 32], [2, 32, 16, 16], [2, 64, 8, 8], [2, 64]]


def test_no_grad_and_mode() -> None:
    tapped = TappedModel(resnet8()).train()
    with torch.no_grad():
        outputs = tapped(pictures())
    assert not any(t.requires_grad for t in (outputs.logits, *outputs.features, outputs.embedding))
    assert tapped.training
    assert tapped.model.bn1.num_batches_tracked == 1
    assert not tapped.eval().model.bn1.training


def test_autocast() -> None:
    tapped = TappedModel(resnet8(), ["conv1", "layer3"], HALF).train()
    exact = tapped(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        outputs = tapped(pictures())
    assert outputs.features[0].dtype == torch.bfloat16
    torch.testing.assert_close(outputs.logits.float(), exact.logits, atol=0.1, rtol=0.1)
    objective(outputs).backward()
    assert all(torch.isfinite(p.grad).all() for p in tapped.parameters() if p.grad is not None)


@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph(training: bool) -> None:
    # aot_eager traces forward and backward as inductor does, without the minutes of its C++ compiler
    torch._dynamo.reset()
    plain = TappedModel(Net(), None, HALF).train(training)
    plain.describe(16)
    twin = copy.deepcopy(plain)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    for seed in (0, 1):
        images = pictures(size=16, seed=seed)
        assert_same(gradients(compiled, images), gradients(plain, images))
        a, b = plain(images), compiled(images)
        assert_same((a.logits, *a.features, a.embedding), (b.logits, *b.features, b.embedding))
    assert_same(list(plain.buffers()), list(twin.buffers()))
    assert (twin._readers[0].output, twin._embedding.output) == (None, None)


def test_compiled_feature_is_safe_from_changes_in_place() -> None:
    class InPlace(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.relu(self.stem(x), inplace=True).mean((2, 3)))

    torch._dynamo.reset()
    tapped = TappedModel(InPlace(), ["stem"])
    tapped.describe(32)
    compiled = torch.compile(tapped, fullgraph=True, backend="aot_eager")
    assert_same(compiled(pictures()).features, tapped(pictures()).features)


@pytest.mark.parametrize("taps", [None, ["stem"]])
def test_taps_and_classifier_must_be_known_before_compiling(taps: list[str] | None) -> None:
    torch._dynamo.reset()
    with pytest.raises(Exception, match="describe"):
        torch.compile(TappedModel(Net(), taps), fullgraph=True, backend="eager")(pictures())


def test_a_declared_classifier_is_known_before_compiling() -> None:
    torch._dynamo.reset()
    model = Net()
    model.classifier_path = "fc"
    tapped = TappedModel(model, ["stem"])
    outputs = torch.compile(tapped, fullgraph=True, backend="aot_eager")(pictures())
    torch.testing.assert_close(model.fc(outputs.embedding), outputs.logits)


def averaged_gradient(world: World) -> list[list[Tensor]]:
    """Of the second of two steps, and that of one process on the images of all."""
    torch.manual_seed(0)
    tapped = TappedModel(resnet8(), ["layer2", "layer3"]).eval()
    images = torch.rand(4, 3, 32, 32)
    expected = gradients(tapped, images)
    many = nn.parallel.DistributedDataParallel(tapped)
    for _ in range(2):
        found = gradients(many, images.chunk(world.size)[world.rank])
    return [found, expected]


def test_gradient_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    for found, expected in launch(averaged_gradient, 2, tmp_path):
        assert len(expected) == len(list(resnet8().parameters()))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "size", "grids"),
    [
        ("resnet8", {}, (24, 40), [(24, 40), (12, 20), (6, 10)]),
        ("torchvision:swin_t", {}, (64, 96), [(16, 24), (8, 12), (4, 6), (2, 3)]),
        ("timm:vit_tiny_patch16_224", {"img_size": (32, 48), "patch_size": 8}, (32, 48), [(4, 6)] * 4),
    ],
)
def test_grids_have_the_shape_of_the_images(name, options, size, grids):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    network = TappedModel(build_model(name, 5, **options), "stages")
    info = network.describe(size)
    assert [feature.grid for feature in info.features] == grids
    for feature, tapped in zip(network(torch.zeros(1, 3, *size)).features, info.features, strict=True):
        assert as_map(feature, tapped).shape == (1, tapped.channels, *tapped.grid)


def test_images_have_as_many_channels_as_the_network_was_described_with():
    network = TappedModel(build_model("resnet8", 5, image_channels=4))
    network.describe(16, channels=4)
    assert network(torch.zeros(2, 4, 16, 16)).logits.shape == (2, 5)
    with pytest.raises(InputError, match=r"images \[2, 3, 16, 16\] must be \[B, 4, H, W\]"):
        network(torch.zeros(2, 3, 16, 16))
    normalised = TappedModel(build_model("resnet8", 5, image_channels=1), normalize=Normalize((0.5,), (0.5,)))
    assert normalised.describe((8, 16)).num_classes == 5
    with pytest.raises(InputError, match="images of 3 channels, and normalisation of 1"):
        normalised.describe(16, channels=3)


def test_the_modules_of_a_network_are_told_by_the_tap_that_they_run_before() -> None:
    network = TappedModel(resnet8(5), "stages")
    network.describe(16)
    first, *middle, behind = network.parts()
    assert len(middle) == len(network.taps) - 1
    assert network.model.conv1 in first
    assert behind == [network.model.fc]
    every = [module for part in (first, *middle, behind) for module in part]
    assert len(every) == len(set(every))
    assert sum(p.numel() for module in every for p in module.parameters()) == sum(
        p.numel() for p in network.model.parameters()
    )
    with pytest.raises(InputError, match="not described yet"):
        TappedModel(resnet8(5)).parts()
