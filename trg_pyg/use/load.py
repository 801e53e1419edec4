"""A trained network to be used: from the folder of its run, or from one that ``trg export`` wrote."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from torch import Tensor

from trg_pyg._files import write_text
from trg_pyg._program import program
from trg_pyg._size import Size, read_size, shown_clip
from trg_pyg.config.schema import LOADING_ARGS, NetworkConfig
from trg_pyg.config.stored import read_network, read_part
from trg_pyg.data.base import Data, Splits
from trg_pyg.data.facts import DataFacts
from trg_pyg.data.files._decode import Interpolation, colour_of
from trg_pyg.data.files.image_files import ImageFiles
from trg_pyg.distillers.base import Taps
from trg_pyg.errors import InputError, count, few, require
from trg_pyg.models.pretrained import structure
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import LoadedWeights, load_weights
from trg_pyg.runs import CONFIG, method_of, read_config
from trg_pyg.study.study import build_network

Which = Literal["last", "best"]
Kind = Literal["images", "texts", "clips", "pixels", "anchors", "other items"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_Network = TypeVar("_Network", bound=NetworkConfig)

# Of an exported folder: all that it takes to build the network and to prepare images for it, and the weights.
ABOUT = "model.json"
WEIGHTS = "model.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, and how images are prepared for it.

    Attributes:
        path: that was named.
        config: the network, without the weights that its training began with.
        network: in evaluation mode, on the CPU, without gradients.
        weights: the file that they come from, and what it says.
        facts: of the data that it was trained on.
        resize: pixels that the shorter side of an image is resized to before the centre is cut out, or height and
            width that it is resized to cover.
        interpolation: by which it is resized.
        background: colour that shows through what is transparent in an image.
        settings: of its run, as ``config.yaml`` has them; of a teacher that was trained here, the network is the
            student. Empty where no run is known, as of an exported network.
    """

    path: Path
    config: NetworkConfig
    network: TappedModel
    weights: LoadedWeights
    facts: DataFacts
    resize: Size
    settings: dict[str, Any] = field(default_factory=dict)
    interpolation: Interpolation = "bilinear"
    background: str = "white"

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.config.name

    @property
    def method(self) -> str | None:
        """Name of the method that trained it, as far as it is known."""
        return method_of(self.settings)[0] if self.settings else self.weights.metadata.get("method")

    @property
    def seed(self) -> str | None:
        """Seed of the training, as far as it is known."""
        return str(self.settings["seeds"][0]) if self.settings else self.weights.metadata.get("seed")

    @property
    def preparation(self) -> tuple[Size, Size, Interpolation, str]:
        """Size, resizing, filter and background of the files that it is shown.

        Raises:
            InputError: it takes no RGB images.
        """
        channels = self.facts.channels
        require(
            channels == 3,
            f"{self.path} takes images of {count(channels, 'channel')}, and image files become RGB: give it "
            "tensors, by trg_pyg.use.load",
        )
        return self.facts.image_size, self.resize, self.interpolation, self.background

    @cached_property
    def kind(self) -> Kind:
        """What it is of; pixels or anchors where it answers for each of an image, other items where the data know."""
        if self.facts.item == "image" and not self.facts.channels:
            return "other items"
        pixels = self.network.describe(self.facts.example).pixels
        kinds = (f"{self.facts.item}s", "anchors", "pixels")
        return cast(Kind, kinds[len(pixels)])

    def checked(self, logits: Tensor, what: str = "") -> Tensor:
        """Return its logits as float32, once they are known to be finite.

        Args:
            logits: of any shape.
            what: they are of, for the message.

        Raises:
            InputError: they are not.
        """
        require(
            bool(logits.isfinite().all()),
            f"{self.weights.path}: its outputs are not finite{what and f' for {what}'}; the training diverged, or the "
            "file is damaged",
        )
        return logits.float()

    @property
    def expected(self) -> DataFacts:
        """Classes and size of its images, and the normalisation that it expects of them."""
        return replace(self.facts, mean=self.config.mean or self.facts.mean, std=self.config.std or self.facts.std)

    @property
    def folder(self) -> Path:
        """Folder of its run.

        Raises:
            InputError: no run is known.
        """
        require(bool(self.settings), f"{self.path} is not of a run; name the folder of one")
        return self.weights.path.parent

    @cached_property
    def data(self) -> Data:
        """The data that it was trained on, not read yet.

        Raises:
            InputError: no run is known, or its data are of a class that has other options now.
        """
        require(bool(self.settings), f"{self.path}: an exported network does not know its data; give --data")
        return _data(self.settings, self.folder)

    def has_data(self, digest: str | None) -> bool:
        """Return whether data of a hash are those that it was trained on, as far as that is known."""
        return None in (self.facts.digest, digest) or digest == self.facts.digest

    def read_data(self) -> Splits:
        """Read the data that the network was trained and tested on.

        Raises:
            InputError: they cannot be read, or are others now.
        """
        splits = self.data.load()
        found = DataFacts.of(splits)
        require(
            (splits.classes, found.image_size, found.frames)
            == (self.facts.classes, self.facts.image_size, self.facts.frames),
            f"{self.folder} was trained on {_described(self.facts)}; the data that its config.yaml names are now "
            f"{_described(found)}: give it those that it was trained on",
        )
        require(
            self.has_data(splits.digest),
            f"{self.folder}: the data that its config.yaml names are others now, their hash is {splits.digest[:8]} and "
            f"was {str(self.facts.digest)[:8]}; give it those that it was trained on, or measure it on these by "
            f"{program('evaluate')}",
        )
        return splits


def load(
    path: str | Path,
    which: Which = "last",
    own_code: bool = False,
    taps: Taps = "none",
    kinds: Sequence[Kind] = ("images",),
) -> TrainedNetwork:
    """Load the network of a run or of an exported folder; neither needs its data.

    Args:
        path: folder of one seed of one method, or of a teacher that was trained here; folder that ``trg export`` wrote;
            or a weights file in one of them, which is taken in place of the one that ``which`` names.
        which: of a run's folder, the weights of the last epoch, or those of the best, which the evaluated images have
            chosen.
        own_code: whether an exported network that is named by a dotted path may be imported, which runs that code.
        taps: the features of a run's network to read where its configuration names none.
        kinds: of networks that the caller knows what to do with, see :attr:`TrainedNetwork.kind`.

    Raises:
        InputError: it is neither, a file in it is damaged, the run has no weights yet, or its network is none that the
            caller knows what to do with.
    """
    path = Path(path)
    require(path.exists(), f"{path}: there is no such file or folder")
    folder = path.parent if path.is_file() else path
    found = None
    if (folder / CONFIG).is_file():
        found = _of_run(path, folder, path if path.is_file() else path / f"{which}.safetensors", taps)
    elif (folder / ABOUT).is_file():
        found = _exported(path, folder, path if path.is_file() else path / WEIGHTS, own_code)
    if found is not None:
        wanted = " or ".join(kinds)
        require(found.kind in kinds, f"{path} is a network of {found.kind}, and this is for those of {wanted}")
        return found
    require(
        folder == path,
        f"{path} lies in no folder of a run; weights of other programs are evaluated by {program('evaluate')} "
        f"--weights {path} --student.name NAME --data SET",
    )
    # A pair or a method is easily given in place of a seed.
    inside = few([str(file.parent) for depth in ("*", "*/*") for file in sorted(folder.glob(f"{depth}/{CONFIG}"))])
    there = f"; there are runs in it: {inside}" if inside else ""
    raise InputError(
        f"{path}: no {CONFIG} in {path}, so this is no run{there}; name a folder such as "
        "runs/Digits/resnet20-resnet8/TRG-0123abcd/seed0"
    )


def _of_run(path: Path, folder: Path, file: Path, taps: Taps) -> TrainedNetwork:
    require(file.is_file(), f"{folder} has no {file.name}: its first epoch has not ended; resume the run")
    settings = read_config(folder)
    config = untrained(read_network(NetworkConfig, "student", settings["student"], folder / CONFIG))
    data = _data(settings, folder)
    facts = DataFacts.read(folder) or DataFacts.of(data.load())
    built = _built(config, facts, file, taps)
    if isinstance(data, ImageFiles):
        return TrainedNetwork(path, config, *built, facts, data.shorter, settings, data.interpolation, data.background)
    return TrainedNetwork(path, config, *built, facts, facts.image_size, settings)


def _data(settings: dict[str, Any], folder: Path) -> Data:
    data: Data = read_part(Data, "data", settings["data"], folder / CONFIG)
    return data


def _built(config: NetworkConfig, facts: DataFacts, file: Path, taps: Taps) -> tuple[TappedModel, LoadedWeights]:
    network = build_network(config, facts, seed=0, taps=taps)
    weights = load_weights(network.model, file)
    network.eval().requires_grad_(False)
    return network, weights


def untrained(config: _Network) -> _Network:
    """Return the network without the weights that its training began with: they may be gone, or be a download."""
    args = {name: value for name, value in config.args.items() if name not in LOADING_ARGS}
    return replace(config, weights=None, args=structure(config.name, config.args) | args)


def _described(facts: DataFacts) -> str:
    of_each = shown_clip(facts.image_size, facts.frames)
    return f"{len(facts.classes)} classes ({', '.join(facts.classes[:3])}, ...) of {of_each}"


def write_about(trained: TrainedNetwork, folder: Path) -> None:
    """Write ``model.json`` for a network.

    Raises:
        InputError: the file cannot be written.
    """
    facts = trained.expected
    content = {
        "format": _FORMAT,
        "network": trained.config.name,
        "args": trained.config.args,
        "classes": list(facts.classes),
        "image_size": facts.image_size,
        **({"frames": facts.frames} if facts.frames else {}),
        "resize": trained.resize,
        "interpolation": trained.interpolation,
        "background": trained.background,
        "mean": list(facts.mean),
        "std": list(facts.std),
    }
    write_text(folder / ABOUT, json.dumps(content, indent=2) + "\n")


def _exported(path: Path, folder: Path, file: Path, own_code: bool) -> TrainedNetwork:
    about = folder / ABOUT
    try:
        stored = json.loads(about.read_text())
        if stored["format"] != _FORMAT:
            raise ValueError(f"its format is {stored['format']}, {_FORMAT} is known")
        name, args, resize, facts = stored["network"], stored["args"], stored["resize"], _facts(stored)
        resize = read_size(resize, facts.image_size)
        by: Interpolation = stored.get("interpolation", "bilinear")  # as it was before it was written down
        background = stored.get("background", "white")
        colour_of(background)
        known = isinstance(name, str) and isinstance(args, dict) and by in get_args(Interpolation)
        if not known:
            raise ValueError("a value of another kind")
    except (OSError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{about} is damaged ({reason}); export the run again") from error
    loading = [each for each in LOADING_ARGS if each in args]
    require(not loading, f"{about}: args has {', '.join(loading)}, which may load another file: take it out")
    require(
        own_code or "." not in name or ":" in name,
        f"{about}: its network is code, {name}, which would be imported and called; add --own_code if you trust it",
    )
    config = NetworkConfig(name=name, args=args)
    built = _built(config, facts, file, "none")
    return TrainedNetwork(path, config, *built, facts, resize, interpolation=by, background=background)


def _facts(stored: dict[str, Any]) -> DataFacts:
    classes, size, frames = stored["classes"], read_size(stored["image_size"]), stored.get("frames", 0)
    channels = [stored[name] for name in ("mean", "std")]
    named = isinstance(classes, list) and len(classes) > 0 and all(isinstance(name, str) for name in classes)
    sound = all(isinstance(each, list) and {type(value) for value in each} == {float} for each in channels)
    if not (named and sound and len(channels[0]) == len(channels[1]) and type(frames) is int and frames >= 0):
        raise ValueError("a value of another kind")
    mean, std = (tuple(each) for each in channels)
    return DataFacts(tuple(classes), size, mean, std, frames=frames)
