"""What the networks of runs take the evaluated images for, computed once and kept in the runs' folders."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trg_pyg._files import replaced_whole
from trg_pyg.data.base import Splits
from trg_pyg.errors import InputError
from trg_pyg.metrics import SCORE
from trg_pyg.models.published import sha256_of
from trg_pyg.runs import Run
from trg_pyg.study.study import pick_device
from trg_pyg.training.predictions import Predictions, top_predictions
from trg_pyg.use.load import TrainedNetwork, load

FILE = "predictions.safetensors"
_FORMAT = "1"
_TENSORS = {
    "targets": torch.int64,
    "predicted": torch.int64,
    "confidence": torch.float32,
    "class_counts": torch.int64,
}
_DIFFERS = 0.2  # points of top-1 that rounding of another device or precision does not explain


@dataclass(frozen=True)
class RunPredictions:
    """The predictions of a run.

    Attributes:
        predictions: on the images that the run was evaluated on.
        class_counts: training images of each class, C numbers.
        classes: C names.
    """

    predictions: Predictions
    class_counts: tuple[int, ...]
    classes: tuple[str, ...]


class Predictor:
    """Gives the predictions of runs, and says why it cannot.

    Args:
        evaluate: compute those that are not kept.
        tell: is told of each run that is about to be computed.
    """

    def __init__(self, evaluate: bool, tell: Callable[[str], None] = lambda line: None) -> None:
        self._evaluate, self._tell = evaluate, tell
        self._splits: tuple[str, Splits] | None = None
        self.notes: list[str] = []

    def predict(self, run: Run) -> RunPredictions:
        """Return the predictions of a run's last epoch: those that are kept, where they are of its weights.

        Raises:
            InputError: there are no weights, they or the data cannot be read, or nothing is to be computed.
        """
        if run.folder is None:
            raise InputError("only a results file is given, which has no weights; name the folders of the runs too")
        weights = run.folder / "last.safetensors"
        if not weights.is_file():
            raise InputError("the folder has no last.safetensors")
        digest = sha256_of(weights)
        found = _read(run.folder / FILE, digest)
        if found is None:
            if not self._evaluate:
                raise InputError("no predictions of its weights are kept, and --no-evaluate asks for no others")
            found = self._computed(run, run.folder, digest)
        self._compare(run, found)
        return found

    def _computed(self, run: Run, folder: Path, digest: str) -> RunPredictions:
        self._tell(f"predictions of {run.title}")
        trained = load(folder)
        splits = self._data(run, trained)
        device = pick_device("auto")
        trained.network.to(device)
        batch_size = run.settings["train"].get("eval_batch_size", 256)
        predictions = top_predictions(trained.network, splits.test, batch_size, device)
        found = RunPredictions(predictions, splits.class_counts, splits.classes)
        try:
            _write(folder / FILE, found, digest)
        except OSError as error:
            self.notes.append(f"Predictions of {run.title} are not kept, so the next report computes them: {error}.")
        return found

    def _data(self, run: Run, trained: TrainedNetwork) -> Splits:
        # The runs of a study have their data in common, which may take long to read.
        key = json.dumps([run.settings["data"], trained.facts.classes], sort_keys=True, default=str)
        if self._splits is None or self._splits[0] != key:
            self._splits = None  # so that two data sets are never in memory together
            self._splits = key, trained.read_data()
        return self._splits[1]

    def _compare(self, run: Run, found: RunPredictions) -> None:
        now, then = found.predictions.top1, run.history[-1][SCORE.key]
        if abs(now - then) > _DIFFERS:
            self.notes.append(
                f"{run.title}: its last.safetensors has {now:.2f} % top-1 on the data as they are now, where its "
                f"last epoch had {then:.2f} %: check that neither weights nor data are others."
            )


def _write(file: Path, found: RunPredictions, digest: str) -> None:
    tensors = {
        "targets": found.predictions.targets,
        "predicted": found.predictions.predicted,
        "confidence": found.predictions.confidence,
        "class_counts": torch.tensor(found.class_counts),
    }
    metadata = {"format": _FORMAT, "sha256": digest, "classes": json.dumps(found.classes)}
    with replaced_whole(file) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, metadata))


def _read(file: Path, digest: str) -> RunPredictions | None:
    """Return what is kept; nothing where it is of other weights, or damaged, so that it is computed again."""
    if not file.is_file():
        return None
    try:
        with safetensors.safe_open(file, "pt") as content:
            metadata: dict[str, str] = content.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("sha256") != digest:
                return None
            tensors: dict[str, Tensor] = {name: content.get_tensor(name) for name in _TENSORS}
        classes: Any = json.loads(metadata["classes"])
    except (OSError, safetensors.SafetensorError, KeyError, ValueError):
        return None
    return _checked(tensors, classes)


def _checked(tensors: dict[str, Tensor], classes: Any) -> RunPredictions | None:
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    kinds = all(tensors[name].dtype == dtype and tensors[name].dim() == 1 for name, dtype in _TENSORS.items())
    images = {len(tensors[name]) for name in ("targets", "predicted", "confidence")}
    if not named or not kinds or len(images) != 1 or 0 in images or len(tensors["class_counts"]) != len(classes):
        return None
    labels = torch.cat([tensors["targets"], tensors["predicted"]])
    confidence = tensors["confidence"]
    if labels.min() < 0 or labels.max() >= len(classes) or not ((confidence >= 0) & (confidence <= 1)).all():
        return None
    predictions = Predictions(tensors["targets"], tensors["predicted"], confidence)
    return RunPredictions(predictions, tuple(tensors["class_counts"].tolist()), tuple(classes))


def reasons(failed: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each reason, with the runs that it holds for.

    Args:
        failed: title of a run, and why it is left out.
    """
    by_reason: dict[str, list[str]] = {}
    for title, reason in failed:
        by_reason.setdefault(reason, []).append(title)
    return [f"{', '.join(titles)}: {reason}" for reason, titles in by_reason.items()]
