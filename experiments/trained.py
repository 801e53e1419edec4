"""A network that run.py trained, with all that it takes to use it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.config import LOADING_ARGS, Choices, NetworkConfig, read_choices
from experiments.run_folder import write_text
from experiments.study import build_network
from trg_pyg.data.base import Splits
from trg_pyg.distillers.base import Taps
from trg_pyg.errors import InputError, few, require
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import LoadedWeights, load_weights

Which = Literal["last", "best"]
_FILE = "data.json"


@dataclass(frozen=True)
class DataFacts:
    """What a network knows of its data: enough to use it where they are not.

    Attributes:
        classes: C names, in the order of the logits.
        image_size: height and width of the images, in pixels.
        mean: channel means of the training images, in [0, 1].
        std: channel standard deviations on the same scale, > 0.
    """

    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, splits: Splits) -> "DataFacts":
        """Return those of data that were read."""
        return cls(splits.classes, splits.image_size, splits.mean, splits.std)

    @classmethod
    def read(cls, folder: Path) -> "DataFacts | None":
        """Read what :meth:`write` wrote; ``None`` where there is no file.

        Raises:
            InputError: the file is damaged.
        """
        file = folder / _FILE
        if not file.exists():
            return None
        try:
            stored = json.loads(file.read_text())
            classes, size, mean, std = (stored[name] for name in ("classes", "image_size", "mean", "std"))
            if not (_all(classes, str) and type(size) is int and _three(mean) and _three(std)):
                raise ValueError("a value of another kind")
        except (OSError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
            raise InputError(f"{file} is damaged ({error}): delete it, and the data are read instead") from error
        return cls(tuple(classes), size, tuple(mean), tuple(std))

    def write(self, folder: Path) -> None:
        """Write them to the folder of a run.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(folder / _FILE, json.dumps(asdict(self)) + "\n")


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        folder: of its run.
        choices: the configuration of its run; of a teacher that was trained here, the network is the student.
        facts: of its data.
        network: in evaluation mode, on the CPU, without gradients.
        weights: the file that they come from, and what it says.
    """

    folder: Path
    choices: Choices
    facts: DataFacts
    network: TappedModel
    weights: LoadedWeights

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.choices.config.student.name

    @property
    def method(self) -> str:
        """Name of the method that trained it."""
        return self.choices.methods[0].name

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return self.choices.seeds[0]

    def read_data(self) -> Splits:
        """Read the data that the network was trained and tested on.

        Raises:
            InputError: they cannot be read, or are others now.
        """
        splits = self.choices.config.data.load()
        require(
            splits.classes == self.facts.classes and splits.image_size == self.facts.image_size,
            f"{self.folder} was trained on {_described(self.facts)}; the data that its config.yaml names are now "
            f"{_described(DataFacts.of(splits))}: give it those that it was trained on",
        )
        return splits


def load_trained(run: str | Path, which: Which = "last", taps: Taps = "none") -> Trained:
    """Load the network of a run.

    The data are not read where the run's folder has its ``data.json``.

    Args:
        run: folder of one seed of one method, with ``config.yaml``, or of a teacher that was trained here; or a weights
            file in one, which is taken in place of the one that ``which`` names.
        which: weights of the last epoch, or those of the best, which the evaluated images have chosen.
        taps: the features to read where the configuration names none.

    Raises:
        InputError: the folder holds no run, or the run has no weights yet; a file in it is damaged.
    """
    run = Path(run)
    folder, file = (run.parent, run) if run.is_file() else (run, run / f"{which}.safetensors")
    config_file = folder / "config.yaml"
    require(
        config_file.is_file(),
        f"{run}: no config.yaml in {folder}, so this is no run{_near_runs(folder)}; name a folder such as "
        "runs/Digits/resnet20-resnet8/TRG-0123abcd/seed0",
    )
    require(file.is_file(), f"{folder} has no {file.name}: its first epoch has not ended; resume the run")
    choices = read_choices(["--config", str(config_file)])
    facts = DataFacts.read(folder) or DataFacts.of(choices.config.data.load())
    network = build_network(untrained(choices.config.student), facts, seed=0, taps=taps)
    weights = load_weights(network.model, file)
    network.eval().requires_grad_(False)
    return Trained(folder, choices, facts, network, weights)


def untrained(config: NetworkConfig) -> NetworkConfig:
    """Return the network without the weights that its training began with: they may be gone, or be a download."""
    args = {name: value for name, value in config.args.items() if name not in LOADING_ARGS}
    return replace(config, weights=None, args=args)


def _near_runs(folder: Path) -> str:
    """Return the runs below a folder, since a pair or a method is easily given in place of a seed."""
    if not folder.is_dir():
        return ", and no folder of that name is there"
    files = [*sorted(folder.glob("*/config.yaml")), *sorted(folder.glob("*/*/config.yaml"))]
    return f"; there are runs in it: {few([str(file.parent) for file in files])}" if files else ""


def _described(facts: DataFacts) -> str:
    size = facts.image_size
    return f"{len(facts.classes)} classes ({', '.join(facts.classes[:3])}, ...) of {size}x{size}"


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(isinstance(value, kind) for value in values)


def _three(values: Sequence[Any]) -> bool:
    return _all(values, float) and len(values) == 3
