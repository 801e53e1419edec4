import pytest
import torch
from inputs import draw
from torch import Tensor, stack

from trg_pyg.errors import InputError
from trg_pyg.losses import FisherFeatureLoss, FisherLogitLoss, LogitKD


def fisher_of_logits(p: Tensor) -> Tensor:
    return torch.diag(p) - torch.outer(p, p)


@pytest.mark.parametrize("tau", [1.0, 4.0])
@pytest.mark.parametrize("form", ["full", "diagonal"])
def test_logits_equal_the_quadratic_form_of_the_fisher_information(form, tau, close):
    student, teacher = (draw(seed, 3, 5).requires_grad_() for seed in (0, 1))
    rows = []
    for s, t in zip(student, teacher.detach(), strict=True):
        fisher, d = fisher_of_logits((t / tau).softmax(0)), (s - t) / tau
        rows.append(d @ (fisher if form == "full" else fisher.diagonal().diag()) @ d)
    close(FisherLogitLoss(form, tau)(student, teacher), tau**2 / 2 * stack(rows).mean(), [student, teacher])


def test_logit_distillation_is_its_second_order():
    teacher, direction = draw(0, 4, 6), draw(1, 4, 6)
    for small in (1e-2, 1e-3):
        student = teacher + small * direction
        assert FisherLogitLoss()(student, teacher).item() == pytest.approx(
            LogitKD()(student, teacher).item(), rel=small
        )


def test_a_constant_a_row_counts_in_the_plain_form_only():
    student, teacher = draw(0, 3, 5), draw(1, 3, 5)
    shifted = student + torch.tensor([[5.0], [0.0], [-3.0]], dtype=torch.float64)
    torch.testing.assert_close(FisherLogitLoss()(shifted, teacher), FisherLogitLoss()(student, teacher))
    assert FisherLogitLoss("plain")(student, teacher).item() == pytest.approx(
        (student - teacher).square().mean().item()
    )
    assert FisherLogitLoss("plain")(shifted, teacher) > FisherLogitLoss("plain")(student, teacher)


def test_features_are_weighed_by_the_fisher_information_that_autograd_gives(close):
    """F_dd = sum over classes of p_k (d log p_k / d f_d)^2, of a linear head."""
    student, teacher, weight, bias = draw(0, 3, 6).requires_grad_(), draw(1, 3, 6), draw(2, 4, 6), draw(3, 4)
    tau, fisher = 2.0, torch.zeros(3, 6, dtype=torch.float64)
    for image, f in enumerate(teacher):
        leaf = f.clone().requires_grad_()
        log_p = ((weight @ leaf + bias) / tau).log_softmax(0)
        for k in range(4):
            (grad,) = torch.autograd.grad(log_p[k], leaf, retain_graph=True)
            fisher[image] += log_p[k].exp().detach() * (tau * grad) ** 2
    expected = ((student - teacher) ** 2 * fisher / fisher.mean()).mean() / 2
    logits = teacher @ weight.T + bias
    close(FisherFeatureLoss(tau=tau)(student, teacher, logits, weight), expected, [student])
    plain = ((student - teacher) ** 2).mean() / 2
    close(FisherFeatureLoss("plain")(student, teacher, logits, weight), plain, [student])


def test_what_the_classes_share_takes_no_digits():
    student, teacher, weight = draw(0, 4, 6), draw(1, 4, 6), draw(2, 5, 6)
    logits, loss = teacher @ weight.T, FisherFeatureLoss()
    exact = loss(student, teacher, logits, weight)
    inputs = [x.float() for x in (student, teacher, logits, weight + 100)]
    assert loss(*inputs).item() == pytest.approx(exact.item(), rel=1e-4)


def test_a_teacher_that_is_sure_gives_finite_zeros():
    student, teacher, weight = (draw(seed, 3, 3).float() for seed in (0, 1, 2))
    student.requires_grad_()
    sure = 1e4 * torch.eye(3)
    assert FisherLogitLoss(tau=1)(student, sure).item() == 0
    loss = FisherFeatureLoss(tau=1)(student, teacher, sure, weight)
    loss.backward()
    assert student.grad.isfinite().all()


def test_a_classifier_of_another_width_is_refused():
    with pytest.raises(InputError, match=r"classifier \(4, 7\): bring the student's embedding"):
        FisherFeatureLoss()(torch.ones(2, 6), torch.ones(2, 6), torch.ones(2, 4), torch.ones(4, 7))
