import pytest
import torch

from trg_pyg.distillers import Vanilla


def test_cross_entropy_on_the_labels_without_a_teacher(networks, outputs, step):
    student, _ = outputs()
    losses = Vanilla(networks[0], None)(student, None, step())
    expected = -student.logits.log_softmax(1)[[0, 1, 2], [0, 1, 2]].mean()
    torch.testing.assert_close(losses.total, expected)
    assert list(losses.parts) == ["ce"]
    assert losses.parts["ce"].item() == pytest.approx(expected.item())


def test_needs_no_teacher_and_learns_nothing_of_its_own(networks):
    assert Vanilla.needs_teacher is False
    assert list(Vanilla(*networks).parameters()) == []
