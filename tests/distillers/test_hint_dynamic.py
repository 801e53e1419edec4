import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from toys import LABELS

from tests.training.test_open_step import stop_after
from trg_pyg.batch import Batch
from trg_pyg.data.base import ImageSet
from trg_pyg.distillers import HintDynamic
from trg_pyg.errors import InputError
from trg_pyg.losses import AttentionLoss, LogitKD
from trg_pyg.models import Networks, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.loop import Trainee, check_batches, fit_together
from trg_pyg.training.optim import build_optimizer
from trg_pyg.training.stop import StopRequest, TrainingStopped

HINTS = ("logits", "map", "attention")


class Net(nn.Module):
    """A stage whose norm has running statistics, and a classifier."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.stage = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width) if norm else nn.Tanh())
        self.fc = nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.stage(self.stem(images.to(self.fc.weight)).relu()).mean((2, 3)))


def pair(norm: bool = True) -> tuple[TappedModel, TappedModel]:
    torch.manual_seed(0)
    student, teacher = TappedModel(Net(4, norm), ["stage"]), TappedModel(Net(6, norm), ["stage"])
    return student, teacher.eval().requires_grad_(False)


def make(student: TappedModel, teacher: TappedModel, **options) -> HintDynamic:
    torch.manual_seed(1)
    method = HintDynamic(student.describe(8), teacher.describe(8), hidden=7, **options)
    method.bind(LABELS, torch.Generator())
    return method


def images_of(labels: Tensor, seed: int = 2) -> Tensor:
    noise = torch.randint(60, (len(labels), 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return (noise + 40 * labels[:, None, None, None]).byte()


def step_of(networks: tuple[TappedModel, TappedModel], index: tuple[int, ...] = (3, 7, 11, 15, 21, 28)) -> Step:
    where, heldout = torch.tensor(index), torch.arange(5)
    pool = {"heldout": Batch(images_of(heldout, seed=3), heldout, heldout, whole=5)}
    return Step(LABELS[where], 0.4, torch.Generator(), where, Networks(*networks), pool=pool, lr=0.1)


def learnt(method: HintDynamic) -> HintDynamic:
    """The method with an MLP, running means and weights that are not those of the start."""
    draws = torch.Generator().manual_seed(5)
    method.mlp += 0.5 * torch.randn(method.mlp.shape, generator=draws)
    method.scale += torch.rand(method.scale.shape, generator=draws) + 0.5
    method.weights *= torch.rand(method.weights.shape, generator=draws) + 0.5
    return method


def test_the_parts_are_those_of_the_form(close):
    networks = student, teacher = pair(norm=False)
    method = learnt(make(*networks, logit_weight=2.0, history=0.3).double())
    here = step_of(networks)
    student.double(), teacher.double()
    s, t = student(images_of(here.target).double()), teacher(images_of(here.target).double())
    mlp, scale, kept = method.mlp.clone(), method.scale.clone(), method.weights.clone()
    losses = method(s, t, here)
    hint = method.hint
    rows = hint.conv(s.features[0])
    mean, var = rows.mean((0, 2, 3), keepdim=True), rows.var((0, 2, 3), keepdim=True, correction=0)
    factor, shift = (each[:, None, None] for each in (hint.norm.weight, hint.norm.bias))
    rows = (factor * (rows - mean) / (var + hint.norm.eps).sqrt() + shift).relu()
    hints = []
    for b in range(6):
        p, q = (t.logits[b] / 4).softmax(0), (s.logits[b] / 4).softmax(0)
        a, c = (f[0][b].square().mean(0).flatten() for f in (s.features, t.features))
        difference = a / a.norm() - c / c.norm()
        hints.append(
            torch.stack(
                [
                    16 * sum(x * (x / y).log() for x, y in zip(p, q, strict=True)),
                    (rows[b] - t.features[0][b]).square().mean(),
                    difference.square().mean(),
                ]
            )
        )
    hints = torch.stack(hints)
    scale = 0.99 * scale + 0.01 * hints.detach().mean(0)
    expected = cross_entropy(s.logits, here.target)
    for b in range(6):
        ours, theirs = s.logits[b].detach().softmax(0), t.logits[b].detach().softmax(0)
        y = here.target[b]
        others = [-ours[y].log(), -(ours * ours.log()).sum(), -(theirs * theirs.log()).sum(), theirs[y], 0.4]
        state = torch.cat([hints[b].detach() / scale, torch.tensor(others).double()])
        w1, b1, w2, b2 = mlp.split([7 * 8, 7, 3 * 7, 3])
        own = 3 * (w2.view(3, 7) @ (w1.view(7, 8) @ state + b1).clamp(min=0) + b2).softmax(0)
        mixed = 0.3 * kept[here.index[b]] + 0.7 * own
        expected = expected + (torch.tensor([2.0, 1.0, 1.0]) * mixed * hints[b] / scale).sum() / 6
        torch.testing.assert_close(method.weights[here.index[b]], 0.9 * kept[here.index[b]] + 0.1 * own)
    close(losses.total, expected, [s.logits, s.features[0], *hint.parameters()])
    torch.testing.assert_close(method.scale, scale)
    untouched = torch.ones(30, dtype=torch.bool).scatter(0, here.index, False)
    assert torch.equal(method.weights[untouched], kept[untouched])


def test_hints_are_those_of_the_losses_that_have_a_name():
    networks = student, teacher = pair()
    method = make(*networks)
    here = step_of(networks)
    s, t = student(images_of(here.target)), teacher(images_of(here.target))
    hints = copy.deepcopy(method)._hints(s, t, keep=False).mean(0)
    assert torch.allclose(hints, torch.ones(3))  # of size 1 from the first step on
    method.scale.fill_(1.0)
    found = method._hints(s, t, keep=False).mean(0).tolist()
    maps = s.features[0], t.features[0]
    expected = [LogitKD(4.0)(s.logits, t.logits), method.hint(*maps), AttentionLoss()(*maps)]
    assert found == pytest.approx([each.item() for each in expected], rel=1e-5)


@pytest.mark.parametrize("virtual", ["network", "last_stage", "head"])
@pytest.mark.parametrize("weighing", ["each", "mean"])
def test_the_gradient_of_the_mlp_is_that_of_finite_differences(virtual, weighing):
    networks = student, teacher = pair()
    method = learnt(make(*networks, virtual=virtual, weighing=weighing).double())
    here = step_of(networks)
    student.double(), teacher.double()
    images = images_of(here.target)
    mlp = method.mlp.clone().requires_grad_()
    (grad,) = torch.autograd.grad(method.heldout_loss(mlp, images, here), mlp)
    assert grad.abs().max() > 1e-6
    for place in range(0, len(mlp), 5):
        move = torch.zeros_like(mlp.detach())
        move[place] = 1e-5
        high, low = (method.heldout_loss(method.mlp + sign * move, images, here).item() for sign in (1, -1))
        assert grad[place].item() == pytest.approx((high - low) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("number", range(3), ids=HINTS)
def test_every_hint_reaches_the_mlp(number):
    """A hint of operations without a second derivative would drop out in silence."""
    networks = student, teacher = pair()
    method = make(*networks)
    here = step_of(networks)
    now = {name: each.detach().clone().requires_grad_() for name, each in student.named_parameters()}
    hints = method._hints(
        here.networks.virtual(images_of(here.target), now), teacher(images_of(here.target)), keep=False
    )
    weight = torch.ones(6, requires_grad=True)
    grads = torch.autograd.grad(
        (weight * hints[:, number]).mean(), list(now.values()), create_graph=True, allow_unused=True
    )
    moved = sum(each.square().sum() for each in grads if each is not None)
    (reached,) = torch.autograd.grad(moved, weight)
    assert reached.abs().min() > 0


def test_hints_on_maps_teach_the_mlp_nothing_by_the_classifier_alone():
    networks = pair()
    here = step_of(networks)
    for virtual, reach in (("head", False), ("last_stage", True)):
        method = make(*networks, virtual=virtual, logit_weight=0.0)
        mlp = learnt(method).mlp.clone().requires_grad_()
        value = method.heldout_loss(mlp, images_of(here.target), here)
        (grad,) = torch.autograd.grad(value, mlp, allow_unused=True) if value.requires_grad else (None,)
        assert (grad is not None and bool(grad.abs().sum() > 0)) == reach


def test_the_step_of_the_mlp_leaves_all_else_as_it_was():
    networks = student, teacher = pair()
    method = learnt(make(*networks, every=1))
    optimizer = build_optimizer(nn.ModuleList([student, method]), TrainConfig(epochs=1, milestones=[]))
    student.train()
    here = step_of(networks)
    before = copy.deepcopy([student.state_dict(), teacher.state_dict(), optimizer.state_dict(), method.state_dict()])
    method.before(images_of(here.target), here)
    after = [student.state_dict(), teacher.state_dict(), optimizer.state_dict(), method.state_dict()]
    changed = {
        name
        for one, other in zip(before, after, strict=True)
        for name in one
        if isinstance(one[name], Tensor) and not torch.equal(one[name], other[name])
    }
    assert changed == {"mlp", "moments", "steps"}
    assert before[2] == after[2]
    assert all(parameter.grad is None for parameter in (*student.parameters(), *method.parameters()))
    trained = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert trained == {id(each) for module in (student, method.hint) for each in module.parameters()}


def test_the_mlp_learns_as_by_adam():
    method = make(*pair())
    mlp = nn.Parameter(method.mlp.clone())
    adam = torch.optim.Adam([mlp], lr=1e-3, weight_decay=1e-4)
    for count in range(1, 5):
        mlp.grad = torch.randn(mlp.shape, generator=torch.Generator().manual_seed(count))
        method._adam(mlp.grad, count)
        adam.step()
    torch.testing.assert_close(method.mlp, mlp.detach())


SETS = ImageSet(images_of(LABELS), LABELS), ImageSet(images_of(LABELS[:10], seed=9), LABELS[:10])
CONFIG = TrainConfig(epochs=2, batch_size=10, lr=0.1, schedule="constant")  # 6 steps


def trained(*options: dict, stop=None, resume: bool = False, **how) -> list[Trainee]:
    networks = [pair() for _ in options]
    trainees = [
        Trainee(student, make(student, teacher, **each), teacher, **how)
        for (student, teacher), each in zip(networks, options, strict=True)
    ]
    fit_together(trainees, *SETS, CONFIG, pools={"heldout": SETS[1]}, stop=stop, resume=resume)
    return trainees


def same(one: Trainee, other: Trainee) -> bool:
    kept = other.student.state_dict()
    return all(torch.equal(value, kept[name]) for name, value in one.student.state_dict().items())


def test_until_the_mlp_learns_the_student_is_that_of_equal_weights():
    each, mean, equal = trained({"every": 7}, {"every": 7, "weighing": "mean"}, {"weighing": "equal"})
    assert same(each, equal)
    assert same(mean, equal)
    each, mean, equal = trained({"every": 5}, {"every": 5, "weighing": "mean"}, {"weighing": "equal"})
    assert not same(each, equal)
    assert not same(mean, equal)
    assert not same(mean, each)


class Liar(nn.Module):
    """Sees the class by brightness, and takes the darkest and the brightest for one another."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Conv2d(3, 6, 1)
        self.fc = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stage(images[:, :, ::4, ::4])
        seen = (255 * images.mean((1, 2, 3)) / 40 - 0.7).round().long().clamp(0, 4)
        told = torch.where(seen % 4 == 0, 4 - seen, seen)
        return 40.0 * nn.functional.one_hot(told, 5) + 0 * self.fc(maps.mean((2, 3)))


@pytest.mark.parametrize("virtual", ["network", "last_stage"])
def test_held_out_images_want_less_of_a_hint_where_the_teacher_is_wrong_and_more_elsewhere(virtual):
    (student, _), liar, wrong = pair(), TappedModel(Liar(), ["stage"]).eval(), LABELS % 4 == 0
    torch.manual_seed(1)
    how = {"attention_weight": 0.0, "virtual": virtual, "mlp_lr": 0.02}
    infos = student.describe(8), liar.describe(8)
    assert torch.equal(liar(SETS[0].images).logits.argmax(1) != LABELS, wrong)
    method = HintDynamic(*infos, history=1.0, every=1000, **how)
    config, pools = replace(CONFIG, epochs=3, lr=0.05), {"heldout": SETS[1]}
    fit_together([Trainee(student, method, liar)], *SETS, config, pools=pools)
    method.weights = method.weights.clone().requires_grad_()  # which alone count, with this history
    index, heldout = torch.arange(len(LABELS)), SETS[1]
    pool = {"heldout": Batch(heldout.images, heldout.targets, torch.arange(len(heldout)), whole=len(heldout))}
    step = Step(LABELS, 0.5, torch.Generator(), index, Networks(student.train(), liar), pool=pool, lr=0.05)
    (grad,) = torch.autograd.grad(method.heldout_loss(method.mlp, SETS[0].images, step), method.weights)
    assert (grad[wrong, 0] > 0).all()
    assert (grad[~wrong, 0] < 0).all()

    method.history, method.weights = 0.0, method.weights.detach()
    for _ in range(100):
        method.before(SETS[0].images, step)
    method(student(SETS[0].images), liar(SETS[0].images), step)
    weights = (method.weights[:, 0] - 0.9) / 0.1  # of the last step alone
    assert weights[wrong].max() < weights[~wrong].min()


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_training_that_is_broken_off_anywhere_ends_alike(steps, tmp_path):
    (whole,) = trained({"every": 2})
    with pytest.raises(TrainingStopped), StopRequest().listening() as stop:
        trained({"every": 2}, stop=stop, folder=tmp_path, on_step=stop_after(steps))
    (resumed,) = trained({"every": 2}, resume=True, folder=tmp_path)
    assert same(whole, resumed)
    kept = resumed.distiller.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in whole.distiller.state_dict().items())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_left_out_leaves_the_mlp_as_it_was(accumulate):
    (student, teacher), calls = pair(), []

    class Broken(HintDynamic):
        def forward(self, *args):
            losses = super().forward(*args)
            calls.append(copy.deepcopy(self.state_dict()))
            return losses._replace(total=losses.total * torch.nan) if self.steps == 1 else losses

    method = Broken(student.describe(8), teacher.describe(8), every=3)
    config = replace(CONFIG, epochs=1, nonfinite="skip", accumulate=accumulate)
    with pytest.warns(UserWarning, match="step skipped"):
        fit_together([Trainee(student, method, teacher)], *SETS, config, pools={"heldout": SETS[1]})
    assert not torch.equal(calls[-1]["mlp"], method.mlp)  # it had learnt
    assert torch.equal(calls[0]["mlp"], method.mlp)
    assert method.steps == 0


def test_what_it_cannot_do_is_one_line():
    student, teacher = pair()
    method = make(student, teacher)
    with pytest.raises(InputError, match=r"HintDynamic on 2 processes: .*train it in one"):
        check_batches(method, 30, CONFIG, World(rank=0, size=2))
    here = replace(step_of((student, teacher)), pool={})
    with pytest.raises(InputError, match="HintDynamic learns of images that are held out, and the training has none"):
        make(student, teacher, every=1).before(images_of(here.target), here)
    infos = student.describe(8), teacher.describe(8)
    with pytest.raises(InputError, match="remembers the weights of each image: call bind"):
        HintDynamic(*infos)(student(images_of(here.target)), teacher(images_of(here.target)), here)
    for options, message in (
        ({"every": 0}, "every=0"),
        ({"history": 1.5}, "history=1.5"),
        ({"tau": 0}, "tau=0"),
        ({"map_weight": -1}, "map_weight=-1"),
        ({"map_weight": 0, "attention_weight": 0}, "1 of the hints"),
        ({"virtual": "body"}, "virtual"),
    ):
        with pytest.raises(InputError, match=message):
            HintDynamic(*infos, **options)
