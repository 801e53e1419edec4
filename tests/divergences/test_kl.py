import math

import loss_equations as equations
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import HARD, draw
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Data

import trg_pyg.divergences.kl
from trg_pyg.divergences import KL
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, KNNGraph
from trg_pyg.relations import Angle, Cosine, Distance, DotProduct, Gaussian, GivenWeight, NodeFeatures, Scaled, Softmax

DIRECTIONS, REDUCTIONS = ["teacher", "student"], ["mean", "sum", "entries"]
few = settings(max_examples=30)
WEIGHTS = Softmax(GivenWeight())
SHARES = Scaled(GivenWeight(), "sum")


def with_weights(graph: Data, weight: Tensor) -> Data:
    return Data(edge_index=graph.edge_index, edge_weight=weight, num_nodes=graph.num_nodes)


def reduced(terms: list[Tensor], graph: Data, reduction: str) -> Tensor:
    total = torch.stack(terms).sum() if terms else graph.edge_weight.sum() * 0
    return total / {"mean": graph.num_nodes, "sum": 1, "entries": max(1, graph.num_edges)}[reduction]


def by_loop(p: list[Tensor], q: list[Tensor], graph: Data, reduction: str, eps: float) -> Tensor:
    terms = [a * ((a + eps).log() - (b + eps).log()) for a, b in zip(p, q, strict=True)]
    return reduced(terms, graph, reduction)


def probabilities(graph: Data, kind: str) -> list[Tensor]:
    """Probability of each edge among those into its target."""
    target = graph.edge_index[1].tolist()
    out = []
    for e, node in enumerate(target):
        into = torch.tensor([i for i, other in enumerate(target) if other == node])
        weight = graph.edge_weight[into]
        row = equations.softmax_row(weight) if kind == "softmax" else weight / weight.sum()
        out.append(row[into.tolist().index(e)])
    return out


def test_written_out(compare):
    """Node 0 hears 1 and 2: teacher (1, 1) / 2, student (1, 3) / 4; node 1 hears 0 alone, for certain."""
    edge_index = torch.tensor([[1, 2, 0], [0, 0, 1]])
    teacher = Data(edge_index=edge_index, edge_weight=torch.tensor([2.0, 2.0, 5.0]), num_nodes=3)
    student = Data(edge_index=edge_index, edge_weight=torch.tensor([1.0, 3.0, 1.0]), num_nodes=3)
    teacher_student = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    student_teacher = 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)
    for direction, expected in (("teacher", teacher_student), ("student", student_teacher)):
        for reduction, count in (("sum", 1), ("mean", 3), ("entries", 3)):
            loss = compare(KL(direction, reduction, eps=1e-9), SHARES, student, teacher)
            assert loss.item() == pytest.approx(expected / count, rel=1e-5)
    logs = [with_weights(graph, graph.edge_weight.log()) for graph in (student, teacher)]
    assert compare(KL(), WEIGHTS, *logs).item() == pytest.approx(teacher_student / 3, rel=1e-5)


def test_eps_is_in_the_logarithm_only(compare):
    """Teacher (0, 1), student (1, 1) / 2: 0 log(eps / ...) is 0."""
    edge_index = torch.tensor([[1, 2], [0, 0]])
    teacher = Data(edge_index=edge_index, edge_weight=torch.tensor([0.0, 7.0]), num_nodes=3)
    student = Data(edge_index=edge_index, edge_weight=torch.tensor([1.0, 1.0]), num_nodes=3)
    loss = compare(KL(reduction="entries", eps=0.5), SHARES, student, teacher)
    assert loss.item() == pytest.approx(math.log(1.5 / 1.0) / 2)
    back = compare(KL("student", "sum", eps=0.5), SHARES, student, teacher)
    assert back.item() == pytest.approx(0.5 * math.log(1.0 / 0.5) + 0.5 * math.log(1.0 / 1.5))


@few
@given(
    nodes=st.integers(1, 7),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    direction=st.sampled_from(DIRECTIONS),
    reduction=st.sampled_from(REDUCTIONS),
    kind=st.sampled_from(["softmax", "shares"]),
    eps=st.sampled_from([0.0, 1e-7, 0.1]),
    seed=st.integers(0, 2**31),
)
def test_equals_a_loop_over_edges(close, compare, weighted, nodes, density, direction, reduction, kind, eps, seed):
    teacher = weighted(seed, nodes, density, low=0.05)
    student = with_weights(teacher, (torch.rand_like(teacher.edge_weight) + 0.05).requires_grad_())
    eps = eps or (0.0 if kind == "softmax" else 1e-5)
    loss = compare(KL(direction, reduction, eps), WEIGHTS if kind == "softmax" else SHARES, student, teacher)
    p, q = probabilities(teacher, kind), probabilities(student, kind)
    if direction == "student":
        p, q = q, p
    close(loss, by_loop(p, q, student, reduction, eps), [student.edge_weight, teacher.edge_weight])


@few
@given(
    nodes=st.integers(1, 7),
    densities=st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.3, 1.0])),
    direction=st.sampled_from(DIRECTIONS),
    reduction=st.sampled_from(["mean", "sum"]),
    temperature=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_over_all_nodes_each_graph_may_have_edges_of_its_own(
    close, compare, weighted, nodes, densities, direction, reduction, temperature, seed
):
    student, teacher = weighted(seed, nodes, densities[0]), weighted(seed + 1, nodes, densities[1])
    loss = compare(KL(direction, reduction), Softmax(GivenWeight(), temperature, "all"), student, teacher)
    a_s, a_t = (equations.adjacency(g.edge_index, g.edge_weight, nodes) for g in (student, teacher))
    expected = equations.local_over_all(a_s, a_t, direction, temperature, reduction)
    close(loss, expected, [student.edge_weight, teacher.edge_weight])


def test_the_same_edges_are_not_looked_up(compare, weighted, monkeypatch):
    """One edge_index for both, as reweighting leaves it, saves a sort and a search."""
    teacher = weighted(0, 6, 0.5)
    student = with_weights(teacher, torch.rand_like(teacher.edge_weight))
    relation = Softmax(GivenWeight(), support="all")
    copied = Data(edge_index=student.edge_index.clone(), edge_weight=student.edge_weight, num_nodes=6)
    expected = compare(KL(), relation, copied, teacher)
    monkeypatch.setattr(trg_pyg.divergences.kl, "_look_up", None)
    torch.testing.assert_close(compare(KL(), relation, student, teacher), expected)
    with pytest.raises(TypeError):
        compare(KL(), relation, copied, teacher)


DISTRIBUTIONS = {
    "softmax": (Softmax(Cosine(), 0.1), 0.0),
    "all": (Softmax(Gaussian(), 0.1, "all"), 0.0),
    "shares": (Scaled(Cosine(shifted=True), "sum"), 1e-7),
    "distances": (Scaled(Distance(), "sum"), 1e-7),
}


@pytest.mark.parametrize(("kind", "direction", "of"), pairs(HARD, DIRECTIONS, DISTRIBUTIONS))
def test_hard_inputs_are_finite(kind, direction, of, compare, hard):
    relation, eps = DISTRIBUTIONS[of]
    x_s, x_t = hard(kind, 6, 4, dtype=torch.float32).requires_grad_(), hard(kind, 6, 3, seed=1, dtype=torch.float32)
    teacher = CompleteGraph(None, self_loops=True)(x_t[None])
    loss = compare(KL(direction, eps=eps), relation, Data(x=x_s, edge_index=teacher.edge_index), teacher)
    loss.backward()
    assert loss.isfinite()
    assert loss > -1e-6
    assert x_s.grad.isfinite().all()


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize(
    ("divergence", "relation"),
    [
        *((KL(reduction=reduction), WEIGHTS) for reduction in REDUCTIONS),
        *((KL(reduction=reduction, eps=1e-7), SHARES) for reduction in REDUCTIONS),
        *((KL(reduction=reduction), Softmax(GivenWeight(), 1, "all")) for reduction in ("mean", "sum")),
    ],
)
def test_zero_of_a_graph_without_edges(nodes, divergence, relation, compare):
    weight = torch.empty(0, requires_grad=True)
    graph = Data(edge_index=torch.empty(2, 0, dtype=torch.long), edge_weight=weight, num_nodes=nodes)
    loss = compare(divergence, relation, graph, graph)
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("relation", "eps"), [(WEIGHTS, 0.0), (SHARES, 1e-7), (Softmax(GivenWeight(), 1, "all"), 0.0)])
def test_zero_with_zero_gradient_where_the_graphs_are_equal(direction, relation, eps, compare, weighted):
    teacher = weighted(0, 6, 0.6, low=0.1)
    student = with_weights(teacher, teacher.edge_weight.detach().clone().requires_grad_())
    loss = compare(KL(direction, eps=eps), relation, student, with_weights(teacher, teacher.edge_weight.detach()))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    # An eps moves the least of the divergence by as much.
    assert student.edge_weight.grad.abs().max() < (1e-12 if eps == 0 else 1e-5)


@pytest.mark.parametrize("of", ["shares", "neighbors", "all"])
def test_values_of_nearly_equal_distributions_keep_their_digits(of, compare):
    """Features with a large mean in common: differences of logarithms have few digits left, or none."""
    relation, eps = DISTRIBUTIONS["shares"] if of == "shares" else (Softmax(Cosine(), support=of), 0.0)
    features = [10 * draw(0, 1, 64) + draw(seed, 64, 64) for seed in (1, 2)]
    edges = KNNGraph(50, None)(features[1][None]).edge_index
    losses = []
    for dtype in (torch.float64, torch.float32):
        student, teacher = (Data(x=x.to(dtype), edge_index=edges) for x in features)
        student.x.requires_grad_()
        loss = compare(KL(eps=eps), relation, student, teacher)
        losses.append((loss.item(), torch.autograd.grad(loss, student.x)[0].double()))
    (expected, slope), (found, found_slope) = losses
    assert found == pytest.approx(expected, rel=1e-3)
    assert (found_slope - slope).norm() < 1e-2 * slope.norm()


def test_only_over_all_nodes_edges_may_differ():
    assert not KL().needs_same_edges(Softmax(DotProduct(), support="all"))
    assert KL().needs_same_edges(Softmax(DotProduct()))


def test_a_pair_with_different_supports_is_refused():
    over = {support: Softmax(GivenWeight(), support=support) for support in ("all", "neighbors")}
    for sides in ((over["all"], over["neighbors"]), (over["neighbors"], over["all"])):
        with pytest.raises(InputError, match="give both the same support"):
            KL().check(*sides)


@pytest.mark.parametrize(
    ("divergence", "relation", "message"),
    [
        (KL(), Distance(), r"KL of Distance: its values are no distribution; wrap it in Softmax.* Scaled.*by='sum'"),
        (KL(), Scaled(Distance(), "mean"), "KL of Scaled: its values are no distribution"),
        (KL(), Scaled(Cosine(shifted=True), "sum"), "KL of Scaled: its probabilities can be 0; give eps, such as 1e-7"),
        (KL(), Angle(), "KL of Angle: the relation has values on triples, the divergence compares values on edges"),
        (KL(), NodeFeatures(), "KL of NodeFeatures: the relation has values on nodes"),
        (KL(eps=1e-7), Softmax(Distance(), support="all"), "KL over all nodes .*eps=0 and reduction mean or sum"),
        (KL(reduction="entries"), Softmax(Distance(), support="all"), "KL over all nodes"),
    ],
)
def test_relations_that_it_cannot_compare_are_refused_with_the_reason(divergence, relation, message):
    with pytest.raises(InputError, match=message):
        divergence.check(relation, relation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "both"}, "direction=both: choose teacher or student"),
        ({"reduction": "max"}, "reduction=max: choose mean or sum or entries"),
        ({"eps": -1e-7}, "eps=-1e-07: what is added to a probability is 0 or positive"),
        ({"eps": math.nan}, "eps=nan"),
    ],
)
def test_impossible_options_are_refused_when_built(options, message):
    with pytest.raises(InputError, match=message):
        KL(**options)
