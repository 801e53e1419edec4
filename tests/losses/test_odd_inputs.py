"""What every loss refuses; what is particular to one is beside its own tests."""

import pytest
import torch

from trg_pyg.divergences import info_nce
from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph, LabelGraph, nearest_neighbours
from trg_pyg.losses import (
    AttentionLoss,
    CorrelationLoss,
    CRDLoss,
    DKDLoss,
    GraphMatch,
    HintLoss,
    LogitKD,
    TokenContrast,
)
from trg_pyg.nn import Projection
from trg_pyg.tokens import l2_normalize, patchify, pool_to_grid


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (3, 0), (3, 4, 1)])
@pytest.mark.parametrize("loss", [LogitKD(), DKDLoss(), TokenContrast(4, 4), CorrelationLoss(4, 4)], ids=str)
def test_what_are_no_rows_is_refused(loss, shape):
    x = torch.zeros(shape)
    extra = [torch.zeros(shape[:1], dtype=torch.long)] if isinstance(loss, DKDLoss) else []
    with pytest.raises(InputError, match="both must be"):
        loss(x, x, *extra)


@pytest.mark.parametrize("shape", [(), (3, 4), (0, 4, 2, 2), (3, 0, 2, 2), (3, 4, 0, 2)])
def test_what_are_no_maps_is_refused(shape):
    x = torch.zeros(shape)
    for loss in (AttentionLoss(), HintLoss(4, 4, (2, 2), (2, 2))):
        with pytest.raises(InputError, match="both must be"):
            loss(x, x)
    for work in (lambda: patchify(x), lambda: pool_to_grid(x, (1, 1))):
        with pytest.raises(InputError, match="feature map"):
            work()


@pytest.mark.parametrize("grid", [(0, 1), (1, -1), (3, 1)])
def test_a_grid_that_averaging_cannot_reach_is_refused(grid):
    with pytest.raises(InputError, match=f"grid {grid[0]}x{grid[1]} for a map on 2x2"):
        pool_to_grid(torch.zeros(1, 1, 2, 2), grid)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 4]), "label 4 among 4 classes: labels count from 0"),
        (torch.tensor([0, -1]), "label -1 among 4 classes"),
        (torch.tensor([0.0, 1.0]), "of type torch.float32"),
    ],
)
def test_labels_are_classes(target, message):
    with pytest.raises(InputError, match=message):
        DKDLoss()(torch.zeros(2, 4), torch.zeros(2, 4), target)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_what_is_not_floating_point_is_refused(dtype):
    x = torch.ones(3, 4, dtype=dtype)
    for work in (lambda: LogitKD()(x, x), lambda: TokenContrast(4, 4)(x, x), lambda: l2_normalize(x)):
        with pytest.raises(InputError, match=f"features of type {dtype}: give floating-point ones"):
            work()


def test_a_width_or_type_that_parameters_are_not_made_for_is_refused():
    with pytest.raises(InputError, match=r"tokens \(3, 5\) for a projection from width 4"):
        Projection(4)(torch.zeros(3, 5))
    double = torch.zeros(3, 4, dtype=torch.float64)
    with pytest.raises(InputError, match=r"features of type torch.float64 meet those or parameters of type torch.fl"):
        Projection(4)(double)
    with pytest.raises(InputError, match=r"torch.float64 .* torch.float32: convert one of them"):
        info_nce(double, torch.zeros(3, 4), 0.1)


def test_nothing_has_no_contrast():
    with pytest.raises(InputError, match="at least one of each"):
        info_nce(torch.zeros(0, 4), torch.zeros(0, 4), 0.1)


def test_positions_of_a_memory_bank_are_whole_numbers():
    loss = CRDLoss(4, 4)
    loss.bind(torch.arange(6) % 2, torch.Generator())
    x, target = torch.zeros(2, 4), torch.tensor([0, 1])
    for index in (torch.tensor([True, False]), torch.tensor([0.0, 1.0])):
        with pytest.raises(InputError, match="give them as int64"):
            loss(x, x, target, index, torch.Generator())


@pytest.mark.parametrize(
    ("targets", "message"), [([0.0, 1.0], "of type torch.float32"), ([0, -1], "label -1 in the tr")]
)
def test_labels_of_the_training_set_are_whole_numbers_from_0(targets, message):
    with pytest.raises(InputError, match=message):
        CRDLoss(4, 4).bind(torch.tensor(targets), torch.Generator())


def test_graph_matching_needs_batches():
    graph = KNNGraph(1)(torch.randn(1, 3, 4))
    with pytest.raises(InputError, match="a Data: give a PyG Batch"):
        GraphMatch(4, 4)(graph[0], graph)


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 4, 0), (0, 4, 3)])
def test_no_tokens_have_no_graph(shape):
    with pytest.raises(InputError, match="none of them 0"):
        KNNGraph(1)(torch.zeros(shape))
    with pytest.raises(InputError, match="none of them 0"):
        nearest_neighbours(torch.zeros(shape), 1)


def test_other_tokens_are_tokens():
    builder = KNNGraph(1)
    graph = builder(torch.randn(1, 3, 4))
    for tokens in (torch.zeros(3), torch.zeros(3, 0), torch.zeros(3, 4, dtype=torch.long)):
        with pytest.raises(InputError, match="give floating-point tokens"):
            builder.reweight(graph, tokens)


def test_classes_of_tokens_are_whole_numbers():
    with pytest.raises(InputError, match=r"labels of type torch.float32: classes are whole numbers"):
        LabelGraph()(torch.zeros(1, 3, 4), torch.zeros(1, 3))
