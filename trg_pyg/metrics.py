"""Every metric of a network and of its training: what it is called, and which tables show it.

One that is added here has a column wherever its group is shown, once something measures it:
:meth:`trg_pyg.tasks.base.Task.metrics` after an epoch, :func:`trg_pyg.use.evaluate.evaluate_on` of a trained network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trg_pyg.errors import require

Group = Literal["score", "fit", "shots", "best", "cost", "progress"]


@dataclass(frozen=True)
class Metric:
    """A number that is kept of an epoch, or measured of a trained network.

    Attributes:
        key: in ``metrics.jsonl`` and results files; what begins with ``test/`` is of the images evaluated on, and
            what begins with ``train/`` a mean over an epoch's training images.
        title: of its column.
        unit: of its values; empty where a method has its own.
        better: which of two values is.
        group: where it is shown: ``score``, and ``shots``, scores of some classes, in every table; ``fit`` where
            trained networks are evaluated; ``best`` and ``cost`` in the table of a study; ``progress`` in the terminal.
        about: what it is, where title and unit do not say it; a line below the tables that have it.
    """

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    group: Group
    about: str = ""

    @property
    def name(self) -> str:
        """The key without what it is of, as an evaluation has it."""
        return self.key.rpartition("/")[2]

    def of(self, images: str) -> "Metric":
        """Return the same of other images, such as ``"train"`` or ``"heldout"``."""
        return replace(self, key=f"{images}/{self.name}")

    def best(self, epochs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        """Return the epoch that has the best value, the first of equals; all must have one."""
        choose = max if self.better == "higher" else min
        return choose(epochs, key=lambda epoch: epoch[self.key])


METRICS = (
    Metric("test/top1", "top-1", "%", "higher", "score"),
    Metric("test/top5", "top-5", "%", "higher", "score"),
    Metric(
        "test/sbd",
        "SBD",
        "%",
        "higher",
        "score",
        about="symmetric best Dice: an instance with the likest of the other side, mean of the lesser side",
    ),
    Metric(
        "test/dic", "DiC", "", "lower", "score", about="size of the difference in count of found and true instances"
    ),
    Metric("test/voi", "VOI", "bits", "lower", "score", about="variation of information, over true foreground"),
    Metric("test/arand", "ARAND", "%", "lower", "score", about="adapted Rand error, over true foreground"),
    Metric(
        "test/ap",
        "AP",
        "%",
        "higher",
        "score",
        about="mean average precision over overlaps of 0.5, 0.55 to 0.95, of COCO",
    ),
    Metric("test/ap50", "AP50", "%", "higher", "score"),
    Metric("test/ap75", "AP75", "%", "higher", "score"),
    Metric(
        "test/ap_small", "AP small", "%", "higher", "score", about="of boxes with a side below a sixth of the image's"
    ),
    Metric("test/ap_medium", "AP medium", "%", "higher", "score"),
    Metric(
        "test/ap_large", "AP large", "%", "higher", "score", about="of boxes with a side from half of the image's on"
    ),
    Metric("test/loss", "loss", "nats", "lower", "fit"),
    Metric("test/ece", "ECE", "%", "lower", "fit"),
    Metric("test/robust_top1", "robust", "%", "higher", "fit"),
    Metric("test/robust_ece", "robust ECE", "%", "lower", "fit"),
    Metric("test/many", "many", "%", "higher", "shots"),
    Metric("test/medium", "medium", "%", "higher", "shots"),
    Metric("test/few", "few", "%", "higher", "shots"),
    Metric(
        "test/gmean",
        "G-mean",
        "%",
        "higher",
        "shots",
        about="geometric mean of the accuracy within each class; a class without a hit counts as 0.1 %",
    ),
    Metric("test/corrupted_top1", "corrupted", "%", "higher", "score"),
    Metric("best/top1", "best epoch", "%", "higher", "best"),
    Metric("best/sbd", "best SBD", "%", "higher", "best"),
    Metric("best/ap", "best AP", "%", "higher", "best"),
    Metric(
        "passes",
        "passes",
        "",
        "lower",
        "cost",
        about="inputs sent through student and teacher for each training input, those of views and attacks included",
    ),
    Metric("ms_per_step", "ms/step", "ms", "lower", "cost"),
    Metric("seconds", "s/epoch", "s", "lower", "cost"),
    Metric("images_per_second", "images/s", "images/s", "higher", "progress"),
    Metric("train/top1", "training top-1", "%", "higher", "progress"),
    Metric("train/pixel_accuracy", "training pixels", "%", "higher", "progress"),
    Metric("train/total", "training loss", "", "lower", "progress"),
)

# Training images that a method holds out for itself, as nobody holds out any for all; in the metrics of its epochs.
OWN_HELDOUT = "own_heldout"

# What a method's step costs, told where methods differ in it.
PASSES = next(metric for metric in METRICS if metric.key == "passes")

# What tells of the machine and its other work as much as of the training: no two runs have it in common.
TIMES = {metric.key for metric in METRICS if metric.unit in ("ms", "s", "images/s")}


def metrics_of(*groups: Group) -> list[Metric]:
    """Return the metrics of some groups, in the order of their columns."""
    return [metric for metric in METRICS if metric.group in groups]


def score_named(name: str) -> Metric:
    """Return the metric that a task is scored by, see :attr:`trg_pyg.tasks.base.Task.score`.

    Raises:
        InputError: it is not listed.
    """
    found = [metric for metric in METRICS if metric.key == f"test/{name}"]
    require(len(found) == 1, f"test/{name} is no metric; list it in trg_pyg.metrics")
    return found[0]


def score_of(epochs: Iterable[Mapping[str, float]]) -> Metric:
    """Return what the runs that these epochs are of are compared by: the metric of which each keeps the best so far.

    Epochs without an evaluation do not say it: then it is the first of all metrics.
    """
    names = (key.removeprefix("best/") for epoch in epochs for key in epoch if key.startswith("best/"))
    return next((score_named(name) for name in names if name != "epoch"), METRICS[0])


def is_loss_part(key: str) -> bool:
    """Return whether a key of an epoch is that of a part of the loss, which each method has of its own."""
    return key.startswith("train/") and all(key != metric.key for metric in METRICS)
