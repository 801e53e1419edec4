import json

import pytest
import torch

from tests.cli.test_diagnose import same, trained
from trg_pyg.cli.run import main
from trg_pyg.config.choices import read_choices
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.study.graph_probe import GraphProbe, graph_probe
from trg_pyg.study.study import build_network, prepare
from trg_pyg.study.train import Report
from trg_pyg.tokens.tokenizer import Tokenizer

NAMES = ("graph/edge_recall", "graph/edge_recall_image")
ALL = [f"{name}{of}" for name in NAMES for of in ("", "_chance", "_corrected")]


@pytest.fixture
def study(small):
    return prepare(read_choices([*small, "--method_options={TRG: {k: 3, tokens_per_image: 9}}", "--methods", "TRG"]))


def pair(study, taps="last"):
    config = study.config
    student, teacher = (
        build_network(each, study.splits, seed, taps) for seed, each in enumerate((config.student,) * 2)
    )
    return student.eval(), teacher


def edges(tokens, scope):
    return set(map(tuple, KNNGraph(3, None, scope=scope)(tokens).edge_index.t().tolist()))


def test_recall_is_that_of_a_loop_over_edges(study):
    student, teacher = pair(study)
    (method,) = study.choices.methods
    distiller = method.build(*study.pairs["last"])
    teacher.train()
    state = torch.get_rng_state()
    probe = graph_probe(study, distiller, teacher)
    measured = probe(student)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in teacher.modules())
    assert measured == probe(student)
    assert list(measured) == ALL
    # The same images and tokens, drawn as the probe draws them.
    generator = torch.Generator().manual_seed(0)
    images = study.splits.test.images[torch.randperm(12, generator=generator)]
    positions = distiller.tokenize.positions(12, generator)
    teacher.eval()
    tokens = [
        distiller.tokenize.of_student(network(images).features[0], positions).detach() for network in (student, teacher)
    ]
    for name, scope in zip(NAMES, ("batch", "image"), strict=True):
        own, wanted = (edges(x, scope) for x in tokens)
        assert 0 < len(own & wanted) < len(wanted)
        assert measured[name] == pytest.approx(len(own & wanted) / len(wanted))
        chance = 3 / (107 if scope == "batch" else 8)
        assert measured[f"{name}_chance"] == chance
        assert measured[f"{name}_corrected"] == pytest.approx((measured[name] - chance) / (1 - chance))
    of_itself = graph_probe(study, distiller, teacher)(teacher.eval())
    assert {of_itself[name] for name in ALL if not name.endswith("chance")} == {1.0}


def test_a_graph_of_too_few_tokens_has_no_recall_and_the_scope_is_the_methods(study):
    student, teacher = pair(study)
    info = study.pairs["last"].student.features[0]
    for k, scope, names in ((9, "batch", NAMES[:1]), (3, "image", NAMES[:1]), (3, "batch", NAMES), (108, "batch", ())):
        graphs = TokenGraphs(Tokenizer(info, info, tokens_per_image=9), KNNGraph(k, scope=scope))
        measured = GraphProbe(study.splits.test, graphs, teacher, study.device)(student)
        assert tuple(measured)[::3] == names, (k, scope)


def test_methods_without_token_graphs_and_those_that_are_not_asked_have_no_probe(small, study):
    _, teacher = pair(study)
    (method,) = study.choices.methods
    distiller = method.build(*study.pairs["last"])
    off = prepare(read_choices([*small, "--graph_metrics=false", "--methods", "TRG", "SP"]))
    assert graph_probe(off, distiller, teacher) is None
    sp = off.choices.methods[1].build(*off.pairs["last"])
    assert graph_probe(study, sp, teacher) is None


def metrics(output, method):
    (file,) = output.glob(f"*/*-*/{method}-*/seed0/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_training_is_the_same_with_and_without_but_for_the_metric(small, tmp_path):
    given = [*small, "--quiet", "--methods", "TRG", "TRGPaper", "KD", "--train.eval_every=2", "--train.epochs=3"]
    with_it, without = tmp_path / "runs", tmp_path / "without"
    assert main(given) == 0
    assert main([*given, f"--output={without}", "--graph_metrics=false"]) == 0
    for method in ("TRG", "TRGPaper"):
        lines = metrics(with_it, method)
        assert ["graph/edge_recall" in line for line in lines] == [False, True, True]
        assert all(0 < line[name] <= 1 for line in lines[1:] for name in NAMES)
    assert not any(name.startswith("graph/") for line in metrics(with_it, "KD") for name in line)
    found, expected = trained(with_it), trained(without)
    # In the same folders, that of the same settings.
    assert found.keys() == expected.keys()
    for folder, (weights, history, rest) in found.items():
        plain = [{name: value for name, value in line.items() if name not in ALL} for line in history]
        assert same((weights, plain, rest), expected[folder])


def test_a_resumed_training_has_the_metrics_of_an_uninterrupted_one(small, tmp_path, monkeypatch):
    given = [*small, "--quiet", "--methods", "TRG", "--train.epochs=3"]
    assert main(given) == 0
    whole = trained(tmp_path / "runs")

    class Stopped(Exception):
        pass

    def epoch(self, metrics):
        reported(self, metrics)
        if metrics["epoch"] == 2:
            raise Stopped

    reported = Report.epoch
    cut = [*given, f"--output={tmp_path / 'cut'}"]
    with monkeypatch.context() as patch:
        patch.setattr(Report, "epoch", epoch)
        with pytest.raises(Stopped):
            main(cut)
    assert main([*cut, "--resume"]) == 0
    assert len(metrics(tmp_path / "cut", "TRG")) == 3
    assert all("graph/edge_recall" in line for line in metrics(tmp_path / "cut", "TRG"))
    assert same(trained(tmp_path / "cut"), whole)
