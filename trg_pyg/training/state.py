"""Everything that changes while a training runs, and how it is saved and resumed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trg_pyg.data.loading._epochs import LoaderState
from trg_pyg.data.loading.pool import Pools
from trg_pyg.errors import InputError
from trg_pyg.training.checkpoint import load_checkpoint, save_checkpoint
from trg_pyg.training.distributed import SINGLE_PROCESS, World
from trg_pyg.training.ema import WeightAverage
from trg_pyg.training.meter import Meter
from trg_pyg.training.modules import DistillationModule
from trg_pyg.training.stream import GlobalStream


@dataclass
class TrainingState:
    """The state of a training after a step.

    Args:
        identity: plain values that must be equal for a resumption, by name, such as ``{"train.lr": 0.05}``.
        module: student and distiller.
        optimizer: of the module's parameters.
        schedule: of the optimiser's learning rate.
        scaler: of the gradients; disabled unless the precision is fp16.
        draws: random stream of the distiller.
        dropout: random stream of the network.
        average: of the student's weights; None where the recipe takes none.
        world: the processes of the training; each has random streams of its own, the rest is alike.
        history: the metrics of every finished epoch.
        step: steps done of the epoch after these.
        seconds: that those steps took.
        meter: the running means of those steps.
        pools: further streams of images.
        further: images that this process has sent through the networks in those steps beyond one pass of each.
        skipped: steps of the whole training that were not taken, since something of them was not finite.
    """

    identity: dict[str, Any]
    module: DistillationModule
    optimizer: Optimizer
    schedule: LambdaLR
    scaler: torch.amp.GradScaler
    draws: torch.Generator
    dropout: GlobalStream
    average: WeightAverage | None = None
    world: World = SINGLE_PROCESS
    history: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    meter: Meter = field(default_factory=Meter)
    pools: Pools = field(default_factory=lambda: Pools({}, 1))
    further: int = 0
    skipped: int = 0

    def save(self, path: Path, loader: LoaderState, keep: int = 1) -> None:
        """Write the state to ``path``, in one step; every process calls it, the main one writes.

        Args:
            path: the file.
            loader: state of the batches, which other trainings may share.
            keep: files in all, see :func:`~trg_pyg.training.checkpoint.save_checkpoint`.

        Raises:
            CheckpointNotWritten: the disk is full, the folder cannot be written to, and the like.
        """
        streams = self.world.gather_objects({"draws": self.draws.get_state(), "dropout": self.dropout.state_dict()})
        meters = self.world.gather_objects(self.meter.state_dict())
        further = sum(self.world.gather_objects(self.further))
        if not self.world.is_main:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"identity": self.identity, "history": self.history, "step": self.step, "seconds": self.seconds}
        state |= {"skipped": self.skipped, "further": further}
        save_checkpoint(path, state | {"streams": streams, "meters": meters, "loader": loader}, keep)

    def load(self, path: Path) -> LoaderState:
        """Continue from the state at ``path`` and return that of the batches.

        Of more processes than saved it, those beyond draw what the main one draws, so that losses of the global batch
        stay alike, and have dropout of their own.

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
            rank = self.world.rank
            known = rank < len(state["streams"])
            self.draws.set_state(state["streams"][rank if known else 0]["draws"])
            if known:
                self.dropout.load_state_dict(state["streams"][rank]["dropout"])
            names = [name for meter in state["meters"] for name in meter]
            self.meter = Meter.merged(state["meters"][rank :: self.world.size], names)
            self.history, self.step, self.seconds = state["history"], state["step"], state["seconds"]
            self.skipped = state["skipped"]
            # Checkpoints of before it was counted have no method with further passes.
            self.further = state.get("further", 0) if self.world.is_main else 0
            loader: LoaderState = state["loader"]
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path} does not fit this student and distiller ({reason}); choose those that it was written with"
            ) from error
        return loader

    def _parts(self) -> dict[str, Any]:
        return (
            ({"pools": self.pools} if self.pools else {})
            | {
                "student": self.module.student,
                "distiller": self.module.distiller,
                "optimizer": self.optimizer,
                "schedule": self.schedule,
                "scaler": self.scaler,
            }
            | ({} if self.average is None else {"average": self.average})
        )


def _differences(saved: dict[str, Any], here: dict[str, Any]) -> list[str]:
    names = sorted({*saved, *here})
    return [
        f"{name} is {saved.get(name)!r} there and {here.get(name)!r} here"
        for name in names
        if saved.get(name) != here.get(name)
    ]
