import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from trained import Stop, stop_at

from trg_pyg.distillers import CRD, HKD
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.divergences import MemoryBank
from trg_pyg.models.taps import Outputs
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.guard import Buffers, Silence, TrainingDiverged, bad_images, explain, gradient_norm
from trg_pyg.training.loop import Progress, fit

SGD = TrainConfig(epochs=3, batch_size=8, lr=0.1, schedule="cosine")


class Spoiled(Distiller):
    """Cross-entropy, spoiled in some steps: in its value, or in its gradient alone."""

    needs_teacher = False

    def __init__(self, steps, value=math.nan, gradient_only=False) -> None:
        nn.Module.__init__(self)
        self.steps, self.value, self.gradient_only, self.calls = steps, value, gradient_only, 0

    def forward(self, student, teacher, step) -> Losses:
        ce = F.cross_entropy(student.logits, step.target)
        if self.calls in self.steps and self.gradient_only:
            ce.register_hook(lambda gradient: gradient * self.value)
        elif self.calls in self.steps:
            ce = ce * self.value
        self.calls += 1
        return self.weigh({"ce": (1.0, ce)})


def weights(student):
    return {name: value.clone() for name, value in student.state_dict().items()}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_spoiled_step_is_not_taken(network, train_set, test_set, value, gradient_only) -> None:
    """Neither weights nor running means, which the forward pass changes, show it."""
    student = network(0)
    after: list[dict] = []

    def on_step(at: Progress) -> None:
        after.append(weights(student))

    what = "the gradient's norm is" if gradient_only else f"ce is {value}, total is {value}"
    distiller = Spoiled({2}, value, gradient_only)
    with pytest.raises(TrainingDiverged, match=f"Spoiled: in epoch 1 step 3 {what}.*lower train.lr.*not taken"):
        fit(student, None, distiller, train_set, test_set, SGD, on_step=on_step)
    assert len(after) == 2
    now = weights(student)
    assert all(torch.equal(value, now[name]) for name, value in after[-1].items())


def test_a_skipped_step_is_as_if_it_had_taken_no_time(network, train_set, test_set) -> None:
    student = network(0)
    after: list[dict] = []
    with pytest.warns(UserWarning, match=r"in epoch 1 step 2 ce is nan.*: step skipped, 1 of at most 10"):
        history = fit(
            student,
            None,
            Spoiled({1}),
            train_set,
            test_set,
            replace(SGD, nonfinite="skip"),
            on_step=lambda at: after.append(weights(student)),
        )
    assert all(torch.equal(value, after[1][name]) for name, value in after[0].items())
    assert any(not torch.equal(value, after[2][name]) for name, value in after[1].items())
    assert len(history) == 3
    assert math.isfinite(history[0]["train/ce"])


def test_only_so_many_steps_are_skipped(network, train_set, test_set) -> None:
    config = replace(SGD, nonfinite="skip", max_skipped=2)
    with (
        pytest.warns(UserWarning, match="step skipped, 2 of at most 2"),
        pytest.raises(TrainingDiverged, match=r"in epoch 2 step 1 ce is nan.*, after 2 skipped steps: lower"),
    ):
        fit(network(0), None, Spoiled({0, 2, 3}), train_set, test_set, config)


def test_skipped_steps_are_counted_on_after_a_resumption(network, train_set, test_set, tmp_path) -> None:
    config = replace(SGD, nonfinite="skip", max_skipped=1)

    with pytest.warns(UserWarning, match="1 of at most 1"), pytest.raises(Stop):
        fit(network(0), None, Spoiled({0}), train_set, test_set, config, folder=tmp_path, on_epoch=stop_at(1))
    with pytest.raises(TrainingDiverged, match="after 1 skipped steps"):
        fit(network(0), None, Spoiled({0}), train_set, test_set, config, folder=tmp_path, resume=True)


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_the_images_are_named(network, hints, train_set, test_set, whose) -> None:
    """By their position in the training set."""
    student, teacher = network(0), network(1)
    poisoned = {"student": student, "teacher": teacher}[whose]
    marked = train_set.images.clone()
    marked[5] = 255
    marked[17] = 255

    def poison(module, args):
        images = args[0].clone()
        images[(images == images.amax()).flatten(1).all(1)] = math.nan
        return (images,)

    poisoned.model.register_forward_pre_hook(poison)
    images = type(train_set)(marked, train_set.targets)
    config = replace(SGD, batch_size=len(train_set))
    with pytest.raises(
        TrainingDiverged, match=f"outputs of the {whose} for training images 5, 17 are not|17, 5 are not"
    ):
        fit(student, teacher, hints(), images, test_set, config)


def test_bad_images_are_found_in_any_output() -> None:
    clean = torch.zeros(4, 3)
    feature = torch.zeros(4, 2, 2, 2)
    feature[1, 0, 1, 1] = math.inf
    embedding = torch.zeros(4, 5)
    embedding[3, 2] = math.nan
    index = torch.tensor([10, 11, 12, 13])
    assert bad_images(Outputs(clean, (feature, clean), embedding), index) == [11, 13]
    assert bad_images(Outputs(clean, (), None), index) == []


def test_what_is_not_finite_is_said_in_words() -> None:
    said = explain({"ce": 1.0, "kd": math.inf}, math.nan, {"student": [3, 4], "teacher": []})
    assert said == (
        "kd is inf, the gradient's norm is nan, outputs of the student for training images 3, 4 are not finite"
    )
    assert explain({"ce": 1.0}, 1.0, {}) == ""


def test_the_norm_of_all_gradients() -> None:
    one, two, without = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm([one, two, without]).item() == pytest.approx(5.0)
    assert gradient_norm([without]).item() == 0.0


def test_buffers_come_back() -> None:
    norm, others = nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3), MemoryBank(5, 3, 0.5))
    before = weights(nn.ModuleList([norm, others]))
    kept = Buffers(norm, others)
    norm(torch.full((4, 3), math.nan))
    others[0](torch.ones(4, 3))
    others[1].update(torch.tensor([1, 3]), torch.ones(2, 3))
    kept.restore()
    now = weights(nn.ModuleList([norm, others]))
    assert all(torch.equal(value, now[name]) for name, value in before.items())
    assert norm.num_batches_tracked.item() == 0


def test_a_memory_bank_is_not_copied() -> None:
    """It is as long as the training set."""
    bank = MemoryBank(1000, 4, 0.5)
    assert Buffers(bank)._kept == []


def test_a_buffer_that_is_exchanged_for_another_tensor_comes_back() -> None:
    norm = nn.BatchNorm1d(3)
    kept = Buffers(norm)
    norm.running_mean = torch.full((3,), math.nan)
    kept.restore()
    assert norm.running_mean.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("method", [HKD, CRD])
@pytest.mark.parametrize(("accumulate", "spoiled"), [(1, 0), (1, 4), (2, 9)])
def test_a_skipped_step_leaves_no_trace_in_the_memory(network, train_set, test_set, method, accumulate, spoiled):
    """Spoiled in its only part, of the first step or of a later one, or in the second of two parts."""
    student, teacher = network(0), network(1)
    torch.manual_seed(0)
    options = {"dim": 4, "k": 2} if method is HKD else {"dim": 4}
    distiller = method(student.describe(6), teacher.describe(6), negatives=5, **options)
    calls, states = 0, []

    def state() -> dict:
        return weights(student) | {f"distiller.{name}": value for name, value in weights(distiller).items()}

    def poison(module, args):
        nonlocal calls
        if not module.training:
            return args
        if calls == 0:
            states.append(state())
        calls += 1
        return (args[0] * math.nan,) if calls == spoiled + 1 else args

    student.model.register_forward_pre_hook(poison)
    config = replace(SGD, nonfinite="skip", max_skipped=1, accumulate=accumulate)
    skipped = spoiled // accumulate
    with pytest.warns(UserWarning, match=f"step {skipped % 3 + 1} .* is nan.*step skipped, 1 of at most 1"):
        history = fit(
            *(student, teacher, distiller, train_set, test_set, config),
            on_step=lambda at: states.append(state()),
        )
    before, now, later = states[skipped : skipped + 3]
    # What CRD learns in the first step it takes is NaN before it.
    assert all(torch.allclose(value, now[name], rtol=0, atol=0, equal_nan=True) for name, value in before.items())
    banks = [name for name in now if name.endswith("vectors")]
    assert len(banks) == 2
    assert all(not torch.equal(now[name], later[name]) for name in banks)
    assert all(value.isfinite().all() for value in states[-1].values())
    assert all(math.isfinite(epoch["train/total"]) for epoch in history)


class Silent(Distiller):
    """A part that is 0, one that is constant, one that is cut off from the projection that should learn."""

    needs_teacher = False

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.project = nn.Linear(3, 3)

    def forward(self, student, teacher, step) -> Losses:
        ce = F.cross_entropy(student.logits, step.target)
        cut = self.project(student.logits).detach().square().mean() + 0.0 * ce
        nothing, same = 0.0 * ce, 0.0 * ce + 2.0
        return self.weigh({"ce": (1.0, ce), "nothing": (1.0, nothing), "same": (1.0, same), "cut": (1.0, cut)})


def test_what_teaches_nothing_is_reported_after_the_epoch(network, train_set, test_set) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(network(0), None, Silent(), train_set, test_set, replace(SGD, epochs=1))
    said = [str(each.message) for each in caught if "teaches nothing" in str(each.message)]
    assert [sentence.partition(" epoch 1 ")[2].partition(": it")[0] for sentence in said] == [
        "the part nothing of the loss was 0 in all 3 steps",
        "the part same of the loss was 2 in all 3 steps",
        "parameters of the method had no gradient: project.weight, project.bias",
    ]


def test_a_training_that_learns_reports_nothing(network, hints, train_set, test_set) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(network(0), network(1), hints(), train_set, test_set, SGD)


def test_silence_begins_again_after_a_report() -> None:
    silence = Silence(nn.Module())
    silence.step({"a": torch.tensor(0.0)})
    assert silence.report() == ["the part a of the loss was 0 in all 1 steps"]
    silence.step({"a": torch.tensor(1.0)})
    silence.step({"a": torch.tensor(2.0)})
    assert silence.report() == []
    silence.step({"a": torch.tensor(3.0)})
    assert silence.report() == []
