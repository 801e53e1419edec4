"""A trained network to be used: of a run, or of a folder that ``trg export`` wrote."""

from dataclasses import dataclass
from pathlib import Path

from trg_pyg._program import program
from trg_pyg.data.facts import DataFacts
from trg_pyg.data.image_files import ImageFiles
from trg_pyg.errors import require
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import LoadedWeights
from trg_pyg.use.exported import ABOUT, load_exported
from trg_pyg.use.trained import Trained, Which, load_trained


@dataclass(frozen=True)
class Loaded:
    """A trained network, and how images are prepared for it.

    Attributes:
        path: that was named.
        name: of the network.
        network: in evaluation mode, on the CPU, without gradients.
        facts: of the data that it was trained on.
        resize: pixels that the shorter side of an image is resized to before the centre is cut out.
        weights: the file that they come from, and what it says.
        trained: its run, if it is of one.
    """

    path: Path
    name: str
    network: TappedModel
    facts: DataFacts
    resize: int
    weights: LoadedWeights
    trained: Trained | None = None

    @property
    def method(self) -> str | None:
        """Name of the method that trained it, as far as it is known."""
        return self.weights.metadata.get("method") if self.trained is None else self.trained.method

    @property
    def seed(self) -> str | None:
        """Seed of the training, as far as it is known."""
        return self.weights.metadata.get("seed") if self.trained is None else str(self.trained.seed)


def load(path: str | Path, which: Which = "last", own_code: bool = False) -> Loaded:
    """Load the network of a run or of an exported folder; neither needs its data.

    Args:
        path: folder of a run, folder that ``trg export`` wrote, or a weights file in one of them.
        which: of a run's folder, the weights of the last epoch or those of the best.
        own_code: whether an exported network that is named by a dotted path may be imported, which runs that code.

    Raises:
        InputError: it is neither, or a file in it is damaged.
    """
    path = Path(path)
    require(path.exists(), f"{path}: there is no such file or folder")
    folder = path.parent if path.is_file() else path
    require(
        folder == path or any((folder / name).is_file() for name in (ABOUT, "config.yaml")),
        f"{path} lies in no folder of a run; weights of other programs are evaluated by {program('evaluate')} "
        f"--weights {path} --student.name NAME --data SET",
    )
    if (folder / ABOUT).is_file() and not (folder / "config.yaml").is_file():
        about, network, weights = load_exported(folder, own_code)
        return Loaded(path, about.network, network, about.facts, about.resize, weights)
    trained = load_trained(path, which)
    return Loaded(
        path, trained.name, trained.network, trained.facts, resize_of(trained), trained.weights, trained=trained
    )


def resize_of(trained: Trained) -> int:
    """Return the pixels that the shorter side of an image is resized to before the centre is cut out."""
    data = trained.choices.config.data
    return data.shorter if isinstance(data, ImageFiles) else trained.facts.image_size
