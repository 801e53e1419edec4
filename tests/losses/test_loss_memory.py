"""No loss and no builder ever holds an M x M tensor, forward or backward."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg.divergences import info_nce
from trg_pyg.graphs import KNNGraph, nearest_neighbours
from trg_pyg.losses import LocalStructureLoss, TokenContrast

M, WIDTH, K = 2048, 16, 8
CHUNK_BYTES = 64 * M * 4  # 64 rows of distances or logits
# The largest of the rest is the features at both ends of the edges, M * K * width, or somewhat more when symmetric.
LIMIT = M * M // 8


def tokens(seed: int = 0) -> Tensor:
    return torch.randn(M // 16, 16, WIDTH, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def knn(seed: int, **options) -> Batch:
    return KNNGraph(K, scope="batch", chunk_bytes=CHUNK_BYTES, **options)(tokens(seed))


def test_the_measure_sees_a_full_matrix_in_forward_and_in_backward(largest_tensor):
    x = torch.randn(300, 4, requires_grad=True)
    with largest_tensor() as largest:
        (x @ x.T).sum().backward()
    assert largest.numel == 300 * 300
    with largest_tensor() as largest:
        loss = info_nce(x, x, 0.1, chunk_bytes=4 * 300 * 300)
    assert largest.numel == 300 * 300
    with largest_tensor() as largest:
        loss.backward()  # only scales the gradient that the forward pass has made
    assert largest.numel == 300 * 4


@pytest.mark.parametrize("symmetric", [False, True])
def test_neighbours_over_the_batch(symmetric, largest_tensor):
    x = tokens()
    with largest_tensor() as largest:
        graph = KNNGraph(K, scope="batch", chunk_bytes=CHUNK_BYTES, symmetric=symmetric)(x)
        graph.edge_weight.sum().backward()
    assert graph.num_edges >= M * K
    assert largest.numel <= LIMIT


@pytest.mark.parametrize("kind", ["zeros", "two values"])
def test_neighbours_where_everything_is_tied(kind, largest_tensor):
    x = torch.zeros(1, M, 4)
    if kind == "two values":
        x[:, ::2] = 1
    with largest_tensor() as largest:
        neighbours = nearest_neighbours(x, K, chunk_bytes=CHUNK_BYTES)
    assert neighbours.shape == (1, M, K)
    assert largest.numel <= LIMIT


def test_neighbours_within_images(largest_tensor):
    x = torch.randn(64, 32, WIDTH)  # 64 images of 32 tokens: all distances are 65,536 numbers
    with largest_tensor() as largest:
        nearest_neighbours(x, K, chunk_bytes=4 * 32 * 32 * 4)
    assert largest.numel <= 64 * 32 * WIDTH  # the points themselves


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_info_nce(reduction, largest_tensor):
    anchor, positive = (torch.randn(M, WIDTH, requires_grad=True) for _ in range(2))
    with largest_tensor() as largest:
        info_nce(anchor, positive, 0.1, reduction=reduction, chunk_bytes=CHUNK_BYTES).backward()
    assert anchor.grad.isfinite().all()
    assert largest.numel <= LIMIT


def test_token_contrast(largest_tensor):
    loss = TokenContrast(WIDTH, WIDTH, dim=WIDTH, chunk_bytes=CHUNK_BYTES)
    student, teacher = tokens(0).flatten(0, 1), tokens(1).flatten(0, 1)
    with largest_tensor() as largest:
        loss(student, teacher).backward()
    assert largest.numel <= LIMIT


@pytest.mark.parametrize("direction", ["teacher", "student"])
@pytest.mark.parametrize(("support", "edges"), [("all", "own"), ("all", "teacher"), ("neighbors", "teacher")])
def test_local_structure(direction, support, edges, largest_tensor):
    teacher = knn(1)
    student = knn(0) if edges == "own" else KNNGraph(K).reweight(teacher, tokens(0))
    with largest_tensor() as largest:
        LocalStructureLoss(support, direction)(student, teacher).backward()
    assert largest.numel <= LIMIT
