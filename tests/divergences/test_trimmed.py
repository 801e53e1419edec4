import pytest
import torch
from torch_geometric.data import Data

from trg_pyg.divergences import MSE, Trimmed
from trg_pyg.errors import InputError
from trg_pyg.relations import Direction, GivenWeight


def weights(*value: float) -> Data:
    return Data(edge_index=torch.arange(len(value)).expand(2, -1), edge_weight=torch.tensor(value), num_nodes=4)


@pytest.mark.parametrize(("share", "kept"), [(0, [1, 16, 4, 0]), (0.25, [1, 4, 0]), (0.74, [1, 0]), (0.99, [0])])
def test_the_largest_errors_are_left_out(share, kept, compare):
    value = compare(Trimmed(MSE(), share), GivenWeight(), weights(1.0, 4.0, -2.0, 0.0), weights(0.0, 0.0, 0.0, 0.0))
    assert value.item() == pytest.approx(sum(kept) / len(kept))


def test_the_error_of_a_vector_is_the_sum_over_its_coordinates(compare):
    """Vectors (1, 0) and (0.6, 0.8)."""
    edges = torch.tensor([[1], [0]])
    ours, theirs = (Data(x=torch.tensor([[0.0, 0.0], far]), edge_index=edges) for far in ([2.0, 0.0], [3.0, 4.0]))
    assert compare(Trimmed(MSE(), 0.5), Direction(), ours, theirs).item() == pytest.approx(0.16 + 0.64)


def test_of_no_edge_it_is_0(compare):
    none = Data(edge_index=torch.empty(2, 0, dtype=torch.long), edge_weight=torch.empty(0), num_nodes=3)
    assert compare(Trimmed(MSE(), 0.1), GivenWeight(), none, none) == 0


@pytest.mark.parametrize("share", [-0.1, 1])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(InputError, match=f"share={share}: the share of edges"):
        Trimmed(MSE(), share)
