"""Everything that changes while a training runs, and how it is saved and resumed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trg_pyg.errors import InputError
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint
from trg_pyg.training.modules import DistillationModule


@dataclass
class TrainingState:
    """The state of a training between two epochs.

    Args:
        identity: plain values that must be equal for a resumption, by name, such as ``{"train.lr": 0.05}``.
        module: student and distiller.
        optimizer: of the module's parameters.
        schedule: of the optimiser's learning rate.
        scaler: of the gradients; disabled unless the precision is fp16.
        generators: random streams of this training's own, by name.
        device: where the training runs; dropout draws from its global generator.
        history: the metrics of every finished epoch.
    """

    identity: dict[str, Any]
    module: DistillationModule
    optimizer: Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    generators: dict[str, torch.Generator]
    device: torch.device
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the state to ``path``, in one step.

        Raises:
            InputError: the folder cannot be written to.
        """
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state["identity"] = self.identity
        state["history"] = self.history
        state["generators"] = {name: generator.get_state() for name, generator in self.generators.items()}
        state["global_rng"] = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["global_rng"]["cuda"] = torch.cuda.get_rng_state(self.device)
        save_checkpoint(path, state)

    def load(self, path: Path) -> None:
        """Continue from the state at ``path``.

        Raises:
            InputError: there is no checkpoint, it cannot be read, or it is of a training with another identity or
                other networks.
        """
        state = load_checkpoint(path)
        try:
            differing = _differences(state["identity"], self.identity)
            if differing:
                raise InputError(
                    f"{path} is of another training: {'; '.join(differing)}; "
                    "restore these values, or start without resuming in another folder"
                )
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            for name, generator in self.generators.items():
                generator.set_state(state["generators"][name])
            torch.set_rng_state(state["global_rng"]["cpu"])
            if self.device.type == "cuda" and "cuda" in state["global_rng"]:
                torch.cuda.set_rng_state(state["global_rng"]["cuda"], self.device)
            self.history = state["history"]
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path} does not fit this student and distiller ({reason}); choose those that it was written with"
            ) from error

    def _parts(self) -> dict[str, Any]:
        return {
            "student": self.module.student,
            "distiller": self.module.distiller,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }


def _differences(saved: dict[str, Any], here: dict[str, Any]) -> list[str]:
    names = sorted({*saved, *here})
    return [
        f"{name} is {saved.get(name)!r} there and {here.get(name)!r} here"
        for name in names
        if saved.get(name) != here.get(name)
    ]
