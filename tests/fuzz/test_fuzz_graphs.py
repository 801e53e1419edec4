from typing import Any

import hypothesis.strategies as st
import torch
from contracts import PLACES, builders, divergences, relations
from fuzzing import fuzz, judged
from odd_tensors import Odd, check_finite, labels, odd, shapes
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

from trg_pyg.divergences import Divergence
from trg_pyg.graphs import CompleteGraph, GraphBuilder, KNNGraph
from trg_pyg.losses import RelationalLoss
from trg_pyg.relations import Relation
from trg_pyg.step import Step

LABELS = torch.arange(40) % 5


def check_batch(batch: Data, x: Tensor) -> None:
    assert batch.validate()
    assert (batch.edge_index[1].diff() >= 0).all()
    if batch.edge_weight is not None:
        check_finite(batch.edge_weight, x)


@fuzz(
    20,
    1000,
    builder=st.sampled_from(builders()),
    shape=shapes(3, 16, 4),
    make=odd,
    classes=st.one_of(st.none(), labels(3, 16)),
)
def test_a_builder_makes_a_graph_or_refuses(
    builder: GraphBuilder, shape: tuple[int, ...], make: Odd, classes: Tensor | None
) -> None:
    tokens = make.make(*shape)
    with judged("builders, tokens"):
        batch = builder(tokens, classes)
        assert isinstance(batch, Batch)
        check_batch(batch, tokens)


@st.composite
def edges(draw: st.DrawFn, nodes: int) -> Tensor:
    """Mostly edges between nodes that there are."""
    how = draw(st.sampled_from(["edges"] * 6 + ["outside", "negative", "int32", "shape", "float"]))
    count = draw(st.integers(0, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    index = torch.randint(0, max(1, nodes), (2, count), generator=generator)
    if how == "outside":
        return index + nodes
    if how == "negative":
        return index - nodes - 1
    if how == "shape":
        return index[:1] if draw(st.booleans()) else index.flatten()
    return index if how == "edges" else index.to(torch.int32 if how == "int32" else torch.float32)


@st.composite
def graphs(draw: st.DrawFn, *usual: int) -> Data:
    """Mostly what a builder makes of tokens, or a graph of two images made by hand, of anything."""
    x = draw(odd).make(*draw(shapes(*usual)))
    form = draw(st.sampled_from(["built", "built", "complete", "hand", "hand", "no edges", "batch", *HANDED]))
    try:
        if form == "built":
            return KNNGraph(2)(x.view(2, -1, x.shape[-1]))
        if form == "complete":
            return CompleteGraph(self_loops=True)(x.view(2, -1, x.shape[-1]))
    except (ValueError, RuntimeError, IndexError):
        pass  # what cannot be built is given as it is
    if form == "no edges":
        return Data(x=x)
    nodes = len(x) if x.dim() else 1
    graph = Data(x=x, edge_index=draw(edges(nodes)))
    if draw(st.booleans()):
        graph.edge_weight = draw(odd).make(*draw(shapes(graph.edge_index.shape[-1])))
    try:
        batch = Batch.from_data_list([graph, graph.clone()])
        return draw(handed_over(form, batch)) if form in HANDED else batch if form == "batch" else graph
    except Exception:  # PyG's, of what is no graph
        return graph


HANDED = ["vector", "by hand", "subgraph", "no ptr", "no vector", "empty", "slice", "hetero"]


@st.composite
def handed_over(draw: st.DrawFn, form: str, batch: Batch) -> Any:
    """What PyG hands over beside a batch as it made it: parts of one, one by hand, graphs without nodes, none."""
    nodes = len(batch.x)
    if form in ("vector", "by hand"):
        numbers = draw(labels(nodes, most=2))
        edge_index = batch.edge_index
        if draw(st.booleans()) and numbers.shape == (nodes,):  # within the graphs, as edges of a batch are
            edge_index = edge_index[:, numbers[edge_index[0]] == numbers[edge_index[1]]]
        return (Data if form == "vector" else Batch)(x=batch.x, edge_index=edge_index, batch=numbers)
    if form == "subgraph":
        generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
        return batch.subgraph(torch.randperm(nodes, generator=generator)[: draw(st.integers(1, nodes))])
    if form == "empty":
        none = Data(x=batch.x[:0], edge_index=batch.edge_index[:, :0])
        return Batch.from_data_list([none, *batch.to_data_list(), none])
    if form == "slice":
        return batch[draw(st.integers(0, 2)) :]
    if form == "hetero":
        return HeteroData(token={"x": batch.x})
    del batch["ptr" if form == "no ptr" else "batch"]
    return batch


@fuzz(15, 600, builder=st.sampled_from(builders()), graph=graphs(32, 4), classes=st.one_of(st.none(), labels(32)))
def test_a_builder_rebuilds_a_graph_or_refuses(builder: GraphBuilder, graph: Data, classes: Tensor | None) -> None:
    if classes is not None and isinstance(graph, Data):
        graph.y = classes
    with judged("builders, graphs"):
        check_batch(built := builder(graph), graph.x)
        if builder.scope == "image" and graph.batch is not None:
            source, target = graph.batch[built.edge_index]
            assert torch.equal(source, target)


@fuzz(15, 500, builder=st.sampled_from(builders()), shape=shapes(3, 16, 4), make=odd)
def test_a_builder_weighs_other_tokens_or_refuses(builder: GraphBuilder, shape: tuple[int, ...], make: Odd) -> None:
    graph = builder(torch.randn(3, 16, 3), torch.arange(48).view(3, 16) % 3)
    tokens = make.make(*shape)
    with judged("builders, other tokens"):
        check_batch(builder.reweight(graph, tokens), tokens)


@fuzz(20, 900, relation=st.sampled_from(relations()), graph=graphs(8, 4))
def test_a_relation_of_any_graph_has_values_or_is_refused(relation: Relation, graph: Data) -> None:
    with judged("relations"):
        value = relation(graph)
        assert value.is_floating_point()
        check_finite(value, *(x for x in (graph.x, graph.edge_weight) if x is not None))


@fuzz(
    20,
    800,
    divergence=st.sampled_from(divergences()),
    place=st.sampled_from(sorted(PLACES)),
    data=st.data(),
)
def test_a_divergence_of_any_two_graphs_is_finite_or_refused(
    divergence: Divergence, place: str, data: st.DataObject
) -> None:
    if place not in divergence.accepts:
        place = divergence.accepts[0]
    sizes = (8, 128 if hasattr(divergence, "memory") else 4)
    divergence.bind(LABELS, torch.Generator().manual_seed(0))
    student, teacher = data.draw(graphs(*sizes)), data.draw(graphs(*sizes))
    if data.draw(st.booleans()) and isinstance(student, Data) and isinstance(teacher, Data):
        teacher.edge_index = student.edge_index
    index = st.one_of(st.none(), labels(sizes[0], most=39), labels(sizes[0], most=39))
    known = data.draw(st.one_of(st.none(), st.tuples(labels(sizes[0]), index), st.tuples(labels(sizes[0]), index)))
    with judged("divergences"):
        step = None if known is None else Step(known[0], 0.5, torch.Generator(), known[1])
        value = RelationalLoss(PLACES[place], divergence)(student, teacher, step)
        assert value.shape == ()
        check_finite(value, *(x for graph in (student, teacher) for x in (graph.x, graph.edge_weight) if x is not None))
