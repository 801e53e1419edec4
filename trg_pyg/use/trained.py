"""A network that ``trg run`` trained, with all that it takes to use it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trg_pyg.config.choices import Choices, read_choices
from trg_pyg.config.schema import LOADING_ARGS, NetworkConfig
from trg_pyg.data.base import Splits
from trg_pyg.data.facts import DataFacts
from trg_pyg.distillers.base import Taps
from trg_pyg.errors import few, require
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import LoadedWeights, load_weights
from trg_pyg.study.study import build_network

Which = Literal["last", "best"]


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
