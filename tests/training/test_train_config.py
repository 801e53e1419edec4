import math
from dataclasses import asdict, replace

import pytest

from trg_pyg.errors import InputError
from trg_pyg.training.config import TrainConfig, without_off


def test_defaults_are_the_cifar100_protocol() -> None:
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.lr, config.momentum) == (240, 64, 0.05, 0.9)
    assert (config.weight_decay, config.milestones, config.gamma) == (5e-4, [150, 180, 210], 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "train.epochs = 0: give a whole number of at least 1"),
        ({"batch_size": 2.5}, "train.batch_size = 2.5: give a whole number of at least 1"),
        ({"accumulate": 0}, "train.accumulate = 0: give a whole number of at least 1"),
        ({"accumulate": 1.5}, "train.accumulate = 1.5: give a whole number of at least 1"),
        ({"loss_scope": "all"}, "train.loss_scope = 'all': choose one of global, local"),
        ({"eval_batch_size": -1}, "train.eval_batch_size = -1: give a whole number of at least 1"),
        ({"eval_every": 0}, "train.eval_every = 0: give a whole number of at least 1"),
        ({"optimizer": "Adam"}, "train.optimizer = 'Adam': choose one of SGD, AdamW"),
        ({"schedule": "step"}, "train.schedule = 'step': choose one of multistep, cosine, onecycle, constant"),
        ({"precision": "fp8"}, "train.precision = 'fp8': choose one of fp32, bf16, fp16"),
        ({"lr": 0.0}, "train.lr = 0.0: give a positive number"),
        ({"lr": math.nan}, "train.lr = nan: give a positive number"),
        ({"momentum": 1.0}, "train.momentum = 1.0: give a number from 0 to below 1"),
        ({"weight_decay": -1e-4}, "train.weight_decay = -0.0001: give 0 or a positive number"),
        ({"gamma": 0.0}, "train.gamma = 0.0: give a number above 0 and at most 1"),
        ({"grad_clip": 0.0}, "train.grad_clip = 0.0: give a positive number, or null for no clipping"),
        ({"mixup": -0.1}, "train.mixup = -0.1: give 0 (off) or a positive number"),
        ({"cutmix": math.inf}, "train.cutmix = inf: give 0 (off) or a positive number"),
        ({"randaugment": 31}, "train.randaugment = 31: give a whole number from 0 (off) to 30"),
        ({"randaugment": 9, "trivialaugment": True}, "train.trivialaugment = True: it takes the place of randaugment"),
        ({"views": -1}, "train.views = -1: give 0 (off) or a whole number"),
        ({"erasing": 1.1}, "train.erasing = 1.1: give a probability, from 0 (off) to 1"),
        ({"label_smoothing": 1.0}, "train.label_smoothing = 1.0: give a number from 0 (off) to below 1"),
        ({"balanced_sampling": 1.1}, "train.balanced_sampling = 1.1: give a number from 0 (off) to 1"),
        ({"logit_adjustment": -1.0}, "train.logit_adjustment = -1.0: give 0 (off) or a positive number"),
        ({"adjust_after": True}, "train.adjust_after = True: needs train.logit_adjustment above 0"),
        ({"effective_number": 1.0}, "train.effective_number = 1.0: give a number from 0 (off) to below 1"),
        ({"deferred_epochs": 160}, "train.deferred_epochs = 160: needs the weights that begin then"),
        (
            {"effective_number": 0.9, "deferred_epochs": 240},
            "train.deferred_epochs = 240: give a whole number from 0 to below train.epochs = 240",
        ),
        ({"ema": 1.0}, "train.ema = 1.0: give a number from 0 (off) to below 1"),
        ({"warmup_epochs": 240}, "train.warmup_epochs = 240: give 0 or less than train.epochs = 240"),
        ({"nesterov": True, "momentum": 0.0}, "train.nesterov = True: needs train.optimizer SGD and train.momentum"),
        ({"nesterov": True, "optimizer": "AdamW"}, "train.nesterov = True: needs train.optimizer SGD"),
        ({"epochs": 180}, "train.milestones = [150, 180, 210]: give epochs from 1 to below train.epochs = 180"),
        ({"milestones": [0, 10]}, "train.milestones = [0, 10]: give epochs from 1"),
        ({"milestones": [20, 20]}, "train.milestones = [20, 20]: give increasing epochs"),
    ],
)
def test_refuses_what_cannot_be_meant(options: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        TrainConfig(**options)
    assert str(error.value).startswith(message)


def test_defaults_change_no_result_but_for_rounding() -> None:
    config = TrainConfig()
    assert (config.accumulate, config.loss_scope, config.sync_batchnorm, config.compile) == (1, "global", False, False)
    assert config.channels_last


def test_a_training_is_told_apart_without_later_options_that_are_off() -> None:
    config = TrainConfig()
    assert "deterministic" not in without_off(asdict(config))
    left_out = {"deterministic", "freeze_epochs", "max_skipped", "eval_batch_size", "mixup", "cutmix", "randaugment"}
    left_out |= {"trivialaugment", "erasing", "views", "label_smoothing", "ema", "round_teacher"}
    left_out |= {"balanced_sampling", "logit_adjustment", "adjust_after", "effective_number", "deferred_epochs"}
    assert asdict(config).keys() - without_off(asdict(config)).keys() == left_out  # compile, for one, is there
    assert without_off(asdict(replace(config, deterministic=True)))["deterministic"] is True


def test_milestones_matter_to_multistep_only() -> None:
    assert TrainConfig(epochs=10, schedule="cosine").epochs == 10
    assert TrainConfig(milestones=[]).milestones == []
