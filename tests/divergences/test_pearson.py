import pytest
import torch
from inputs import HARD
from torch_geometric.data import Data

from trg_pyg.divergences import Pearson
from trg_pyg.errors import InputError
from trg_pyg.relations import NodeFeatures


def test_three_nodes_written_out(compare):
    """Centred by nodes: (1, -1, 0) and (2, -2, 0); (1, 0, -1) and (-1, 0, 1); nothing and (1, 0, -1)."""
    student = Data(x=torch.tensor([[2.0, 0.0, 1.0], [4.0, 3.0, 2.0], [5.0, 5.0, 5.0]]))
    teacher = Data(x=torch.tensor([[2.0, -2.0, 0.0], [0.0, 1.0, 2.0], [3.0, 2.0, 1.0]]))
    assert compare(Pearson(), NodeFeatures(), student, teacher).item() == pytest.approx((0 + 2 + 1) / 3)


def test_of_features_is_of_the_nodes_of_the_transposed(compare, tokens):
    s, t = tokens(4, 3), tokens(4, 3, seed=1)
    features = compare(Pearson("features"), NodeFeatures(), Data(x=s), Data(x=t))
    assert torch.equal(features, compare(Pearson("nodes"), NodeFeatures(), Data(x=s.T), Data(x=t.T)))


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("of", ["nodes", "features"])
def test_hard_nodes_stay_between_0_and_2_with_finite_gradients(kind, of, hard, compare):
    x = hard(kind, 6, 4, dtype=torch.float32).requires_grad_()
    value = compare(Pearson(of), NodeFeatures(), Data(x=x), Data(x=hard("random", 6, 4, seed=1, dtype=torch.float32)))
    value.backward()
    assert -1e-6 < value < 2 + 1e-6
    assert x.grad.isfinite().all()


def test_nodes_of_unequal_width_are_refused(compare):
    with pytest.raises(InputError, match=r"Pearson of \(3, 2\) student values and \(3, 4\) teacher values"):
        compare(Pearson(), NodeFeatures(), Data(x=torch.ones(3, 2)), Data(x=torch.ones(3, 4)))
