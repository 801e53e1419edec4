import errno
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from trained import Stop, all_weights, stop_at, without_clock

from trg_pyg.data.base import ImageSet
from trg_pyg.data.loading.augment import Augment
from trg_pyg.distillers.base import Distiller, Losses
from trg_pyg.errors import InputError
from trg_pyg.models.weights import load_weights
from trg_pyg.training.config import TrainConfig
from trg_pyg.training.loop import Progress, TrainingDiverged, TrainingStopped, fit
from trg_pyg.training.stop import StopRequest

SGD = TrainConfig(epochs=4, batch_size=8, lr=0.1, milestones=[2], warmup_epochs=0.5, eval_batch_size=4)
ADAMW = TrainConfig(epochs=4, batch_size=8, optimizer="AdamW", lr=0.01, schedule="onecycle", grad_clip=1.0)


@pytest.fixture
def run(network, hints, train_set, test_set):
    """Trains a fresh pair and returns its history and all weights."""

    def run(config: TrainConfig, **options):
        student, distiller = options.pop("student", None) or network(0), options.pop("distiller", None) or hints()
        teacher = options.pop("teacher", network(1))
        options.setdefault("augment", Augment(crop_padding=1, flip=True))
        student.train(options.pop("training", True))
        torch.rand(options.pop("drawn", 0))
        history = fit(student, teacher, distiller, train_set, test_set, config, **options)
        return history, all_weights(student, distiller)

    return run


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_metrics_of_every_epoch(run, train_set) -> None:
    seen: list[dict] = []
    history, _ = run(SGD, shots={"many": [0], "few": [1, 2]}, on_epoch=seen.append)
    assert history == seen
    assert list(history[0]) == [
        *("epoch", "lr", "train/ce", "train/hint", "train/total", "train/top1", "images_per_second", "ms_per_step"),
        *(
            "passes",
            "test/top1",
            "test/loss",
            "test/many",
            "test/few",
            "test/gmean",
            "seconds",
            "best/top1",
            "best/epoch",
        ),
    ]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert [epoch["lr"] for epoch in history] == pytest.approx([0.05, 0.1, 0.01, 0.01])  # a warm-up of 2 of 3 steps
    first = history[0]
    assert first["train/total"] == pytest.approx(first["train/ce"] + 0.5 * first["train/hint"])
    assert history[-1]["best/top1"] == max(epoch["test/top1"] for epoch in history)
    assert first["images_per_second"] > 0
    assert first["ms_per_step"] * 3 == pytest.approx(1000 * len(train_set) / first["images_per_second"])
    assert first["seconds"] > 0


def test_evaluation_every_few_epochs_and_after_the_last(run, network, tmp_path: Path) -> None:
    every, weights = run(SGD)
    sparse, same_weights = run(replace(SGD, eval_every=3), folder=tmp_path)
    assert same(weights, same_weights)
    tested = [{key: value for key, value in epoch.items() if key.startswith("test/")} for epoch in sparse]
    assert [bool(metrics) for metrics in tested] == [False, False, True, True]
    assert tested[2:] == [{key: epoch[key] for key in tested[3]} for epoch in every[2:]]
    assert "best/top1" not in sparse[1]
    assert sparse[-1]["best/top1"] == max(epoch["test/top1"] for epoch in every[2:])
    resumed, _ = run(replace(SGD, eval_every=3), folder=tmp_path, resume=True)
    assert resumed == sparse


def test_an_epoch_without_evaluation_has_no_best_weights(run, network, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(replace(SGD, eval_every=3), folder=tmp_path, on_epoch=stop_at(2))
    assert not (tmp_path / "best.safetensors").exists()
    assert load_weights(network(5).model, tmp_path / "last.safetensors").accuracy is None


def drawing_probe(student: nn.Module) -> dict[str, float]:
    """Looks at the student and draws, which the training must not notice."""
    assert not any(module.training for module in student.modules())
    logits = student(torch.zeros(2, 3, 8, 8)).logits
    assert not logits.requires_grad
    return {"probe/draw": torch.rand(()).item(), "probe/logit": logits[0, 0].item()}


def test_a_probe_is_asked_with_each_evaluation_and_changes_nothing(run) -> None:
    config = replace(SGD, eval_every=2)
    history, weights = run(config)
    probed, same_weights = run(config, probe=drawing_probe)
    drawn = torch.get_rng_state()
    run(config)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert same(weights, same_weights)
    assert ["probe/draw" in epoch for epoch in probed] == [False, True, False, True]
    assert probed[1]["probe/logit"] != probed[3]["probe/logit"]
    left = [{name: value for name, value in epoch.items() if not name.startswith("probe/")} for epoch in probed]
    assert without_clock(left) == without_clock(history)


def test_a_resumed_training_has_what_its_probe_gave(run, tmp_path: Path) -> None:
    def probe(student: nn.Module) -> dict[str, float]:
        return {"norm": student.model.head.weight.norm().item()}

    whole, _ = run(SGD, probe=probe)
    with pytest.raises(Stop):
        run(SGD, probe=probe, folder=tmp_path, on_epoch=stop_at(2))
    resumed, _ = run(SGD, probe=probe, folder=tmp_path, resume=True, drawn=3)
    assert without_clock(resumed) == without_clock(whole)
    assert len({epoch["norm"] for epoch in resumed}) == 4


def test_it_learns(run) -> None:
    history, _ = run(TrainConfig(epochs=15, batch_size=8, lr=0.1, schedule="cosine"), augment=None)
    assert history[-1]["test/top1"] >= 80
    assert history[-1]["train/hint"] < history[0]["train/hint"]


@pytest.mark.parametrize("config", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_one_seed_gives_one_result_whatever_was_before(run, config) -> None:
    history, weights = run(config, seed=3)
    again, same_weights = run(config, seed=3, drawn=5, training=False)
    _, others = run(config, seed=4)
    assert without_clock(history) == without_clock(again)
    assert same(weights, same_weights)
    assert not same(weights, others)


def test_the_callers_random_stream_is_left_alone(network, plain, train_set, test_set) -> None:
    student = network(0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(student, None, plain, train_set, test_set, TrainConfig(epochs=1, milestones=[]))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("config", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_resumed_equals_uninterrupted(run, tmp_path: Path, config, epochs) -> None:
    history, weights = run(config, folder=tmp_path / "whole")
    with pytest.raises(Stop):
        run(config, folder=tmp_path / "cut", on_epoch=stop_at(epochs))
    resumed_epochs: list[dict] = []
    resumed, resumed_weights = run(
        config, folder=tmp_path / "cut", resume=True, on_epoch=resumed_epochs.append, drawn=11
    )
    assert same(weights, resumed_weights)
    assert without_clock(history) == without_clock(resumed)
    assert [epoch["epoch"] for epoch in resumed_epochs] == list(range(epochs + 1, 5))
    for name in ("best.safetensors", "last.safetensors"):
        assert same(load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name))


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (2, 2), (2, 3), (3, 3)])
def test_stopped_by_a_signal_and_resumed_equals_uninterrupted(run, tmp_path: Path, epoch, step) -> None:
    history, weights = run(SGD)
    stop = StopRequest()

    def on_step(progress: Progress) -> None:
        if progress[:2] == (epoch, step):
            stop.signal = "SIGTERM"

    place = f"after step {step} of 3 of epoch {epoch} of 4" if step < 3 else f"after epoch {epoch} of 4"
    with pytest.raises(TrainingStopped, match=f"^SIGTERM {place}; everything is saved, resume to go on$"):
        run(SGD, folder=tmp_path, on_step=on_step, stop=stop)
    resumed, resumed_weights = run(SGD, folder=tmp_path, resume=True, stop=StopRequest())
    assert same(weights, resumed_weights)
    assert without_clock(history) == without_clock(resumed)


def test_a_stop_after_the_last_step_is_no_stop(run, tmp_path: Path) -> None:
    stop = StopRequest()

    def on_step(progress: Progress) -> None:
        if progress[:2] == (4, 3):
            stop.signal = "SIGTERM"

    history, _ = run(SGD, folder=tmp_path, on_step=on_step, stop=stop)
    assert len(history) == 4


def test_a_damaged_checkpoint_costs_an_epoch_and_no_result(run, tmp_path: Path) -> None:
    history, weights = run(SGD)
    with pytest.raises(Stop):
        run(SGD, folder=tmp_path, on_epoch=stop_at(3), keep_checkpoints=3)
    assert {"checkpoint.pt", "checkpoint.1.pt", "checkpoint.2.pt"} <= {path.name for path in tmp_path.iterdir()}
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:-1])
    seen: list[dict] = []
    with pytest.warns(UserWarning, match="Going on from checkpoint.1.pt, the one before"):
        resumed, resumed_weights = run(SGD, folder=tmp_path, resume=True, on_epoch=seen.append)
    assert [epoch["epoch"] for epoch in seen] == [3, 4]
    assert same(weights, resumed_weights)
    assert without_clock(history) == without_clock(resumed)


def test_a_full_disk_stops_no_training(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, weights = run(SGD)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_step(progress: Progress) -> None:
        monkeypatch.setattr(os, "fsync", full if progress.epoch in (2, 3) else fsync)

    fsync = os.fsync
    with pytest.warns(UserWarning, match=r"No space left on device.*training goes on, and the checkpoint before stays"):
        through, same_weights = run(SGD, folder=tmp_path, on_step=on_step)
    assert same(weights, same_weights)
    assert without_clock(history) == without_clock(through)
    assert len(run(SGD, folder=tmp_path, resume=True)[0]) == 4


def test_a_disk_that_is_full_at_the_end_is_an_error_that_can_be_mended(run, tmp_path: Path, monkeypatch) -> None:
    history, weights = run(SGD)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_step(progress: Progress) -> None:
        if progress.epoch == 4:
            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(InputError, match=r"cannot write the last epoch to .*free some space and resume"):
        run(SGD, folder=tmp_path, on_step=on_step)
    monkeypatch.undo()
    resumed, resumed_weights = run(SGD, folder=tmp_path, resume=True)
    assert same(weights, resumed_weights)
    assert without_clock(history) == without_clock(resumed)


def test_a_finished_training_is_returned_as_it_is(run, tmp_path: Path) -> None:
    history, weights = run(SGD, folder=tmp_path)
    again, restored = run(SGD, folder=tmp_path, resume=True)
    assert history == again
    assert same(weights, restored)


def test_weights_of_the_last_and_of_the_best_epoch(run, network, tmp_path: Path) -> None:
    fresh = network(5)
    epochs: list[dict] = []

    def on_epoch(metrics: dict) -> None:
        epochs.append(load_file(tmp_path / "last.safetensors"))

    history, weights = run(SGD, folder=tmp_path, on_epoch=on_epoch)
    student = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
    assert same(load_file(tmp_path / "last.safetensors"), student)
    assert same(load_file(tmp_path / "best.safetensors"), epochs[int(history[-1]["best/epoch"]) - 1])
    about = load_weights(fresh.model, tmp_path / "best.safetensors").metadata
    assert about == {"epoch": str(history[-1]["best/epoch"]), "accuracy": f"{history[-1]['best/top1']:.2f}"}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.safetensors", "checkpoint.1.pt", "checkpoint.pt", "last.safetensors"]


def test_resume_refuses_another_training(run, plain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint at"):
        run(SGD, folder=tmp_path, resume=True)
    with pytest.raises(InputError, match="resume is set but no folder"):
        run(SGD, resume=True)
    with pytest.raises(Stop):
        run(SGD, folder=tmp_path, on_epoch=stop_at(1), identity={"weight": 1.0})
    changed = TrainConfig(epochs=5, batch_size=8, lr=0.1, milestones=[2], warmup_epochs=0.5, eval_batch_size=4)
    with pytest.raises(InputError) as error:
        run(changed, folder=tmp_path, resume=True, seed=1, identity={"weight": 2.0})
    assert "seed is 0 there and 1 here; train.epochs is 4 there and 5 here; weight is 1.0 there and 2.0 here; " in str(
        error.value
    )
    with pytest.raises(InputError, match="does not fit this student and distiller"):
        run(SGD, folder=tmp_path, resume=True, distiller=plain, identity={"weight": 1.0})


def test_only_a_distiller_that_needs_a_teacher_runs_one(run, plain) -> None:
    with pytest.raises(InputError, match="Hints has no teacher"):
        run(SGD, teacher=None)
    _, weights = run(SGD, distiller=plain, teacher=None)

    class NotToBeRun(nn.Module):
        def forward(self, images):
            raise AssertionError

    _, same_weights = run(SGD, distiller=plain, teacher=NotToBeRun())
    assert same(weights, same_weights)


def test_a_distiller_that_draws_sees_the_same_batches(network, hints, plain, train_set, test_set) -> None:
    def batches(distiller: Distiller) -> list[list[int]]:
        seen: list[list[int]] = []
        distiller.register_forward_pre_hook(lambda module, args: seen.append(args[2].index.tolist()))
        fit(network(0), network(1), distiller, train_set, test_set, SGD)
        return seen

    drawn = batches(hints())
    assert drawn == batches(plain)
    assert sorted(chain(*drawn[:3])) == list(range(22))


def test_progress_runs_from_0_to_below_1(network, plain, train_set, test_set) -> None:
    seen: list[float] = []
    plain.register_forward_pre_hook(lambda module, args: seen.append(args[2].progress))
    fit(network(0), None, plain, train_set, test_set, SGD)
    assert seen == pytest.approx([k / 12 for k in range(12)])


def test_on_step_can_read_the_running_means(run) -> None:
    steps = []
    run(SGD, on_step=lambda at: steps.append((at.epoch, at.step, at.steps, at.meter.means()["total"])))
    assert [at[:3] for at in steps] == [(epoch, step, 3) for epoch in (1, 2, 3, 4) for step in (1, 2, 3)]
    assert all(math.isfinite(at[3]) for at in steps)


@pytest.mark.parametrize("config", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_a_frozen_body_stays_to_the_bit_while_its_head_learns_and_learns_afterwards(
    run, network, tmp_path: Path, config
) -> None:
    begun = network(0).model.state_dict()
    run(replace(config, freeze_epochs=2), folder=tmp_path / "whole", on_epoch=keep(tmp_path / "whole"))
    probed, end = (load_file(tmp_path / "whole" / name) for name in ("2.safetensors", "last.safetensors"))
    changed = {name for name, value in begun.items() if not torch.equal(probed[name], value)}
    assert changed == {name for name in begun if name.startswith("head.")}
    assert {name for name in begun if not torch.equal(probed[name], end[name])} == set(begun)
    with pytest.raises(Stop):
        run(replace(config, freeze_epochs=2), folder=tmp_path / "half", on_epoch=stop_at(1))
    run(replace(config, freeze_epochs=2), folder=tmp_path / "half", resume=True)
    assert same(load_file(tmp_path / "half" / "last.safetensors"), end)


def keep(folder: Path) -> Callable[[dict], object]:
    """Keeps the weights of every epoch."""
    return lambda metrics: shutil.copy(folder / "last.safetensors", folder / f"{metrics['epoch']}.safetensors")


def test_a_body_is_frozen_only_where_the_classifier_is_known(run, network) -> None:
    student = network(0)
    student.model.head = nn.Identity()
    with pytest.raises(InputError, match=r"the classifier of .* is not known, so nothing would learn"):
        run(replace(SGD, freeze_epochs=1), student=student)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_bounds_the_step(network, plain, train_set, test_set, precision) -> None:
    student = network(0)
    before = nn.utils.parameters_to_vector(student.parameters()).detach().clone()
    whole = {"epochs": 1, "batch_size": 22, "schedule": "constant"}
    clipped = TrainConfig(**whole, lr=1.0, momentum=0.0, weight_decay=0.0, grad_clip=1e-3, precision=precision)
    fit(student, None, plain, train_set, test_set, clipped)
    moved = nn.utils.parameters_to_vector(student.parameters()).detach() - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains_and_resumes(run, tmp_path: Path, precision) -> None:
    config = TrainConfig(epochs=3, batch_size=8, schedule="cosine", precision=precision, grad_clip=1.0)
    history, weights = run(config)
    assert all(weight.dtype != torch.float16 and weight.dtype != torch.bfloat16 for weight in weights.values())
    assert history[-1]["train/total"] < history[0]["train/total"]
    with pytest.raises(Stop):
        run(config, folder=tmp_path, on_epoch=stop_at(2))
    assert same(weights, run(config, folder=tmp_path, resume=True)[1])


def test_divergence_names_the_part_and_keeps_the_last_good_epoch(run, plain, tmp_path: Path) -> None:
    class Breaks(type(plain)):
        def forward(self, student, teacher, step) -> Losses:
            ce = super().forward(student, teacher, step).total
            fine = ce.new_tensor(1.0)
            return self.weigh({"ce": (1.0, ce * (math.nan if step.progress >= 0.5 else 1.0)), "fine": (1.0, fine)})

    with pytest.raises(TrainingDiverged, match=r"Breaks: in epoch 3 step 1 ce is nan, total is nan.*: lower train.lr"):
        run(SGD, distiller=Breaks(), teacher=None, folder=tmp_path)
    history, _ = run(SGD, distiller=plain, teacher=None, folder=tmp_path, resume=True)
    assert len(history) == 4


def test_divergence_is_found_within_an_epoch(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trg_pyg.training.loop._CHECK_EVERY", 1)
    steps: list[int] = []
    wild = TrainConfig(epochs=2, batch_size=2, lr=1e30, schedule="constant")
    with pytest.raises(TrainingDiverged, match=r"in epoch 1 .*total is"):
        run(wild, on_step=lambda at: steps.append(at.step))
    assert len(steps) < 10


def test_an_empty_training_set_is_refused(network, plain, train_set, test_set) -> None:
    with pytest.raises(InputError, match="the training set has 0 images"):
        fit(network(0), None, plain, train_set.select(torch.arange(0)), test_set, SGD)


@pytest.mark.parametrize("every", [1, 2])
def test_the_best_epoch_is_chosen_by_the_images_that_are_held_out(every, run, train_set, tmp_path):
    config = replace(SGD, epochs=5, lr=1.0, milestones=[], eval_every=every)
    # Wrong labels, so that the two disagree.
    heldout = ImageSet(train_set.images, (train_set.targets + 1) % 3)
    history, weights = run(config, heldout=heldout, folder=tmp_path)
    others, same_weights = run(config)
    assert same(weights, same_weights)
    tested = [epoch for epoch in history if "test/top1" in epoch]
    assert [epoch["test/top1"] for epoch in tested] == [e["test/top1"] for e in others if "test/top1" in e]
    assert [epoch["epoch"] for epoch in tested] == sorted({*range(every, 6, every), 5})
    best = max(tested, key=lambda epoch: epoch["heldout/top1"])
    assert best["epoch"] != others[-1]["best/epoch"]
    assert (history[-1]["best/epoch"], history[-1]["best/top1"]) == (best["epoch"], best["test/top1"])
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == str(best["epoch"])
