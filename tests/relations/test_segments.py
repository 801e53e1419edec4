import torch

from trg_pyg.relations import segment_log_softmax

GROUP = torch.tensor([2, 0, 2, 0, 2])


def test_equals_log_softmax_within_each_group():
    logits = torch.randn(5, dtype=torch.float64)
    out = segment_log_softmax(logits, GROUP, 4)  # groups 1 and 3 are empty
    torch.testing.assert_close(out[[1, 3]], logits[[1, 3]].log_softmax(0))
    torch.testing.assert_close(out[[0, 2, 4]], logits[[0, 2, 4]].log_softmax(0))


def test_gradcheck():
    logits = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: segment_log_softmax(x, GROUP, 4), (logits,))


def test_extreme_logits_are_finite():
    logits = torch.tensor([1e6, -1e6, -1e6, -1e6, 0.0], requires_grad=True)
    out = segment_log_softmax(logits, GROUP, 3)
    out.sum().backward()
    assert out.tolist() == [0, -torch.tensor(2.0).log().item(), -2e6, -torch.tensor(2.0).log().item(), -1e6]
    assert logits.grad.isfinite().all()


def test_a_group_of_one_is_certain():
    assert segment_log_softmax(torch.tensor([-700.0]), torch.tensor([0]), 1).tolist() == [0]
