"""What a method may do beside comparing outputs: views, phases, a student of its own; and a recipe with its images."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.conftest import make_set
from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.distillers import KD, AdversarialKD, AdversarialTraining
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import Progress, Trainee, fit, fit_together
from trg_pyg.training.stop import StopRequest, TrainingStopped

STREAM = Augment(crop_padding=1, flip=True)
CONFIG = TrainConfig(epochs=3, batch_size=8, lr=0.1, schedule="constant")
NETWORK = NetworkInfo(3, (), 6)


class Views(Distiller):
    """Two views, one of them at random, and the teacher's layers behind its embedding."""

    taps = "none"

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.seen: list[Tensor] = []

    def views(self, images, step):
        noise = torch.randint(30, images.shape, generator=step.generator)
        return [images, (images + noise).clamp(max=255).to(torch.uint8)]

    def forward(self, student, teacher, step) -> Losses:
        assert len(student.logits) == len(teacher.logits) == 2 * len(step.target)
        other = step.split(student.logits)[1]
        head = step.networks.head(step.split(student.embedding)[1])
        ce = F.cross_entropy(step.labelled(student.logits), step.target)
        heard = step.split(teacher.logits)[1]
        return self.weigh(
            {"ce": (1.0, ce), "other": (0.1, F.mse_loss(other, heard)), "head": (0.1, F.mse_loss(head, heard))}
        )


class Asks(Views):
    """Views, and a further pass of each network; before the training, two of the teacher."""

    def meet(self, networks, batches, generator):
        for batch in batches():
            networks.teacher(torch.cat([batch.inputs, batch.inputs]))
        return {}

    def forward(self, student, teacher, step) -> Losses:
        images = torch.zeros(len(step.target), 3, 8, 8)
        step.networks.student(images), step.networks.teacher(images)
        return super().forward(student, teacher, step)


class Stages(Distiller):
    """Two phases; whatever the optimiser remembers of the first would go on in the second, which has no gradient."""

    needs_teacher = False

    def __init__(self) -> None:
        nn.Module.__init__(self)

    @property
    def restarts(self):
        return (2 / 3,)

    def forward(self, student, teacher, step) -> Losses:
        return self.weigh({"ce": (float(step.progress < 2 / 3), F.cross_entropy(student.logits, step.target))})


class Doubled(Distiller):
    """A student with a layer behind its classifier that is folded into it."""

    needs_teacher = False

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def extend(self, student) -> None:
        student.model.head = nn.Sequential(student.model.head, nn.Linear(3, 3, bias=False))
        nn.init.constant_(student.model.head[1].weight, 0.5)

    def deploy(self, model):
        first, second = model.head
        plain = nn.Linear(first.in_features, 3)
        with torch.no_grad():
            plain.weight.copy_(second.weight @ first.weight)
            plain.bias.copy_(second.weight @ first.bias)
        names = {name: value for name, value in model.state_dict().items() if not name.startswith("head")}
        other = type(model)()
        other.load_state_dict(names | {f"head.{name}": value for name, value in plain.state_dict().items()})
        return other

    def forward(self, student, teacher, step) -> Losses:
        return self.weigh({"ce": (1.0, F.cross_entropy(student.logits, step.target))})


class Streams(Distiller):
    """Unlabelled images in every step, and those held out in every third one."""

    needs_teacher = False
    pools = ("heldout", "unlabelled")

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def views(self, images, step):
        return [images, step.pool["unlabelled"].inputs]

    def forward(self, student, teacher, step) -> Losses:
        self.steps += 1
        ce = F.cross_entropy(step.labelled(student.logits), step.target)
        brightness = step.pool["heldout"].inputs.float().mean() / 255 if self.steps % 3 == 0 else 0.5
        other = brightness * step.split(student.logits)[1].square().mean()
        return self.weigh({"ce": (1.0, ce), "other": (0.1, other)})


# Each option of the recipe alone, then all that go together.
RECIPES = [
    *({"mixup": 0.4}, {"cutmix": 1.0}, {"randaugment": 9}, {"trivialaugment": True}, {"erasing": 0.9}),
    *({"label_smoothing": 0.1}, {"ema": 0.9}),
    *({"balanced_sampling": 0.5}, {"logit_adjustment": 1.0}, {"effective_number": 0.9, "deferred_epochs": 1}),
    {"logit_adjustment": 1.0, "adjust_after": True, "ema": 0.9},
    {
        "mixup": 1.0,
        "cutmix": 1.0,
        "randaugment": 5,
        "erasing": 0.5,
        "label_smoothing": 0.1,
        "ema": 0.5,
        "accumulate": 2,
    },
]


@pytest.mark.parametrize(
    ("method", "recipe"),
    [
        (Views, {}),
        (Stages, {}),
        (Doubled, {}),
        (Streams, {}),
        (Doubled, {"ema": 0.5}),
        *((KD, recipe) for recipe in RECIPES),
    ],
)
def test_a_training_that_is_broken_off_anywhere_ends_alike(
    method, recipe, network, pools, train_set, test_set, tmp_path
):
    def train(folder, **options):
        student, teacher = network(0), network(1)
        distiller = KD(student.describe(6), teacher.describe(6)) if method is KD else method()
        config = replace(CONFIG, **recipe)
        history = fit(student, teacher, distiller, train_set, test_set, config, folder=folder, pools=pools, **options)
        assert len(history) == 3
        saved = load_file(folder / "last.safetensors")
        if method is not Doubled:  # what is returned is what was saved
            assert all(torch.equal(value, saved[name]) for name, value in student.model.state_dict().items())
        return saved

    whole = train(tmp_path / "whole")
    train(tmp_path / "whole", resume=True)
    if method is KD:  # whose recipe does something
        student, teacher = network(0), network(1)
        fit(student, teacher, KD(student.describe(6), teacher.describe(6)), train_set, test_set, CONFIG)
        assert any(not torch.equal(value, whole[name]) for name, value in student.model.state_dict().items())
    for stops in range(1, 8, 2):
        folder = tmp_path / str(stops)
        with pytest.raises(TrainingStopped), StopRequest().listening() as stop:
            train(folder, stop=stop, on_step=stop_after(stops))
        resumed = train(folder, resume=True)
        assert resumed.keys() == whole.keys()
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.fixture
def pools() -> dict[str, ImageSet]:
    return {"unlabelled": make_set(13, seed=3), "heldout": make_set(7, seed=4)}


def test_nothing_of_a_further_stream_reaches_a_method_that_does_not_ask(network, hints, pools, train_set, test_set):
    found = []
    for given in ({}, {"pools": pools}):
        student = network(0)
        fit(student, network(1), hints(), train_set, test_set, CONFIG, **given)
        found.append(student.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_stream_does_not_depend_on_who_is_trained_beside(network, hints, pools, train_set, test_set):
    def trained(*methods):
        trainees = [Trainee(network(0), method, network(1)) for method in methods]
        fit_together(trainees, train_set, test_set, CONFIG, pools=pools, augment=STREAM)
        return trainees[-1].student.state_dict()

    alone, beside = trained(Streams()), trained(Streams(), hints(), Streams())
    assert all(torch.equal(value, beside[name]) for name, value in alone.items())


def test_parts_of_a_step_share_its_batch_of_a_stream(network, pools, train_set, test_set):
    rows = []

    class Watched(Streams):
        def forward(self, student, teacher, step):
            rows.append(step.rows)
            return super().forward(student, teacher, step)

    config = replace(CONFIG, epochs=1, accumulate=2)
    fit(network(0), None, Watched(), train_set, test_set, config, pools=pools)
    assert rows == [(4, 4), (4, 4), (4, 4), (4, 4), (3, 4), (3, 4)]


def test_a_step_that_is_left_out_uses_up_its_batch_of_a_stream(network, pools, train_set, test_set):
    seen = []

    class Broken(Streams):
        def views(self, images, step):
            seen.append(step.pool["unlabelled"].index.tolist())
            return super().views(images, step)

        def forward(self, student, teacher, step):
            losses = super().forward(student, teacher, step)
            return losses if len(seen) != self.broken else Losses(losses.total * torch.nan, losses.parts)

    for broken in (0, 5):
        method = Broken()
        method.broken = broken
        config = replace(CONFIG, epochs=1, nonfinite="skip")
        with nullcontext() if not broken else pytest.warns(UserWarning, match="step skipped"):
            fit(network(0), None, method, train_set, test_set, config, pools=pools)
    assert seen[:3] == seen[3:]


def stop_after(count: int) -> Callable[[Progress], None]:
    steps = iter(range(1, 100))
    return lambda progress: os.kill(os.getpid(), 15) if next(steps) == count else None


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        (Stages, [1, 1, 1]),
        (Views, [4, 4, 4]),
        (Asks, [8, 6, 6]),
        (lambda: AdversarialTraining(NETWORK, None, steps=3), [4, 4, 4]),
        (lambda: AdversarialKD(NETWORK, NETWORK, steps=3), [5, 5, 5]),
    ],
)
def test_passes_are_counted_where_they_are_made(method, passes, network, train_set, test_set, tmp_path):
    def history(**options):
        return fit(network(0), network(1), method(), train_set, test_set, CONFIG, folder=tmp_path, **options)

    whole = [epoch["passes"] for epoch in history()]
    with pytest.raises(TrainingStopped), StopRequest().listening() as stop:
        history(stop=stop, on_step=stop_after(2))
    assert whole == passes == [epoch["passes"] for epoch in history(resume=True)]


def test_the_optimiser_of_a_phase_remembers_nothing_of_the_one_before(network, train_set, test_set):
    student = network(0)
    weights = []
    config = TrainConfig(epochs=3, batch_size=8, lr=0.1, schedule="constant", weight_decay=0.0)
    fit(
        student,
        None,
        Stages(),
        train_set,
        test_set,
        config,
        on_step=lambda _: weights.append(student.model.head.weight.clone()),
    )
    assert all(not torch.equal(a, b) for a, b in pairwise(weights[:6]))
    assert all(torch.equal(weights[5], after) for after in weights[6:])


def test_a_training_that_is_too_short_for_a_phase_says_so(network, train_set, test_set):
    with pytest.warns(UserWarning, match=r"Stages: too few steps \(1\) for 2 phases, only the first 1"):
        fit(network(0), None, Stages(), train_set, test_set, replace(CONFIG, epochs=1, batch_size=22))


def test_what_others_see_does_not_depend_on_a_method_with_views(network, hints, train_set, test_set):
    def trained(*methods):
        trainees = [Trainee(network(0), method, network(1)) for method in methods]
        fit_together(trainees, train_set, test_set, CONFIG)
        return [trainee.student.state_dict() for trainee in trainees]

    (alone,), (viewed,) = trained(hints()), trained(Views())
    together = trained(Views(), hints())
    for one, other in zip((viewed, alone), together, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_network_that_is_used_is_saved(network, train_set, test_set, tmp_path):
    student = network(0)
    fit(student, None, Doubled(), train_set, test_set, CONFIG, folder=tmp_path)
    plain = network(5)
    plain.model.load_state_dict(load_file(tmp_path / "last.safetensors"))
    images = test_set.images
    torch.testing.assert_close(plain.eval()(images).logits, student.eval()(images).logits)
