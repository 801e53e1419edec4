import pytest
import torch
from inputs import draw

from trg_pyg.errors import InputError
from trg_pyg.losses import LogitKD, SelectedKL

# Ranks of the right answer: 0, 2, 1, 0 (a tie, which the lower class wins), 2, 1.
TEACHER = torch.tensor([[3.0, 1, 0], [0, 1, 2], [1, 2, 0], [1, 1, 0], [5, 4, 3], [0, 3, 1]], dtype=torch.float64)
TARGET = torch.tensor([0, 0, 0, 0, 2, 2])


@pytest.mark.parametrize(
    ("share", "rows"),
    [(0.0, [0, 3]), (0.25, [0, 2, 3]), (0.5, [0, 2, 3, 5]), (0.75, [0, 1, 2, 3, 5]), (1.0, [0, 1, 2, 3, 4, 5])],
)
def test_all_right_rows_count_and_the_best_of_the_others_in_their_order(share, rows, close):
    student = draw(0, 6, 3).requires_grad_()
    loss = SelectedKL(2.0, share)
    assert loss.chosen(TEACHER, TARGET).nonzero().flatten().tolist() == rows
    close(loss(student, TEACHER, TARGET), LogitKD(2.0)(student[rows], TEACHER[rows]), [student])


def test_where_nothing_counts_the_loss_is_zero():
    student = draw(0, 2, 3).requires_grad_()
    loss = SelectedKL(share=0.0)(student, TEACHER[1:3], TARGET[1:3])
    loss.backward()
    assert loss == 0
    assert student.grad.abs().sum() == 0


@pytest.mark.parametrize("options", [{"tau": 0}, {"share": -0.1}, {"share": 1.5}], ids=str)
def test_impossible_options_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(InputError, match=f"{name}.*{value}"):
        SelectedKL(**options)
