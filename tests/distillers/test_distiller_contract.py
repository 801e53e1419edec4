"""What every distiller promises, for every distiller that there is: a new file is tested as soon as it exists."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import trg_pyg.distillers
from experiments.benchmarks.losses import METHODS
from trg_pyg._discover import subclasses
from trg_pyg.distillers import ADKD, KD, LSKD, RKD, SRD, TRG, Distiller, Losses, SimKD, TermDistiller
from trg_pyg.errors import InputError
from trg_pyg.graphs import GraphBuilder
from trg_pyg.models.taps import NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.tasks import ImageClassification
from trg_pyg.training.deterministic import deterministic_algorithms
from trg_pyg.training.guard import Buffers

# A method for other data alone has its own tests.
DISTILLERS = [
    cls
    for cls in subclasses(Distiller)
    if cls.__module__.startswith(f"{trg_pyg.distillers.__name__}.") and issubclass(ImageClassification, cls.tasks)
]


def options(cls: type[Distiller]) -> dict[str, Any]:
    """Defaults by name, those that TermDistiller has for every method too."""
    shared = inspect.signature(TermDistiller).parameters if issubclass(cls, TermDistiller) else {}
    both = {**shared, **inspect.signature(cls).parameters}
    return {name: p.default for name, p in both.items() if p.default is not p.empty and name != "terms"}


def named(cls: type[Distiller]) -> str:
    return cls.__name__


OF_TERMS = pytest.mark.parametrize("cls", [cls for cls in DISTILLERS if issubclass(cls, TermDistiller)], ids=named)
OF_ONE_WEIGHT = pytest.mark.parametrize("cls", [cls for cls in DISTILLERS if "weight" in options(cls)], ids=named)


@pytest.fixture(params=DISTILLERS, ids=named)
def distiller(request, networks) -> Distiller:
    torch.manual_seed(0)
    return made(request.param, networks)


def made(cls: type[Distiller], networks, **options: Any) -> Distiller:
    """A distiller, by default with its defaults, that has seen its training set: 40 images of 5 classes."""
    distiller = cls(*networks, **options)
    distiller.bind(torch.arange(40) % 5, torch.Generator().manual_seed(1))
    return distiller


@pytest.fixture
def step(step, request, networks) -> Callable[..., Step]:
    """A step that says of a method with views how many rows they have."""
    parameters = request.node.callspec.params
    method = request.getfixturevalue("distiller") if "distiller" in parameters else made(parameters["cls"], networks)

    def of(images: int = 3, **options: Any) -> Step:
        black = torch.zeros(images, 3, 16, 16, dtype=torch.uint8)
        return replace(step(images, **options), rows=method.see(black, step(images))[1])

    return of


@pytest.fixture
def outputs(outputs, step) -> Callable[..., tuple[Outputs, Outputs]]:
    """Those of all rows of a step."""
    return lambda images=3, **options: outputs(sum(step(images).rows or (images,)), **options)


def value(distiller: Distiller, outputs, step, seed: int = 0) -> Losses:
    """The losses of a batch of the smallest size; a memory bank stays as it is."""
    images = max(3, distiller.min_images)
    return copy.deepcopy(distiller)(*outputs(images), step(images, seed=seed))


def test_a_step_that_is_not_taken_leaves_no_trace(distiller, outputs, step):
    """Spoiled in the first batch, which fixes what later ones use, and in a later one."""
    images = max(3, distiller.min_images)
    untouched = copy.deepcopy(distiller)
    for seed in (1, 2):
        kept = Buffers(distiller)
        student, teacher = outputs(images, seed=5)
        broken = student._replace(
            logits=student.logits * torch.nan,
            features=tuple(each * torch.nan for each in student.features),
            embedding=student.embedding * torch.nan,
        )
        distiller(student, teacher, step(images, seed=5))  # the finite part of an accumulated step
        assert not distiller(broken, teacher, step(images, seed=6)).total.isfinite()
        kept.restore()
        assert equal(distiller.state_dict(), untouched.state_dict())
        ours, theirs = (each(*outputs(images, seed=seed), step(images, seed=seed)) for each in (distiller, untouched))
        assert torch.equal(ours.total, theirs.total)
        assert ours.total.isfinite()
        assert equal(distiller.state_dict(), untouched.state_dict())


def equal(one: dict, other: dict) -> bool:
    return all(torch.allclose(one[name], other[name], rtol=0, atol=0, equal_nan=True) for name in one | other)


def test_a_step_does_not_wait_for_a_device(distiller, outputs, step, refuse):
    images = max(3, distiller.min_images)
    given = (*outputs(images), step(images))
    with refuse:
        distiller(*given).total.backward()


def test_on_a_gpu_no_tensor_is_elsewhere_and_none_is_waited_for(distiller, outputs, step, on_fake_cuda):
    if isinstance(distiller, ADKD):
        pytest.skip("its loss has gradients in it, which fake tensors of a GPU cannot give")
    images = max(3, distiller.min_images)
    at = step(images)
    modules = [distiller, at.networks._student, at.networks._teacher]
    losses = on_fake_cuda(distiller.forward, modules, *outputs(images), at)
    assert {value.device.type for value in (losses.total, *losses.parts.values())} == {"cuda"}


@pytest.mark.slow
@pytest.mark.parametrize("cls", DISTILLERS, ids=named)
def test_what_it_compares_compiles_as_one_graph(cls, outputs, step, networks):
    """With the same values and gradients; all that a compiler does but for machine code, which takes long to make."""
    torch._dynamo.reset()
    found = {}
    for compiles in (False, True):
        torch.manual_seed(0)
        distiller = made(cls, networks)
        parts = [module for module in distiller.modules() if hasattr(module, "compare")]
        if not parts:
            assert cls.__name__ not in METHODS
            pytest.skip("it compares no graphs")
        for part in parts if compiles else []:
            part.compare = torch.compile(part.compare, fullgraph=True, backend="aot_eager")
        images = max(3, distiller.min_images)
        student, teacher = outputs(images)
        losses = distiller(student, teacher, step(images))
        losses.total.backward()
        tensors = [student.logits, *student.features, student.embedding, *distiller.parameters()]
        found[compiles] = losses, [each.grad for each in tensors], distiller.state_dict()
    torch.testing.assert_close(found[True], found[False], rtol=1e-5, atol=1e-7)


def test_it_works_with_deterministic_algorithms(distiller, outputs, step):
    images = max(3, distiller.min_images)
    with deterministic_algorithms(True, torch.device("cpu")):
        distiller(*outputs(images), step(images)).total.backward()


def test_there_are_distillers():
    assert {"Vanilla", "KD", "TRG", "TRGPaper"} <= {cls.__name__ for cls in DISTILLERS}


def test_the_constructor_is_the_configuration(distiller):
    """Two networks, then typed options that all have a default."""
    names = list(inspect.signature(type(distiller)).parameters.values())
    assert [p.name for p in names[:2]] == ["student", "teacher"]
    for parameter in names[2:]:
        if parameter.kind is not parameter.VAR_KEYWORD:
            assert parameter.default is not parameter.empty, parameter.name
            assert parameter.annotation is not parameter.empty, parameter.name


@pytest.mark.parametrize("more", [0, 2])
def test_total_and_parts_are_finite_float32_scalars(distiller, more, outputs, step):
    images = distiller.min_images + more
    losses = distiller(*outputs(images), step(images))
    for value in (losses.total, *losses.parts.values()):
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.isfinite()
    assert losses.total.requires_grad
    assert losses.parts
    assert not any(part.requires_grad for part in losses.parts.values())


def test_every_parameter_and_the_student_receive_a_gradient(distiller, outputs, step):
    images = max(3, distiller.min_images)
    student, teacher = outputs(images)
    distiller(student, teacher, step(images)).total.backward()
    trained = [p for p in distiller.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert student.logits.grad.abs().sum() > 0 or isinstance(distiller, SimKD)  # whose published weights of them are 0
    assert teacher.logits.grad is None
    assert all(feature.grad is None for feature in (*teacher.features, teacher.embedding))


def test_weighted_parts_are_those_of_a_call_with_their_gradients(distiller, outputs, step):
    """Whatever a method draws: the weighted parts sum to the total, values and gradients."""
    distiller.eval()
    images = max(3, distiller.min_images)
    student, teacher = outputs(images)
    total, parts = distiller(student, teacher, step(images))
    total.backward()
    again, _ = outputs(images)
    weighted = distiller.weighted_parts(again, teacher, step(images))
    assert weighted.keys() == parts.keys()
    assert all(torch.equal(value.detach(), parts[name]) for name, (_, value) in weighted.items())
    summed = torch.stack([weight * value for weight, value in weighted.values()]).sum()
    summed.backward()
    assert torch.equal(summed, total)
    assert torch.equal(again.logits.grad, student.logits.grad)


def test_the_same_generator_seed_gives_the_same_value(distiller, outputs, step):
    first, second = value(distiller, outputs, step, seed=4), value(distiller, outputs, step, seed=4)
    assert torch.equal(first.total, second.total)
    assert first.parts.keys() == second.parts.keys()


def test_the_global_generator_is_left_alone(distiller, outputs, step):
    state = torch.get_rng_state()
    value(distiller, outputs, step).total.backward()
    assert torch.equal(torch.get_rng_state(), state)


def test_state_dict_round_trip(distiller, networks, outputs, step):
    expected = value(distiller, outputs, step).total
    torch.manual_seed(99)
    other = made(type(distiller), networks)
    other.load_state_dict(distiller.state_dict())
    assert torch.equal(value(other, outputs, step).total, expected)


def test_a_deep_copy_is_independent(distiller, outputs, step):
    expected = value(distiller, outputs, step).total
    twin = copy.deepcopy(distiller)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(value(distiller, outputs, step).total, expected)


def test_under_autocast_the_total_is_float32_with_finite_gradients(distiller, outputs, step):
    images = max(3, distiller.min_images)
    student, teacher = outputs(images)
    exact = copy.deepcopy(distiller)(student, teacher, step(images)).total
    with torch.autocast("cpu", torch.bfloat16):
        total = distiller(student, teacher, step(images)).total
    total.backward()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=2e-2, atol=1e-3)
    assert student.logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs(distiller, dtype, outputs, step):
    images = max(3, distiller.min_images)
    student, teacher = outputs(images, dtype=dtype)
    total = distiller(student, teacher, step(images)).total
    total.backward()
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert student.logits.grad.isfinite().all()


def test_the_graphs_that_are_told_are_those_that_are_built(distiller, outputs, step, monkeypatch):
    images = distiller.min_images + 2
    built = set()

    def watched(make):
        def call(builder, *args, **options):
            graph = make(builder, *args, **options)
            built.add((type(builder).__name__, graph.num_graphs, graph.num_nodes, graph.edge_index.shape[1]))
            return graph

        return call

    monkeypatch.setattr(GraphBuilder, "__call__", watched(GraphBuilder.__call__))
    distiller(*outputs(images), step(images))
    assert {tuple(size) for size in distiller.graph_sizes(images).values()} == built
    assert built or not isinstance(distiller, RKD | TRG)
    tokens = distiller.num_tokens
    assert tokens is None or images * tokens in {nodes for _, _, nodes, _ in built}
    assert tokens == 16 or not isinstance(distiller, TRG)


def test_a_teacher_of_the_same_classes_is_demanded_where_it_is_needed(distiller, networks, outputs, step):
    cls = type(distiller)
    if not distiller.needs_teacher:
        assert cls(networks[0], None)(outputs()[0], None, step()).total.isfinite()
        return
    with pytest.raises(InputError, match="needs a teacher"):
        cls(networks[0], None)
    with pytest.raises(InputError, match="teacher has 9 classes, student and data have 5"):
        cls(networks[0], NetworkInfo(9, networks[1].features, networks[1].embedding))
    images = max(3, distiller.min_images)
    with pytest.raises(InputError, match="no teacher outputs"):
        distiller(outputs(images)[0], None, step(images))


@OF_TERMS
def test_impossible_weights_and_temperatures_are_named(cls, networks):
    for name in options(cls):
        if name == "tau" or name == "weight" or name.endswith("_weight"):
            value = 0 if name == "tau" else -0.5
            with pytest.raises(InputError, match=f"^{name}={value}"):
                cls(*networks, **{name: value})


@OF_TERMS
@pytest.mark.parametrize("form", [{}, {"standardize": True}, {"decoupled": 2.0}], ids=str)
def test_logit_distillation_is_that_of_kd(cls, form, networks, outputs, step):
    if cls is SRD and "decoupled" in form:
        with pytest.raises(InputError, match=r"^decoupled=2\.0: the logit distillation of SRD is of images without"):
            made(cls, networks, **form)
        return
    form = {"standardize": True} if cls is LSKD else form
    distiller = made(cls, networks, kd_weight=2.0, tau=3.0, **({} if cls is LSKD else form))
    images = max(3, distiller.min_images)
    parts = distiller(*outputs(images), step(images)).parts
    kd = KD(*networks, tau=3.0, **form)
    assert torch.equal(parts["kd"], kd(*outputs(images), step(images)).parts["kd"])


@OF_ONE_WEIGHT
def test_the_total_is_the_sum_of_the_parts_in_their_weights(cls, networks, outputs, step):
    distiller = made(cls, networks, ce_weight=0.5, kd_weight=2.0, weight=7.0)
    images = max(3, distiller.min_images)
    total, parts = distiller(*outputs(images), step(images))
    weights = {"ce": 0.5, "kd": 2.0} | dict.fromkeys(parts.keys() - {"ce", "kd"}, 7.0)
    assert len(weights) > 2
    torch.testing.assert_close(total.detach(), sum(weight * parts[name] for name, weight in weights.items()))


@OF_ONE_WEIGHT
def test_a_weight_of_0_turns_the_method_off(cls, networks, outputs, step):
    distiller = made(cls, networks, weight=0, kd_weight=0)
    assert list(distiller(*outputs(1), step(1)).parts) == ["ce"]
    assert distiller.min_images == 1
    assert not list(distiller.parameters())


def apart(distiller: Distiller, student: Outputs, teacher: Outputs, step: Step, sizes: list[int]) -> Losses:
    """The mean over parts of a batch of what each gives alone, weighted by their images."""
    total, parts = torch.zeros(()), {}
    views = torch.arange(len(student.logits)).view(-1, sum(sizes))
    for images in torch.arange(sum(sizes)).split(sizes):
        rows = views[:, images].flatten()
        s, t = (
            Outputs(whole.logits[rows], tuple(feature[rows] for feature in whole.features), whole.embedding[rows])
            for whole in (student, teacher)
        )
        counted = None if step.rows is None else (len(images),) * len(views)
        part = replace(step, target=step.target[images], index=step.index[images], rows=counted)
        part = replace(part, inputs=step.inputs[images])
        losses = distiller(s, t, part)
        share = len(images) / sum(sizes)
        total = total + share * losses.total
        parts = {name: parts.get(name, 0) + share * value for name, value in losses.parts.items()}
    return Losses(total, parts)


@pytest.mark.parametrize("sizes", [[3, 3], [5, 1], [2, 3, 1]], ids=str)
@pytest.mark.parametrize("cls", [cls for cls in DISTILLERS if cls.per_image], ids=named)
def test_the_loss_of_a_method_per_image_is_the_mean_over_parts_of_a_batch(cls, sizes, networks, outputs, step):
    torch.manual_seed(0)
    distiller = made(cls, networks, **({"kd_weight": 0.7} if "kd_weight" in options(cls) else {}))
    student, teacher = outputs(sum(sizes))
    whole = distiller(student, teacher, step(sum(sizes)))
    shares = apart(distiller, student, teacher, step(sum(sizes)), sizes)
    torch.testing.assert_close(shares.total, whole.total)
    assert shares.parts.keys() == whole.parts.keys()
    for part, value in whole.parts.items():
        torch.testing.assert_close(shares.parts[part], value)
    inputs = [student.logits, *student.features, student.embedding, *distiller.parameters()]
    grads, expected = (
        torch.autograd.grad(losses.total, inputs, allow_unused=True, materialize_grads=True)
        for losses in (shares, whole)
    )
    for grad, want in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


@pytest.mark.parametrize("cls", [cls for cls in DISTILLERS if not cls.per_image], ids=named)
def test_a_method_that_does_not_say_that_it_is_per_image_is_not(cls, networks, outputs, step):
    distiller = made(cls, networks)
    images = max(3, distiller.min_images)
    student, teacher = outputs(2 * images)
    whole = copy.deepcopy(distiller)(student, teacher, step(2 * images)).total
    shares = apart(distiller, student, teacher, step(2 * images), [images, images]).total
    assert shares.item() != pytest.approx(whole.item(), rel=1e-5)


def test_what_is_per_image_is_said_by_each_class_for_itself():
    class WithRelations(KD):
        pass

    assert not WithRelations.per_image
    assert KD.per_image


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [(torch.float16, 0.0), (torch.float16, 1e4), (torch.bfloat16, 1e-15), (torch.bfloat16, 1e12)],
)
def test_every_part_of_zero_small_and_large_outputs_is_finite_under_autocast(distiller, factor, dtype, outputs, step):
    images = max(3, distiller.min_images)
    sides = [
        Outputs(*((factor * x).detach().requires_grad_() if torch.is_tensor(x) else _scaled(x, factor) for x in side))
        for side in outputs(images, dtype=dtype)
    ]
    with torch.autocast("cpu", dtype):
        losses = distiller(*sides, step(images))
    losses.total.backward()
    assert losses.total.isfinite()
    assert all(part.isfinite() for part in losses.parts.values())
    student = sides[0]
    assert all(
        x.grad is None or x.grad.isfinite().all() for x in (student.logits, *student.features, student.embedding)
    )
    assert all(p.grad.isfinite().all() for p in distiller.parameters() if p.requires_grad)


def _scaled(features: tuple[torch.Tensor, ...], factor: float) -> tuple[torch.Tensor, ...]:
    return tuple((factor * feature).detach().requires_grad_() for feature in features)
