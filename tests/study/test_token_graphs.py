import pytest
import torch

from trg_pyg.distillers.kd import KD
from trg_pyg.distillers.trg import TRG
from trg_pyg.distillers.trg_paper import TRGPaper
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.models.taps import FeatureInfo, NetworkInfo
from trg_pyg.study.token_graphs import TokenGraphs
from trg_pyg.tokens.tokenizer import Tokenizer


def graphs(tokens, k, width=5):
    info = FeatureInfo("map", "map", width, (1, tokens))
    return TokenGraphs(Tokenizer(info, info), k, True)


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


def test_tokens_are_trgs_own_or_its_defaults_or_all_that_there_are():
    wide, narrow = FeatureInfo("a", "map", 5, (8, 8)), FeatureInfo("b", "map", 5, (3, 3))
    kd = KD(NetworkInfo(5, (wide,)), NetworkInfo(5, (wide,)))
    usual, few = TokenGraphs.of(kd, wide, wide), TokenGraphs.of(kd, wide, narrow)
    assert (usual.k, usual.tokenize.num_tokens, few.k, few.tokenize.num_tokens) == (8, 16, 8, 9)


def test_all_options_of_a_trg_are_taken(tokens):
    info = FeatureInfo("map", "map", 5, (4, 4))
    network = NetworkInfo(5, (info,))
    options = {"k": 2, "patch": 2, "tokens_per_image": None, "normalize": False, "symmetric": True, "sigma": 0.3}
    trg = TRG(network, network, scope="image", **options)
    graphs = TokenGraphs.of(trg, info, info)
    assert (graphs.tokenize.num_tokens, graphs.scope, graphs.inner_on_graph) == (4, "image", True)
    x = tokens(3, 4, 20)
    built, wanted = graphs.builder("image")(x), trg.image_graph(x)
    assert torch.equal(built.edge_index, wanted.edge_index)
    assert torch.equal(built.edge_weight, wanted.edge_weight)
    assert not TokenGraphs.of(TRGPaper(network, network), info, info).inner_on_graph


def test_the_defaults_are_those_of_a_trg_without_options(tokens):
    info = FeatureInfo("map", "map", 5, (8, 8))
    network = NetworkInfo(5, (info,))
    of_kd, of_trg = (TokenGraphs.of(cls(network, network), info, info) for cls in (KD, TRG))
    for name in ("k", "normalize", "symmetric", "scope", "inner_on_graph"):
        assert getattr(of_kd, name) == getattr(of_trg, name), name
    assert (of_kd.of_method, of_trg.of_method) == (False, True)
    x = tokens(2, 16, 5)
    for scope in ("image", "batch"):
        assert torch.equal(of_kd.builder(scope)(x).edge_weight, of_trg.builder(scope)(x).edge_weight)
