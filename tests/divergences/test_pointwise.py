"""Mean squared and Huber's error, of values at once or in blocks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.divergences import MSE, PointwiseDivergence, Related, SmoothL1
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph
from trg_pyg.relations import Angle, Cosine, Distance, DotProduct, GivenWeight, NodeFeatures, Scaled

COMPLETE = CompleteGraph(None, self_loops=True)
DIVERGENCES = [MSE(), SmoothL1()]
BOTH = pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)


def by_loop(divergence: PointwiseDivergence, student: Tensor, teacher: Tensor) -> Tensor:
    errors = []
    for s, t in zip(student.flatten(), teacher.flatten(), strict=True):
        difference = (s - t) if s > t else (t - s)
        if isinstance(divergence, MSE):
            errors.append(difference * difference)
        else:
            errors.append(difference * difference / 2 if difference < 1 else difference - 0.5)
    return torch.stack(errors).mean() if errors else student.sum() * 0


def weights(value: list[float]) -> Data:
    edge_index = torch.arange(len(value)).expand(2, -1)
    return Data(edge_index=edge_index, edge_weight=torch.tensor(value), num_nodes=max(1, len(value)))


def test_written_out(compare):
    student, teacher = weights([1.0, 2.0, 0.0, -1.0]), weights([1.0, 5.0, 0.5, 1.0])  # differences 0, 3, 1/2, 2
    assert compare(MSE(), GivenWeight(), student, teacher).item() == pytest.approx((0 + 9 + 1 / 4 + 4) / 4)
    assert compare(SmoothL1(), GivenWeight(), student, teacher).item() == pytest.approx((0 + 2.5 + 1 / 8 + 1.5) / 4)


@settings(max_examples=30)
@given(
    nodes=st.integers(1, 6),
    widths=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    scale=st.sampled_from([0.1, 3.0]),
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["MSE", "SmoothL1"]),
)
def test_equals_a_loop_over_edges(close, compare, nodes, widths, scale, seed, name):
    divergence = {"MSE": MSE(), "SmoothL1": SmoothL1()}[name]
    generator = torch.Generator().manual_seed(seed)
    x_s = (torch.randn(nodes, widths[0], generator=generator, dtype=torch.float64) * scale).requires_grad_()
    x_t = torch.randn(nodes, widths[1], generator=generator, dtype=torch.float64) * scale
    edge_index = COMPLETE(x_t[None]).edge_index
    student, teacher = Data(x=x_s, edge_index=edge_index), Data(x=x_t, edge_index=edge_index)
    loss = compare(divergence, DotProduct(), student, teacher)
    close(loss, by_loop(divergence, (x_s @ x_s.T).flatten(), (x_t @ x_t.T).flatten()), [x_s])


@BOTH
def test_nodes_are_compared_entry_by_entry(divergence, compare, close, hard):
    x_s, x_t = hard("random", 4, 3).requires_grad_(), hard("random", 4, 3, seed=1)
    edges = torch.empty(2, 0, dtype=torch.long)
    student, teacher = Data(x=x_s, edge_index=edges), Data(x=x_t, edge_index=edges)
    close(compare(divergence, NodeFeatures(), student, teacher), by_loop(divergence, x_s, x_t), [x_s])


@pytest.mark.parametrize(
    ("divergence", "relation", "kind"),
    pairs(DIVERGENCES, [Distance(), Scaled(Distance(), "mean"), Cosine(), Angle(), Angle(1)], HARD),
    ids=str,
)
def test_hard_inputs(divergence, relation, kind, compare, close, hard):
    x_s, x_t = hard(kind, 6, 4).requires_grad_(), hard(kind, 6, 3, seed=1)
    teacher = COMPLETE(x_t[None])
    student = Data(x=x_s, edge_index=teacher.edge_index)
    expected = by_loop(divergence, relation(student), relation(teacher))
    close(compare(divergence, relation, student, teacher), expected, [x_s])


@BOTH
@pytest.mark.parametrize("nodes", [1, 3])
def test_zero_of_a_graph_without_edges(divergence, nodes, compare):
    x = torch.ones(nodes, 2, requires_grad=True)
    graph = Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long))
    relations = [Distance(), Scaled(Distance(), "sum"), *([Angle(), Angle(1)] if nodes == 3 else [])]
    for relation in relations:
        loss = compare(divergence, relation, graph, graph)
        loss.backward()
        assert loss == 0
        assert torch.equal(x.grad, torch.zeros(nodes, 2))


@BOTH
def test_nodes_of_different_widths_are_refused(divergence, compare):
    name = type(divergence).__name__
    with pytest.raises(
        InputError, match=rf"{name}: \(4, 3\) student values and \(4, 2\) teacher values; .* same width"
    ):
        compare(divergence, NodeFeatures(), Data(x=torch.zeros(4, 3)), Data(x=torch.zeros(4, 2)))


class TestBlocks:
    """Angles, N^3 of them, come anchor by anchor."""

    NODES, STUDENT_DIM, TEACHER_DIM = 96, 8, 6
    BLOCK_BYTES = 4 * NODES * (NODES + STUDENT_DIM) * 4  # 4 anchors
    LIMIT = NODES**3 // 16

    def related(
        self, block_bytes: int, dtype: torch.dtype = torch.float32, builder=COMPLETE
    ) -> tuple[Related, Related]:
        generator = torch.Generator().manual_seed(0)
        x_s = torch.randn(self.NODES, self.STUDENT_DIM, generator=generator, dtype=torch.float64)
        x_t = torch.randn(self.NODES, self.TEACHER_DIM, generator=generator, dtype=torch.float64)
        teacher = builder(x_t.to(dtype)[None])
        student = Data(x=x_s.to(dtype).requires_grad_(), edge_index=teacher.edge_index)
        return Related(Angle(block_bytes), student), Related(Angle(block_bytes), teacher)

    @BOTH
    @pytest.mark.parametrize(
        "builder",
        [COMPLETE, KNNGraph(8, None), KNNGraph(8, None, symmetric=True)],
        ids=["complete", "knn", "symmetric"],
    )
    def test_blocks_equal_the_whole(self, divergence, builder):
        results = []
        for block_bytes in (64 << 20, 2 * self.BLOCK_BYTES if builder is COMPLETE else 20_000):
            student, teacher = self.related(block_bytes, torch.float64, builder)
            loss = divergence(student, teacher)
            results.append((loss.detach(), torch.autograd.grad(loss, student.graph.x)[0]))
            assert (len(teacher.relation.blocks(teacher.graph)) > 1) == (block_bytes < 64 << 20)
        torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-12, atol=0)
        torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-9, atol=1e-15)

    def test_the_measure_sees_the_whole(self, largest_tensor):
        student, teacher = self.related(64 << 20)
        with largest_tensor() as largest:
            MSE()(student, teacher).backward()
        assert largest.numel >= self.NODES**3

    @BOTH
    def test_no_tensor_is_near_the_number_of_triples(self, divergence, largest_tensor):
        student, teacher = self.related(self.BLOCK_BYTES)
        with largest_tensor() as forward:
            loss = divergence(student, teacher)
        with largest_tensor() as backward:
            loss.backward()
        assert forward.numel <= self.LIMIT
        assert 0 < backward.numel <= self.LIMIT
        assert student.graph.x.grad.isfinite().all()

    @BOTH
    def test_all_that_is_kept_for_the_backward_pass_is_small(self, divergence):
        kept = []
        student, teacher = self.related(self.BLOCK_BYTES)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
            divergence(student, teacher)
        assert sum(kept) <= self.LIMIT

    def test_no_gradient_no_second_pass(self):
        student, teacher = self.related(self.BLOCK_BYTES)
        with torch.no_grad():
            loss = MSE()(student, teacher)
        torch.testing.assert_close(loss, MSE()(*self.related(64 << 20)).detach())

    def test_the_global_generator_is_left_alone(self):
        state = torch.get_rng_state()
        MSE()(*self.related(self.BLOCK_BYTES)).backward()
        assert torch.equal(torch.get_rng_state(), state)
