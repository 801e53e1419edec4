"""Several processes on shares of a batch give what one process gives on all of it, for every distiller there is."""

from dataclasses import replace
from typing import Any, Literal, NamedTuple
from unittest import mock

import pytest
import torch
from processes import launch
from torch import Tensor, nn
from torch.nn import functional as F

import trg_pyg.distillers
import trg_pyg.training.distributed
from trg_pyg._discover import subclasses
from trg_pyg.distillers import Distiller, Relational, StagedKD, TermDistiller
from trg_pyg.divergences import BankInfoNCE
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph
from trg_pyg.models import NetworkInfo, Networks, Outputs, TappedModel
from trg_pyg.nodes import Embedded, Instances
from trg_pyg.relations import NodeFeatures
from trg_pyg.step import Step
from trg_pyg.tasks import ImageClassification
from trg_pyg.training.distributed import LossScope, World, wrap
from trg_pyg.training.meter import Meter
from trg_pyg.training.modules import (
    DistillationModule,
    FrozenTeacher,
    GatheredOutputs,
    check_loss_scope,
    least_images,
)

CLASSES, IMAGES, BATCH, STEPS = 5, 40, 13, 2


class ConvNet(nn.Module):
    """Two stages, 8x8 and 4x4, without batch norm: what an image gives does not depend on the others.

    In float64, so that after rounding to float32 it does not even depend on the size of the batch. Distances between
    images that are much alike would make 1e-4 out of 1e-7.
    """

    default_taps = ("stage1", "stage2")

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1), nn.Tanh())
        self.stage2 = nn.Sequential(nn.Conv2d(*widths, 3, 2, 1), nn.Tanh())
        self.head = nn.Linear(widths[1], CLASSES)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage2(self.stage1(images.double())).mean(dim=(2, 3)))


class Banks(TermDistiller):
    """The divergence with memory banks that no method of the package has."""

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None) -> None:
        assert teacher is not None
        images = Embedded(Instances(student, teacher), 8)
        term = Relational(images, CompleteGraph(None, self_loops=True), NodeFeatures(), BankInfoNCE(8))
        super().__init__(student, teacher, terms={"bank": (1.0, term)})


class Noisy(Distiller):
    """Draws for every image, and reads the outputs as the tuple that they are in a single process."""

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None) -> None:
        super().__init__(student, teacher)
        self.project = nn.Conv2d(student.features[0].channels, 4, 1)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Any:
        logits, features, embedding = student
        assert len(features) == len(student.features) == 2
        assert features[-2] is features[0] is features[0:1][0] is next(iter(features))
        assert student.embedding is embedding
        with torch.no_grad():
            # Looked at first without a gradient, which must not be lost.
            scale = self.need(teacher).features[-1].square().mean() + student.features[-1].square().mean()
        noise = torch.randn(len(logits), generator=step.generator)
        values = [self.project(features[0]), features[1], embedding]
        spread = sum((value.flatten(1).mean(1).var() for value in values), torch.zeros(()))
        ce = F.cross_entropy(logits, step.target)
        return self.weigh({"ce": (1.0, ce), "spread": (scale, spread), "noise": (0.1, (logits.mean(1) * noise).sum())})


class Viewed(TermDistiller):
    """Three views of different sizes, of which the losses compare images; a pass and a head of its own."""

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None) -> None:
        assert teacher is not None
        super().__init__(student, teacher, kd_weight=1.0)
        self.project = nn.Linear(student.features[-1].channels, teacher.features[-1].channels)

    def views(self, images: Tensor, step: Step) -> list[Tensor]:
        return [images, images.flip(-1), images[step.target < 2].flip(-2)]

    def others(self, student: Outputs, teacher: Outputs, step: Step) -> dict[str, tuple[float, Tensor]]:
        upright, flipped, fewer = step.split(student.features[-1].mean((2, 3)))
        assert len(fewer) < len(upright) == len(flipped) == len(step.target)
        heard = step.split(teacher.logits)[1]
        head = step.need_networks("Viewed").head(self.project(flipped))
        likeness = (upright @ flipped.T).var() + (fewer @ fewer.T).var()
        return {"likeness": (1.0, likeness), "head": (1.0, F.mse_loss(head, heard))}


class Case(NamedTuple):
    method: type[Distiller]
    options: dict[str, Any]
    scope: LossScope = "global"

    def __str__(self) -> str:
        options = [f"{name}={value}" for name, value in self.options.items()]
        return " ".join([self.method.__name__, *options, self.scope])


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "CC": [{"form": "difference"}],
    "CRD": [{"negatives": 6, "momentum": 0.9}],
    "DKD": [{"warmup": 0.0, "kd_weight": 0.5}],
    "FitNet": [{"hint": -1, "ce_weight": 0.0}],
    "HKD": [{"bank": "other", "negatives": 6, "k": 3}],
    "IRG": [{"layers": (-1,), "kd_weight": 1.0}],
    "LSP": [{"edges": "knn", "k": 4}],
    "ManifoldKD": [{"layers": (-2, -1)}],
    "RKD": [{"angle_weight": 0.0}],
    "RRD": [{"queue": 16, "kd_weight": 0.5}],
    "TRG": [
        {"scope": "image", "propagation": "gnn", "symmetric": True, "sigma": "auto"},
        {"scope": "image", "reduction": "sum"},
        {"symmetric": True},
        {"tokens_per_image": 8, "k": 5, "reduction": "sum", "readout": "max", "hops": 2},
        {"local_edges": "own", "local_support": "all", "inner_structure": "dense", "delta": 0.0, "normalize": False},
        {"softness": 0.5, "beta": 0.0},
        {"softness": 0.3, "local_support": "all", "reduction": "sum"},
    ],
    "VID": [{"kd_weight": 2.0}],
}
# A method for other data alone has its own tests, and one refuses several processes.
METHODS = [
    cls
    for cls in subclasses(Distiller)
    if cls.__module__.startswith(f"{trg_pyg.distillers.__name__}.")
    and issubclass(ImageClassification, cls.tasks)
    and cls is not StagedKD
]
CASES = [
    Case(method, options)
    for method in [*METHODS, Banks, Noisy, Viewed]
    for options in [{}, *OPTIONS.get(method.__name__, [])]
]


def picture_set() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randint(0, 256, (IMAGES, 3, 16, 16), generator=generator).to(torch.uint8),
        torch.arange(IMAGES) % CLASSES,
    )


def build(case: Case, world: World) -> tuple[DistillationModule, FrozenTeacher]:
    torch.manual_seed(0)
    student, teacher = TappedModel(ConvNet((6, 8)), "stages"), TappedModel(ConvNet((8, 10)), "stages")
    distiller = case.method(student.describe(16), teacher.describe(16), **case.options)
    distiller.bind(picture_set()[1], torch.Generator().manual_seed(1))
    return DistillationModule(student, distiller, world=world, loss_scope=case.scope), FrozenTeacher(teacher)


def steps(case: Case, world: World, batch: int = BATCH) -> dict[str, Any]:
    """Two steps on the shares of this process: means of losses, own totals, gradients, and what is kept of them."""
    module, teacher = build(case, world)
    if not module.distiller.by_rows or case.scope == "local":
        return _steps(module, teacher, world, batch)
    # Products of fewer rows round differently, and gradients of some weights are all rounding.
    module.distiller.double()
    with mock.patch.object(Outputs, "in_float32", lambda outputs: outputs):
        return _steps(module, teacher, world, batch)


def _steps(module: DistillationModule, teacher: FrozenTeacher, world: World, batch: int) -> dict[str, Any]:
    wrapped = wrap(module, world).train()
    images, targets = picture_set()
    draws = torch.Generator().manual_seed(2)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(3))
    found: dict[str, Any] = {"of shares": module.distiller.per_image or module.distiller.by_rows}
    for number in range(STEPS):
        # The second step fails where DDP missed a gradient in the first.
        index = world.share(order[number * batch : (number + 1) * batch])
        networks = Networks(module.student, teacher.teacher)
        step = Step(targets[index], 0.05 + 0.5 * number, draws, index, networks, inputs=images[index])
        seen, rows = module.distiller.see(images[index], step)
        losses, outputs = wrapped(seen, teacher(seen), replace(step, rows=rows), batch)
        wrapped.zero_grad()
        losses.total.backward()
        meter = Meter()
        meter.update({**losses.parts, "total": losses.total}, weight=len(index))
        trained = {name: each for name, each in module.named_parameters() if each.requires_grad}
        missing = [name for name, parameter in trained.items() if parameter.grad is None]
        assert not missing, missing
        found[f"losses {number}"] = meter.means(world)
        found[f"total {number}"] = losses.total.item()
        found[f"logits {number}"] = outputs.logits
        found[f"gradients {number}"] = {name: value.grad.clone() for name, value in trained.items()}
    found["buffers"] = dict(module.distiller.named_buffers())
    return found


def sent(case: Case, world: World) -> list[list[int]]:
    """The shapes of what is gathered in a step."""
    module, teacher = build(case, world)
    images, targets = picture_set()
    index = world.share(torch.arange(10))
    networks = Networks(module.student, teacher.teacher)
    step = Step(targets[index], 0.5, torch.Generator(), index, networks, inputs=images[index])
    seen, rows = module.distiller.see(images[index], step)
    outputs, gather = teacher(seen), trg_pyg.training.distributed._all_gather
    with mock.patch.object(trg_pyg.training.distributed, "_all_gather", side_effect=gather) as spy:
        module(seen, outputs, replace(step, rows=rows), 10)
    return [list(own.shape) for (_, own), _ in spy.call_args_list]


def refused(world: World) -> dict[str, str]:
    module, teacher = build(CASES[0], world)
    images, targets = picture_set()
    found = {}
    for name, own, batch in (("whole", 10, 10), ("unknown", 5, None), ("small", world.part(1)[world.rank], 1)):
        index = torch.arange(own)
        with pytest.raises(InputError) as caught:
            module(images[index], teacher(images[index]), Step(targets[index], 0.5, torch.Generator(), index), batch)
        found[name] = str(caught.value)
    return found


LOCAL = [Case(getattr(trg_pyg.distillers, name), {}, "local") for name in ("RKD", "SP", "TRG", "KD")]


def work(world: World) -> dict[str, Any]:
    return {
        "cases": {str(case): steps(case, world) for case in [*CASES, *LOCAL]},
        "sent": {case.method.__name__: sent(case, world) for case in CASES if not case.options},
        "sent locally": sent(LOCAL[0], world),
        "refused": refused(world),
    }


@pytest.fixture(scope="module", params=[2, 3], ids=["two", "three"])
def found(request, tmp_path_factory) -> list[dict[str, Any]]:
    return launch(work, request.param, tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """What a single process finds."""
    return {str(case): steps(case, World()) for case in CASES}


def check(actual: Tensor, expected: Tensor, what: str, tolerance: float = 1e-5) -> None:
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(
        actual, expected, rtol=tolerance, atol=tolerance * largest, msg=lambda text: f"{what}: {text}"
    )


def test_there_are_methods() -> None:
    assert {"AT", "CRD", "FitNet", "HKD", "KD", "RKD", "TRG", "Vanilla"} <= {cls.__name__ for cls in METHODS}
    assert OPTIONS.keys() <= {cls.__name__ for cls in METHODS}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_losses_and_gradients_are_those_of_one_process(found, alone, case) -> None:
    expected = alone[str(case)]
    # Three times a third is rounded, which half of the double is not, and gradients of distances cancel.
    tolerance = 1e-5 if len(found) == 2 else 1e-4
    for rank, each in enumerate(found):
        actual = each["cases"][str(case)]
        for number in range(STEPS):
            assert actual[f"losses {number}"] == pytest.approx(expected[f"losses {number}"], rel=1e-5)
            if not actual["of shares"]:
                assert actual[f"total {number}"] == pytest.approx(expected[f"total {number}"], rel=1e-5)
            check(actual[f"logits {number}"], World(rank, len(found)).share(expected[f"logits {number}"]), "logits")
            gradients = expected[f"gradients {number}"]
            assert actual[f"gradients {number}"].keys() == gradients.keys()
            for name, gradient in gradients.items():
                place = f"step {number}, gradient of {name}"
                check(actual[f"gradients {number}"][name], gradient, place, tolerance)


# What is known to change from step to step.
KEPT = {
    "CRD": "memory.student.vectors",
    "HKD": "memory.teacher.vectors",
    "Banks": "memory.student.vectors",
    "FitNet": "running_mean",
    "RRD": "queue.vectors",
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_method_keeps_is_what_one_process_keeps(found, alone, case) -> None:
    expected = alone[str(case)]["buffers"]
    if case.method.__name__ in KEPT:
        assert any(name.endswith(KEPT[case.method.__name__]) for name in expected)
    for each in found:
        buffers = each["cases"][str(case)]["buffers"]
        assert buffers.keys() == expected.keys()
        for name, value in expected.items():
            check(buffers[name], value, name)
            assert torch.equal(buffers[name], found[0]["cases"][str(case)]["buffers"][name])


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_a_local_loss_is_the_mean_of_the_shares_weighted_by_their_images(found, case) -> None:
    """In the first step; the draws of the second depend on what the share of the first drew."""
    module, teacher = build(case, World())
    images, targets = picture_set()
    batch = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(3))[:BATCH]
    names = [name for name, _ in module.named_parameters()]
    gradients = {name: torch.zeros(()) for name in names}
    means: dict[str, float] = {}
    for each, index in zip(found, batch.tensor_split(len(found)), strict=True):
        step = Step(targets[index], 0.05, torch.Generator().manual_seed(2), index)
        losses, _ = module(images[index], teacher(images[index]), step)
        assert each["cases"][str(case)]["total 0"] == pytest.approx(losses.total.item(), rel=1e-5)
        weight = len(index) * len(found) / BATCH
        for name, value in {**losses.parts, "total": losses.total}.items():
            means[name] = means.get(name, 0.0) + weight * value.item() / len(found)
        for name, grad in zip(names, torch.autograd.grad(weight * losses.total, module.parameters()), strict=True):
            gradients[name] = gradients[name] + grad / len(found)
    for each in found:
        actual = each["cases"][str(case)]
        assert actual["losses 0"] == pytest.approx(means, rel=1e-5)
        for name, gradient in gradients.items():
            check(actual["gradients 0"][name], gradient, name)


def test_a_method_sends_what_it_reads_and_nothing_else(found) -> None:
    rows = -(-10 // len(found))
    for each in found:
        assert all(each["sent"][method.__name__] == [] for method in METHODS if method.per_image)
        assert each["sent locally"] == []
        assert each["sent"]["CRD"] == [[rows, 2], [rows, CLASSES], [rows, 8], [rows, 10]]
        # Embeddings of both, and sum and number of the distances; the angles gather for themselves.
        assert each["sent"]["RKD"] == [*[[rows, 8], [rows, 10], [rows, 2], [rows, 2]], [rows, 8], [rows, 10]]
        assert each["sent"]["SP"] == [[rows, 8 * 4 * 4], [rows, 10 * 4 * 4]]
        # Tokens of both, the teacher's as L_global compares them, and the projections of L_graph.
        assert each["sent"]["TRG"] == [[rows, 16, 8], [rows, 16, 10], [rows * 16, 11], [rows, 128]]
        assert each["sent"]["TRGPaper"] == [
            [rows, 16, 8],
            [rows, 16, 10],
            [rows * 16, 8],
            [rows * 16, 8],
            [rows * 16, 11],
        ]


def test_a_share_that_is_none_is_refused(found) -> None:
    size = len(found)
    for rank, each in enumerate(found):
        share = World(rank, size).part(10)[rank]
        text = f"process {rank} of {size} was given 10 images of a batch of 10, its share is {share}: share the batch"
        assert text in each["refused"]["whole"]
        assert "was given 5 images of a batch of None" in each["refused"]["unknown"]
        assert f"a batch of 1 for {size} processes: each needs an image" in each["refused"]["small"]


@pytest.mark.parametrize("name", ["CRD", "HKD", "RRD", "Banks"])
def test_a_memory_bank_needs_the_whole_batch(name) -> None:
    method = Banks if name == "Banks" else getattr(trg_pyg.distillers, name)
    module, _ = build(Case(method, {}), World())
    unbound = method(module.student.describe(16), module.student.describe(16))
    for distiller in (module.distiller, unbound):
        with pytest.raises(InputError, match=f"loss_scope = local on 2 processes: {name} keeps a memory bank"):
            check_loss_scope(distiller, World(0, 2), "local")
        check_loss_scope(distiller, World(0, 2), "global")
        check_loss_scope(distiller, World(), "local")
    check_loss_scope(build(LOCAL[0], World())[0].distiller, World(0, 2), "local")


@pytest.mark.parametrize(
    ("name", "scope", "expected"), [("RKD", "global", 7), ("RKD", "local", 2), ("KD", "global", 2)]
)
def test_how_many_images_a_method_sees(name, scope: Literal["global", "local"], expected) -> None:
    distiller = build(Case(getattr(trg_pyg.distillers, name), {}), World())[0].distiller
    assert [least_images(distiller, World(rank, 3), scope, 7) for rank in range(3)] == [expected] * 3
    assert least_images(distiller, World(), scope, 1) == 1
    with pytest.raises(InputError, match="a batch of 2 for 3 processes"):
        least_images(distiller, World(0, 3), scope, 2)


def test_outputs_without_an_embedding_have_none_when_gathered() -> None:
    whole = GatheredOutputs(Outputs(torch.ones(2, 3), ()), [[2]], World())
    assert whole.embedding is None
    assert len(whole.features) == 0
    assert torch.equal(whole.logits, torch.ones(2, 3))
