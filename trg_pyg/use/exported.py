"""The folder that ``trg export`` writes, as other programs read it: ``model.json``, network and weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trg_pyg._files import write_text
from trg_pyg.config.schema import LOADING_ARGS
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError, require
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.models.normalize import Normalize
from trg_pyg.models.taps import TappedModel
from trg_pyg.models.weights import LoadedWeights, load_weights
from trg_pyg.models.zoo import build_model

ABOUT = "model.json"
WEIGHTS = "model.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class About:
    """What ``model.json`` says: all that it takes to build the network and to prepare images for it.

    Attributes:
        network: as ``build_model`` takes it.
        args: its further keyword arguments; none that loads weights.
        facts: classes, size of the images, and the normalisation that the network expects.
        resize: pixels that the shorter side of an image is resized to before the centre is cut out.
    """

    network: str
    args: dict[str, Any]
    facts: DataFacts
    resize: int

    def write(self, folder: Path) -> None:
        """Write them into a folder.

        Raises:
            InputError: the file cannot be written.
        """
        facts = self.facts
        content = {
            "format": _FORMAT,
            "network": self.network,
            "args": self.args,
            "classes": list(facts.classes),
            "image_size": facts.image_size,
            "resize": self.resize,
            "mean": list(facts.mean),
            "std": list(facts.std),
        }
        write_text(folder / ABOUT, json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "About":
        """Read what :meth:`write` wrote.

        Raises:
            InputError: the file is missing or damaged, or has arguments that would load weights.
        """
        file = folder / ABOUT
        try:
            stored = json.loads(file.read_text())
            if stored["format"] != _FORMAT:
                raise ValueError(f"its format is {stored['format']}, {_FORMAT} is known")
            about = cls(stored["network"], stored["args"], _facts(stored), stored["resize"])
            size = about.facts.image_size
            if not (isinstance(about.network, str) and isinstance(about.args, dict) and _is_size(about.resize, size)):
                raise ValueError("a value of another kind")
        except (OSError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{file} is missing or damaged ({reason}); export the run again") from error
        loading = [name for name in LOADING_ARGS if name in about.args]
        require(not loading, f"{file}: args has {', '.join(loading)}, which may load another file: take it out")
        return about

    def build(self) -> ImageClassifier:
        """Return the network with random weights, in evaluation mode, without gradients.

        Raises:
            InputError: there is no such network, or it takes other arguments.
        """
        model = build_model(self.network, len(self.facts.classes), **self.args)
        classifier = ImageClassifier(model, Normalize(self.facts.mean, self.facts.std))
        return classifier.eval().requires_grad_(False)


def load_exported(folder: Path, own_code: bool = False) -> tuple[About, TappedModel, LoadedWeights]:
    """Load the network of an exported folder.

    Args:
        folder: that ``trg export`` wrote.
        own_code: whether a network that is named by a dotted path may be imported, which runs that code.

    Raises:
        InputError: a file is missing or damaged, or the network would be code that was not allowed.
    """
    about = About.read(folder)
    dotted = "." in about.network and ":" not in about.network
    require(
        own_code or not dotted,
        f"{folder / ABOUT}: its network is code, {about.network}, which would be imported and called; add --own_code "
        "if you trust it",
    )
    classifier = about.build()
    weights = load_weights(classifier.network, folder / WEIGHTS)
    return about, TappedModel(classifier.network, [], classifier.normalize).eval(), weights


def _facts(stored: dict[str, Any]) -> DataFacts:
    classes, size = stored["classes"], stored["image_size"]
    channels = [stored[name] for name in ("mean", "std")]
    named = isinstance(classes, list) and len(classes) > 0 and all(isinstance(name, str) for name in classes)
    three = all(isinstance(each, list) and [type(value) for value in each] == [float] * 3 for each in channels)
    if not (named and three and _is_size(size, 1)):
        raise ValueError("a value of another kind")
    mean, std = (tuple(each) for each in channels)
    return DataFacts(tuple(classes), size, mean, std)


def _is_size(value: Any, least: int) -> bool:
    return type(value) is int and value >= least
