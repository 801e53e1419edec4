"""Writes a trained network to a folder of its own, each file verified against the original."""

import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trg_pyg._files import made_whole, write_text, written
from trg_pyg._program import say
from trg_pyg._size import sides
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
        expected = trained.checked(trained.network(images).logits)
    assert trained.network.normalize is not None
    classifier = ImageClassifier(trained.network.model, trained.network.normalize).eval()
    # What a file of weights carries beside them, with accuracy and epoch.
    about = {"network": trained.name, "classes": json.dumps(facts.classes), **trained.weights.metadata}
    about |= {"method": str(trained.method), "seed": str(trained.seed)}
    about |= {"mean": json.dumps(facts.mean), "std": json.dumps(facts.std)}
    about["format"] = "pt"  # huggingface_hub reads no other file
    card = model_card(trained, names, tolerance(expected))
    with written(output), made_whole(output) as folder:
        write_about(trained, folder)
        for name in names:
            _write_verified(name, classifier, about, folder, images, expected)
        if is_timms(trained) and "safetensors" in names:
            _write_for_timm(trained, folder, images, expected)
        write_text(folder / "README.md", card)


def check(output: Path, names: Sequence[FormatName], push_to: str | None = None) -> None:
    """Refuse a folder that is there, formats whose packages are missing, and a push that nobody has signed in for."""
    check_packages(names)
    require(not output.exists(), f"--output {output}: it is there already; name a new folder")
    if push_to is None:
        return
    try:
        from huggingface_hub import get_token
    except ImportError as error:
        raise InputError(f"--push_to {push_to} needs huggingface_hub: pip install 'trg_pyg[timm]'") from error
    named = re.fullmatch(r"[\w.-]+/[\w.-]+", push_to)
    require(named is not None, f"--push_to {push_to}: give USER/NAME, the name of a model on the hub")
    require(
        get_token() is not None,
        f"--push_to {push_to}: no token of Hugging Face is there; run hf auth login or set HF_TOKEN, or leave it out",
    )


def push(folder: Path, name: str) -> str:
    """Upload an exported folder to Hugging Face's hub and return its address; a model that is new there is private.

    Raises:
        InputError: the hub refuses it or is not reached; the folder stays.
    """
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(name, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=name, folder_path=folder, commit_message="Export of trg_pyg")
    except Exception as error:  # of the hub's client, and of what it is made of
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"--push_to {name}: {reason}; {folder} is exported, and can be uploaded by hand") from error
    return f"https://huggingface.co/{name}"


def is_timms(trained: TrainedNetwork) -> bool:
    """Return whether a network is one of timm."""
    return trained.name.startswith("timm:")


def _write_for_timm(trained: TrainedNetwork, folder: Path, images: Tensor, expected: Tensor) -> None:
    """Write config.json, with which timm loads the folder as ``local-dir:``, and let it."""
    import timm

    network: Any = trained.network.model
    facts, known = trained.expected, dict(network.pretrained_cfg)
    described = {name: known.get(name) for name in ("first_conv", "classifier", "fixed_input_size")}
    described |= {
        "input_size": [facts.channels, *sides(facts.image_size)],
        "crop_pct": min(sides(facts.image_size)) / min(sides(trained.resize)),
        "crop_mode": "center",
        "interpolation": trained.interpolation,
        "mean": facts.mean,
        "std": facts.std,
        "num_classes": len(facts.classes),
        "custom_load": False,
    }
    content = {
        "architecture": trained.name.partition(":")[2].partition(".")[0],
        "num_classes": len(facts.classes),
        "num_features": network.num_features,
        "label_names": list(facts.classes),
        "model_args": trained.config.args,
        "pretrained_cfg": described,
    }
    write_text(folder / "config.json", json.dumps(content, indent=2) + "\n")
    normalize = trained.network.normalize
    assert normalize is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        with torch.no_grad():
            gap = difference(lambda batch: loaded(normalize(batch)), images.float() / 255, expected)
    except Exception as error:  # of timm, about what it has read
        raise InputError(f"timm cannot load what was exported for it ({error}): nothing is exported") from error
    most = tolerance(expected)
    require(gap <= most, f"loaded by timm, it gives logits that differ by {gap:.1e}: nothing is exported")
    say(f"{'config.json':<18} {'':11}  verified: timm loads the folder, logits differ by {gap:.1e} at most")


def _write_verified(
    name: FormatName,
    classifier: ImageClassifier,
    about: dict[str, str],
    folder: Path,
    images: Tensor,
    expected: Tensor,
) -> None:
    file = FORMATS[name].file
    write(name, classifier, images.shape[1:], about, folder)
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
    """Return smooth noise with the mean and deviation of the training images or clips, uint8 ``[N, *shape]``."""
    generator = torch.Generator().manual_seed(0)
    channels, *grid = facts.shape
    coarse = torch.randn(max(BATCHES), channels, *[4] * len(grid), generator=generator)
    fine = torch.randn(max(BATCHES), channels, *grid, generator=generator)
    smooth = F.interpolate(coarse, size=grid, mode="trilinear" if facts.frames else "bilinear") + 0.3 * fine
    mean, std = (torch.tensor(values).view(-1, *[1] * len(grid)) for values in (facts.mean, facts.std))
    return ((mean + std * smooth).clamp(0, 1) * 255).to(torch.uint8)
