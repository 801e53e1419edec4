import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import TokenContrast
from trg_pyg.relations import Gaussian, GivenWeight, Softmax


@settings(max_examples=25)
@given(
    items=st.integers(1, 9),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    temperature=st.sampled_from([0.07, 0.5]),
    reduction=st.sampled_from(["mean", "sum"]),
    chunk_bytes=st.sampled_from([1, 150, 1 << 26]),
    seed=st.integers(0, 2**31),
)
def test_equals_info_nce_of_linear_projections(close, items, widths, temperature, reduction, chunk_bytes, seed):
    torch.manual_seed(seed)
    loss = TokenContrast(*widths, dim=4, reduction=reduction, chunk_bytes=chunk_bytes).double()
    student, teacher = draw(seed, items, widths[0]).requires_grad_(), draw(seed + 1, items, widths[1])
    a = student @ loss.project_student.weight.T + loss.project_student.bias
    b = teacher @ loss.project_teacher.weight.T + loss.project_teacher.bias
    expected = equations.info_nce(a, b, temperature, reduction)
    close(loss(student, teacher, temperature), expected, [student, *loss.parameters()])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("softness", [0.3, 1.0])
def test_a_softness_asks_for_the_neighbors_too_by_their_probabilities(close, softness, reduction):
    torch.manual_seed(0)
    loss = TokenContrast(5, 3, dim=4, reduction=reduction, chunk_bytes=150, softness=softness).double()
    student, teacher = draw(0, 9, 5).requires_grad_(), draw(1, 9, 3)
    graph = KNNGraph(2, Gaussian(0.7), scope="batch")(teacher.view(3, 3, 3))
    graph.edge_weight = Softmax(GivenWeight(), 0.1)(graph)
    asked = softness * equations.adjacency(graph.edge_index, graph.edge_weight, 9).T + (1 - softness) * torch.eye(9)
    expected = equations.soft_info_nce(
        loss.project_student(student), loss.project_teacher(teacher), asked, 0.2, reduction
    )
    close(loss(student, teacher, 0.2, neighbors=graph), expected, [student, *loss.parameters()])


@pytest.mark.parametrize("kind", ["duplicates", "zeros", "all equal", "large", "small", "tiny"])
def test_hard_inputs(kind, hard, close):
    torch.manual_seed(0)
    loss = TokenContrast(5, 3, dim=4, chunk_bytes=1).double()
    student, teacher = hard(kind, 8, 5).requires_grad_(), hard(kind, 8, 3, seed=1)
    expected = equations.info_nce(loss.project_student(student), loss.project_teacher(teacher), 0.1)
    close(loss(student, teacher, 0.1), expected, [student, *loss.parameters()])


def test_moving_tokens_of_both_does_not_matter():
    torch.manual_seed(0)
    loss = TokenContrast(5, 3, dim=4).double()
    student, teacher = draw(0, 9, 5), draw(1, 9, 3)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher))


def test_lies_between_zero_and_log_m_where_every_token_finds_its_own():
    torch.manual_seed(0)
    loss = TokenContrast(4, 4, dim=4)
    loss.project_teacher.load_state_dict(loss.project_student.state_dict())
    x = draw(0, 12, 4).float()
    assert 0 < loss(x, x).item() < math.log(12)


def test_no_gradient_reaches_the_teacher_but_its_projection_trains():
    loss = TokenContrast(5, 3)
    teacher = draw(1, 8, 3).float().requires_grad_()
    loss(draw(0, 8, 5).float(), teacher).backward()
    assert teacher.grad is None
    assert loss.project_teacher.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tokens(dtype):
    torch.manual_seed(0)
    loss = TokenContrast(5, 3)
    student, teacher = draw(0, 8, 5).to(dtype).requires_grad_(), draw(1, 8, 3).to(dtype)
    value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss.double()(student.double(), teacher.double()).item(), rel=1e-4)
    assert student.grad.isfinite().all()


def test_messages():
    loss = TokenContrast(5, 3)
    with pytest.raises(InputError, match=r"student rows \(8, 5\) and teacher rows \(7, 3\)"):
        loss(torch.zeros(8, 5), torch.zeros(7, 3))
    with pytest.raises(InputError, match="temperature=0"):
        loss(torch.zeros(8, 5), torch.zeros(8, 3), 0)
    with pytest.raises(InputError, match="reduction=none: choose mean or sum"):
        TokenContrast(5, 3, reduction="none")
    with pytest.raises(InputError, match=r"softness=1.5: .* from 0 to 1"):
        TokenContrast(5, 3, softness=1.5)
    with pytest.raises(InputError, match=r"softness=0.5 with no graph for 8 tokens: give the tokens' graph"):
        TokenContrast(5, 3, softness=0.5)(torch.zeros(8, 5), torch.zeros(8, 3))
    with pytest.raises(InputError, match="from 5 to 0"):
        TokenContrast(5, 3, dim=0)
