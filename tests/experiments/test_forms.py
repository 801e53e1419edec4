"""Each form of TRG that a study tries changes what it says, and nothing else."""

import loss_equations as equations
import pytest
import torch
from torch.nn.functional import linear

from experiments.studies.forms import Layered, Mimicry, Normed, Pruned, Queued, QueuedContrast, Semantic, Stopped
from trg_pyg.distillers import TRG
from trg_pyg.models import Networks
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs, TappedModel
from trg_pyg.models.zoo import build_model
from trg_pyg.step import Step

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


def test_stopped_relations_weigh_nothing_from_then_on(pair):
    form, trg = same_weights(Stopped, stop=0.4)
    early, late = step(0.3), step(0.4)
    assert form(*pair, early).total == trg(*pair, step(0.3)).total
    losses = form(*pair, late)
    torch.testing.assert_close(losses.total.detach(), losses.parts["ce"] + losses.parts["kd"])


def test_normed_projections_have_mean_zero_and_one_scale(pair):
    form, _ = same_weights(Normed)
    student, teacher = torch.randn(9, 6), torch.randn(9, 7)
    projected = form.contrast.project_student(student), form.contrast.project_teacher(teacher)
    scaled = [(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in projected]
    torch.testing.assert_close(form.contrast(student, teacher, 0.1), equations.info_nce(*scaled, 0.1))
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
    found = form.others(*outputs, step(networks=Networks(*networks)))
    for name, (_, value) in expected.items():
        torch.testing.assert_close(found[name][1], value)
