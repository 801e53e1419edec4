"""What every loss promises, for every loss that there is: a new file is tested as soon as it exists.

The annotation of ``forward`` says what a loss compares: tensors, or token graphs.
"""

import inspect
import typing
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import trg_pyg.losses
from trg_pyg._discover import subclasses
from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import DistillationLoss

STUDENT_DIM, TEACHER_DIM, IMAGES, SIZE = 5, 3, 3, 4
WIDTHS = {"student_dim": STUDENT_DIM, "teacher_dim": TEACHER_DIM}


LOSSES = [cls for cls in subclasses(DistillationLoss) if cls.__module__.startswith(f"{trg_pyg.losses.__name__}.")]


@pytest.fixture(params=LOSSES, ids=lambda cls: cls.__name__)
def case(request) -> "Case":
    return Case(request.param)


class Case:
    """A loss with its defaults, and how to feed it tokens ``[M, D_S]`` and ``[M, D_T]`` of both networks."""

    def __init__(self, cls: type[DistillationLoss]) -> None:
        parameters = inspect.signature(cls).parameters
        torch.manual_seed(0)
        self.loss = cls(**{name: WIDTHS[name] for name, p in parameters.items() if p.default is p.empty})
        self.same_widths = "student_dim" not in parameters
        self.takes_tensors = typing.get_type_hints(cls.forward)["student"] is Tensor
        self.teacher_width = STUDENT_DIM if self.same_widths and self.takes_tensors else TEACHER_DIM

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.takes_tensors:
            return self.loss(student, teacher)
        builder = KNNGraph(2)
        graph = builder(teacher.view(IMAGES, SIZE, -1))
        # Scored on the teacher's edges, which every loss on graphs accepts.
        return self.loss(builder.reweight(graph, student), graph)

    def inputs(self, make: Callable[..., Tensor], kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        student = make(kind, IMAGES * SIZE, STUDENT_DIM, dtype=dtype).requires_grad_()
        teacher = make(kind, IMAGES * SIZE, self.teacher_width, seed=1, dtype=dtype).requires_grad_()
        return student, teacher


HARD = pytest.mark.parametrize(
    "kind", ["random", "duplicates", "zeros", "all equal", "one node different", "large", "small", "tiny"]
)


def test_there_are_losses():
    names = {cls.__name__ for cls in LOSSES}
    assert {"LogitKD", "LocalStructureLoss", "ContextualLoss", "TokenContrast", "GraphMatch"} <= names


@HARD
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
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


def test_no_gradient_reaches_the_teacher(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    case(student, teacher).backward()
    assert teacher.grad is None
    assert (student.grad != 0).any()


def test_every_parameter_receives_a_gradient(case, hard):
    case(*case.inputs(hard, "random", torch.float32)).backward()
    assert all(p.grad is not None for p in case.loss.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(case, dtype, hard):
    student, teacher = case.inputs(hard, "random", dtype)
    value = case(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.isfinite().all()
    exact = case(student.detach().float(), teacher.detach().float())
    torch.testing.assert_close(value, exact, rtol=1e-4, atol=1e-6)


def test_autocast_gives_float32_near_full_precision(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    exact = case(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        value = case(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact, rtol=1e-2, atol=1e-4)
    assert student.grad.isfinite().all()


def test_least_where_student_equals_teacher(case, hard):
    """Losses that compare directly are 0; losses with projections have no such point before training."""
    if not case.same_widths:
        pytest.skip("projections differ")
    teacher = hard("random", IMAGES * SIZE, STUDENT_DIM)
    assert case(teacher.clone(), teacher).item() == pytest.approx(0, abs=1e-12)


def test_the_global_generator_is_left_alone(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    state = torch.get_rng_state()
    first, second = case(student, teacher), case(student, teacher)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_state_dict_round_trip(case, hard):
    student, teacher = case.inputs(hard, "random", torch.float32)
    expected = case(student, teacher)
    state = {name: value.clone() for name, value in case.loss.state_dict().items()}
    with torch.no_grad():
        for parameter in case.loss.parameters():
            parameter.add_(1)
    case.loss.load_state_dict(state)
    assert torch.equal(case(student, teacher), expected)
