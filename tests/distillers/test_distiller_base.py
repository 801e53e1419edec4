import pytest
import torch

from trg_pyg.distillers import Distiller, Losses, check_weights
from trg_pyg.errors import InputError


def test_weigh_sums_to_a_total_and_keeps_the_unweighted_parts():
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(5.0, requires_grad=True)
    losses = Distiller.weigh({"ce": (1.0, a), "kd": (0.5, b)})
    losses.total.backward()
    assert losses.total.item() == 4.5
    assert {name: part.item() for name, part in losses.parts.items()} == {"ce": 2.0, "kd": 5.0}
    assert not any(part.requires_grad for part in losses.parts.values())
    assert (a.grad, b.grad) == (1.0, 0.5)


def test_weights_are_not_negative():
    check_weights(alpha=0, beta=2.5)
    with pytest.raises(InputError, match=r"beta=-0\.5: .*0 \(off\) or positive"):
        check_weights(alpha=1, beta=-0.5)
    with pytest.raises(InputError, match="alpha=nan"):
        check_weights(alpha=float("nan"))


def test_a_method_that_is_no_sum_of_parts_implements_forward(networks, outputs, step):
    class Alone(Distiller):
        def forward(self, student, teacher, step):
            return Losses(student.logits.sum(), {})

    class Nothing(Distiller):
        pass

    assert Alone(*networks).weighted_parts(*outputs(), step()) == {}
    with pytest.raises(InputError, match="Nothing has no loss: implement weighted_parts, or forward"):
        Nothing(*networks)(*outputs(), step())
