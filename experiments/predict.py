"""Classify image files by a trained student: ``python experiments/predict.py --help``."""

import json
import os
import sys
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
# Transparency is left out, as it was of the test images.
warnings.filterwarnings("ignore", message="Palette images with Transparency", category=UserWarning)

import torch  # noqa: E402

from experiments.exit_codes import exit_code_of  # noqa: E402
from experiments.loaded import Loaded, load  # noqa: E402
from experiments.study import pick_device  # noqa: E402
from experiments.trained import Which  # noqa: E402
from trg_pyg.data.loose_images import find_images, read_images  # noqa: E402
from trg_pyg.errors import InputError, require  # noqa: E402

_COMMAND = "predict.py"
# That of a command that did part of its work.
_SOME_UNREADABLE = 1
_DESCRIPTION = """\
Classify image files. Each is prepared as the test images were: made RGB, turned upright by its EXIF data, its
shorter side resized, the centre cut out. Nothing else than the run's folder, or the exported one, is needed.

Prints a line for each image: its file, then the likeliest classes with their probabilities (softmax of the logits)
in percent. Files that cannot be read are named on standard error, a line each, and the others are classified.

exit codes: 0, all images are classified; 1, some cannot be read; 2, none can, or the input is at fault."""


class Prediction(NamedTuple):
    """What is known of an image.

    Attributes:
        file: that was read.
        classes: the likeliest, with their probabilities in [0, 1], the likeliest first; empty where it was not read.
        error: why it cannot be read; ``None`` if it can.
    """

    file: Path
    classes: list[tuple[str, float]]
    error: str | None = None

    def as_json(self) -> str:
        """Return it as a line of JSON."""
        if self.error is not None:
            return json.dumps({"file": str(self.file), "error": self.error})
        listed = [{"class": name, "probability": probability} for name, probability in self.classes]
        return json.dumps({"file": str(self.file), "classes": listed})


@torch.inference_mode()
def predict(
    loaded: Loaded, files: Sequence[Path], top: int, device: torch.device, batch_size: int = 256
) -> Iterator[Prediction]:
    """Classify files, batch by batch, in their order.

    Args:
        loaded: the network; it is moved to the device.
        files: images.
        top: classes of each; all, where there are fewer.
        device: where the network runs.
        batch_size: images a forward pass.

    Raises:
        InputError: the network's outputs are not finite, or the memory does not suffice.
    """
    network, facts = loaded.network.to(device), loaded.facts
    for start in range(0, len(files), batch_size):
        part = files[start : start + batch_size]
        images, failures = read_images(part, facts.image_size, loaded.resize)
        errors = {failure.position: failure.reason for failure in failures}
        sound = [i for i in range(len(part)) if i not in errors]
        answers: list[list[tuple[str, float]]] = [[] for _ in part]
        if sound:
            logits = network(images[sound].to(device)).logits.float()
            require(
                bool(logits.isfinite().all()),
                f"{loaded.weights.path}: the network's outputs are not finite for an image of {part[sound[0]]} to "
                f"{part[sound[-1]]}; its training diverged, or the file is damaged",
            )
            shares, ids = logits.softmax(dim=1).topk(min(top, logits.shape[1]), dim=1)
            for i, of_image, those in zip(sound, shares.tolist(), ids.tolist(), strict=True):
                answers[i] = [(facts.classes[k], share) for k, share in zip(those, of_image, strict=True)]
        for i, file in enumerate(part):
            yield Prediction(file, answers[i], errors.get(i))


def main(argv: Sequence[str] | None = None) -> int:
    """Classify the images of a command line and return the exit code."""
    chosen = _parser().parse_args(argv)
    unread = 0

    def work() -> None:
        nonlocal unread
        require(chosen.top >= 1, f"--top {chosen.top}: give 1 or more")
        require(chosen.batch_size >= 1, f"--batch_size {chosen.batch_size}: give 1 or more")
        device = pick_device(chosen.device)
        files = find_images(chosen.images)
        loaded = load(chosen.source, chosen.which, chosen.own_code)
        try:
            unread = _show(predict(loaded, files, chosen.top, device, chosen.batch_size), files, loaded, chosen)
        except BrokenPipeError:
            # Whoever reads has enough, as head has; what is left in the buffer must not fail once more at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if unread == len(files):
            raise InputError(f"none of {len(files)} images can be read" if unread > 1 else "the image cannot be read")

    return exit_code_of(work, _COMMAND) or (_SOME_UNREADABLE if unread else 0)


def _show(predictions: Iterator[Prediction], files: list[Path], loaded: Loaded, chosen: Namespace) -> int:
    """Print the predictions and return how many files could not be read."""
    unread = 0
    width = max(len(_shown(file)) for file in files)
    named = max(map(len, loaded.facts.classes))
    for prediction in predictions:
        if prediction.error is not None:
            unread += 1
            print(f"{_COMMAND}: cannot read {_shown(prediction.file)}: {prediction.error}", file=sys.stderr)
        if chosen.json:
            print(prediction.as_json())
        elif prediction.error is None:
            cells = [f"{name:<{named}} {100 * share:6.2f} %" for name, share in prediction.classes]
            print(f"{_shown(prediction.file):<{width}}  {'   '.join(cells)}")
    sys.stdout.flush()
    if 0 < unread < len(files):
        print(f"{_COMMAND}: {unread} of {len(files)} images cannot be read", file=sys.stderr)
    return unread


def _shown(file: Path) -> str:
    """Return a name on one line, also one with a line break or with bytes that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(file))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=_COMMAND, description=_DESCRIPTION, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter
    )
    add = _adder(parser)
    add("source", "RUN_OR_EXPORT", "folder of a run, or a weights file in it, or a folder that export.py wrote")
    add("images", "IMAGE", "image files, and folders, which are searched at any depth", nargs="+")
    add("--top", "N", "classes of each image (default: 5)", type=int, default=5)
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a line of JSON for each image: {"file", "classes": [{"class", "probability"}, ...]}, or '
        '{"file", "error"}',
    )
    parser.add_argument(
        "--which", choices=get_args(Which), default="last", help="weights of a run: last epoch (default) or best"
    )
    add("--device", "NAME", "auto (default) takes a GPU if there is one", default="auto")
    add("--batch_size", "N", "images a forward pass (default: 256)", type=int, default=256)
    parser.add_argument(
        "--own_code", action="store_true", help="import the network that an exported folder names by a dotted path"
    )
    return parser


def _adder(parser: ArgumentParser) -> Any:
    def add(name: str, metavar: str, text: str, **options: Any) -> None:
        parser.add_argument(name, metavar=metavar, help=text, **options)

    return add


if __name__ == "__main__":
    sys.exit(main())
