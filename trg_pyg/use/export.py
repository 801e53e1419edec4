"""Writes a trained network to a folder of its own, each file verified against the original."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from trg_pyg._files import made_whole, write_text, written
from trg_pyg._program import say
from trg_pyg.config.schema import LOADING_ARGS
from trg_pyg.data.facts import DataFacts
from trg_pyg.errors import InputError, require
from trg_pyg.models.image_classifier import ImageClassifier
from trg_pyg.use.card import model_card, told_of
from trg_pyg.use.exported import About
from trg_pyg.use.formats import BATCHES, FORMATS, FormatName, check_packages, difference, tolerance, write
from trg_pyg.use.load import resize_of
from trg_pyg.use.trained import Trained


def export(trained: Trained, output: Path, formats: Sequence[FormatName]) -> None:
    """Write a trained network and its model card to a new folder, each file verified against the original.

    Args:
        trained: the network of a run.
        output: folder to make.
        formats: what to write beside ``README.md`` and ``model.json``.

    Raises:
        InputError: the folder is there already or cannot be made, a package is missing, the network cannot be written
            in a format, or what was written gives other logits. No folder is made then.
    """
    names = list(dict.fromkeys(formats))
    check(output, names)
    about = _about(trained)
    classifier = about.build()
    classifier.network.load_state_dict(trained.network.model.state_dict())
    size = about.facts.image_size
    images = _images_like_those(about.facts)
    with torch.no_grad():
        expected = trained.network(images).logits.float()
    require(
        bool(expected.isfinite().all()),
        f"{trained.weights.path}: its outputs are not finite; the training diverged, or the file is damaged",
    )
    with written(output), made_whole(output) as folder:
        about.write(folder)
        strings = {"network": about.network, "classes": json.dumps(about.facts.classes), **told_of(trained)}
        for name in names:
            _write_verified(name, classifier, size, strings, folder, images, expected)
        write_text(folder / "README.md", model_card(trained, about, names, tolerance(expected)))


def check(output: Path, names: Sequence[FormatName]) -> None:
    """Refuse a folder that is there, and formats whose packages are missing."""
    check_packages(names)
    require(not output.exists(), f"--output {output}: it is there already; name a new folder")


def _write_verified(
    name: FormatName,
    classifier: ImageClassifier,
    size: int,
    strings: dict[str, str],
    folder: Path,
    images: Tensor,
    expected: Tensor,
) -> None:
    file = FORMATS[name].file
    write(name, classifier, size, strings, folder)
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


def _about(trained: Trained) -> About:
    config, facts = trained.choices.config.student, trained.facts
    return About(
        config.name,
        {name: value for name, value in config.args.items() if name not in LOADING_ARGS},
        replace(facts, mean=config.mean or facts.mean, std=config.std or facts.std),
        resize_of(trained),
    )


def _images_like_those(facts: DataFacts) -> Tensor:
    """Return smooth noise with the mean and deviation of the training images, uint8 ``[N, 3, H, W]``."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(max(BATCHES), 3, 4, 4, generator=generator)
    fine = torch.randn(max(BATCHES), 3, facts.image_size, facts.image_size, generator=generator)
    smooth = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear") + 0.3 * fine
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (facts.mean, facts.std))
    return ((mean + std * smooth).clamp(0, 1) * 255).to(torch.uint8)
