"""StagedKD: its form written out, its phases in a training, and what it remembers of each clip."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.training.test_open_step import stop_after
from trg_pyg.batch import Batch
from trg_pyg.data import VideoSet
from trg_pyg.distillers import StagedKD
from trg_pyg.errors import InputError
from trg_pyg.models import TappedModel, c3d
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.loop import Trainee, check_batches, fit_together
from trg_pyg.training.stop import StopRequest, TrainingStopped

CLASSES, LABELLED, UNLABELLED = 4, 4, 3
PROGRESS = {1: 0.1, 2: 0.2, 3: 0.6}  # in each phase


def described(*widths: int) -> NetworkInfo:
    taps = [FeatureInfo(f"stage{number}", "volume", width, (2, 3, 3)) for number, width in enumerate(widths)]
    return NetworkInfo(CLASSES, tuple(taps), widths[-1])


STUDENT, TEACHER = described(3, 4, 5), described(6, 5, 7)


def drawn(info: NetworkInfo, rows: int, seed: int) -> Outputs:
    draws = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=draws, dtype=torch.float64).requires_grad_()

    return Outputs(draw(CLASSES), tuple(draw(*tap.shape) for tap in info.features))


def made(**options) -> StagedKD:
    torch.manual_seed(0)
    method = StagedKD(STUDENT, TEACHER, **options)
    method.pool_sizes = {"unlabelled": 9}
    method.bind(torch.arange(8) % CLASSES, torch.Generator())
    return method


def step_of(progress: float, unlabelled: bool = True) -> Step:
    index = torch.tensor([6, 1, 3, 4])
    step = Step(index % CLASSES, progress, torch.Generator(), index)
    if not unlabelled:
        return step
    places = torch.tensor([2, 8, 5])
    pool = {"unlabelled": Batch(None, torch.zeros(3).long(), places, whole=3)}
    return replace(step, rows=(LABELLED, UNLABELLED), pool=pool)


def pearson(x: list[Tensor], y: list[Tensor]) -> Tensor:
    a, b = torch.stack(x), torch.stack(y)
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()


def cosines(g: Tensor) -> list[Tensor]:
    pairs = [(b, c) for b in range(len(g)) for c in range(b + 1, len(g))]
    return [(g[b] @ g[c]) / (g[b].norm() * g[c].norm()) for b, c in pairs]


def gaussian_kl(mean: float, var: float, other_mean: float, other_var: float) -> float:
    return 0.5 * (math.log(other_var / var) + (var + (mean - other_mean) ** 2) / other_var - 1)


def expected(method: StagedKD, student: Outputs, teacher: Outputs, step: Step, active: int) -> dict[str, Tensor]:
    """The parts as the class has them in words, item by item."""
    ours = [feature.mean((2, 3, 4)) for feature in student.features[:active]]
    theirs = [feature.detach().mean((2, 3, 4)) for feature in teacher.features[:active]]
    logits = [g @ head.weight.T + head.bias for head, g in zip(method.heads, ours, strict=False)]
    logits += [student.logits] if active == 3 else []
    distance, fit = [], torch.zeros((), dtype=torch.float64)
    for number in range(active):
        s, t = ours[number].detach(), theirs[number]
        s, t = s / s.square().mean().sqrt(), t / t.square().mean().sqrt()
        mapped = s @ method.maps[number].weight.T + method.maps[number].bias
        fit = fit + (mapped - t).square().mean()
        columns = []
        for one, other in zip(mapped.detach().T, t.T, strict=True):
            each = [(x.mean().item(), x.var(correction=0).item() + 1e-3) for x in (one, other)]
            columns.append(gaussian_kl(*each[0], *each[1]) + gaussian_kl(*each[1], *each[0]))
        now = sum(columns) / len(columns)
        now = now / (1 + now)
        distance.append(0.9 * method.distance[number].item() + 0.1 * now)
    total = sum(math.exp(-d) for d in distance)
    weights = [active * math.exp(-d) / total for d in distance]

    said = (teacher.logits.detach().softmax(1) + sum(z.detach().softmax(1) for z in logits)) / (1 + active)
    m, ce, kd, correlation = 0.3 * step.progress, 0.0, 0.0, 0.0
    for s, (weight, z) in enumerate(zip(weights, logits, strict=True)):
        for row, (item, target) in enumerate(zip(step.index.tolist(), step.target.tolist(), strict=True)):
            q = 0.9 * method.memory[item] + 0.1 * said[row]
            truth = m * q
            truth[target] += 1 - m
            assert truth.sum().item() == pytest.approx(1)
            ce = ce - weight * truth @ z[row].log_softmax(0) / LABELLED
        for row, item in enumerate(step.pool["unlabelled"].index.tolist(), LABELLED):
            known = method.guesses[item]
            q = 0.9 * known + 0.1 * said[row] if known.sum() > 0 else said[row]
            if q.max() > method.confidence:
                ce = ce - weight * q @ z[row].log_softmax(0) / UNLABELLED
        p = (teacher.logits.detach() / 4).softmax(1)
        kd = kd + weight * 16 * (p * (p.log() - (z / 4).log_softmax(1))).sum() / len(z)
        alike = [pearson(cosines(ours[j]), cosines(theirs[s])).item() for j in range(s + 1)]
        shares = [math.exp(r / 0.1) for r in alike]
        for j, share in enumerate(shares):
            rho = share / sum(shares)
            correlation = correlation + weight * rho * (1 - pearson(cosines(ours[j]), cosines(theirs[j])))
    return {"ce": ce, "kd": kd, "correlation": correlation, "fit": fit}


@pytest.mark.parametrize("active", [1, 2, 3])
def test_the_parts_and_their_gradients_are_those_of_the_form(active):
    method = made(confidence=0.35).double()
    method.distance += torch.tensor([0.4, 1.2, 0.1])
    method.guesses[8] = torch.tensor([0.7, 0.1, 0.1, 0.1])
    student, teacher = drawn(STUDENT, 7, 1), drawn(TEACHER, 7, 2)
    step = step_of(PROGRESS[active])
    wanted = expected(method, student, teacher, step, active)
    found = method.weighted_parts(student, teacher, step)
    assert {name: weight for name, (weight, _) in found.items()} == {"ce": 1, "kd": 1, "correlation": 1, "fit": 1}
    inputs = [student.logits, *student.features, *method.parameters(), teacher.logits, *teacher.features]
    for name, (_, value) in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-9, atol=1e-12)
        grads, hoped = (
            torch.autograd.grad(each, inputs, allow_unused=True, materialize_grads=True, retain_graph=True)
            for each in (value, wanted[name])
        )
        for number, (grad, want) in enumerate(zip(grads, hoped, strict=True)):
            # Before the newest substage it is a tenth, until all learn alike; of the head there it is not.
            rate = 0.1 if active == 2 and number == 1 else 1.0
            torch.testing.assert_close(grad, rate * want, rtol=1e-7, atol=1e-10)


def test_a_correlation_is_perfect_for_equal_features_up_to_scale_and_rotation():
    teacher = drawn(TEACHER, 5, 2)
    turn = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0]
    turned = 3 * torch.einsum("bcthw,cd->bdthw", teacher.features[-1], turn)
    method = StagedKD(described(7), TEACHER, stages=1, pseudo=0)
    step = Step(torch.arange(5) % CLASSES, 0.5, torch.Generator())
    parts = method.weighted_parts(Outputs(teacher.logits, (turned,)), teacher, step)
    assert parts["correlation"][1].item() == pytest.approx(0, abs=1e-12)
    assert parts["kd"][1].item() == pytest.approx(0, abs=1e-12)
    assert parts.keys() == {"ce", "kd", "correlation"}  # one substage has nothing to be balanced with


def test_a_substage_whose_features_tell_nothing_of_the_teachers_weighs_less():
    method = made().double()
    draws = torch.Generator().manual_seed(0)
    theirs = [torch.randn(40, width, generator=draws, dtype=torch.float64) for width in (6, 5, 7)]
    ours = [torch.randn(40, width, generator=draws, dtype=torch.float64) for width in (3, 4)]
    ours.append(theirs[2] @ torch.randn(7, 5, generator=draws, dtype=torch.float64))
    fits = []
    optimizer = torch.optim.Adam(method.maps.parameters(), lr=0.02)
    for _ in range(200):
        weights, fit = method._balanced(ours, theirs, 3)
        optimizer.zero_grad()
        fit.backward()
        optimizer.step()
        fits.append(fit.item())
    assert fits[-1] < fits[0]
    assert weights.sum().item() == pytest.approx(3)
    assert weights[2] > weights[:2].max()


def test_without_its_parts_it_is_cross_entropy_and_logit_distillation_of_the_network():
    method = made(stages=1, correlation_weight=0, pseudo=0).double()
    student, teacher = drawn(STUDENT, 7, 1), drawn(TEACHER, 7, 2)
    parts = method.weighted_parts(student, teacher, step_of(0.5))
    assert parts.keys() == {"ce", "kd"}
    assert not list(method.parameters())
    assert method.restarts == ()
    target = step_of(0.5).target
    torch.testing.assert_close(parts["ce"][1], torch.nn.functional.cross_entropy(student.logits[:4], target))


def test_what_was_said_of_an_item_is_remembered_and_an_item_that_occurs_twice_counts_once():
    method = made(stages=1)
    said = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 1.0]])
    index = torch.tensor([5, 2, 5])
    first = method._remembered(method.guesses, index, said)
    torch.testing.assert_close(first, said[[0, 1, 0]])
    again = method._remembered(method.guesses, index, said.flip(0))
    torch.testing.assert_close(again[0], 0.9 * said[0] + 0.1 * said[2])
    torch.testing.assert_close(method.guesses[5], again[0])
    assert (method.guesses.sum(1) > 0).sum() == 2
    method.eval()
    method._remembered(method.guesses, index, said)
    torch.testing.assert_close(method.guesses[5], again[0])


def clips(count: int, seed: int) -> VideoSet:
    targets = torch.arange(count) % CLASSES
    noise = torch.randint(60, (count, 3, 4, 8, 8), generator=torch.Generator().manual_seed(seed))
    return VideoSet((noise + 40 * targets.view(-1, 1, 1, 1, 1)).byte(), targets)


SETS = clips(16, 0), clips(8, 1)
CONFIG = TrainConfig(epochs=5, batch_size=8, lr=0.05, weight_decay=0.01, schedule="constant", milestones=[])


def trained(folder=None, resume=False, stop=None, on_step=None, config=CONFIG, **options):
    torch.manual_seed(0)
    student, teacher = TappedModel(c3d(CLASSES, 2), "stages"), TappedModel(c3d(CLASSES, 3), "stages").eval()
    example = SETS[0].example
    method = StagedKD(student.describe(example), teacher.describe(example), **{"cascade": 0.3, **options})
    kept = []

    def keep(progress):
        kept.append({name: value.clone() for name, value in student.model.state_dict().items()})
        if on_step is not None:
            on_step(progress)

    trainee = Trainee(student, method, teacher, folder=folder, on_step=keep)
    start = {name: value.clone() for name, value in student.model.state_dict().items()}
    fit_together([trainee], *SETS, config, pools={"unlabelled": clips(12, 2)}, resume=resume, stop=stop)
    return method, [start, *kept]


def moved(states, first: int, last: int) -> set[str]:
    """The parts of the network of which anything changed between two steps, statistics included."""
    one, other = states[first], states[last]
    return {name.partition(".")[0] for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize(
    ("rate", "of_phase"),
    [
        (0.1, [{"stage1"}, {"stage1", "stage2"}, {"stage1", "stage2", "stage3", "fc"}]),
        (0.0, [{"stage1"}, {"stage2"}, {"stage1", "stage2", "stage3", "fc"}]),
    ],
)
def test_in_each_phase_nothing_but_its_substages_changes_to_the_bit(rate, of_phase):
    method, states = trained(earlier_rate=rate)
    assert method.restarts == (0.3, 0.6)
    assert len(states) == 11
    ends = [0, 3, 6, 10]
    assert [moved(states, first, last) for first, last in pairwise(ends)] == of_phase


def test_earlier_substages_learn_at_a_share_of_the_rate():
    """From the same weights, without decay or momentum: the first step of the second phase."""
    config = replace(CONFIG, weight_decay=0.0, momentum=0.0)
    runs = [trained(config=config, earlier_rate=rate)[1] for rate in (1.0, 0.1)]
    for name in ("stage1.0.weight", "stage2.0.weight"):
        assert torch.equal(runs[0][3][name], runs[1][3][name])
        whole, part = (states[4][name] - states[3][name] for states in runs)
        torch.testing.assert_close(part, whole * (0.1 if name.startswith("stage1") else 1.0), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("steps", [2, 5, 8])
def test_a_training_that_is_broken_off_in_any_phase_ends_alike_and_remembers_the_same(steps, tmp_path):
    method, states = trained()
    with pytest.raises(TrainingStopped), StopRequest().listening() as stop:
        trained(stop=stop, folder=tmp_path, on_step=stop_after(steps))
    resumed, ending = trained(resume=True, folder=tmp_path)
    assert all(torch.equal(value, ending[-1][name]) for name, value in states[-1].items())
    kept = resumed.state_dict()
    assert {"memory", "guesses", "distance"} <= kept.keys()
    assert all(torch.equal(value, kept[name]) for name, value in method.state_dict().items())
    assert (method.guesses.sum(1) > 0).all()


def test_what_it_cannot_do_is_one_line():
    with pytest.raises(InputError, match=r"StagedKD on 2 processes: .*train it in one"):
        check_batches(made(), 30, CONFIG, World(rank=0, size=2))
    student, teacher = drawn(STUDENT, 4, 1), drawn(TEACHER, 4, 2)
    with pytest.raises(InputError, match="StagedKD remembers what was said of each item: call bind"):
        StagedKD(STUDENT, TEACHER).double()(student, teacher, step_of(0.5, unlabelled=False))
    for options, message in (
        ({"stages": 0}, "stages=0"),
        ({"cascade": 0.5}, r"cascade=0\.5: 2 phases of that share leave nothing"),
        ({"pseudo": 1.5}, r"pseudo=1\.5"),
        ({"confidence": -1}, "confidence=-1"),
        ({"earlier_rate": 2}, "earlier_rate=2"),
        ({"kd_weight": -1}, "kd_weight=-1"),
        ({"tau": 0}, "tau=0"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            StagedKD(STUDENT, TEACHER, **options)
    assert StagedKD(STUDENT, described(6, 5)).fitted(8) == ["2 substages (3 asked for)"]
