"""wandb, which neither stops a run nor holds it up."""

import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event, Lock, Thread
from typing import Any, Literal

from trg_pyg._files import write_text
from trg_pyg._program import say


def is_of_wandb() -> bool:
    """Return whether ``wandb agent`` has started this process, as a trial of a sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a training waits for wandb.

    Attributes:
        init: seconds in which a run has to start.
        log: seconds that an epoch's metrics are waited for; after them they wait in a queue, and the training goes on.
        finish: seconds in which the queue has to be sent and the run closed; fewer than the 30 that torchrun and Slurm
            give a process after SIGTERM.
        waiting: epochs that the queue has room for.
    """

    init: float = 60.0
    log: float = 2.0
    finish: float = 20.0
    waiting: int = 100


class Tracker:
    """Sends the metrics of a run to wandb, epoch by epoch.

    The run id is kept in the run's folder, so a resumed training goes on in the same wandb run. Whatever wandb does
    wrong is reported in one line, wandb is off from then on, and the training goes on: metrics.jsonl has the same
    figures. That holds for a call that never returns as well: all calls are made, in their order, by a thread of their
    own, which is waited for up to a limit and ends with the process.

    Args:
        folder: folder of the run; wandb keeps its own files below it.
        mode: ``"disabled"`` does nothing at all.
        project: project in wandb.
        group: study that the run is part of.
        name: name of the run.
        config: plain settings to be shown beside the metrics.
        resume: go on with the wandb run of the folder, if there is one.
        entity: user or team; ``None`` for who is logged in.
        tags: of the run.
        notes: of the run.
        limits: how long wandb may take.
        job_type: kind of run, by which wandb can group; a training has none.
        kept: what is said to have the same where wandb is off.
        unit: what is logged, in the plural.
    """

    def __init__(
        self,
        folder: Path,
        mode: Literal["offline", "online", "disabled"],
        *,
        project: str,
        group: str,
        name: str,
        config: dict[str, Any],
        resume: bool,
        entity: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        limits: Limits = Limits(),
        job_type: str | None = None,
        kept: str = "metrics.jsonl goes on",
        unit: str = "epochs",
    ) -> None:
        self._limits, self._kept, self._unit = limits, kept, unit
        self._run: Any = None
        self._files = (folder / "wandb", "*")
        # Epochs that were given to this object, and by it to wandb.
        self._given = self._sent = 0
        self._calls: Queue[tuple[Callable[[], None], Event] | None] = Queue()
        self._off, self._lock = mode == "disabled", Lock()
        if self._off:
            return

        def start() -> None:
            import wandb

            id_file = folder / "wandb_id"
            run_id = id_file.read_text().strip() if resume and id_file.exists() else secrets.token_hex(4)
            # A trial that wandb's agent has started has its id and project from there, and wandb refuses others.
            in_sweep = is_of_wandb()
            run_id = os.environ.get("WANDB_RUN_ID", run_id) if in_sweep else run_id
            self._files = (folder / "wandb", f"*-{run_id}")
            run = wandb.init(
                id=None if in_sweep else run_id,
                resume="allow",
                reinit="create_new",  # several trainings may run side by side, each in a run of its own
                mode=mode,
                dir=folder,
                project=None if in_sweep else project,
                entity=None if in_sweep else entity,
                tags=list(tags) or None,
                notes=notes,
                group=group,
                name=name,
                job_type=job_type,
                config=config,
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    init_timeout=0.8 * limits.init,  # so that its own error comes first, which says more
                    # What is not needed: user, e-mail address, host, paths, address of the repository, code.
                    x_disable_meta=True,
                    disable_git=True,
                    disable_code=True,
                    save_code=False,
                ),
            )
            if self._off:  # it has come too late
                return
            write_text(id_file, run_id)
            # Without an axis of its own wandb counts calls, and a resumed run would shift all its curves.
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
            self._run = run

        _active.add(self)
        Thread(target=self._work, name="wandb calls", daemon=True).start()
        if not self._call(start).wait(limits.init):
            self._hangs(f"wandb.init did not return within {limits.init:g} s")

    def log(self, metrics: dict[str, Any]) -> None:
        """Send the metrics of an epoch, or from within one, or let them wait where those before still do.

        Args:
            metrics: with ``epoch``, the axis of all of them; within an epoch it is a fraction.
        """

        def send() -> None:
            self._run.log(metrics)
            self._sent += 1

        waiting = self._given - self._sent
        self._given += 1
        if self._off:
            return
        if waiting == self._limits.waiting:
            self._hangs(f"its log did not return while {waiting} {self._unit} waited")
            return
        done = self._call(send)
        if waiting == 0:  # usually wandb is done at once, and at rest while the training goes on
            done.wait(self._limits.log)

    def finish(self, failed: bool = False) -> None:
        """Close the run, once all metrics are sent."""
        if self._off:
            return
        done = self._call(lambda: self._run.finish(exit_code=int(failed)))
        if not done.wait(self._limits.finish):
            self._hangs(f"it did not finish within {self._limits.finish:g} s")
        _active.discard(self)
        self._calls.put(None)

    def _call(self, call: Callable[[], None]) -> Event:
        done = Event()
        self._calls.put((call, done))
        return done

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, done = item
            if not self._off:
                try:
                    call()
                except Exception as error:  # whatever it is, the run matters more
                    self._give_up(" ".join(str(error).split()) or type(error).__name__)
                    if not _active:
                        _let_go()
            done.set()

    def _hangs(self, reason: str) -> None:
        self._give_up(reason)
        Thread(target=_let_go, name="wandb teardown", daemon=True).start()

    def _give_up(self, reason: str) -> None:
        with self._lock:
            if self._off:
                return
            self._off = True
        _active.discard(self)
        self._calls.put(None)
        missing = self._given - self._sent
        if missing:
            reason += f"; not sent: {missing} of {self._given} {self._unit}"
        where, pattern = self._files
        files = sorted(where.glob(pattern))
        if files:
            reason += f"; what it has so far can be sent by: wandb sync {shlex.join(map(str, files))}"
        say(f"wandb failed and is off for this run, {self._kept}: {reason}", error=True)


# Those that use wandb's service, a process that is one for all runs of this one.
_active: set[Tracker] = set()


def _let_go() -> None:
    """Have wandb part with its service, which may be dead or hang, so that the next run gets a new one.

    wandb does this when the process ends, if nobody has before, and then waits for its service as long as it takes.
    """
    # SystemExit as well: wandb ends the thread with its service's exit code where that was killed.
    with suppress(Exception, SystemExit):
        import wandb

        wandb.teardown()
