"""wandb, which never stops a run."""

import secrets
import sys
from pathlib import Path
from typing import Any, Literal

from experiments.run_folder import write_text


class Tracker:
    """Sends the metrics of a run to wandb, epoch by epoch.

    The run id is kept in the run's folder, so a resumed training goes on in the same wandb run. Whatever wandb does
    wrong is reported in one line, and the training goes on: metrics.jsonl has the same figures.

    Args:
        folder: folder of the run; wandb keeps its own files below it.
        mode: ``"disabled"`` does nothing at all.
        project: project in wandb.
        group: study that the run is part of.
        name: name of the run.
        config: plain settings to be shown beside the metrics.
        resume: go on with the wandb run of the folder, if there is one.
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
    ) -> None:
        self._run: Any = None
        if mode == "disabled":
            return
        id_file = folder / "wandb_id"
        try:
            import wandb

            run_id = id_file.read_text().strip() if resume and id_file.exists() else secrets.token_hex(4)
            self._run = wandb.init(
                id=run_id,
                resume="allow",
                reinit="create_new",  # several trainings may run side by side, each in a run of its own
                mode=mode,
                dir=folder,
                project=project,
                group=group,
                name=name,
                config=config,
                settings=wandb.Settings(silent=True, console="off"),
            )
            write_text(id_file, run_id)
            # Without an axis of its own wandb counts calls, and a resumed run would shift all its curves.
            self._run.define_metric("epoch")
            self._run.define_metric("*", step_metric="epoch")
        except Exception as error:  # whatever it is, the run matters more
            self._give_up(error)

    def log(self, metrics: dict[str, float]) -> None:
        """Send the metrics of an epoch."""
        if self._run is not None:
            try:
                self._run.log(metrics)
            except Exception as error:
                self._give_up(error)

    def finish(self, failed: bool = False) -> None:
        """Close the run."""
        if self._run is not None:
            try:
                self._run.finish(exit_code=int(failed))
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"wandb failed and is off for this run, metrics.jsonl goes on: {reason}", file=sys.stderr)
