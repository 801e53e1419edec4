"""What the networks of runs take the evaluated images for, computed once and kept in the runs' folders."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trg_pyg._files import replaced_whole
from trg_pyg.data.base import Splits
from trg_pyg.errors import InputError, require
from trg_pyg.metrics import score_of
from trg_pyg.models.published import sha256_of
from trg_pyg.report.comparison import ComparedStudy
from trg_pyg.runs import Run
from trg_pyg.study.study import pick_device
from trg_pyg.training.confusion import class_accuracy, confusion_matrix
from trg_pyg.training.predictions import Predictions, top_predictions
from trg_pyg.use.load import TrainedNetwork, load

_FILE = "predictions.safetensors"
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


@dataclass(frozen=True)
class StudyPredictions:
    """The predictions of a study's runs, all on the same images.

    Attributes:
        runs: of each method that has any, by seed.
        missing: the runs that have none, and why.
        notes: what else a reader has to know.
    """

    runs: dict[str, dict[int, RunPredictions]]
    missing: list[str]
    notes: list[str]

    @property
    def any_run(self) -> RunPredictions:
        """One of them, for what all have in common."""
        return next(iter(next(iter(self.runs.values())).values()))

    def confusion(self, method: str, seeds: list[int]) -> Tensor:
        """Return how often each class is taken for each, over some seeds of a method, int64 [C, C]."""
        return torch.stack([self._matrix(method, seed) for seed in seeds]).sum(0)

    def changes(self, method: str, reference: str) -> tuple[list[int], Tensor]:
        """Return the seeds that two methods share, and the change of each class's accuracy in points, [S, C]."""
        seeds = [seed for seed in self.runs[method] if seed in self.runs[reference]]
        rows = [
            class_accuracy(self._matrix(method, seed)) - class_accuracy(self._matrix(reference, seed)) for seed in seeds
        ]
        return seeds, torch.stack(rows) if rows else torch.empty(0, len(self.any_run.classes))

    def _matrix(self, method: str, seed: int) -> Tensor:
        run = self.runs[method][seed]
        return confusion_matrix(run.predictions.targets, run.predictions.predicted, len(run.classes))


class Predictor:
    """Gives the predictions of runs, and says why it cannot.

    Args:
        evaluate: compute those that are not kept.
        tell: is told of each run that is about to be computed.
    """

    def __init__(self, evaluate: bool, tell: Callable[[str], None]) -> None:
        self._evaluate, self._tell = evaluate, tell
        self._splits: tuple[str, Splits] | None = None

    def predict(self, study: ComparedStudy) -> StudyPredictions:
        """Return the predictions of a study's runs at their last epoch: those kept, where they are of its weights."""
        found: dict[str, dict[int, RunPredictions]] = {}
        missing: dict[str, list[str]] = {}
        notes: list[str] = []
        first: RunPredictions | None = None
        for name, runs in study.methods.items():
            for seed, run in runs.items():
                try:
                    predicted = self._predicted(run, notes)
                    first = first or predicted
                    require(_same_images(first, predicted), "its predictions are of other images than the first run's")
                except InputError as error:
                    missing.setdefault(str(error), []).append(f"{name} seed {seed}")
                else:
                    found.setdefault(name, {})[seed] = predicted
        which = {why: "All runs" if len(left) == len(study.runs) else ", ".join(left) for why, left in missing.items()}
        return StudyPredictions(found, [f"{left}: {why}" for why, left in which.items()], notes)

    def _predicted(self, run: Run, notes: list[str]) -> RunPredictions:
        """Return the predictions of a run.

        Raises:
            InputError: there are no weights, they or the data cannot be read, or nothing is to be computed.
        """
        if run.folder is None:
            raise InputError("only a results file is given, which has no weights; name the folders of the runs too")
        weights = run.folder / "last.safetensors"
        require(weights.is_file(), "the folder has no last.safetensors")
        digest = sha256_of(weights)
        found = _read(run.folder / _FILE, digest)
        if found is None:
            require(self._evaluate, "no predictions of its weights are kept, and --no-evaluate asks for no others")
            found = self._computed(run, run.folder)
            try:
                _write(run.folder / _FILE, found, digest)
            except OSError as error:
                notes.append(f"Predictions of {run.title} are not kept, so the next report computes them: {error}.")
        now, then = found.predictions.top1, run.history[-1][score_of(run.history).key]
        if abs(now - then) > _DIFFERS:
            notes.append(
                f"{run.title}: its last.safetensors has {now:.2f} % top-1 on the data as they are now, where its "
                f"last epoch had {then:.2f} %: check that neither weights nor data are others."
            )
        return found

    def _computed(self, run: Run, folder: Path) -> RunPredictions:
        self._tell(f"predictions of {run.title}")
        trained = load(folder, kinds=("images", "texts", "clips"))
        splits = self._data(run, trained)
        device = pick_device("auto")
        trained.network.to(device)
        batch_size = run.settings["train"].get("eval_batch_size", 256)
        predictions = top_predictions(trained.network, splits.test, batch_size, device)
        return RunPredictions(predictions, splits.class_counts, splits.classes)

    def _data(self, run: Run, trained: TrainedNetwork) -> Splits:
        # The runs of a study have their data in common, which may take long to read.
        key = json.dumps([run.settings["data"], trained.facts.classes], sort_keys=True, default=str)
        if self._splits is None or self._splits[0] != key:
            self._splits = None  # so that two data sets are never in memory together
            self._splits = key, trained.read_data()
        return self._splits[1]


def _same_images(a: RunPredictions, b: RunPredictions) -> bool:
    same = a.classes == b.classes and a.class_counts == b.class_counts
    return same and torch.equal(a.predictions.targets, b.predictions.targets)


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
