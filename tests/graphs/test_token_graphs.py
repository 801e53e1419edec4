import pytest
import torch

from trg_pyg.distillers import KD, LSP, TRG, Relational, TermDistiller, TRGPaper, default_token_graphs
from trg_pyg.divergences import MSE
from trg_pyg.graphs import CompleteGraph, GraphBuilder, GridGraph, KNNGraph, LabelGraph, TokenGraphs, edge_recall
from trg_pyg.models.taps import FeatureInfo, NetworkInfo
from trg_pyg.nodes import Tokens
from trg_pyg.relations import Distance, Gaussian
from trg_pyg.tokens import Tokenizer


@pytest.fixture
def networks():
    return tuple(NetworkInfo(5, (FeatureInfo("map", "map", width, (4, 4)),)) for width in (6, 4))


def graphs(tokens, k, width=5):
    info = FeatureInfo("map", "map", width, (1, tokens))
    return TokenGraphs(Tokenizer(info, info), KNNGraph(k, scope="batch"))


def test_shares_are_those_of_a_loop_over_edges(tokens):
    student, teacher, k = tokens(6, 4, 5), tokens(6, 4, 5, seed=1), 3
    target, tail = torch.tensor([0, 1, 1, 2, 0, 1]), torch.tensor([False, True, True])
    measures = graphs(4, k).measure(student, teacher, target, tail)
    for suffix, x in {"": teacher, "_student": student}.items():
        edges = KNNGraph(k, None, scope="batch")(x).edge_index.t().tolist()
        cross = [(s // 4, t // 4) for s, t in edges if s // 4 != t // 4]
        assert 0 < len(cross) < len(edges)
        share = "cross/student" if suffix else "cross/share"
        assert measures[share] == pytest.approx(len(cross) / len(edges))
        same = sum(bool(target[s] == target[t]) for s, t in cross)
        assert measures[f"cross/same_class{suffix}"] == pytest.approx(same / len(cross))
        rare = sum(bool(tail[target[s]]) for s, _ in cross)
        assert measures[f"cross/tail{suffix}"] == pytest.approx(rare / len(cross))
    for scope, others in {"image": 3, "batch": 23}.items():
        own, wanted = (
            set(map(tuple, KNNGraph(k, None, scope=scope)(x).edge_index.t().tolist())) for x in (student, teacher)
        )
        assert measures[f"recall/{scope}"] == pytest.approx(len(own & wanted) / len(wanted))
        assert measures[f"recall/{scope}_chance"] == k / others
        corrected = (measures[f"recall/{scope}"] - k / others) / (1 - k / others) if k < others else None
        assert measures[f"recall/{scope}_corrected"] == corrected


def test_a_complete_graph_has_the_shares_of_chance(tokens):
    target, tail = torch.tensor([0, 1, 1, 2, 0, 1]), torch.tensor([False, True, True])
    measures = graphs(4, 23).measure(tokens(6, 4, 5), tokens(6, 4, 5, seed=1), target, tail)
    assert "recall/image" not in measures
    for name in ("recall/batch", "cross/share", "cross/same_class", "cross/tail"):
        assert measures[name] == pytest.approx(measures[f"{name}_chance"]), name


def test_random_graphs_are_at_the_level_of_chance(tokens):
    target = torch.arange(40) % 4
    measures = graphs(8, 3, width=64).measure(tokens(40, 8, 64), tokens(40, 8, 64, seed=1), target, None)
    for name in ("recall/image", "recall/batch", "cross/share", "cross/same_class"):
        assert measures[name] == pytest.approx(measures[f"{name}_chance"], rel=0.25, abs=0.02), name


def test_what_a_single_image_does_not_have_is_none_and_too_few_tokens_have_no_graph(tokens):
    one = graphs(4, 3).measure(tokens(1, 4, 5), tokens(1, 4, 5, seed=1), torch.tensor([0]), torch.tensor([True]))
    assert one["recall/image"] == one["recall/batch"] == 1.0
    assert one["cross/share"] == one["cross/share_chance"] == 0
    assert one["cross/same_class"] is one["cross/same_class_chance"] is one["cross/tail"] is None
    assert graphs(4, 4).measure(tokens(1, 4, 5), tokens(1, 4, 5), torch.tensor([0]), None) == {}


def test_all_options_of_a_trg_are_taken(tokens):
    info = FeatureInfo("map", "map", 5, (4, 4))
    network = NetworkInfo(5, (info,))
    options = {"k": 2, "patch": 2, "tokens_per_image": None, "normalize": False, "symmetric": True, "sigma": 0.3}
    trg = TRG(network, network, scope="image", **options)
    graphs = trg.token_graphs
    assert (graphs.tokenize.num_tokens, graphs.edges.scope, graphs.inner_on_graph) == (4, "image", True)
    x = tokens(3, 4, 20)
    built, wanted = graphs.builder("image")(x), trg.image_graph(x)
    assert torch.equal(built.edge_index, wanted.edge_index)
    assert torch.equal(built.edge_weight, wanted.edge_weight)
    assert not TRGPaper(network, network).token_graphs.inner_on_graph


@pytest.mark.parametrize("side", [1, 3, 8])
def test_the_defaults_are_those_of_a_trg_without_options(side):
    info = FeatureInfo("map", "map", 5, (side, side))
    state = torch.get_rng_state()
    default = default_token_graphs(info, info)
    assert torch.equal(torch.get_rng_state(), state)
    network = NetworkInfo(5, (info,))
    of_trg = TRG(network, network).token_graphs
    assert str(default.edges) == str(of_trg.edges)
    assert default.edges.weight.sigma == of_trg.edges.weight.sigma
    assert default.tokenize.num_tokens == of_trg.tokenize.num_tokens == min(16, side**2)
    assert default.inner_on_graph == of_trg.inner_on_graph
    assert (default.of_method, of_trg.of_method) == (False, True)


class Mutual(GraphBuilder):
    """A builder of somebody's own, which may join nothing."""

    def __init__(self):
        super().__init__(None, scope="batch")

    def connect(self, x):
        edges = KNNGraph(2, None).connect(x)
        wanted = {(t, s) for s, t in edges.T.tolist()}
        return edges[:, [(s, t) in wanted for s, t in edges.T.tolist()]]


def test_a_relational_method_has_those_whose_edges_depend_on_what_tokens_are(networks, tokens):
    class Mine(TermDistiller):
        def __init__(self, *networks, **options):
            terms = {
                name: (1.0, Relational(Tokens(*networks), edges, Distance(), MSE())) for name, edges in options.items()
            }
            super().__init__(*networks, terms=terms)

    mine = Mine(*networks, ring=GridGraph(4, 4, None), all=CompleteGraph(None), own=Mutual(), label=LabelGraph())
    graphs = mine.token_graphs
    assert isinstance(graphs.edges, Mutual)
    assert (graphs.k, graphs.of_method, graphs.inner_on_graph) == (None, True, False)
    x, y = tokens(3, 16, 4), tokens(3, 16, 4, seed=1)
    measures = graphs.measure(x, y, torch.tensor([0, 1, 1]), None)
    own, wanted = (Mutual()(each) for each in (x, y))
    assert measures["recall/batch"] == edge_recall(own, wanted).item()
    assert measures["recall/batch_chance"] == own.num_edges / (48 * 47)
    unit = torch.nn.functional.normalize(own.x, dim=1)
    torch.testing.assert_close(graphs.builder("batch")(x).edge_weight, Gaussian().between(unit, own.edge_index))
    assert Mine(*networks, grid=GridGraph(4, 4, None)).token_graphs is None
    assert LSP(*networks).token_graphs is KD(*networks).token_graphs is None
    assert LSP(*networks, edges="knn").token_graphs.k == 8
