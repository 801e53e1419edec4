import warnings

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from trg_pyg.errors import InputError
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.optim import advance, build_optimizer, build_schedule, lr_factor, phase_starts


def rates(config: TrainConfig, steps_per_epoch: int) -> list[float]:
    return [config.lr * lr_factor(s, config, steps_per_epoch) for s in range(config.epochs * steps_per_epoch)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"schedule": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"schedule": "constant", "warmup_epochs": 2}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"schedule": "multistep", "milestones": [1, 3]}, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        (
            {"schedule": "multistep", "milestones": [2], "gamma": 0.5, "warmup_epochs": 1},
            [0.5, 1, 1, 1, 0.5, 0.5, 0.5, 0.5],
        ),
        ({"schedule": "cosine"}, [1, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]),
        ({"schedule": "cosine", "warmup_epochs": 2}, [0.25, 0.5, 0.75, 1, 1, 0.8535534, 0.5, 0.1464466]),
        (
            {"schedule": "onecycle", "warmup_epochs": 1.5},
            [0.04, 0.52, 1, 0.9045089, 0.6545099, 0.3454941, 0.0954951, 4e-6],
        ),
    ],
)
def test_learning_rates_written_out(options: dict, expected: list[float]) -> None:
    config = TrainConfig(epochs=4, lr=1.0, **options)
    assert rates(config, steps_per_epoch=2) == pytest.approx(expected, abs=1e-7)


def test_each_phase_goes_through_the_whole_schedule() -> None:
    config = TrainConfig(epochs=6, lr=1.0, schedule="multistep", milestones=[3])
    found = [lr_factor(step, config, 2, restarts=(2 / 3,)) for step in range(12)]
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 1, 1, 0.1, 0.1])


@pytest.mark.parametrize(
    ("total", "restarts", "starts"),
    [(10, (0.7,), [0, 7]), (10, (0.1 + 0.2,), [0, 4]), (3, (0.5,), [0, 2]), (90, (1 / 3, 2 / 3), [0, 30, 60])],
)
def test_a_phase_begins_with_the_first_step_whose_progress_is_its_share(total, restarts, starts) -> None:
    assert phase_starts(total, restarts) == starts
    for start, share in zip(starts[1:], restarts, strict=True):
        assert start / total >= share > (start - 1) / total


def test_a_phase_without_a_step_does_not_take_place() -> None:
    assert phase_starts(10, (0.5, 0.95)) == [0, 5]
    assert phase_starts(2, (0.6, 0.8)) == [0]
    assert lr_factor(1, TrainConfig(epochs=2, lr=1.0, schedule="cosine"), 1, (0.95,)) == pytest.approx(0.5)


def test_shares_that_do_not_rise_are_refused() -> None:
    with pytest.raises(InputError, match=r"restarts \(0.5, 0.5\): shares of the training rise"):
        phase_starts(10, (0.5, 0.5))


@pytest.mark.parametrize("options", [{}, {"nesterov": True}, {"optimizer": "AdamW"}], ids=str)
def test_a_step_that_the_loss_scale_skips_leaves_no_trace(options: dict) -> None:
    """The fused SGD of PyTorch makes its momentum in such a step and leaves it uninitialised."""
    config = TrainConfig(precision="fp16", **options)
    ends = []
    for overflows in (0, 1):
        layer = nn.Linear(1000, 1000)
        with torch.no_grad():
            layer.weight.fill_(1.0)
            layer.bias.fill_(1.0)
        # What a new tensor would find in memory.
        garbage = [torch.full((1000, 1000), 1e30) for _ in range(4)]
        del garbage
        optimizer, scaler = build_optimizer(layer, config), torch.amp.GradScaler("cpu", init_scale=8.0)
        for step in range(3 + overflows):
            for parameter in layer.parameters():
                parameter.grad = torch.full_like(parameter, torch.inf if step < overflows else scaler.get_scale())
            scaler.scale(torch.zeros(1))
            scaler.step(optimizer)
            scaler.update()
        ends.append(layer.weight.detach().clone())
    assert torch.equal(*ends)
    assert ends[0].max() < 1


def test_equals_the_schedules_of_pytorch() -> None:
    def theirs(make) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
        schedule, found = make(optimizer), []
        for _ in range(30):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    common = {"epochs": 10, "lr": 0.2}
    multistep = TrainConfig(**common, milestones=[4, 9])
    assert rates(multistep, 3) == pytest.approx(theirs(lambda o: MultiStepLR(o, [12, 27])))
    assert rates(TrainConfig(**common, schedule="cosine"), 3) == pytest.approx(
        theirs(lambda o: CosineAnnealingLR(o, 30))
    )
    onecycle = TrainConfig(**common, schedule="onecycle")
    assert rates(onecycle, 3) == pytest.approx(theirs(lambda o: OneCycleLR(o, 0.2, total_steps=30)))


@pytest.mark.parametrize("schedule", ["multistep", "cosine", "onecycle", "constant"])
@pytest.mark.parametrize("warmup", [0, 0.99])
def test_a_single_step_has_a_positive_rate(schedule: str, warmup: float) -> None:
    config = TrainConfig(epochs=1, schedule=schedule, milestones=[], warmup_epochs=warmup)
    assert 0 < lr_factor(0, config, 1) <= 1
    assert 0 <= lr_factor(1, config, 1) <= 1  # the schedule looks one step past the end


def test_schedule_resumes_from_its_state() -> None:
    config = TrainConfig(epochs=4, lr=1.0, milestones=[2], warmup_epochs=1)

    def start():
        optimizer = build_optimizer(nn.Linear(2, 2), config)
        return optimizer, build_schedule(optimizer, config, steps_per_epoch=2)

    def advance(optimizer, schedule, steps) -> list[float]:
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    first, schedule = start()
    assert advance(first, schedule, 3) == pytest.approx([0.5, 1, 1])
    second, resumed = start()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert advance(second, resumed, 5) == pytest.approx([1, 0.1, 0.1, 0.1, 0.1])


def test_sgd_decays_everything_and_adamw_only_matrices() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    module[0].bias.requires_grad_(False)
    sgd = build_optimizer(module, TrainConfig(momentum=0.8, nesterov=True, weight_decay=0.1))
    assert [len(group["params"]) for group in sgd.param_groups] == [3]
    assert (sgd.param_groups[0]["weight_decay"], sgd.param_groups[0]["momentum"]) == (0.1, 0.8)
    assert sgd.param_groups[0]["nesterov"]

    adamw = build_optimizer(module, TrainConfig(optimizer="AdamW", lr=1e-3, weight_decay=0.1))
    decayed, kept = adamw.param_groups
    assert (decayed["weight_decay"], [p.shape for p in decayed["params"]]) == (0.1, [(3, 2)])
    assert (kept["weight_decay"], [p.shape for p in kept["params"]]) == (0.0, [(3,), (3,)])
    assert (decayed["lr"], kept["betas"]) == (1e-3, (0.9, 0.999))


def test_a_first_step_that_the_loss_scale_skips_is_no_wrong_order_of_calls() -> None:
    layer, config = nn.Linear(2, 2), TrainConfig(epochs=4, schedule="onecycle", precision="fp16")
    schedule = build_schedule(build_optimizer(layer, config), config, steps_per_epoch=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advance(schedule)
        advance(schedule)
    assert schedule.last_epoch == 2
