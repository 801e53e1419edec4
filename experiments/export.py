"""Export a trained student for others to use: ``python experiments/export.py --help``."""

import json
import sys
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from experiments.config import LOADING_ARGS  # noqa: E402
from experiments.exit_codes import exit_code_of  # noqa: E402
from experiments.export_formats import (  # noqa: E402
    BATCHES,
    FORMATS,
    FormatName,
    check_packages,
    difference,
    tolerance,
    write,
)
from experiments.exported import About  # noqa: E402
from experiments.loaded import resize_of  # noqa: E402
from experiments.model_card import model_card, told_of  # noqa: E402
from experiments.run_folder import write_text, written  # noqa: E402
from experiments.trained import DataFacts, Trained, Which, load_trained  # noqa: E402
from trg_pyg._files import made_whole  # noqa: E402
from trg_pyg.errors import InputError, require  # noqa: E402
from trg_pyg.models.image_classifier import ImageClassifier  # noqa: E402

_DESCRIPTION = """\
Export a trained student. The folder that is made holds

  README.md           a model card: what the network is, how good, how it was trained, how to load it
  model.json          network, classes, image size and normalisation, for programs
  model.safetensors   the weights
  model.onnx          the network with its normalisation, for ONNX Runtime and others (takes the extra "export")
  model.pt2           the same as a program of torch.export

model.onnx and model.pt2 take images float [N, 3, H, W] in [0, 1] of any N. Every file is loaded again and must give
the logits of the original, in batches of 1, 2 and 7 images, but for rounding; otherwise there is no folder."""


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
    _check(output, names)
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


def _check(output: Path, names: list[FormatName]) -> None:
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
    print(
        f"{file:<18} {megabytes:8.2f} MB  verified: logits differ by {gap:.1e} at most ({most:.1e} allowed)", flush=True
    )


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


def main(argv: Sequence[str] | None = None) -> int:
    """Export the run of a command line and return the exit code: 0, or 2 where the input is at fault."""
    chosen = _parser().parse_args(argv)

    def work() -> None:
        _check(chosen.output, chosen.formats)  # before the run is loaded, which may take its data
        export(load_trained(chosen.run, chosen.which), chosen.output, chosen.formats)
        print(
            f"exported to {chosen.output}; read its README.md before you publish it: it has the paths of the training"
        )

    return exit_code_of(work, "export.py")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="export.py", description=_DESCRIPTION, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="folder of one seed of a run, or a weights file in it")
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=get_args(FormatName),
        default=list(get_args(FormatName)),
        help="what to write beside README.md and model.json (default: all)",
    )
    parser.add_argument(
        "--which", choices=get_args(Which), default="last", help="weights of the last epoch (default) or the best"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
