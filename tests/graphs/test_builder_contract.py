"""What every builder promises, for every builder that there is: a new file is tested as soon as it exists."""

import inspect

import pytest
import torch
from pairs import pairs
from torch import Tensor
from torch_geometric.data import Batch

import trg_pyg.graphs
from trg_pyg._discover import subclasses
from trg_pyg.graphs import GraphBuilder

HEIGHT, WIDTH = 4, 4
RING = torch.stack([torch.arange(16), torch.arange(16).roll(1)])
ARGUMENTS = {"k": 3, "height": HEIGHT, "width": WIDTH, "edge_index": RING, "num_nodes": 16}


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
