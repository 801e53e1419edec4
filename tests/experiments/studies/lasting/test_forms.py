"""Each form of TRG that a study tries changes what it says, and nothing else."""

from copy import deepcopy

import loss_equations as equations
import pytest
import torch
from torch.nn.functional import linear, normalize

from experiments.studies.lasting.forms import (
    Faded,
    Layered,
    Mimicry,
    Normed,
    OneSided,
    OneSidedLoss,
    Pruned,
    Queued,
    QueuedContrast,
    Remembered,
    Semantic,
    Weighed,
    Whitened,
    WhitenedGram,
)
from trg_pyg.distillers import TRG
from trg_pyg.graphs import KNNGraph
from trg_pyg.models import Networks
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs, TappedModel
from trg_pyg.models.zoo import build_model
from trg_pyg.step import Step
from trg_pyg.tokens.tokenizer import Tokenizer

CLASSES, IMAGES = 4, 5
OPTIONS = {"tokens_per_image": 6, "k": 3, "projection_dim": 4}


def info(*channels: int) -> NetworkInfo:
    features = [FeatureInfo(f"layer{i}", "map", c, (4, 4)) for i, c in enumerate(channels)]
    return NetworkInfo(CLASSES, tuple(features), channels[-1])


INFOS = info(3, 6), info(5, 7)


def drawn(of: NetworkInfo, seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    features = [torch.randn(IMAGES, f.channels, 4, 4, generator=generator).requires_grad_() for f in of.features]
    return Outputs(torch.randn(IMAGES, CLASSES, generator=generator), tuple(features))


@pytest.fixture
def pair():
    return drawn(INFOS[0], 0), drawn(INFOS[1], 1)


def step(progress: float = 0.5, **more) -> Step:
    return Step(torch.tensor([0, 1, 1, 3, 0]), progress, torch.Generator().manual_seed(0), **more)


def same_weights(form, **options):
    """A form and TRG, whose projections are drawn alike."""
    made = []
    for cls, own in ((form, options), (TRG, {})):
        torch.manual_seed(0)
        made.append(cls(*INFOS, **OPTIONS, **own))
    return made


@pytest.mark.parametrize(
    ("progress", "share"), [(0.3, 1), (0.4, 1), (0.6, 0.5), (0.7, 0.5 - 0.5**1.5), (0.8, 0), (1, 0)]
)
def test_relations_are_held_and_fade_as_half_a_cosine(progress, share, pair):
    form, trg = same_weights(Faded, hold=0.4, end=0.8)
    parts, whole = form.others(*pair, step(progress)), trg.others(*pair, step(progress))
    for name, (weight, value) in whole.items():
        assert parts[name] == (pytest.approx(share * weight), value)


def test_relations_that_end_where_they_are_held_stop_at_once(pair):
    form, _ = same_weights(Faded, hold=0.4, end=0.4)
    shares = [form._share(progress) for progress in (0.39, 0.4, 0.41)]
    assert shares == [1, 0, 0]


@pytest.mark.parametrize("projections", [1, 3])
def test_normed_projections_have_mean_zero_and_one_scale(projections, pair):
    form, _ = same_weights(Normed, projections=projections)
    student, teacher = torch.randn(9, 6), torch.randn(9, 7)

    def scaled(x):
        return (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()

    heads = [scaled(linear(student, head[0].weight, head[0].bias)) for head in form.contrast.student_heads]
    assert len(heads) == projections
    expected = equations.info_nce(sum(heads) / projections, scaled(form.contrast.project_teacher(teacher)), 0.1)
    torch.testing.assert_close(form.contrast(student, teacher, 0.1), expected)
    form(*pair, step()).total.backward()
    assert form.contrast.project_teacher.weight.grad is None


def test_what_is_queued_is_a_negative(pair):
    loss = QueuedContrast(6, 7, 4, CLASSES, size=2)
    student, teacher, earlier = torch.randn(9, 6), torch.randn(9, 7), torch.randn(3, 7)
    loss.push(torch.cat([torch.zeros(1, 7), earlier]), torch.tensor([1, 1, 1, 2]))  # the oldest of class 1 is gone
    assert loss.added.tolist() == [0, 3, 1, 0]
    kept = earlier[[1, 0, 2]]
    a, b = loss.project_student(student), loss.project_teacher(torch.cat([teacher, kept]))
    logits = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T / 0.1
    torch.testing.assert_close(loss(student, teacher, 0.1), torch.nn.functional.cross_entropy(logits, torch.arange(9)))


def test_one_token_of_each_image_is_queued_in_training_alone(pair):
    form, trg = same_weights(Queued)
    form.load_state_dict(trg.state_dict(), strict=False)
    first = form(*pair, step())
    torch.testing.assert_close(first.total, trg(*pair, step()).total)
    assert form.contrast.added.tolist() == [2, 2, 0, 1]
    assert form(*pair, step()).parts["global"] > first.parts["global"]
    form.eval()(*pair, step())
    assert form.contrast.added.tolist() == [4, 4, 0, 2]


def test_layers_are_two_of_trg(pair):
    form, _ = same_weights(Layered, earlier=0.5)
    one_up = [outputs._replace(features=outputs.features[:1]) for outputs in pair]
    generator = step()
    parts = form.others(*pair, generator)
    again = step()
    last = TRG.others(form, *pair, again)
    before = form.lower.others(*one_up, again)
    assert parts.keys() == {*last, *(f"{name}-2" for name in before)}
    for name, (weight, value) in before.items():
        torch.testing.assert_close(parts[f"{name}-2"], (0.5 * weight, value))


def test_images_of_the_last_batches_are_those_of_rrd(pair):
    form, trg = same_weights(Remembered, images=3.0)
    pair = [each._replace(embedding=each.features[-1].mean((2, 3))) for each in pair]
    rrd = deepcopy(form.among_images)
    assert form.others(*pair, step()) == trg.others(*pair, step()) | rrd.others(*pair, step())
    assert rrd.term_weights == {"queue": 3.0}


def test_tokens_of_the_last_batches_are_compared_as_rrd_compares_images(pair):
    form, trg = same_weights(Remembered, images=0.0, tokens=3.0)
    weight, value = form.others(*pair, step())["tokens"]
    again = step()
    trg.others(*pair, again)  # draws what TRG draws
    tokens = Tokenizer(INFOS[0].features[-1], INFOS[1].features[-1], tokens_per_image=4)(
        pair[0].features[-1], pair[1].features[-1].detach(), again.generator
    )
    nodes = form.among_tokens.terms["queue"].images.nodes
    s, t = (
        normalize(embed(x.flatten(0, 1)))
        for embed, x in zip((nodes.embed_student, nodes.embed_teacher), tokens, strict=True)
    )
    # The queue holds nothing but this batch: 4 tokens of 5 images.
    wanted = -((t @ t.T / 0.02).softmax(1) * (s @ t.T / 0.1).log_softmax(1)).sum(1).mean()
    assert weight == 3.0
    torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize("keep", ["mutual", "agreeing"])
def test_edges_are_pruned_as_said(keep, pair):
    form, trg = same_weights(Pruned, keep=keep, sure=0.4)
    probability = pair[1].logits.softmax(1)
    form.others(*pair, step())
    tokens = torch.randn(IMAGES, 6, 6), torch.randn(IMAGES, 6, 7)
    whole, pruned = (each._joint_graphs(*tokens, None)[1] for each in (trg, form))
    edges = {(int(s), int(t)) for s, t in whole.edge_index.T}
    label = [int(p.argmax()) if p.max() >= 0.4 else None for p in probability]

    def wanted(s: int, t: int) -> bool:
        if keep == "mutual":
            return (t, s) in edges
        one, other = label[s // 6], label[t // 6]
        return one is None or other is None or one == other

    expected = {edge for edge in edges if wanted(*edge)}
    assert {(int(s), int(t)) for s, t in pruned.edge_index.T} == expected
    assert 0 < len(expected) < len(edges)
    assert form(*pair, step()).total.isfinite()


def cosines(x):
    unit = torch.nn.functional.normalize(x.double())
    return unit @ unit.T


@pytest.mark.parametrize("images", [True, False])
def test_one_sided_is_its_equation(images):
    graph = KNNGraph(2, scope="image" if images else "batch")
    teacher = graph(torch.randn(3, 5, 7))
    student = torch.randn(15, 6, requires_grad=True)
    found = OneSidedLoss(images)(graph.reweight(teacher, student), teacher)
    c_s, c_t = cosines(student), cosines(teacher.x)
    pairs = [(i, j) for i in range(15) for j in range(15) if i != j and (not images or i // 5 == j // 5)]
    edges = [(int(i), int(j)) for i, j in teacher.edge_index.T]
    others = [pair for pair in pairs if pair not in edges]
    median = torch.stack([c_t[pair] for pair in pairs]).median()
    far = sum((c_t[pair] - c_s[pair]).clamp_min(0) for pair in edges) / len(edges)
    near = sum((c_s[pair] - max(c_t[pair], median)).clamp_min(0) for pair in others) / len(others)
    torch.testing.assert_close(found, (far + near).float())
    for one, other in zip(*(torch.autograd.grad(loss, student) for loss in (found, far + near)), strict=True):
        torch.testing.assert_close(one, other)


def test_whitened_is_its_equation():
    student, teacher = torch.randn(15, 6, requires_grad=True), torch.randn(3, 5, 7)
    graphs = KNNGraph(2)(teacher)
    found = WhitenedGram(0.1)(KNNGraph(2).reweight(graphs, student), graphs)
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(3):
        c_s, c_t = cosines(student[5 * i : 5 * i + 5]), cosines(teacher[i])
        value, vector = torch.linalg.eigh(c_t + 0.1 * torch.eye(5))
        white = vector @ value.rsqrt().diag() @ vector.T
        expected = expected + (white @ (c_s - c_t) @ white).square().mean() / 3
    torch.testing.assert_close(found, expected.float())
    for one, other in zip(*(torch.autograd.grad(loss, student) for loss in (found, expected)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("form", [OneSided, Whitened])
def test_of_equal_tokens_nothing_is_left_of_inner(form):
    trg = form(INFOS[1], INFOS[1], **OPTIONS)
    tokens = torch.randn(IMAGES, 6, 7)
    torch.testing.assert_close(trg.compare(tokens, tokens, 0.07)["inner"], torch.tensor(0.0))


def test_images_of_which_the_teacher_is_unsure_weigh_more(pair):
    form, trg = same_weights(Weighed)
    alike = pair[1]._replace(logits=torch.zeros(IMAGES, CLASSES))
    parts, whole = form.others(pair[0], alike, step()), trg.others(pair[0], alike, step())
    torch.testing.assert_close(parts, whole)  # equal weights are none
    sure = torch.zeros(IMAGES, CLASSES)
    sure[1:, 0] = 100.0  # the first image alone has a weight
    found = form.others(pair[0], pair[1]._replace(logits=sure), step())["global"][1]
    tokens = trg.tokenize(pair[0].features[-1], pair[1].features[-1], step().generator)
    a, b = (x.flatten(0, 1) for x in (trg.contrast.project_student(tokens[0]), trg.contrast.project_teacher(tokens[1])))
    logits = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T / 0.07
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits[:6], torch.arange(6)))


def test_mimicry_knows_no_other_token(pair):
    form = Mimicry(*INFOS, **OPTIONS)
    assert [*form(*pair, step()).parts] == ["ce", "kd", "global"]
    student, teacher = torch.randn(9, 6), torch.randn(9, 7)
    alone = [form.contrast(student[i : i + 1], teacher[i : i + 1]) for i in range(9)]
    torch.testing.assert_close(form.contrast(student, teacher), torch.stack(alone).mean())


def test_semantic_tokens_are_the_class_scores_at_each_place():
    networks = [TappedModel(build_model("resnet8", CLASSES)).eval() for _ in range(2)]
    infos = [network.describe(32) for network in networks]
    images = torch.randn(IMAGES, 3, 32, 32)
    outputs = [network(images) for network in networks]
    torch.manual_seed(0)
    form = Semantic(*infos, **OPTIONS)
    scored = []
    for network, out in zip(networks, outputs, strict=True):
        fc = network.model.fc
        places = [[linear(out.features[-1][..., i, j], fc.weight, fc.bias) for j in range(8)] for i in range(8)]
        scores = torch.stack([torch.stack(row, -1) for row in places], -2)
        scored.append(out._replace(features=(scores,)))
    expected = TRG.others(form, *scored, step())
    found = form(*outputs, step(networks=Networks(*networks))).parts
    for name, (_, value) in expected.items():
        torch.testing.assert_close(found[name], value)
