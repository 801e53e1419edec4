import baseline_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import draw
from torch import Tensor, nn

from trg_pyg.errors import InputError
from trg_pyg.losses import HintLoss

# Student grid, teacher grid, and what brings one to the other: kernel and stride of a convolution, or pooling
GRIDS = [
    ((4, 6), (2, 3), "down"),
    ((2, 3), (4, 6), "up"),
    ((3, 3), (3, 3), (1, 1)),
    ((4, 3), (3, 3), (2, 1)),
    ((5, 6), (2, 1), (4, 6)),
    ((9, 2), (1, 2), (9, 1)),
    ((1, 1), (3, 3), "pool"),
    ((3, 2), (4, 3), "pool"),
    ((4, 2), (3, 3), "pool"),  # finer down, coarser across
    ((10, 1), (1, 1), "pool"),
]


def expected(loss: HintLoss, kind: object, student: Tensor, teacher: Tensor) -> Tensor:
    weight, bias = loss.conv.weight, loss.conv.bias
    if kind == "up":
        x = equations.transposed_convolution(student, weight, bias, 2, 1)
    else:
        if kind == "pool":
            student, teacher = equations.on_coarser_grid(student, teacher)
        x = equations.convolution(student, weight, bias, *((2, 1) if kind == "down" else (1, 0)))
    x = equations.batch_normalised(x) * loss.norm.weight[:, None, None] + loss.norm.bias[:, None, None]
    return (x.clamp(min=0) - teacher).square().mean()


@settings(max_examples=25)
@given(
    images=st.integers(2, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    grids=st.sampled_from(GRIDS),
    seed=st.integers(0, 2**31),
)
def test_equals_its_equation(close, images, channels, grids, seed):
    s, t, kind = grids
    torch.manual_seed(seed)
    loss = HintLoss(*channels, s, t).double()
    nn.init.normal_(loss.norm.weight)
    nn.init.normal_(loss.norm.bias)
    student, teacher = draw(seed, images, channels[0], *s).requires_grad_(), draw(seed + 1, images, channels[1], *t)
    # The bias of the convolution is left out: batch norm takes it away again, so that its gradient is rounding.
    inputs = [student, loss.conv.weight, loss.norm.weight, loss.norm.bias]
    close(loss(student, teacher), expected(loss, kind, student, teacher), inputs)


@pytest.mark.parametrize(("student", "teacher", "kind"), GRIDS)
def test_regressor_of_each_pair_of_grids(student, teacher, kind):
    loss = HintLoss(2, 3, student, teacher)
    kernel, stride, padding = {"down": ((3, 3), (2, 2), (1, 1)), "up": ((4, 4), (2, 2), (1, 1))}.get(
        kind, ((1, 1) if kind == "pool" else kind, (1, 1), (0, 0))
    )
    assert isinstance(loss.conv, nn.ConvTranspose2d) == (kind == "up")
    assert (loss.conv.kernel_size, loss.conv.stride, loss.conv.padding) == (kernel, stride, padding)
    assert (loss.pool_to is not None) == (kind == "pool")


@pytest.mark.parametrize("kind", ["duplicates", "zeros", "all equal", "large", "small"])
def test_hard_inputs_equal_the_equation(kind, hard, close):
    torch.manual_seed(0)
    loss = HintLoss(5, 3, (2, 2), (2, 2)).double()
    student = hard(kind, 6, 20).view(6, 5, 2, 2).requires_grad_()
    teacher = hard(kind, 6, 12, seed=1).view(6, 3, 2, 2)
    close(loss(student, teacher), expected(loss, (1, 1), student, teacher), [student, loss.norm.weight])


def test_eval_mode_uses_the_running_statistics():
    loss = HintLoss(2, 3, (2, 2), (2, 2)).double()
    student, teacher = draw(0, 4, 2, 2, 2), draw(1, 4, 3, 2, 2)
    first = loss(student, teacher)
    loss.eval()
    together = loss(student, teacher)
    assert not torch.allclose(together, first)
    alone = [loss(student[i : i + 1], teacher[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(torch.stack(alone).mean(), together)


def test_a_single_value_a_channel_is_normalised_by_the_running_statistics():
    loss = HintLoss(2, 3, (1, 1), (1, 1)).double()
    loss(draw(0, 8, 2, 1, 1), draw(1, 8, 3, 1, 1))
    running = loss.norm.running_mean.clone()
    student = draw(2, 1, 2, 1, 1).requires_grad_()
    value = loss(student, draw(3, 1, 3, 1, 1))
    value.backward()
    assert student.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in loss.parameters())
    assert torch.equal(loss.norm.running_mean, running)
    assert torch.equal(loss.eval()(student, draw(3, 1, 3, 1, 1)), value)


def test_messages():
    loss = HintLoss(2, 3, (4, 4), (2, 2))
    with pytest.raises(InputError, match="student map on 8x8, but the loss was made for 4x4"):
        loss(torch.zeros(1, 2, 8, 8), torch.zeros(1, 3, 2, 2))
    with pytest.raises(InputError, match="teacher map on 4x4, but the loss was made for 2x2"):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"\(3, 3\) channels, but the loss was made for \(2, 3\)"):
        loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2))
    with pytest.raises(InputError, match=r"student map \(2, 2, 4, 4\) and teacher map \(1, 3, 2, 2\)"):
        loss(torch.zeros(2, 2, 4, 4), torch.zeros(1, 3, 2, 2))
    with pytest.raises(InputError, match="from 2 channels on 4x4 to 0 on 2x2"):
        HintLoss(2, 0, (4, 4), (2, 2))
