"""What every builder promises, for every builder that there is: a new file is tested as soon as it exists."""

import inspect

import pytest
import torch
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Batch, Data, HeteroData

import trg_pyg.graphs
from trg_pyg._discover import subclasses
from trg_pyg.errors import InputError
from trg_pyg.graphs import GraphBuilder, KNNGraph, LabelGraph
from trg_pyg.relations import layout_of
from trg_pyg.step import Share

HEIGHT, WIDTH = 4, 4
RING = torch.stack([torch.arange(16), torch.arange(16).roll(1)])
ARGUMENTS = {"k": 3, "height": HEIGHT, "width": WIDTH, "edge_index": RING, "num_nodes": 16, "places": 16}


def call(builder: GraphBuilder, tokens: Tensor) -> Batch:
    """Classes are given to every builder, as a training gives them; most do not look."""
    labels = torch.arange(tokens[..., 0].numel()).view(tokens.shape[:2]) % 3
    return builder(tokens, labels)


def builders() -> list[GraphBuilder]:
    """Each builder with its defaults, in every scope that it offers."""
    found = []
    for cls in subclasses(GraphBuilder):
        if not cls.__module__.startswith(f"{trg_pyg.graphs.__name__}."):
            continue
        parameters = inspect.signature(cls).parameters
        needed = {name: ARGUMENTS[name] for name, p in parameters.items() if p.default is p.empty}
        scopes = ({"scope": scope} for scope in ("image", "batch")) if "scope" in parameters else [{}]
        found += [cls(**needed, **scope) for scope in scopes]
    return found


BUILDERS = builders()


@pytest.fixture(params=BUILDERS, ids=str)
def builder(request) -> GraphBuilder:
    return request.param


def make_tokens(kind: str, images: int) -> Tensor:
    tokens = torch.randn(images, HEIGHT * WIDTH, 6, generator=torch.Generator().manual_seed(0))
    if kind == "duplicates":
        tokens[:, 1::2] = tokens[:, ::2]
    if kind == "zeros":
        tokens[:, :10] = 0
    if kind == "all equal":
        tokens = tokens[:1, :1].expand_as(tokens).clone()
    return tokens


KINDS = ["random", "duplicates", "zeros", "all equal"]
INPUTS = pytest.mark.parametrize("kind", KINDS)


def test_there_are_builders():
    assert {"KNNGraph", "CompleteGraph", "GridGraph", "GivenGraph", "LabelGraph", "LayerGraph"} <= {
        type(builder).__name__ for builder in BUILDERS
    }


@INPUTS
@pytest.mark.parametrize("builder", [each for each in BUILDERS if each.scope == "batch"], ids=str)
def test_a_share_has_the_edges_into_its_own_nodes_and_all_where_asked(builder, kind):
    tokens = make_tokens(kind, 3)
    whole = builder(tokens).edge_index
    neighbours = whole[0].view(48, -1)  # what processes gather
    share = Share(1, 3, 3, lambda own: neighbours)
    assert torch.equal(builder(tokens, share=share).edge_index, whole[:, whole[1] >= 16])
    assert torch.equal(builder(tokens, share=share, every=True).edge_index, whole)


@INPUTS
def test_a_plain_graph_is_the_batch_without_its_bookkeeping(builder, kind):
    tokens = make_tokens(kind, 3)
    labels = torch.arange(48).view(3, 16) % 3
    batch, plain = builder(tokens, labels), builder._plain(tokens, labels)
    for name in ("x", "edge_index", "edge_weight", "batch", "image"):
        one, other = getattr(batch, name, None), getattr(plain, name)
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    known = layout_of(plain)
    assert (known.graphs, known.degree) == (batch.num_graphs, layout_of(batch).degree)


def test_graphs_of_images_are_no_share():
    with pytest.raises(InputError, match="3 graphs of a share"):
        KNNGraph(3)(make_tokens("random", 3), share=Share(0, 1, 3, lambda own: own))


@pytest.mark.parametrize("images", [1, 3])
def test_the_number_of_edges_that_is_told_is_that_of_a_graph(builder, images):
    batch = call(builder, make_tokens("random", images))
    told = builder.num_edges(batch.num_nodes // batch.num_graphs)
    assert told == (None if type(builder).__name__ == "LabelGraph" else batch.num_edges // batch.num_graphs)


@pytest.mark.parametrize(("builder", "kind", "images"), pairs(BUILDERS, KINDS, [1, 3]), indirect=["builder"], ids=str)
def test_batch_is_valid_and_sorted_by_target(builder, kind, images):
    tokens = make_tokens(kind, images)
    batch = call(builder, tokens)
    assert isinstance(batch, Batch)
    assert batch.validate()
    assert batch.num_graphs == (images if builder.scope == "image" else 1)
    assert torch.equal(batch.x, tokens.flatten(0, 1))
    assert batch.edge_index.dtype == torch.int64
    assert (batch.edge_index[1].diff() >= 0).all()
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    assert torch.unique(batch.edge_index, dim=1).shape == batch.edge_index.shape


@INPUTS
def test_building_and_reweighting_do_not_wait_for_a_device(builder, kind, refuse):
    if isinstance(builder, LabelGraph):
        pytest.skip("how many edges it has depends on the classes")
    tokens = make_tokens(kind, 3)
    expected = call(builder, tokens)
    with refuse:
        batch = call(builder, tokens)
        builder.reweight(batch, tokens.requires_grad_()).edge_weight.sum().backward()
        again = builder(batch) if builder.scope == "image" else batch
    assert torch.equal(batch.edge_index, expected.edge_index)
    assert torch.equal(again.edge_index, expected.edge_index)


@INPUTS
def test_the_same_tokens_give_the_same_graph(builder, kind):
    tokens = make_tokens(kind, 3)
    state = torch.get_rng_state()
    first, second = call(builder, tokens), call(builder, tokens.clone())
    assert torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.edge_weight, second.edge_weight)
    assert torch.equal(torch.get_rng_state(), state)


@INPUTS
def test_weights_are_differentiable_and_indices_are_not(builder, kind):
    tokens = make_tokens(kind, 2).requires_grad_()
    batch = call(builder, tokens)
    assert not batch.edge_index.requires_grad
    assert batch.edge_weight.dtype == torch.float32
    batch.edge_weight.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert kind != "random" or (tokens.grad != 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_give_finite_float32_weights(builder, dtype):
    for batch in (
        call(builder, make_tokens("random", 2).to(dtype)),
        _under_autocast(builder, make_tokens("random", 2)),
    ):
        assert batch.edge_weight.dtype == torch.float32
        assert batch.edge_weight.isfinite().all()


def _under_autocast(builder: GraphBuilder, tokens: Tensor) -> Batch:
    with torch.autocast("cpu", torch.bfloat16):
        return call(builder, tokens)


def test_equals_the_batch_that_pyg_makes(builder, same_batch, separate):
    if builder.scope == "batch":
        pytest.skip("one graph")
    batch = call(builder, make_tokens("random", 3))
    same_batch(batch, Batch.from_data_list(separate(batch)))


def test_reweight_keeps_the_very_same_edges(builder):
    batch = call(builder, make_tokens("random", 2))
    other = make_tokens("zeros", 2)[..., :4]
    scored = builder.reweight(batch, other)
    assert scored.edge_index is batch.edge_index
    assert torch.equal(scored.x, other.flatten(0, 1))
    assert scored.edge_weight.shape == batch.edge_weight.shape


def test_repr_names_the_class_and_scope(builder):
    assert str(builder).startswith(f"{type(builder).__name__}(weight=")
    assert f"scope={builder.scope}" in str(builder)


def three() -> list[Data]:
    y = torch.arange(HEIGHT * WIDTH) % 3
    return [Data(x=x, y=y.roll(i), edge_index=RING) for i, x in enumerate(make_tokens("random", 3))]


def whole(*without: str) -> Batch:
    batch = Batch.from_data_list(three())
    for name in without:
        del batch[name]
    return batch


ORDER = torch.randperm(3 * HEIGHT * WIDTH, generator=torch.Generator().manual_seed(0))
NUMBERS = torch.arange(3).repeat_interleave(HEIGHT * WIDTH)
NO_NODES = Data(x=torch.empty(0, 6), y=torch.empty(0, dtype=torch.long), edge_index=RING[:, :0])
# Whatever PyG hands over, and the number of the graph that each node is of.
HANDED = {
    "batch": (whole(), NUMBERS),
    "vector": (Data(x=whole().x, y=whole().y, batch=NUMBERS), NUMBERS),
    "any order": (Data(x=whole().x[ORDER], y=whole().y[ORDER], batch=NUMBERS[ORDER].int()), NUMBERS[ORDER]),
    "numbers with gaps": (Data(x=whole().x, y=whole().y, batch=NUMBERS * 10**15), NUMBERS),
    "batch by hand": (Batch(x=whole().x[ORDER], y=whole().y[ORDER], batch=NUMBERS[ORDER]), NUMBERS[ORDER]),
    "batch without ptr": (whole("ptr"), NUMBERS),
    "batch without vector": (whole("batch"), NUMBERS),
    "subgraph": (whole().subgraph(NUMBERS > 0), NUMBERS[NUMBERS > 0]),
    "subgraph turned round": (whole().subgraph(torch.arange(len(NUMBERS)).flip(0)), NUMBERS.flip(0)),
    "subgraph of edges": (whole().edge_subgraph(torch.arange(5)), NUMBERS),
    "graphs without nodes": (Batch.from_data_list([NO_NODES, *three()[:2], NO_NODES]), NUMBERS[: -HEIGHT * WIDTH]),
}


@pytest.mark.parametrize("form", HANDED)
def test_whatever_pyg_hands_over_is_joined_as_each_graph_alone(builder, form):
    data, numbers = HANDED[form]
    given = data.clone()
    graph = builder(data)
    expected = {}
    for number in numbers.unique() if builder.scope == "image" else [None]:
        nodes = torch.arange(len(numbers)) if number is None else (numbers == number).nonzero().flatten()
        alone = builder(Data(x=data.x[nodes], y=data.y[nodes]))
        expected |= zip(map(tuple, nodes[alone.edge_index].T.tolist()), alone.edge_weight.tolist(), strict=True)
    found = dict(zip(map(tuple, graph.edge_index.T.tolist()), graph.edge_weight.tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(found) == graph.num_edges
    assert (graph.edge_index[1].diff() >= 0).all()
    assert type(graph) is type(data)
    assert builder.scope == "image" or torch.equal(graph.image, data.batch if "batch" in data else numbers)
    # What is taken out again is a graph's own, or PyG says that it cannot be.
    if isinstance(graph, Batch) and builder.scope == "image" and form != "graphs without nodes":
        try:
            part = graph[0]
        except RuntimeError:
            assert form in ("batch by hand", "subgraph", "subgraph turned round")
        else:
            assert torch.equal(part.edge_index, builder(three()[0]).edge_index)
    assert all(torch.equal(data[name], given[name]) for name in given.to_dict() if isinstance(given[name], Tensor))
    torch.testing.assert_close(builder.reweight(graph, graph.x).edge_weight, graph.edge_weight)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (whole()[1:], "a list where one graph is needed.*Batch.from_data_list of the list"),
        (whole().index_select([0]), "a list where"),
        (HeteroData(), "a HeteroData where one graph is needed"),
        (Batch.from_data_list([HeteroData()]), "a HeteroDataBatch where"),
        (None, "a NoneType where"),
        (Batch(x=whole().x), "Batch without batch and ptr"),
        (Data(x=whole().x, batch=NUMBERS[1:]), r"batch of shape \(47,\).*for 48 nodes"),
        (Data(x=whole().x, batch=NUMBERS.float()), "batch of shape.*float32"),
        (Data(x=whole().x, batch=3), "batch of shape None and type int"),
        (Data(x=whole().x, batch=NUMBERS - 1), "batch names graph -1"),
        (Data(x=whole().x, ptr=torch.tensor([0, 16, 47])), "ptr.*of 48 nodes"),
    ],
)
def test_what_is_no_graph_or_does_not_say_whose_its_nodes_are_is_refused(builder, graph, message):
    with pytest.raises(InputError, match=message):
        builder(graph)
