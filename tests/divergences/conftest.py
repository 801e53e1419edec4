from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.divergences import Divergence, Related
from trg_pyg.relations import Relation


def compare_graphs(divergence: Divergence, relation: Relation, student: Data, teacher: Data) -> Tensor:
    """What a loss does: ask the divergence whether it can, then let it."""
    divergence.check(relation, relation)
    return divergence(Related(relation, student), Related(relation, teacher))


def random_weighted(seed: int, nodes: int, density: float, low: float = 0.0) -> Data:
    """Any edges in any order, with weights from ``low`` to 1."""
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(nodes, nodes, generator=generator) < density).nonzero()
    edges = edges[torch.randperm(len(edges), generator=generator)]
    weight = torch.rand(len(edges), generator=generator, dtype=torch.float64) * (1 - low) + low
    return Data(edge_index=edges.T, edge_weight=weight.requires_grad_(), num_nodes=nodes)


@pytest.fixture
def compare() -> Callable[[Divergence, Relation, Data, Data], Tensor]:
    return compare_graphs


@pytest.fixture
def weighted() -> Callable[..., Data]:
    return random_weighted
