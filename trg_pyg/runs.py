"""Runs as their files tell of them, and what tells them apart; read without PyTorch, which takes seconds to import."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trg_pyg.errors import InputError
from trg_pyg.metrics import score_of

History = list[dict[str, float]]

CONFIG = "config.yaml"
_PARTS = ("data", "student", "train")
# Options of data sets that say how images are read, not which.
READING = ("workers", "prefetch", "cache", "check", "skip_bad_images")
# Those that say where they lie: what they are is known by its hash.
PLACES = (
    *("root", "download", "train_list", "test_list", "class_names"),
    *("train_file", "test_file", "tokenizer"),
)
# Options of a training that came after others had trained: off, they leave everything as it was, and a run is known
# without them.
LATER = (
    *("deterministic", "freeze_epochs"),
    *("mixup", "cutmix", "randaugment", "trivialaugment", "erasing", "label_smoothing", "ema"),
    *("views", "round_teacher"),
    *("balanced_sampling", "logit_adjustment", "adjust_after", "effective_number", "deferred_epochs"),
)
# Options of methods that came later: False or 0, a method is what it was before, and known without them.
LATER_OF_METHODS = ("standardize", "decoupled", "softness")
# These, and options that say when and how a training is measured, or that change results by rounding only.
_SAME_RESULT = {
    *(f"data.init_args.{name}" for name in READING),
    *(f"train.{name}" for name in ("compile", "channels_last", "deterministic", "nonfinite", "max_skipped")),
    *(f"train.{name}" for name in ("eval_batch_size", "eval_every")),
    "accuracy_tolerance",
}
_LATER = {*(f"train.{name}" for name in LATER), "data.init_args.scaled_decoding"}
_PLACES = {f"data.init_args.{name}" for name in PLACES}
_DIGEST = "data.digest"


@dataclass(frozen=True)
class Run:
    """One training of a student by one method and seed, as its files tell of it.

    Attributes:
        method: name of its row in a table.
        seed: of the training.
        distiller: class path and options of the method, see :func:`without_later`.
        history: the metrics of every epoch, those of an unfinished run so far.
        settings: of data, student and training, and of the teacher where the run has one; the data with the hash of
            what they held, ``digest``, where it was kept.
        command: what was typed.
        environment: versions and machine.
        teacher: provenance of the teacher, see :class:`~trg_pyg.study.teacher.Teacher`; ``None`` without one.
        source: the folder or file that all this is from.
        folder: of the run; ``None`` where only a results file is there.
    """

    method: str
    seed: int
    distiller: dict[str, Any]
    history: History
    settings: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] | None = None
    source: Path = Path()
    folder: Path | None = None

    @property
    def title(self) -> str:
        """Method and seed."""
        return f"{self.method} seed {self.seed}"

    @property
    def epochs(self) -> int:
        """Epochs that its configuration asks for."""
        return self.settings["train"]["epochs"]

    @property
    def done(self) -> int:
        """Epochs that it has."""
        return int(self.history[-1].get("epoch", len(self.history))) if self.history else 0

    @property
    def finished(self) -> bool:
        """Whether it has all epochs, and an evaluation of the last."""
        return self.done >= self.epochs and score_of(self.history).key in self.history[-1]

    @property
    def score(self) -> float | None:
        """The last value that was measured of what runs are compared by, such as top-1 in percent."""
        key = score_of(self.history).key
        return next((epoch[key] for epoch in reversed(self.history) if key in epoch), None)

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read the files of a run, without what its configuration names.

        Raises:
            InputError: a file is damaged.
        """
        config, environment = read_config(folder), read_environment(folder)
        method, distiller = method_of(config)
        return cls(
            method=method,
            seed=config["seeds"][0],
            distiller=without_later(distiller),
            history=read_history(folder),
            settings={name: config[name] for name in (*_PARTS, "teacher") if name in config}
            | {"data": config["data"] | _read_digest(folder)},
            command=str(environment.pop("command", "")),
            teacher=environment.pop("teacher", None),
            environment=environment,
            source=folder,
            folder=folder,
        )


def run_folders(path: Path) -> list[Path]:
    """Return the folders of runs in a folder of any height, itself included, those of trained teachers too."""
    files = [path / CONFIG] if (path / CONFIG).is_file() else sorted(path.rglob(CONFIG))
    return [file.parent for file in files if "wandb" not in file.relative_to(path).parts]


def is_teacher(folder: Path, within: Path) -> bool:
    """Return whether the run in a folder is that of a trained teacher, by where it lies within another."""
    return "teachers" in folder.relative_to(within).parts


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of a run as plain values.

    Raises:
        InputError: the file is missing, damaged, or none of a run.
    """
    config = _mapping(folder / CONFIG, yaml.safe_load)
    try:
        (seed,) = config["seeds"]
        parts = [method_of(config)[1], *(config[name] for name in _PARTS), config.get("teacher", {})]
        whole = (type(seed), type(config["train"]["epochs"])) == (int, int)
        if not (whole and all(isinstance(part, dict) for part in parts)):
            raise ValueError("a value of another kind")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / CONFIG} is none of a run ({error}); leave its folder out") from error
    return config


def read_environment(folder: Path) -> dict[str, Any]:
    """Return what a run depends on beside its settings: command, versions, machine, teacher; nothing without a file.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / "environment.json"
    return _mapping(file, json.loads) if file.exists() else {}


def read_history(folder: Path) -> History:
    """Return the metrics of a run's epochs so far; none without a file.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / "metrics.jsonl"
    if not file.exists():
        return []
    history = _read(file, lambda text: [json.loads(line) for line in text.splitlines()])
    if not all(map(are_numbers, history)):
        raise InputError(f"{file} is none of a run (a value of another kind); leave its folder out")
    return history


def _read_digest(folder: Path) -> dict[str, str]:
    """Return the hash of what the data of a run held; nothing where it was not kept."""
    file = folder / "data.json"
    digest = _mapping(file, json.loads).get("digest") if file.exists() else None
    return {} if digest is None else {"digest": str(digest)}


def are_numbers(metrics: Any) -> bool:
    """Return whether a value that was read is what is kept of an epoch: numbers by name."""
    return isinstance(metrics, dict) and all(type(value) in (int, float) for value in metrics.values())


def _mapping(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    content = _read(file, parse)
    if not isinstance(content, dict):
        raise InputError(f"{file} is none of a run (it holds no keys); leave its folder out")
    return content


def _read(file: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(file.read_text())
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read ({reason}); leave its folder out, or run it again") from error


def method_of(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and distiller of a run's method, as :func:`~trg_pyg.study.agenda.planned` wrote them."""
    variants = config.get("variants")
    if variants:
        ((name, distiller),) = variants.items()
        return str(name), distiller
    distiller = config["distiller"]
    given = config.get("methods")
    return (str(given[0]) if given else distiller["class_path"].rpartition(".")[2]), distiller


def without_later(distiller: Mapping[str, Any]) -> dict[str, Any]:
    """Return class path and options of a method by which it is told apart, without later options that are off."""
    options = distiller.get("init_args") or {}
    kept = {name: value for name, value in options.items() if value or name not in LATER_OF_METHODS}
    return {**distiller, "init_args": kept} if options else dict(distiller)


def data_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the data as folders have it: class, long tail, and whether images are held out."""
    options = settings["data"].get("init_args") or {}
    imbalance, validation = options.get("imbalance"), options.get("validation")
    name = str(settings["data"].get("class_path", "data")).rpartition(".")[2]
    return f"{name}{'' if imbalance is None else f'-LT{imbalance:g}'}{'' if validation is None else '-val'}"


def data_shown(settings: Mapping[str, Any]) -> str:
    """Return which data a run is of: their name, where they lay, and the beginning of the hash of what they held."""
    root, digest = (settings["data"].get("init_args") or {}).get("root"), settings["data"].get("digest", "")
    return " ".join(str(part) for part in (data_name(settings), root, digest[:8]) if part)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        flat |= flatten(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return flat


def telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result depends on by dotted names; an option that is not set is left out, as older files lack it.

    Args:
        settings: of a run, by part.
    """
    flat = flatten(settings)
    # Data of older runs are known by their places only.
    without = _SAME_RESULT | (_PLACES if _DIGEST in flat else set())
    return {
        key: value
        for key, value in flat.items()
        if (name := key.removeprefix("teacher.")) not in without
        and value is not None
        and value != {}
        and (value or name not in _LATER)
    }


def differing(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of options, sorted, that are not the same in all."""
    names = sorted({name for each in options for name in each})
    return [name for name in names if len({as_key(each.get(name)) for each in options}) > 1]


def as_key(value: Any) -> str:
    """Return a text that is the same for equal plain values."""
    return json.dumps(value, sort_keys=True, default=str)


def shown(value: Any) -> str:
    """Return the value of an option for a reader, a long one cut."""
    text = "unset" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:8]}…"
