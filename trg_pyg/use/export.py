"""Writes a trained network to a folder of its own, each file verified against the original."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from trg_pyg._files import made_whole, write_text, written
from trg_pyg._program import say
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError, require
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.use.card import model_card
from trg_pyg.use.formats import BATCHES, FORMATS, FormatName, check_packages, difference, tolerance, write
from trg_pyg.use.load import TrainedNetwork, write_about


def export(trained: TrainedNetwork, output: Path, formats: Sequence[FormatName]) -> None:
    """Write a trained network and its model card to a new folder, each file verified against the original.

    Args:
        trained: the network of a run.
        output: folder to make.
        formats: what to write beside ``README.md`` and ``model.json``.

    Raises:
        InputError: the network is of no run, the folder is there already or cannot be made, a package is missing, the
            network cannot be written in a format, or what was written gives other logits. No folder is made then.
    """
    names = list(dict.fromkeys(formats))
    check(output, names)
    facts = trained.expected
    images = _images_like_those(facts)
    with torch.no_grad():
        expected = trained.network(images).logits.float()
    require(
        bool(expected.isfinite().all()),
        f"{trained.weights.path}: its outputs are not finite; the training diverged, or the file is damaged",
    )
    assert trained.network.normalize is not None
    classifier = ImageClassifier(trained.network.model, trained.network.normalize).eval()
    # What a file of weights carries beside them, with accuracy and epoch.
    about = {"network": trained.name, "classes": json.dumps(facts.classes), **trained.weights.metadata}
    about |= {"method": str(trained.method), "seed": str(trained.seed)}
    card = model_card(trained, names, tolerance(expected))
    with written(output), made_whole(output) as folder:
        write_about(trained, folder)
        for name in names:
            _write_verified(name, classifier, facts.image_size, about, folder, images, expected)
        write_text(folder / "README.md", card)


def check(output: Path, names: Sequence[FormatName]) -> None:
    """Refuse a folder that is there, and formats whose packages are missing."""
    check_packages(names)
    require(not output.exists(), f"--output {output}: it is there already; name a new folder")


def _write_verified(
    name: FormatName,
    classifier: ImageClassifier,
    size: int,
    about: dict[str, str],
    folder: Path,
    images: Tensor,
    expected: Tensor,
) -> None:
    file = FORMATS[name].file
    write(name, classifier, size, about, folder)
    with torch.no_grad():
        try:
            gap = difference(FORMATS[name].read(folder), images.float() / 255, expected)
        except InputError as error:
            raise InputError(
                f"{file}, loaded again, {error}: nothing is exported; leave {name} out of --formats"
            ) from error
    most = tolerance(expected)
    require(
        gap <= most,
        f"{file}, loaded again, gives logits that differ by {gap:.1e}, where {most:.1e} would be rounding: nothing is "
        f"exported; leave {name} out of --formats",
    )
    megabytes = (folder / file).stat().st_size / 1e6
    say(f"{file:<18} {megabytes:8.2f} MB  verified: logits differ by {gap:.1e} at most ({most:.1e} allowed)")


def _images_like_those(facts: DataFacts) -> Tensor:
    """Return smooth noise with the mean and deviation of the training images, uint8 ``[N, 3, H, W]``."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(max(BATCHES), 3, 4, 4, generator=generator)
    fine = torch.randn(max(BATCHES), 3, facts.image_size, facts.image_size, generator=generator)
    smooth = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear") + 0.3 * fine
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (facts.mean, facts.std))
    return ((mean + std * smooth).clamp(0, 1) * 255).to(torch.uint8)
