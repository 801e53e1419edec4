import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from trained import without_clock

from trg_pyg.distillers import KD, RKD
from trg_pyg.errors import InputError
from trg_pyg.models.taps import TappedModel
from trg_pyg.nodes import NodePair
from trg_pyg.training.checkpoint import load_checkpoint
from trg_pyg.training.compiled import CompiledNetwork, convolutions_channels_last
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.loop import fit
from trg_pyg.training.modules import DistillationModule, compiled_sizes

CONFIG = TrainConfig(epochs=2, batch_size=8, lr=0.1, schedule="cosine", eval_batch_size=4)


class Small(nn.Module):
    """Two convolutions with batch norm; no dropout, whose draws compiled code makes in another way."""

    def __init__(self, seed: int, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Conv2d(width, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.first(images)).relu().mean(dim=(2, 3)))


def small(seed: int, width: int = 6) -> TappedModel:
    return TappedModel(Small(seed, width), ["first", "second"])


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 6, 6), generator=torch.Generator().manual_seed(count)).to(torch.uint8)


@pytest.fixture
def train(train_set, test_set):
    """Trains a student by KD; returns the student, history and weights."""

    def train(config: TrainConfig = CONFIG, student: TappedModel | None = None, **options: Any) -> Any:
        student, teacher = student or small(0), small(1)
        kd = KD(student.describe(6), teacher.describe(6))
        history = fit(student, teacher, kd, train_set, test_set, config, **options)
        return without_clock(history), student.state_dict()

    return train


def check_close(found: Any, expected: Any) -> None:
    for one, other in zip(found[0], expected[0], strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5)


@pytest.fixture
def spy(monkeypatch) -> dict[str, list[int]]:
    """Compiled networks that run as they are; notes the sizes of the batches, by the mode of the network."""
    seen: dict[str, list[int]] = {"student": [], "teacher": []}

    def compiled(network: TappedModel, images: Tensor) -> Any:
        seen["student" if network.training else "teacher"].append(len(images))
        return network(images)

    monkeypatch.setattr(torch, "compile", lambda network, **options: partial(compiled, network))
    return seen


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_code_gives_the_same_outputs_and_gradients_but_for_rounding(backend, monkeypatch) -> None:
    from torch._inductor import config

    if backend == "inductor" and shutil.which(config.cpp.cxx[-1]) is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    compiled_net = small(0)
    network, names = deepcopy(compiled_net), list(compiled_net.state_dict())
    compiled, images = CompiledNetwork(compiled_net, {8}), pictures(8)
    found, expected = compiled(images), network(images)
    assert len(found.features) == 2
    torch.testing.assert_close(tuple(found.features), tuple(expected.features), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert found.embedding is not None
    torch.testing.assert_close(found.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
    for outputs in (found, expected):
        (outputs.logits.square().sum() + sum(feature.square().mean() for feature in outputs.features)).backward()
    for one, other in zip(compiled_net.parameters(), network.parameters(), strict=True):
        assert other.grad is not None
        assert other.grad.abs().max() > 0
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled_net.state_dict(), network.state_dict(), rtol=1e-4, atol=1e-5)
    assert list(compiled_net.state_dict()) == names


def test_a_compiled_training_is_that_without_but_for_rounding(train, tmp_path: Path, monkeypatch) -> None:
    from torch._dynamo.utils import counters

    # All of it but the generated machine code, which takes long to make and which the test above has.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    before = counters["frames"]["ok"]
    found = train(replace(CONFIG, compile=True), folder=tmp_path)
    assert counters["frames"]["ok"] > before
    check_close(found, train())
    assert load_file(tmp_path / "last.safetensors").keys() == Small(0).state_dict().keys()


def test_full_batches_run_compiled_and_no_others(train, spy) -> None:
    expected = train()
    assert spy == {"student": [], "teacher": []}
    found = train(replace(CONFIG, compile=True))
    # 22 images: the last batch of 6 and all of the evaluation run as they are.
    assert spy == {"student": [8] * 4, "teacher": [8] * 4}
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][name], value) for name, value in expected[1].items())


def test_all_parts_of_a_full_batch_run_compiled(train, spy) -> None:
    train(replace(CONFIG, compile=True, accumulate=3, epochs=1))
    sizes = [3, 3, 2, 3, 3, 2, 2, 2, 2]  # of two full batches, and of one of 6
    assert spy == {"student": sizes, "teacher": sizes}


def test_further_views_of_a_full_batch_run_compiled_too(train_set, test_set, spy) -> None:
    class TwoViews(KD):
        def views(self, images, step):
            return [images, images.flip(-1)]

    student, teacher = small(0), small(1)
    config = replace(CONFIG, compile=True, epochs=1)
    fit(student, teacher, TwoViews(student.describe(6), teacher.describe(6)), train_set, test_set, config)
    assert spy == {"student": [16] * 2, "teacher": [16] * 2}


def test_what_a_method_compares_runs_compiled_in_full_batches(train_set, test_set, monkeypatch) -> None:
    sizes: list[int] = []

    def compiled(function: Any, **options: Any) -> Any:
        if isinstance(function, nn.Module):
            return function

        def run(nodes: NodePair, *others: Any) -> Tensor:
            sizes.append(nodes.student.shape[1])
            return function(nodes, *others)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    student, teacher = small(0), small(1)
    rkd = RKD(student.describe(6), teacher.describe(6))
    fit(student, teacher, rkd, train_set, test_set, replace(CONFIG, compile=True, epochs=1))
    assert sizes == [8] * 4  # two terms of two batches; the last batch of 6 runs as it is
    assert not any("compare" in vars(module) for module in rkd.modules())


def test_a_compiled_module_has_the_names_and_parameters_of_any_other(hints) -> None:
    plain, compiled = (DistillationModule(small(0), hints(), compile_for=size) for size in (set(), {8}))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    assert [name for name, _ in plain.named_modules()] == [name for name, _ in compiled.named_modules()]


def failing(kind: str) -> Callable[..., Any]:
    from torch._dynamo.exc import BackendCompilerFailed, Unsupported
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    error = {
        "backend": lambda: BackendCompilerFailed(lambda: None, ValueError("no such thing\nin line 2"), None),
        "compiler": lambda: InductorError(InvalidCxxCompiler(), None),
        "code": lambda: Unsupported("a construct"),
    }[kind]

    def run(images: Tensor) -> Any:
        raise error()

    return run


@pytest.mark.parametrize("kind", ["backend", "compiler", "code"])
def test_what_cannot_be_compiled_is_an_input_error_of_one_line(train, monkeypatch, kind) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, **options: failing(kind))
    with pytest.raises(InputError, match=r"^train\.compile: Small cannot be compiled here \(.+\); a C\+\+ ") as error:
        train(replace(CONFIG, compile=True))
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("or set train.compile to false")


def test_a_machine_without_a_compiler_says_so() -> None:
    from torch._inductor import config

    torch._dynamo.reset()
    with (
        config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(InputError, match=r"train\.compile: Small cannot be compiled here"),
    ):
        CompiledNetwork(small(0, width=5), {8})(pictures(8))


def test_an_error_of_the_network_itself_stays_what_it_is(monkeypatch) -> None:
    def broken(images: Tensor) -> Any:
        raise ZeroDivisionError("of the network")

    monkeypatch.setattr(torch, "compile", lambda network, **options: broken)
    with pytest.raises(ZeroDivisionError, match="of the network"):
        CompiledNetwork(small(0), {8})(pictures(8))


def test_more_networks_of_a_class_than_pytorch_keeps_programs_for_by_itself_are_compiled(monkeypatch) -> None:
    runs: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        def run(*arguments: Any) -> Any:
            runs.append(1)
            return graph(*arguments)

        return run

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    networks = [small(seed, width=4 + seed) for seed in range(4)]
    compiled = [CompiledNetwork(network, {8}) for network in networks]
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(2):
            for each, network in zip(compiled, networks, strict=True):
                runs.clear()
                logits = each(pictures(8)).logits
                assert len(runs) == 1
                torch.testing.assert_close(logits, network(pictures(8)).logits, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


def layouts(network: TappedModel) -> set[bool]:
    """Whether the weights of convolutions, all of which have several channels and places, are channels last."""
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert all(weight.is_contiguous() != weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    return {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}


@pytest.mark.parametrize("wanted", [True, False])
def test_weights_are_channels_last_while_a_training_runs_and_not_after_it(train, wanted) -> None:
    student, seen = small(0), []
    config = replace(CONFIG, channels_last=wanted)
    found = train(config, student, on_step=lambda at: seen.append(layouts(student)))
    assert seen == [{wanted}] * 6
    assert layouts(student) == {False}
    check_close(found, train())


def test_weights_are_contiguous_after_a_training_that_failed(train) -> None:
    student = small(0)

    def stop(at: Any) -> None:
        assert layouts(student) == {True}
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(CONFIG, student, on_step=stop)
    assert layouts(student) == {False}


def test_teachers_are_channels_last_too(train_set, test_set) -> None:
    student, teacher, seen = small(0), small(1), []
    kd = KD(student.describe(6), teacher.describe(6))
    fit(student, teacher, kd, train_set, test_set, CONFIG, on_step=lambda at: seen.append(layouts(teacher)))
    assert seen == [{True}] * 6
    assert layouts(teacher) == {False}


def test_files_of_a_channels_last_training_are_read_as_any_others(train, tmp_path: Path) -> None:
    config = replace(CONFIG, optimizer="AdamW", lr=0.01)
    whole = train(config, folder=tmp_path / "whole")
    saved = load_file(tmp_path / "whole" / "last.safetensors")
    assert all(value.is_contiguous() for value in saved.values())
    assert all(torch.equal(value, whole[1][f"model.{name}"]) for name, value in saved.items())

    def stop(metrics: dict[str, float]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config, folder=tmp_path / "cut", on_epoch=stop)
    checkpoint = load_checkpoint(tmp_path / "cut" / "checkpoint.pt")
    Small(0).load_state_dict(
        {name.removeprefix("model."): v for name, v in checkpoint["student"].items() if name.startswith("model.")}
    )
    resumed = train(config, folder=tmp_path / "cut", resume=True)
    assert resumed[0] == whole[0]
    assert all(torch.equal(resumed[1][name], value) for name, value in whole[1].items())


def test_only_the_layout_changes_and_only_for_a_while() -> None:
    network = small(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = list(network.parameters())
    with convolutions_channels_last([network, nn.Linear(2, 2)]):
        assert layouts(network) == {True}
        assert all(one is other for one, other in zip(network.parameters(), parameters, strict=True))
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.is_contiguous() for value in network.state_dict().values())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "size", "sizes"),
    [(64, 1, 1, {64}), (64, 3, 1, {21, 22}), (64, 4, 2, {8}), (10, 2, 3, {1, 2})],
)
def test_every_size_of_a_full_batch_is_compiled_for(batch_size, accumulate, size, sizes) -> None:
    config = TrainConfig(batch_size=batch_size, accumulate=accumulate, compile=True)
    assert compiled_sizes(config, World(size - 1, size)) == sizes
    assert compiled_sizes(replace(config, compile=False), World(size - 1, size)) == set()
