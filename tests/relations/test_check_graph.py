import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from trg_pyg.divergences import MSE
from trg_pyg.errors import InputError
from trg_pyg.graphs import edge_recall
from trg_pyg.losses import RelationalLoss
from trg_pyg.relations import Angle, Cosine, Distance, GivenWeight, NodeFeatures, Relation, Scaled, Softmax

RING = torch.stack([torch.arange(4), torch.arange(4).roll(1)])
ON_EDGES = [Distance(), GivenWeight(), Softmax(Cosine()), Softmax(Cosine(), support="all"), Scaled(Distance(), "mean")]
ALL = pytest.mark.parametrize("relation", [*ON_EDGES, Angle()], ids=lambda relation: type(relation).__name__)


def graph(x: Tensor | None, edge_index: Tensor | None) -> Data:
    return Data(x=x, edge_index=edge_index, edge_weight=torch.ones(4))


@ALL
@pytest.mark.parametrize(
    ("x", "edge_index", "message"),
    [
        (torch.ones(()), RING, r"node features of shape \(\): give x as \[nodes, width\]"),
        (torch.ones(4), RING, r"node features of shape \(4,\)"),
        (torch.ones(4, 0), RING, r"node features of shape \(4, 0\)"),
        (torch.ones(0, 3), RING, r"node features of shape \(0, 3\)"),
        (torch.ones(4, 3), None, "edge_index of shape None and type None: give int64"),
        (torch.ones(4, 3), RING.int(), r"edge_index of shape \(2, 4\) and type torch.int32: give int64"),
        (torch.ones(4, 3), RING[:1], r"edge_index of shape \(1, 4\)"),
        (torch.ones(4, 3), RING + 1, "edge_index names node 4 of a graph of 4 nodes, numbered from 0"),
        (torch.ones(4, 3), RING - 1, "edge_index names node -1 of a graph of 4 nodes"),
    ],
)
def test_what_is_no_graph_is_refused(relation: Relation, x: Tensor, edge_index: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        relation(graph(x, edge_index))


@ALL
@pytest.mark.parametrize("given", [[Data()], HeteroData(), Batch.from_data_list([HeteroData()]), None], ids=str)
def test_what_is_not_one_graph_is_refused(relation: Relation, given: object) -> None:
    for read in (relation, RelationalLoss(Distance(), MSE()), lambda graph: edge_recall(graph, graph)):
        with pytest.raises(InputError, match=f"a {type(given).__name__} where one graph is needed"):
            read(*[given] * (2 if isinstance(read, RelationalLoss) else 1))


@pytest.mark.parametrize("relation", [Distance(), Angle(), NodeFeatures()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    ("x", "message"),
    [(None, "no node features x"), (torch.ones(4, 3, dtype=torch.long), "features of type torch.int64")],
)
def test_features_are_there_and_floating_point(relation: Relation, x: Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        relation(graph(x, RING))


def test_weights_are_one_an_edge() -> None:
    with pytest.raises(InputError, match=r"edge_weight \(4, 1\) for 4 edges: give one an edge"):
        GivenWeight()(Data(x=torch.ones(4, 3), edge_index=RING, edge_weight=torch.ones(4, 1)))


def test_a_loss_refuses_what_has_no_number_of_nodes() -> None:
    loss = RelationalLoss(Distance(), MSE())
    with pytest.raises(InputError, match=r"node features of shape \(\)"):
        loss(graph(torch.ones(()), RING), graph(torch.ones(4, 3), RING))
