import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trg_pyg.errors import InputError
from trg_pyg.models import FeatureInfo, NetworkInfo, Normalize, Outputs, TappedModel, build_model, resnet8, wrn_16_1

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
    return outputs.logits.square().mean() + sum(f.square().mean() for f in outputs.features)


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
    logits, (last, first) = TappedModel(model, ["layer3", "layer1"], HALF).train(training)(pictures())
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
    with pytest.raises(InputError, match="known: bn1, conv1, fc, layer1, layer2, layer3"):
        TappedModel(resnet8(), ["zzzzzzzz"])
    for path in ("", "layer1.0.", "conv1.weight"):
        with pytest.raises(InputError, match="is no module"):
            TappedModel(resnet8(), [path])


def test_a_string_is_no_list_of_taps() -> None:
    with pytest.raises(InputError, match=r"must be a list of module paths: \['layer3'\]"):
        TappedModel(resnet8(), "layer3")


def test_default_tap_of_the_network() -> None:
    assert TappedModel(resnet8()).taps == ("layer3",)
    assert TappedModel(wrn_16_1()).taps == ("relu",)


@pytest.mark.parametrize(
    ("name", "size", "tap", "layout", "channels", "grid"),
    [
        ("resnet18", 64, "layer4", "map", 512, (2, 2)),
        ("resnet18", 32, "layer3", "map", 256, (2, 2)),  # layer4 is 1x1 at this size
        ("shufflenet_v2_x0_5", 64, "conv5", "map", 1024, (2, 2)),
        ("mnasnet0_5", 64, "layers", "map", 1280, (2, 2)),
        ("swin_t", 64, "permute", "map", 768, (2, 2)),
    ],
)
def test_tap_is_found(name: str, size: int, tap: str, layout: Any, channels: int, grid: tuple[int, int]) -> None:
    tapped = TappedModel(build_model(f"torchvision:{name}", 7))
    expected = NetworkInfo(7, (FeatureInfo(tap, layout, channels, grid),))
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


def test_no_tap_is_found() -> None:
    with pytest.raises(InputError, match="no module of Wrap gives a map or a sequence larger than 1x1; name the taps"):
        TappedModel(Wrap(Fixed([8]))).describe(32)


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
    assert info == NetworkInfo(2, (FeatureInfo("stem", "map", 4, (8, 8)), FeatureInfo("norm", "map", 4, (8, 8))))
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


def test_logits_are_a_matrix() -> None:
    with pytest.raises(InputError, match=r"Sequential gives logits \[2, 2, 8, 8\]"):
        TappedModel(nn.Sequential(nn.Conv2d(3, 2, 1)), ["0"]).describe(8)

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
    references = [*inside, *(weakref.ref(t) for t in (outputs.logits, *outputs.features))]
    assert len(references) == 4
    del outputs
    gc.collect()
    assert all(reference() is None for reference in references)


def test_a_failed_call_keeps_nothing_and_the_next_one_works() -> None:
    class Fails(Net):
        fail = True

        def forward(self, x: Tensor) -> Tensor:
            self.stem(x)
            if self.fail:
                raise RuntimeError("once")
            return super().forward(x)

    tapped = TappedModel(Fails(), ["stem"])
    with pytest.raises(RuntimeError, match="once"):
        tapped(pictures())
    assert [(reader.reading, reader.output) for reader in tapped._readers] == [(False, None)]
    tapped.model.fail = False
    assert len(tapped(pictures()).features) == 1


def test_the_network_alone_is_silent_and_two_tappings_do_not_mix() -> None:
    model = resnet8()
    a, b = TappedModel(model, ["layer1"]).eval(), TappedModel(model, ["layer2"]).eval()
    model(torch.rand(2, 3, 32, 32))
    assert a._readers[0].output is None
    assert a(pictures()).features[0].shape[1:] == (16, 32, 32)
    assert b(pictures()).features[0].shape[1:] == (32, 16, 16)
    assert b._readers[0].output is None


def test_two_calls_before_one_backward() -> None:
    tapped = TappedModel(resnet8()).eval()
    separate = [gradients(tapped, pictures(seed=seed)) for seed in (1, 2)]
    tapped.zero_grad()
    first, second = tapped(pictures(seed=1)), tapped(pictures(seed=2))
    (objective(first) + objective(second)).backward()
    together = [p.grad for p in tapped.parameters() if p.grad is not None]
    assert_same(together, [a + b for a, b in zip(*separate, strict=True)])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("taps", [["layer2", "layer3"], None])
def test_a_copy_reads_its_own_modules(duplicate: Any, taps: list[str] | None) -> None:
    original = TappedModel(resnet8(), taps, HALF).eval()
    twin = duplicate(original)
    assert_same(original(pictures())[1], twin(pictures())[1])
    with torch.no_grad():
        twin.model.layer3[0].bn2.bias.add_(1)
    twin_feature = twin(pictures()).features[-1]
    assert not torch.equal(twin_feature, original(pictures()).features[-1])
    twin_feature.sum().backward()
    assert all(p.grad is None for p in original.parameters())


def test_a_pickle_survives_hooks_of_a_new_process(tmp_path: Path) -> None:
    path = tmp_path / "tapped.pickle"
    path.write_bytes(pickle.dumps(TappedModel(resnet8(), ["layer1", "layer2", "layer3"])))
    script = f"""
import pickle, torch
tapped = pickle.load(open({str(path)!r}, "rb"))
for module in tapped.modules():
    for _ in range(5):
        module.register_forward_hook(lambda module, args, output: None)
assert [f.shape[1] for f in tapped(torch.rand(2, 3, 32, 32)).features] == [16, 32, 64]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_no_grad_and_mode() -> None:
    tapped = TappedModel(resnet8()).train()
    with torch.no_grad():
        outputs = tapped(pictures())
    assert not any(t.requires_grad for t in (outputs.logits, *outputs.features))
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
        assert_same((a.logits, *a.features), (b.logits, *b.features))
    assert_same(list(plain.buffers()), list(twin.buffers()))
    assert twin._readers[0].output is None


def test_compiled_feature_is_safe_from_changes_in_place() -> None:
    class InPlace(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.relu(self.stem(x), inplace=True).mean((2, 3)))

    torch._dynamo.reset()
    tapped = TappedModel(InPlace(), ["stem"])
    compiled = torch.compile(tapped, fullgraph=True, backend="aot_eager")
    assert_same(compiled(pictures()).features, tapped(pictures()).features)


def test_tap_must_be_known_before_compiling() -> None:
    torch._dynamo.reset()
    with pytest.raises(Exception, match="describe"):
        torch.compile(TappedModel(Net()), fullgraph=True, backend="eager")(pictures())


DISTRIBUTED = """
import sys, torch
from torch.nn.parallel import DistributedDataParallel
from trg_pyg.models import TappedModel, resnet8
torch.set_num_threads(1)
rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
torch.manual_seed(0)
one = TappedModel(resnet8(), ["layer2", "layer3"]).eval()
images = torch.rand(4, 3, 32, 32)
loss = lambda outputs: sum(t.square().mean() for t in (outputs.logits, *outputs.features))
loss(one(images)).backward()
expected = [p.grad.clone() for p in one.parameters()]
one.zero_grad()
many = DistributedDataParallel(one)
for _ in range(2):
    one.zero_grad()
    loss(many(images.chunk(world)[rank])).backward()
for p, e in zip(one.parameters(), expected, strict=True):
    torch.testing.assert_close(p.grad, e, atol=1e-5, rtol=1e-4)
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch.distributed is absent")
def test_gradient_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    world = 2
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DISTRIBUTED, str(rank), str(world), str(tmp_path / "store")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
