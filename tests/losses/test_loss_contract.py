"""What every loss promises, for every loss that there is: a new file is tested as soon as it exists.

The annotation of ``forward`` says what a loss compares: tensors, or token graphs. ``compares`` says of tensors whether
they are rows or maps.
"""

import copy
import inspect
import typing
from collections.abc import Callable

import pytest
import torch
from inputs import HARD
from pairs import pairs
from torch import Tensor

import trg_pyg.losses
from trg_pyg._discover import subclasses
from trg_pyg.divergences import KL
from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import DistillationLoss
from trg_pyg.relations import Cosine, Softmax

STUDENT_DIM, TEACHER_DIM, IMAGES, SIZE = 5, 3, 3, 4
STUDENT_GRID, TEACHER_GRID = (4, 4), (2, 2)
SIZES = {
    "student_dim": STUDENT_DIM,
    "teacher_dim": TEACHER_DIM,
    "student_channels": STUDENT_DIM,
    "teacher_channels": TEACHER_DIM,
    "classes": STUDENT_DIM,
    "relation": Softmax(Cosine()),
    "divergence": KL(),
    "student_grid": STUDENT_GRID,
    "teacher_grid": TEACHER_GRID,
}
HALF = [torch.float16, torch.bfloat16]
# Of which student and teacher are not compared as they are: another student is nearest.
TRANSFORMED = {"NKDLoss", "WKDLoss", "WTTMLoss", "LTKDLoss"}
LABELS = torch.arange(IMAGES * SIZE) % 3  # of a training set of as many images as a batch has rows


LOSSES = [cls for cls in subclasses(DistillationLoss) if cls.__module__.startswith(f"{trg_pyg.losses.__name__}.")]


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.fixture(params=LOSSES, ids=name_of)
def case(request) -> "Case":
    return Case(request.param)


class Case:
    """A loss with its defaults, and how to feed it vectors ``[M, D_S]`` and ``[M, D_T]`` of both networks.

    They are tokens for a loss on graphs and the positions of a map for a loss on maps, where the two networks' grids,
    hence M, differ.
    """

    def __init__(self, cls: type[DistillationLoss]) -> None:
        sizes = required(cls)
        torch.manual_seed(0)
        self.loss = cls(**{name: SIZES[name] for name in sizes})
        if hasattr(self.loss, "bind"):
            self.loss.bind(LABELS, torch.Generator().manual_seed(0))
        self.extra = required(cls.forward)[3:]  # after self, student, teacher
        self.same_widths = not {"student_dim", "student_channels"} & set(sizes)
        self.compares = cls.compares if typing.get_type_hints(cls.forward)["student"] is Tensor else "graphs"
        self.same_shapes = self.same_widths and self.compares != "graphs"

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.compares == "graphs":
            builder = KNNGraph(2)
            graph = builder(teacher.view(len(teacher) // SIZE, SIZE, -1))
            # Scored on the teacher's edges, which every loss on graphs accepts.
            return self.loss(builder.reweight(graph, student), graph)
        if self.compares == "maps":
            student, teacher = as_map(student, STUDENT_GRID), as_map(teacher, self.teacher_grid)
        items = len(student)
        known = {
            "target": LABELS[:items],
            "index": torch.arange(items),
            "generator": torch.Generator().manual_seed(0),  # the same draws in every call
            "logits": torch.arange(3.0 * items).view(items, 3).sin(),  # of a teacher with this classifier
            "prototypes": torch.arange(2.0 * STUDENT_DIM).view(-1, 2).cos(),
            "weight": torch.arange(3.0 * teacher.shape[1]).view(3, -1).cos(),
        }
        return self.loss(student, teacher, **{name: known[name] for name in self.extra})

    @property
    def teacher_grid(self) -> tuple[int, int]:
        return STUDENT_GRID if self.same_shapes else TEACHER_GRID

    def inputs(
        self, make: Callable[..., Tensor], kind: str, dtype: torch.dtype, images: int = IMAGES
    ) -> tuple[Tensor, Tensor]:
        student, teacher = images * SIZE, images * SIZE
        if self.compares == "maps":
            student, teacher = (images * grid[0] * grid[1] for grid in (STUDENT_GRID, self.teacher_grid))
        width = STUDENT_DIM if self.same_shapes else TEACHER_DIM
        return (
            make(kind, student, STUDENT_DIM, dtype=dtype).requires_grad_(),
            make(kind, teacher, width, seed=1, dtype=dtype).requires_grad_(),
        )


def required(function: Callable) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    # A class without a constructor has torch's *args, **kwargs.
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]


def as_map(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    return positions.view(-1, *grid, positions.shape[1]).permute(0, 3, 1, 2)


def test_there_are_losses():
    names = {cls.__name__ for cls in LOSSES}
    assert {"LogitKD", "LocalStructureLoss", "ContextualLoss", "TokenContrast", "GraphMatch"} <= names
    assert {"DKDLoss", "HintLoss", "AttentionLoss", "VIDLoss", "CorrelationLoss", "CRDLoss"} <= names


@pytest.mark.parametrize(
    ("kind", "dtype"), [("random", torch.float64), *((kind, torch.float32) for kind in ["random", *HARD])]
)
def test_scalar_of_the_inputs_type_with_finite_gradients(case, kind, dtype, hard):
    case.loss.to(dtype)
    student, teacher = case.inputs(hard, kind, dtype)
    value = case(student, teacher)
    value.backward()
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.isfinite()
    assert value > -1e-6
    assert student.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in case.loss.parameters())


def test_it_does_not_wait_for_a_device(case, hard, refuse):
    with refuse:
        case(*case.inputs(hard, "random", torch.float32)).backward()


def test_no_gradient_reaches_the_teacher(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    case(student, teacher).backward()
    assert teacher.grad is None
    assert (student.grad != 0).any()


def test_every_parameter_receives_a_gradient(case, hard):
    case(*case.inputs(hard, "random", torch.float32)).backward()
    assert all(p.grad is not None for p in case.loss.parameters())


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_gives_float32(case, dtype, hard):
    student, teacher = case.inputs(hard, "random", dtype)
    exact = copy.deepcopy(case)(student.detach().float(), teacher.detach().float())
    value = case(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.isfinite().all()
    torch.testing.assert_close(value, exact, rtol=1e-4, atol=1e-6)


def test_autocast_gives_float32_near_full_precision(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    exact = copy.deepcopy(case)(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        value = case(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=1e-2, atol=1e-4)
    assert student.grad.isfinite().all()


def test_least_where_student_equals_teacher(case, hard):
    """Losses that compare directly are 0; losses with projections have no such point before training."""
    if not case.same_widths or type(case.loss).__name__ in TRANSFORMED:
        pytest.skip("projections differ, or what is compared of the two")
    teacher, _ = case.inputs(hard, "random", torch.float64)
    assert case(teacher.clone(), teacher).item() == pytest.approx(0, abs=1e-12)


def test_the_global_generator_is_left_alone(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    state = torch.get_rng_state()
    first, second = copy.deepcopy(case)(student, teacher), case(student, teacher)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_state_dict_round_trip(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    case(student, teacher)  # a step, for a loss that keeps something of it
    state = {name: value.clone() for name, value in case.loss.state_dict().items()}
    expected = case(student, teacher)
    fresh = Case(type(case.loss))
    with torch.no_grad():
        for tensor in (*fresh.loss.parameters(), *fresh.loss.buffers()):
            if tensor.is_floating_point():
                tensor.add_(1)
    fresh.loss.load_state_dict(state)
    assert torch.equal(fresh(student, teacher), expected)


def test_eval_mode_stores_nothing(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    state = copy.deepcopy(case.loss.state_dict())
    case.loss.eval()
    assert torch.equal(case(student, teacher), case(student, teacher))
    for name, value in case.loss.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", ["random", "zeros", "all equal"])
def test_one_image(case, kind, hard):
    """One image of tokens, one map; a loss on rows takes these for a small batch, so it gets a single one too."""
    student, teacher = case.inputs(hard, kind, torch.float32, images=1)
    value = copy.deepcopy(case)(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    if case.compares == "rows" and type(case.loss).__name__ != "CorrelationLoss":  # which needs two, and says so
        value = case(student[:1], teacher[:1])
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("case", "kind", "dtype"),
    pairs(LOSSES, ["zeros", "duplicates", "all equal", "large", "tiny"], HALF),
    indirect=["case"],
    ids=name_of,
)
def test_half_precision_of_hard_features_is_finite_under_autocast(case, kind, dtype, hard):
    student, teacher = case.inputs(hard, kind, dtype)
    with torch.autocast("cpu", dtype):
        value = case(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in case.loss.parameters())


@pytest.mark.parametrize("scale", [1e-15, 6e4, 1e12])
def test_features_as_large_or_small_as_bfloat16_has_them_are_finite(case, scale, hard):
    student, teacher = ((scale * x.detach()).requires_grad_() for x in case.inputs(hard, "random", torch.bfloat16))
    value = case(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
