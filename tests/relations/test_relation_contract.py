"""What every relation promises, for every relation that there is: a new file is tested as soon as it exists."""

import inspect
import itertools
import typing

import pytest
import torch
from inputs import HARD
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

import trg_pyg.relations
from trg_pyg._discover import subclasses
from trg_pyg.errors import InputError
from trg_pyg.graphs import CompleteGraph, GraphBuilder, KNNGraph
from trg_pyg.relations import Cosine, Distance, EdgeRelation, Gaussian, Relation
from trg_pyg.tokens import l2_normalize

WIDTH = 5
EDGES = [KNNGraph(2), CompleteGraph(Gaussian(), self_loops=True)]
ARGUMENTS = {"of": [Distance(), Cosine(shifted=True)]}


def relations() -> list[Relation]:
    """Each relation with every combination of its switches and choices, other options at their defaults."""
    found = []
    for cls in subclasses(Relation):
        if not cls.__module__.startswith(f"{trg_pyg.relations.__name__}."):
            continue
        hints = typing.get_type_hints(cls.__init__)
        choices: dict[str, list] = {}
        for name, parameter in inspect.signature(cls).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):  # those of nn.Module
                continue
            if typing.get_origin(hints[name]) is typing.Literal:
                choices[name] = list(typing.get_args(hints[name]))
            elif hints[name] is bool:
                choices[name] = [False, True]
            elif parameter.default is parameter.empty:
                choices[name] = ARGUMENTS[name]
        found += [cls(**dict(zip(choices, values, strict=True))) for values in itertools.product(*choices.values())]
    return found


def name_of(value: object) -> str:
    if not isinstance(value, Relation):
        return str(value)
    options = {name: v for name, v in vars(value).items() if isinstance(v, str | bool) and name != "training"}
    of = f" of {type(value.of).__name__}" if hasattr(value, "of") else ""
    return f"{type(value).__name__}{of} {options or ''}".strip()


RELATIONS = relations()
PER_GRAPH = [each for each in RELATIONS if getattr(each, "support", "") != "all"]  # else a matrix of all nodes at hand


def across(*axes: list) -> pytest.MarkDecorator:
    names = ("relation", "builder", "made")[: len(axes)]
    return pytest.mark.parametrize(names, pairs(*axes), ids=name_of)


EACH = pytest.mark.parametrize("relation", RELATIONS, ids=name_of)
ON_EACH_GRAPH = across(RELATIONS, EDGES)


def graph_of(builder: GraphBuilder, x: Tensor) -> Batch:
    return builder(x.view(2, len(x) // 2, -1))


def test_there_are_relations():
    names = {type(relation).__name__ for relation in RELATIONS}
    assert {"Angle", "Cosine", "Distance", "DotProduct", "Gaussian", "GivenWeight", "Laplace"} <= names
    assert {"NodeFeatures", "Scaled", "Softmax", "TaylorGaussian"} <= names


@across(RELATIONS, EDGES, HARD)
def test_finite_values_and_gradients(relation, builder, made, hard):
    x = hard(made, 8, WIDTH, dtype=torch.float32).requires_grad_()
    value = relation(graph_of(builder, x))
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    value.square().sum().backward()
    assert x.grad.isfinite().all()


@ON_EACH_GRAPH
def test_values_are_where_the_relation_says(relation, builder, hard):
    x = hard("random", 8, WIDTH)
    graph = graph_of(builder, x)
    degrees = torch.bincount(graph.edge_index[1])
    shape = {
        "edges": (graph.num_edges,),
        "triples": (int(degrees.square().sum()),),
        "nodes": (8, WIDTH),
        "vectors": (graph.num_edges, WIDTH),
    }[relation.on]
    value = relation(graph)
    assert (value.shape, value.dtype) == (shape, x.dtype)


@ON_EACH_GRAPH
def test_blocks_make_up_the_whole(relation, builder, hard):
    graph = graph_of(builder, hard("random", 8, WIDTH))
    blocks = relation.blocks(graph)
    assert len(blocks) >= 1
    torch.testing.assert_close(torch.cat([relation(graph, block) for block in blocks]), relation(graph))


@across(RELATIONS, EDGES, [torch.float16, torch.bfloat16])
def test_half_precision_gives_float32(relation, builder, made, hard):
    x = hard("random", 8, WIDTH, dtype=made).requires_grad_()
    value = relation(graph_of(builder, x))
    value.sum().backward()
    assert value.dtype == torch.float32
    assert x.grad.isfinite().all()
    exact = relation(graph_of(builder, x.detach().double()))
    torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-5)


@ON_EACH_GRAPH
def test_autocast_does_not_lower_the_precision(relation, builder, hard):
    x = hard("random", 8, WIDTH, dtype=torch.float32).requires_grad_()
    graph = graph_of(builder, x)
    exact = relation(graph)
    with torch.autocast("cpu", torch.bfloat16):
        value = relation(graph)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, exact)


@ON_EACH_GRAPH
def test_the_graph_and_the_global_generator_are_left_alone(relation, builder, hard):
    graph = graph_of(builder, hard("random", 8, WIDTH))
    before, state = graph.clone(), torch.get_rng_state()
    assert torch.equal(relation(graph), relation(graph))
    assert torch.equal(torch.get_rng_state(), state)
    assert graph.to_dict().keys() == before.to_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in graph.to_dict().items())


@EACH
@pytest.mark.parametrize("nodes", [1, 4])
def test_no_edges(relation, nodes):
    x = torch.ones(nodes, WIDTH, requires_grad=True)
    graph = Data(x=x, edge_index=torch.empty(2, 0, dtype=torch.long), edge_weight=torch.empty(0))
    if relation.on == "triples" and nodes < 3:
        with pytest.raises(InputError, match="an angle needs"):
            relation(graph)
        return
    value = relation(graph)
    assert value.numel() == (nodes * WIDTH if relation.on == "nodes" else 0)
    if value.requires_grad:
        value.sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("relation", [each for each in RELATIONS if each.on != "triples"], ids=name_of)
def test_a_single_node_with_a_loop(relation):
    x = torch.ones(2, WIDTH, requires_grad=True)
    value = relation(EDGES[1](x.view(2, 1, WIDTH)))
    value.sum().backward()
    assert value.isfinite().all()
    assert x.grad.isfinite().all()


@across(PER_GRAPH, EDGES)
def test_graphs_of_a_batch_do_not_see_each_other(relation, builder, hard):
    graph = graph_of(builder, hard("random", 8, WIDTH))
    alone = torch.cat([relation(one) for one in graph.to_data_list()])
    torch.testing.assert_close(relation(graph), alone)


@across(PER_GRAPH, EDGES, ["subgraph", "vector", "any order", "no ptr"])
def test_whatever_pyg_hands_over_is_read_as_each_graph_alone(relation, builder, made, hard):
    whole = builder(hard("random", 12, WIDTH).view(3, 4, WIDTH))
    alone = torch.cat([relation(one) for one in whole.to_data_list()[1:]])
    kept = whole.batch > 0
    part = whole.subgraph(kept)
    if made == "vector":
        part = Data(**{name: part[name] for name in ("x", "edge_index", "edge_weight", "batch")})
    elif made == "no ptr":
        del part["ptr"]
    elif made == "any order":
        if relation.on != "edges":
            pytest.skip("values come in the order of nodes")
        order = torch.tensor([6, 1, 4, 3, 2, 5, 0, 7])
        part.x, part.batch, part.edge_index = part.x[order], part.batch[order], order.argsort()[part.edge_index]
    torch.testing.assert_close(relation(part), alone)


@EACH
def test_edges_between_graphs_of_a_batch_count_as_they_are(relation, hard):
    """Sizes are equal, but that no edge joins two graphs is not so."""
    x = hard("random", 8, WIDTH)
    across_all = CompleteGraph(Gaussian())(x[None])[0]
    batch = KNNGraph(2)(x.view(2, 4, WIDTH))
    batch.edge_index, batch.edge_weight = across_all.edge_index, across_all.edge_weight
    if getattr(relation, "by", "") in ("mean", "max"):
        pytest.skip("over a graph's own values")
    torch.testing.assert_close(relation(batch), relation(across_all))


@across([each for each in PER_GRAPH if each.distribution], EDGES)
def test_a_distribution_sums_to_one_over_the_edges_into_a_node(relation, builder, hard):
    graph = graph_of(builder, hard("random", 8, WIDTH))
    value = relation(graph)
    assert (value >= 0).all()
    total = scatter(value, graph.edge_index[1], dim_size=8)
    torch.testing.assert_close(total, torch.ones(8, dtype=torch.float64))


@pytest.mark.parametrize("relation", [each for each in RELATIONS if isinstance(each, EdgeRelation)], ids=name_of)
def test_edge_relations_are_weights_of_a_builder(relation, hard):
    x = hard("random", 8, WIDTH)
    graph = KNNGraph(2, relation)(x.view(2, 4, WIDTH))
    unit = Data(x=l2_normalize(x), edge_index=graph.edge_index)
    torch.testing.assert_close(graph.edge_weight, relation(unit))
    plain = KNNGraph(2, relation, normalize=False)(x.view(2, 4, WIDTH))
    torch.testing.assert_close(plain.edge_weight, relation(plain))
