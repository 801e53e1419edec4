"""What a trial of a sweep must be, so that the sweep can be believed."""

import os

from trg_pyg.config.choices import Choices
from trg_pyg.errors import require


def is_of_wandb() -> bool:
    """Return whether ``wandb agent`` has started this process."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def check_trial(choices: Choices) -> None:
    """Refuse a trial that is measured on the test images.

    Raises:
        InputError: no images are held out.
    """
    require(
        choices.config.data.validation is not None,
        "a sweep chooses by what it measures, so never on the test images: add --data.validation=0.1 to the sweep "
        "file's command",
    )


def check_trial_of_wandb(choices: Choices) -> None:
    """Refuse a trial that wandb could not tell from others.

    Raises:
        InputError: no images are held out, or the trial is several runs.
    """
    check_trial(choices)
    runs = len(choices.methods) * len(choices.seeds)
    require(
        runs == 1,
        f"a trial of a wandb sweep is one run, and this has {runs}: name one method and one seed, or make the seed a "
        "parameter of the sweep",
    )
