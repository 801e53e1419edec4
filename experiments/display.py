"""What is seen while a training runs."""

import sys
from typing import Any

from tqdm import tqdm

from trg_pyg.training.loop import Progress


class Display:
    """A bar for the whole training with loss parts, images per second and time left, and a line an epoch.

    Where the output is not a terminal there is no bar.

    Args:
        title: name of the run.
        epochs: of the training.
        batch_size: images a step, for the rate.
        quiet: neither bar nor lines.
    """

    # Reading the meter waits for the device, so it is read at the rate of an eye, not of the steps.
    _SECONDS = 0.5

    def __init__(self, title: str, epochs: int, batch_size: int, quiet: bool) -> None:
        self._title, self._epochs, self._batch_size, self._quiet = title, epochs, batch_size, quiet
        self._bar: Any = None
        self._shown = 0.0

    def step(self, progress: Progress) -> None:
        """Move the bar by one step."""
        if self._quiet or not sys.stderr.isatty():
            return
        if self._bar is None:
            total = self._epochs * progress.steps
            done = (progress.epoch - 1) * progress.steps + progress.step - 1  # a resumed training is not at its start
            self._bar = tqdm(total=total, initial=done, desc=self._title, unit="step", leave=False, dynamic_ncols=True)
        self._bar.update()
        now = self._bar.format_dict["elapsed"]
        if now - self._shown >= self._SECONDS or progress.step == progress.steps:
            self._shown = now
            parts = " ".join(f"{name} {value:.3g}" for name, value in progress.meter.means().items())
            rate = self._bar.format_dict["rate"] or 0.0
            self._bar.set_postfix_str(
                f"epoch {progress.epoch}/{self._epochs} {parts} {rate * self._batch_size:.0f} images/s"
            )

    def epoch(self, metrics: dict[str, float]) -> None:
        """Print the line of an epoch."""
        if self._quiet:
            return
        parts = " ".join(
            f"{name.removeprefix('train/')} {value:.4g}" for name, value in metrics.items() if _is_part(name)
        )
        groups = " ".join(f"{name} {metrics[f'test/{name}']:.1f}" for name in _GROUPS if f"test/{name}" in metrics)
        test = f"  test {metrics['test/top1']:.2f} %" if "test/top1" in metrics else ""
        line = (
            f"{self._title}  epoch {int(metrics['epoch'])}/{self._epochs}{test}"
            f"{'  ' + groups if groups else ''}  train {metrics['train/top1']:.2f} %  {parts}"
            f"  {metrics['images_per_second']:.0f} images/s"
        )
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


_GROUPS = ("many", "medium", "few")


def _is_part(name: str) -> bool:
    return name.startswith("train/") and name not in ("train/top1", "train/total")
