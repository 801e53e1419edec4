from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from trained import Stop, all_weights, stop_at, without_clock

from trg_pyg.data.loading.augment import Augment
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.errors import InputError
from trg_pyg.models.taps import Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.checkpoint import load_checkpoint
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.learner import TrainingDiverged
from trg_pyg.training.loop import Progress, Trainee, fit, fit_together
from trg_pyg.training.state import TrainingState

SGD = TrainConfig(epochs=2, batch_size=8, lr=0.1, milestones=[1], eval_batch_size=4)
ADAMW = TrainConfig(epochs=2, batch_size=8, optimizer="AdamW", lr=0.01, schedule="onecycle", grad_clip=1.0)
FP16 = replace(SGD, precision="fp16")
PARTS = replace(SGD, accumulate=2)
STEPS = 3  # of an epoch: 22 images


class TwoMaps(Distiller):
    """Reads two taps of the teacher, and logits; draws more than Hints does."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        first, last = self.need(teacher).features
        noise = torch.randn(3, *last.shape, generator=step.generator).mean(0)
        hint = F.mse_loss(student.features[0], last + noise) + first.mean() * student.logits.mean()
        return self.weigh({"ce": (1.0, F.cross_entropy(student.logits, step.target)), "maps": (0.2, hint)})


@pytest.fixture
def make(network, hints, plain) -> Callable[..., list[Trainee]]:
    """Fresh trainees: two that look at one teacher's network differently, one without a teacher, one with another."""

    def make(folder: Path | None = None, on_step: Callable[[Progress], None] | None = None) -> list[Trainee]:
        shared, other = network(1), network(2)
        teachers = [
            (hints(), TappedModel(shared.model, ["body.2"])),
            (plain, None),
            (TwoMaps(), TappedModel(shared.model, ["body.0", "body.2"])),
            (hints(), other),
        ]
        return [
            Trainee(network(3 + n), distiller, teacher, None if folder is None else folder / str(n), {}, on_step)
            for n, (distiller, teacher) in enumerate(teachers)
        ]

    return make


def weights(trainees: Sequence[Trainee]) -> list[dict[str, Tensor]]:
    return [all_weights(each.student, each.distiller) for each in trainees]


def check_same(found: list[Any], expected: list[Any]) -> None:
    """Histories and weights of several trainees, to the bit."""
    for (history, values), (other_history, other_values) in zip(found, expected, strict=True):
        assert without_clock(history) == without_clock(other_history)
        assert values.keys() == other_values.keys()
        assert [name for name in values if not torch.equal(values[name], other_values[name])] == []


@pytest.fixture
def together(make, train_set, test_set):
    def together(config: TrainConfig, trainees: list[Trainee] | None = None, **options: Any) -> list[Any]:
        trainees = make() if trainees is None else trainees
        options = {"augment": Augment(crop_padding=1, flip=True), "seed": 5} | options
        histories = fit_together(trainees, train_set, test_set, config, **options)
        return list(zip(histories, weights(trainees), strict=True))

    return together


@pytest.mark.parametrize("config", [SGD, ADAMW, FP16, PARTS], ids=["sgd", "adamw", "fp16", "parts"])
def test_each_student_is_what_it_would_be_alone(make, together, train_set, test_set, config) -> None:
    found = together(config)
    alone = []
    for each in make():
        augment = Augment(crop_padding=1, flip=True)
        history = fit(each.student, each.teacher, each.distiller, train_set, test_set, config, augment=augment, seed=5)
        alone.append((history, weights([each])[0]))
    check_same(found, alone)
    assert len({values["model.head.weight"].sum().item() for _, values in found}) == 4


def test_a_teacher_runs_once_a_batch(make, together) -> None:
    trainees, looks = make(), {"shared": 0, "other": 0}
    for name, trainee in (("shared", trainees[0]), ("other", trainees[3])):

        def count(module: Any, args: Any, name: str = name) -> None:
            looks[name] += torch.is_tensor(args[0]) and len(args[0]) > 2  # not the look at two black images

        assert trainee.teacher is not None
        trainee.teacher.model.register_forward_pre_hook(count)
    together(SGD, trainees)
    assert looks == {"shared": 2 * STEPS, "other": 2 * STEPS}


def test_students_see_the_same_batches_and_take_turns(make, together) -> None:
    trainees, seen = make(), []
    for n, trainee in enumerate(trainees):
        trainee.distiller.register_forward_pre_hook(
            lambda module, args, n=n: seen.append((n, args[2].index.tolist(), args[2].progress))
        )
    together(SGD, trainees)
    assert [n for n, _, _ in seen] == [0, 1, 2, 3] * 2 * STEPS
    for step in range(2 * STEPS):
        assert [rest for _, *rest in seen[4 * step : 4 * step + 4]] == [list(seen[4 * step][1:])] * 4


@pytest.fixture
def every_step(monkeypatch) -> dict[str, Any]:
    """Options by which a checkpoint is written after each step."""
    monkeypatch.setattr("trg_pyg.training.loop._CHECK_EVERY", 1)
    return {"checkpoint_seconds": 0.0}


@pytest.mark.parametrize("config", [SGD, ADAMW, FP16, PARTS], ids=["sgd", "adamw", "fp16", "parts"])
def test_resumed_within_an_epoch_equals_uninterrupted(make, together, tmp_path, every_step, config) -> None:
    whole = together(config)
    # Killed in the callback of each step but the first, before which there is no checkpoint, of every other student.
    for calls in range(5, 2 * STEPS * 4 + 1, 5):
        folder = tmp_path / str(calls)
        with pytest.raises(Stop):
            together(config, make(folder, stop_at(calls)), **every_step)
        epochs = load_checkpoint(folder / "0" / "checkpoint.pt")
        assert (len(epochs["history"]), epochs["step"]) == divmod((calls - 1) // 4, STEPS)
        torch.rand(calls)
        check_same(together(config, make(folder), resume=True), whole)


def test_students_that_were_saved_at_different_steps_or_epochs_go_on(
    make, together, tmp_path, every_step, monkeypatch
) -> None:
    whole, save = together(SGD), TrainingState.save
    places = set()
    # Killed before each save, once every student has one.
    for saves in [6, 8, 9, 11, 14, 21, 23]:
        folder, stop = tmp_path / str(saves), stop_at(saves)

        def save_or_stop(state: TrainingState, *args: Any, stop: Any = stop) -> None:
            stop(None)
            save(state, *args)

        with monkeypatch.context() as patch:
            patch.setattr(TrainingState, "save", save_or_stop)
            with pytest.raises(Stop):
                together(SGD, make(folder), **every_step)
        states = [load_checkpoint(folder / str(n) / "checkpoint.pt") for n in range(4)]
        places.add(len({(len(state["history"]), state["step"]) for state in states}))
        steps: list[Progress] = []
        check_same(together(SGD, make(folder, steps.append), resume=True), whole)
        # Who was ahead waited, and took no step twice.
        assert len(steps) == sum(2 * STEPS - STEPS * len(state["history"]) - state["step"] for state in states)
    assert places == {1, 2}


def test_a_student_that_is_epochs_ahead_waits(make, together, tmp_path, network, plain) -> None:
    whole = together(SGD)
    together(SGD, make(tmp_path)[:1])

    others = [replace(each, on_epoch=stop_at(1) if n == 2 else None) for n, each in enumerate(make(tmp_path)[1:])]
    with pytest.raises(Stop):
        together(SGD, others)
    check_same(together(SGD, make(tmp_path), resume=True), whole)


def test_checkpoints_within_an_epoch_change_nothing_and_come_when_they_are_due(
    make, together, tmp_path, every_step, monkeypatch
) -> None:
    places: list[tuple[int, int]] = []
    save = TrainingState.save

    def note(state: TrainingState, *args: Any) -> None:
        places.append((len(state.history), state.step))
        save(state, *args)

    monkeypatch.setattr(TrainingState, "save", note)
    whole = together(SGD)
    for seconds, expected in ((0.0, [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]), (1e9, [(1, 0), (2, 0)])):
        places.clear()
        check_same(together(SGD, make(tmp_path / str(seconds)), checkpoint_seconds=seconds), whole)
        assert places == [place for place in expected for _ in range(4)]


def test_weights_that_are_not_finite_never_replace_a_checkpoint(
    network, plain, train_set, test_set, tmp_path, every_step
) -> None:
    student = network(0)

    def spoil(at: Progress) -> None:
        # As a step does that is too long: the loss of this step was still finite.
        if at.step == 2:
            student.model.head.weight.data.fill_(torch.inf)

    with pytest.raises(TrainingDiverged, match=r"in epoch 1 norm of the weights is inf: lower train\.lr"):
        fit(student, None, plain, train_set, test_set, SGD, folder=tmp_path, on_step=spoil, **every_step)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 1


@pytest.mark.parametrize("what", ["student", "distiller", "folder"])
def test_what_two_students_cannot_share_is_refused(make, together, tmp_path, what) -> None:
    one, other, *_ = make(tmp_path)
    with pytest.raises(InputError, match=f"two trainees have the same {what}: give each"):
        together(SGD, [one, replace(other, **{what: getattr(one, what)})])


def test_nobody_to_train_is_refused(together) -> None:
    with pytest.raises(InputError, match="no trainee: give at least one student"):
        together(SGD, [])
