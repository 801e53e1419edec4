import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trg_pyg.errors import InputError
from trg_pyg.graphs import KNNGraph

SCOPES = ["image", "batch"]


def knn_edges(tokens: Tensor, k: int, scope: str) -> list[list[int]]:
    """Edges of the paper's graph, one node after the other: for target j, its k nearest by (distance, index)."""
    points, size = tokens.double().flatten(0, 1), tokens.shape[1]
    edges = []
    for j in range(len(points)):
        others = [i for i in range(len(points)) if i != j and (scope == "batch" or i // size == j // size)]
        others.sort(key=lambda i, j=j: ((points[i] - points[j]).square().sum().item(), i))
        edges += [[i, j] for i in others[:k]]
    return edges


def test_repr_names_the_options():
    assert str(KNNGraph(3, scope="batch")).startswith("KNNGraph(weight=Gaussian, normalize=True, scope=batch, k=3")
    assert "weight=None" in str(KNNGraph(3, weight=None))


def test_two_images_of_three_tokens_on_a_line():
    tokens = torch.tensor([[[0.0], [1.0], [5.0]], [[0.2], [9.0], [8.0]]])
    image = KNNGraph(1, normalize=False)(tokens)
    assert image.edge_index.T.tolist() == [[1, 0], [0, 1], [1, 2], [5, 3], [5, 4], [4, 5]]
    batch = KNNGraph(1, normalize=False, scope="batch")(tokens)
    # Tokens 0 and 3 lie in different images and are now joined.
    assert batch.edge_index.T.tolist() == [[3, 0], [3, 1], [5, 2], [0, 3], [5, 4], [4, 5]]
    assert batch.image.tolist() == [0, 0, 0, 1, 1, 1]
    assert (image.num_graphs, batch.num_graphs) == (2, 1)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_at_most_k_neighbours_are_all_others_of_a_small_graph_and_k_of_a_large_one(scope, symmetric):
    builder = KNNGraph(3, scope=scope, symmetric=symmetric, at_most=True)
    for images, size in ((1, 2), (2, 3), (2, 4), (2, 5)):
        tokens = torch.randn(images, size, 4, generator=torch.Generator().manual_seed(size))
        nodes = size if scope == "image" else images * size
        k = min(3, nodes - 1)
        graph, wanted = builder(tokens), KNNGraph(k, scope=scope, symmetric=symmetric)(tokens)
        assert torch.equal(graph.edge_index, wanted.edge_index)
        assert torch.equal(graph.edge_weight, wanted.edge_weight)
        assert builder.fitted(nodes) == ([f"k {k} in a graph of {nodes} nodes (3 asked for)"] if k < 3 else [])
    with pytest.raises(InputError, match="a graph of a single token has no neighbours"):
        builder(torch.randn(1, 1, 4))


@settings(max_examples=30)
@given(
    scope=st.sampled_from(SCOPES),
    images=st.integers(1, 3),
    size=st.integers(2, 8),
    width=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_equals_brute_force(scope, images, size, width, seed, data):
    tokens = torch.randn(images, size, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    k = data.draw(st.integers(1, size - 1))
    graph = KNNGraph(k, normalize=False, scope=scope)(tokens)
    assert graph.edge_index.T.tolist() == knn_edges(tokens, k, scope)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", ["random", "zeros", "equal", "integers"])
def test_every_node_has_exactly_k_incoming_edges_and_no_self_loop(scope, kind):
    tokens = {
        "random": torch.randn(3, 6, 4),
        "zeros": torch.zeros(3, 6, 4),
        "equal": torch.full((3, 6, 4), 0.3),
        "integers": torch.randint(-1, 2, (3, 6, 4)).float(),
    }[kind]
    for k in (1, 3, 5):
        source, target = KNNGraph(k, scope=scope)(tokens).edge_index
        assert target.tolist() == [j for j in range(18) for _ in range(k)]
        assert (source != target).all()
        assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == 18 * k
        if scope == "image":
            assert torch.equal(source // 6, target // 6)


def test_zero_tokens_are_joined_to_the_first_others_with_weight_one():
    graph = KNNGraph(2)(torch.zeros(2, 4, 3))
    assert graph.edge_index[0].tolist() == [1, 2, 0, 2, 0, 1, 0, 1, 5, 6, 4, 6, 4, 5, 4, 5]
    assert graph.edge_weight.tolist() == [1.0] * 16


def test_normalised_tokens_are_compared_by_direction():
    # By direction token 2 is nearest to token 0, by distance token 1.
    tokens = torch.tensor([[[1.0, 0.0], [1.0, 0.5], [9.0, 0.1]]])
    assert KNNGraph(1)(tokens).edge_index[0, 0] == 2
    assert KNNGraph(1, normalize=False)(tokens).edge_index[0, 0] == 1
    assert torch.equal(KNNGraph(1)(tokens).x, tokens[0])  # x is kept as it was given


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("seed", range(4))
def test_symmetric_graph_has_both_directions_once(scope, seed):
    tokens = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    graph = KNNGraph(2, normalize=False, symmetric=True, scope=scope)(tokens)
    edges = [tuple(edge) for edge in graph.edge_index.T.tolist()]
    directed = {tuple(edge) for edge in knn_edges(tokens, 2, scope)}
    assert set(edges) == directed | {(j, i) for i, j in directed}
    assert len(edges) == len(set(edges))
    weights = dict(zip(edges, graph.edge_weight.tolist(), strict=True))
    assert all(weights[i, j] == pytest.approx(weights[j, i], rel=1e-12) for i, j in edges)


@pytest.mark.parametrize("scope", SCOPES)
def test_chunks_do_not_change_the_graph(scope):
    tokens = torch.randn(3, 10, 4)
    whole = KNNGraph(3, scope=scope)(tokens)
    for chunk_bytes in (1, 500, 1300):
        assert torch.equal(KNNGraph(3, scope=scope, chunk_bytes=chunk_bytes)(tokens).edge_index, whole.edge_index)


def test_moving_images_moves_their_graphs():
    tokens = torch.randn(3, 6, 4, dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    graph, moved = KNNGraph(2)(tokens), KNNGraph(2)(tokens[order])
    for place, image in enumerate(order.tolist()):
        assert torch.equal(moved[place].edge_index, graph[image].edge_index)
        torch.testing.assert_close(moved[place].edge_weight, graph[image].edge_weight)


@pytest.mark.parametrize("k", [6, 99])
def test_k_too_large_names_k_and_the_range(k):
    with pytest.raises(InputError, match=f"K={k} .*1 to 5"):
        KNNGraph(k)(torch.randn(2, 6, 3))
    with pytest.raises(InputError, match=r"K=12 .*1 to 11"):
        KNNGraph(12, scope="batch")(torch.randn(2, 6, 3))


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused_when_built(k):
    with pytest.raises(InputError, match=f"K={k}.*at least 1"):
        KNNGraph(k)


def test_unknown_scope_names_the_choices():
    with pytest.raises(InputError, match="scope=epoch: choose image or batch"):
        KNNGraph(2, scope="epoch")


@pytest.mark.parametrize("tokens", [torch.zeros(4, 3), torch.zeros(0, 4, 3), torch.zeros(2, 4, 3, dtype=torch.long)])
def test_tokens_of_another_shape_or_type_are_named(tokens):
    with pytest.raises(InputError) as error:
        KNNGraph(2)(tokens)
    assert str(tuple(tokens.shape)) in str(error.value)
    assert str(tokens.dtype) in str(error.value)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_tokens_of_a_network_without_training_have_their_own_neighbours(name):
    """In evaluation mode they are 1e-8 and 1e-13 long; as zero vectors all had tokens 0 to 8 as neighbours."""
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)(weights=None).eval()
        with torch.no_grad():
            x = network.features(torch.rand(1, 3, 128, 128)).flatten(2).transpose(1, 2)
    assert x.norm(dim=2).max() < 1e-6
    unit = x[0].double() / x[0].double().norm(dim=1, keepdim=True)
    apart = torch.cdist(unit, unit).fill_diagonal_(torch.inf)
    expected = apart.topk(8, largest=False).indices.sort(1).values
    assert not (expected == torch.arange(8)).all(1).any()
    found = KNNGraph(8)(x).edge_index[0].view(16, 8).sort(1).values
    # Where two distances are nearly equal, float32 may take the other token.
    assert (found == expected).all(1).float().mean() > 0.9
    assert torch.equal(KNNGraph(8)(x * 2.0**30).edge_index, KNNGraph(8)(x).edge_index)
