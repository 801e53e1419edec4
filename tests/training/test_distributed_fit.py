"""A training on two processes is that of one."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import launch
from torch import Tensor, nn
from trained import Stop, all_weights, stop_at, without_clock

import trg_pyg.distillers
from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.errors import InputError
from trg_pyg.models.taps import NetworkInfo, Outputs, TappedModel
from trg_pyg.step import Step
from trg_pyg.training.checkpoint import load_checkpoint
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.distributed import World
from trg_pyg.training.learner import TrainingDiverged
from trg_pyg.training.loop import Progress, Trainee, fit_together

# 29 images: batches of 11, 11 and 7, whose shares on two processes are 6 and 5, and 4 and 3.
CONFIG = TrainConfig(epochs=2, batch_size=11, lr=0.02, schedule="cosine", eval_batch_size=4)
STEPS = 3
RECIPE = replace(CONFIG, mixup=0.4, cutmix=1.0, randaugment=9, erasing=0.5, label_smoothing=0.1, ema=0.6)
RECIPE = replace(RECIPE, balanced_sampling=0.5, logit_adjustment=1.0, effective_number=0.9, deferred_epochs=1)


class Smooth(nn.Module):
    """Neither batch norm nor dropout, in float64: what an image gives depends on it alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh())
        self.head = nn.Linear(8, 4)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage(images.double()).mean(dim=(2, 3)))


class Late(Distiller):
    """A part of the loss that there is in the second step of an epoch only."""

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo | None) -> None:
        super().__init__(student, teacher)

    def forward(self, student: Outputs, teacher: Outputs | None, step: Step) -> Losses:
        ce = nn.functional.cross_entropy(student.logits, step.target)
        number = round(step.progress * 2 * STEPS) % STEPS
        extra = {"late": (1.0, student.logits.square().mean())} if number == 1 else {}
        return self.weigh({**extra, "ce": (1.0, ce)})


def image_set(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(count)
    targets = torch.arange(count) % 4
    images = torch.randint(0, 60, (count, 3, 8, 8), generator=generator) + 60 * targets[:, None, None, None]
    return ImageSet(images.to(torch.uint8), targets)


METHODS: dict[str, dict[str, Any]] = {
    "KD": {},
    "TRG": {"tokens_per_image": 8, "k": 4},
    "CRD": {"negatives": 6},
    "SRD": {},
}


def build(name: str, folder: Path | None = None, **options: Any) -> Trainee:
    student, teacher = TappedModel(Smooth(0), ["stage"]), TappedModel(Smooth(1), ["stage"])
    torch.manual_seed(2)
    method = Late if name == "Late" else getattr(trg_pyg.distillers, name)
    distiller = method(student.describe(8), teacher.describe(8), **METHODS.get(name, {}))
    return Trainee(student, distiller, teacher, folder, **options)


def train(world: World, trainees: list[Trainee], config: TrainConfig = CONFIG, **options: Any) -> list[dict[str, Any]]:
    """Histories without the clock, and weights with what distillers keep."""
    augment = Augment(crop_padding=1, flip=True)
    how: dict[str, Any] = {"augment": augment, "seed": 3, "world": world, "pools": {"unlabelled": image_set(17)}}
    histories = fit_together(trainees, image_set(29), image_set(9), config, **how, **options)
    return [
        {
            "history": without_clock(history),
            "weights": all_weights(each.student, each.distiller),
        }
        for each, history in zip(trainees, histories, strict=True)
    ]


# Steps after which a training is killed, and so the step of an epoch that its checkpoint is of: within the first epoch,
# at the end of it, and within the second.
KILLED = {3: 2, 4: 0, 6: 2}
RESUMED = ("TRG", "CRD", "SRD", "Late")


def kill(world: World, name: str, folder: Path, step: int) -> None:
    """Train until a step, with a checkpoint after each."""
    looks, trg_pyg.training.loop._CHECK_EVERY = trg_pyg.training.loop._CHECK_EVERY, 1
    try:
        train(world, [build(name, folder, on_step=stop_at(step))], checkpoint_seconds=0.0)
    except Stop:
        return
    finally:
        trg_pyg.training.loop._CHECK_EVERY = looks
    raise AssertionError("was not killed")


def refusal(world: World, name: str, config: TrainConfig) -> str:
    steps: list[Progress] = []
    with pytest.raises(InputError) as caught:
        train(world, [build(name, on_step=steps.append)], config)
    assert steps == []
    return str(caught.value)


def diverge(world: World) -> str:
    with pytest.raises(TrainingDiverged) as caught:
        train(world, [build("KD")], replace(CONFIG, lr=1e30, schedule="constant"))
    return str(caught.value)


def work(world: World, folder: Path) -> dict[str, Any]:
    """What each of two processes does; the main one alone is to write files."""
    own = folder / f"process{world.rank}"
    found: dict[str, Any] = {}
    for name in METHODS:
        (found[name],) = train(world, [build(name, own / name)])
    found["together"] = train(world, [build(name) for name in METHODS])
    found["parts"] = train(world, [build("KD")], replace(CONFIG, accumulate=3))
    found["clipped"] = train(world, [build("TRG")], replace(CONFIG, grad_clip=0.01, optimizer="AdamW"))
    for name in ("KD", "TRG"):
        (found[f"mixed {name}"],) = train(world, [build(name)], RECIPE)
    found["local"] = train(world, [build("KD"), build("TRG")], replace(CONFIG, loss_scope="local"))
    for name in RESUMED:
        for step in KILLED:
            kill(world, name, folder / f"two {name} {step}", step)
            (found[f"one-two {name} {step}"],) = train(world, [build(name, folder / f"one {name} {step}")], resume=True)
            again = folder / f"two-two {name} {step}"
            if world.is_main:
                shutil.copytree(folder / f"two {name} {step}", again)
            world.barrier()
            (found[again.name],) = train(world, [build(name, again)], resume=True)
    found["refused"] = {
        "scope": refusal(world, "CRD", replace(CONFIG, loss_scope="local")),
        "batch": refusal(world, "KD", replace(CONFIG, batch_size=28)),
        "parts": refusal(world, "KD", replace(CONFIG, accumulate=4)),
    }
    found["diverged"] = diverge(world)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With the checkpoints of trainings that were killed on one process."""
    folder = tmp_path_factory.mktemp("fit")
    for name in RESUMED:
        for step in KILLED:
            kill(World(), name, folder / f"one {name} {step}", step)
    return folder


@pytest.fixture(scope="module")
def found(folder) -> list[dict[str, Any]]:
    return launch(partial(work, folder=folder), 2, folder)


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    return {name: train(World(), [build(name)])[0] for name in (*METHODS, "Late")}


def check(actual: dict[str, Any], expected: dict[str, Any], tolerance: float = 1e-5) -> None:
    assert len(actual["history"]) == len(expected["history"]) == 2
    for one, other in zip(actual["history"], expected["history"], strict=True):
        assert one == pytest.approx(other, rel=tolerance)
    assert actual["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        largest = float(value.abs().max())
        torch.testing.assert_close(
            actual["weights"][name],
            value,
            rtol=tolerance,
            atol=tolerance * largest,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def check_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["history"] == other["history"]
    assert [name for name in one["weights"] if not torch.equal(one["weights"][name], other["weights"][name])] == []


@pytest.mark.parametrize("name", METHODS)
def test_metrics_and_weights_are_those_of_one_process(found, alone, name) -> None:
    begun = build(name).student.state_dict()
    assert not any(torch.equal(value, alone[name]["weights"][key]) for key, value in begun.items())
    for each in found:
        check(each[name], alone[name])


def test_both_processes_end_with_the_same(found) -> None:
    one, other = found
    for key in (*METHODS, "parts", "clipped"):
        results = [each[key] if isinstance(each[key], list) else [each[key]] for each in (one, other)]
        check_equal(results[0][0], results[1][0])


def test_students_side_by_side_are_what_each_is_alone(found) -> None:
    for each in found:
        for name, result in zip(METHODS, each["together"], strict=True):
            check_equal(result, each[name])


def test_the_main_process_alone_writes_files(found, folder) -> None:
    files = {"checkpoint.pt", "checkpoint.1.pt", "best.safetensors", "last.safetensors"}
    assert {path.name for path in (folder / "process0").iterdir()} == set(METHODS)
    for name in METHODS:
        assert {path.name for path in (folder / "process0" / name).iterdir()} == files
    assert not (folder / "process1").exists()


def test_parts_of_shares_give_the_steps_of_one_process(found, alone) -> None:
    for each in found:
        check(each["parts"][0], alone["KD"])


@pytest.mark.parametrize("name", ["KD", "TRG"])
def test_a_recipe_with_mixed_images_and_mean_weights_is_that_of_one_process(found, alone, name) -> None:
    (expected,) = train(World(), [build(name)], RECIPE)
    assert expected["history"][0]["train/ce"] != pytest.approx(alone[name]["history"][0]["train/ce"], rel=1e-4)
    for each in found:
        check(each[f"mixed {name}"], expected)
    check_equal(found[0][f"mixed {name}"], found[1][f"mixed {name}"])


def test_clipping_looks_at_the_gradient_of_all_processes(found) -> None:
    (expected,) = train(World(), [build("TRG")], replace(CONFIG, grad_clip=0.01, optimizer="AdamW"))
    for each in found:
        # AdamW makes a step of the learning rate out of a gradient that is nothing but rounding.
        check(each["clipped"][0], expected, tolerance=1e-4)


def test_a_local_loss_of_images_apart_is_the_global_one_and_another_is_not(found, alone) -> None:
    for each, other in zip(found, reversed(found), strict=True):
        kd, trg = each["local"]
        check(kd, alone["KD"])
        check_equal(trg, other["local"][1])
        assert trg["history"][0]["train/local"] != pytest.approx(alone["TRG"]["history"][0]["train/local"], rel=1e-3)


@pytest.mark.parametrize("step", KILLED)
@pytest.mark.parametrize("name", RESUMED)
def test_a_training_resumes_on_another_number_of_processes(found, alone, folder, name, step) -> None:
    for number in ("one", "two"):
        checkpoint = load_checkpoint(folder / f"{number} {name} {step}" / "checkpoint.pt")
        if number == "two":
            assert (checkpoint["step"], len(checkpoint["meters"])) == (KILLED[step], 2)
    for each in found:
        check(each[f"one-two {name} {step}"], alone[name])
        check(each[f"two-two {name} {step}"], alone[name])
    (resumed,) = train(World(), [build(name, folder / f"two {name} {step}")], resume=True)
    check(resumed, alone[name])


def test_what_cannot_be_shared_is_refused_on_all_processes_before_training(found) -> None:
    for each in found:
        refused = each["refused"]
        assert "train.loss_scope = local on 2 processes: CRD keeps a memory bank" in refused["scope"]
        assert "train.batch_size = 28 leaves a batch of 1 of 29 training images" in refused["batch"]
        assert "fewer processes" in refused["batch"]
        assert "too few for train.accumulate = 4 parts on each of 2 processes" in refused["parts"]


def test_a_divergence_stops_all_processes_alike(found) -> None:
    assert found[0]["diverged"] == found[1]["diverged"]
    assert "total is" in found[0]["diverged"]
