"""torch-scatter is optional: PyG's own segment operations give the same losses, gradients and graphs."""

import pytest
import torch
import torch_geometric.typing
from torch import Tensor, nn

from trg_pyg.graphs import KNNGraph
from trg_pyg.losses import ContextualLoss, GraphMatch, LocalStructureLoss


def draw(seed: int, width: int) -> Tensor:
    return torch.randn(3, 6, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(loss: nn.Module, edges: str) -> tuple[Tensor, Tensor]:
    builder = KNNGraph(2, scope="image")
    student, teacher = draw(0, 4).requires_grad_(), builder(draw(1, 3))
    value = loss(builder(student) if edges == "own" else builder.reweight(teacher, student), teacher)
    return value.detach(), torch.autograd.grad(value, student)[0]


@pytest.mark.skipif(not torch_geometric.typing.WITH_TORCH_SCATTER, reason="torch-scatter is not installed")
@pytest.mark.parametrize(
    ("loss", "edges"),
    [
        (LocalStructureLoss(), "own"),
        (LocalStructureLoss("all", "student", 0.1), "teacher"),
        (LocalStructureLoss("neighbors", temperature=0.1), "teacher"),
        (ContextualLoss("graph"), "teacher"),
        (ContextualLoss("dense"), "own"),
        (GraphMatch(4, 3, hops=2).double(), "own"),
        (GraphMatch(4, 3, propagation="gnn", readout="max").double(), "own"),
    ],
)
def test_the_same_without_it(loss, edges, monkeypatch):
    with_it = run(loss, edges)
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    torch.testing.assert_close(run(loss, edges), with_it, rtol=1e-10, atol=1e-14)
