"""Classify image files, clips or texts, by a trained student."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from trg_pyg._files import written
from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.data.files.loose_images import find_images
from trg_pyg.data.video.clips import find_clips, read_clips
from trg_pyg.errors import InputError, count, require
from trg_pyg.study.study import pick_device
from trg_pyg.use.load import TrainedNetwork, Which, load
from trg_pyg.use.predict import Prediction, predict
from trg_pyg.use.within import FoundBoxes, FoundInstances, predict_boxes, predict_instances
from trg_pyg.viz.figure import to_png
from trg_pyg.viz.strips import plot_strips

_COMMAND = "predict"
# That of a command that did part of its work.
_SOME_UNREADABLE = 1
_MOST_STRIPS = 20
_DESCRIPTION = """\
Classify image files. Each is prepared as the test images were: made RGB, turned upright by its EXIF data, its
shorter side resized, the centre cut out. Nothing else than the run's folder, or the exported one, is needed.

A network that finds instances says how many each image has, and --output writes their label maps and contours; one
that finds boxes says where they are, in pixels, and --output draws them.

A network that was trained on texts takes files with one text a line, or - for standard input. One that was trained on
clips takes folders of frames and video files.

Prints a line for each image: its file, then the likeliest classes with their probabilities (softmax of the logits)
in percent. Files that cannot be read are named on standard error, a line each, and the others are classified.

exit codes: 0, all images are classified; 1, some cannot be read; 2, none can, or the input is at fault."""


def main(argv: Sequence[str] | None = None) -> int:
    """Classify the images of a command line and return the exit code."""
    unread = 0

    def work() -> None:
        nonlocal unread
        chosen = _parser().parse_args(argv)
        require(chosen.top >= 1, f"--top {chosen.top}: give 1 or more")
        require(chosen.batch_size >= 1, f"--batch_size {chosen.batch_size}: give 1 or more")
        device = pick_device(chosen.device)
        trained = load(
            chosen.source, chosen.which, chosen.own_code, kinds=("images", "texts", "clips", "pixels", "anchors")
        )
        require(
            chosen.strips is None or trained.kind == "clips",
            f"--strips {chosen.strips}: {trained.path} is of {trained.kind}, and strips are of clips; leave it out",
        )
        files: list[Path] | list[str]
        if trained.kind in ("pixels", "anchors"):
            files = find_images(chosen.images)
            within: Iterator[FoundInstances] | Iterator[FoundBoxes] = (
                predict_instances(trained, files, chosen.output, device)
                if trained.kind == "pixels"
                else predict_boxes(trained, files, chosen.least, chosen.output, device)
            )
            unread = _show_within(within, chosen.json)
            require(unread < len(files), f"none of {count(len(files), 'image')} can be read")
            return
        require(
            chosen.output is None,
            f"--output {chosen.output}: {trained.path} finds neither instances nor boxes; leave it out",
        )
        if trained.kind == "texts":
            files = _lines(chosen.images)
        else:
            files = (find_clips if trained.kind == "clips" else find_images)(chosen.images)
        predictions = predict(trained, files, chosen.top, device, chosen.batch_size)
        if chosen.strips is not None:
            found = list(predictions)
            _draw_strips(found, trained, chosen.strips)
            predictions = iter(found)
        unread = _show(predictions, files, trained, chosen)
        if unread == len(files):
            item = trained.facts.item
            raise InputError(
                f"none of {len(files)} {item}s can be read" if unread > 1 else f"the {item} cannot be read"
            )

    return exit_code_of(work, _COMMAND) or (_SOME_UNREADABLE if unread else 0)


def _draw_strips(predictions: Sequence[Prediction], trained: TrainedNetwork, file: Path) -> None:
    """Draw what the network has seen of the first clips, with the likeliest class of each."""
    facts = trained.facts
    shown = [each for each in predictions if each.error is None][:_MOST_STRIPS]
    require(bool(shown), f"--strips {file}: no clip can be read")
    clips, _ = read_clips([Path(each.file) for each in shown], facts.frames, facts.image_size)
    titles = [
        f"{Path(each.file).name}: {name}, {100 * share:.1f} %" for each in shown for name, share in each.classes[:1]
    ]
    with written(file):
        file.write_bytes(to_png(plot_strips(clips, titles)))


def _lines(names: list[str]) -> list[str]:
    """Return the texts of files, one a line; lines without a text are passed over, as the last one mostly is."""
    found: list[str] = []
    for name in names:
        try:
            content = sys.stdin.read() if name == "-" else Path(name).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: byte {error.start} is no UTF-8; save the file as UTF-8") from error
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}; the network takes files with one text a line") from error
        found += [line.strip() for line in content.splitlines() if line.strip()]
    require(bool(found), f"{', '.join(names)}: no line has a text")
    return found


def _show(
    predictions: Iterator[Prediction], files: Sequence[Path] | Sequence[str], trained: TrainedNetwork, chosen: Namespace
) -> int:
    """Print the predictions and return how many files could not be read."""
    unread = 0
    width = max(len(_shown(file)) for file in files)
    named = max(map(len, trained.facts.classes))
    for prediction in predictions:
        if prediction.error is not None:
            unread += 1
            print(f"{program(_COMMAND)}: cannot read {_shown(prediction.file)}: {prediction.error}", file=sys.stderr)
        if chosen.json:
            print(prediction.as_json())
        elif prediction.error is None:
            cells = [f"{name:<{named}} {100 * share:6.2f} %" for name, share in prediction.classes]
            print(f"{_shown(prediction.file):<{width}}  {'   '.join(cells)}")
    sys.stdout.flush()
    if 0 < unread < len(files):
        print(f"{program(_COMMAND)}: {unread} of {len(files)} {trained.facts.item}s cannot be read", file=sys.stderr)
    return unread


def _show_within(found: Iterator[FoundInstances] | Iterator[FoundBoxes], as_json: bool) -> int:
    """Print what was found in each image and return how many files could not be read."""
    unread = 0
    for each in found:
        if each.error is not None:
            unread += 1
            print(f"{program(_COMMAND)}: {each.error}", file=sys.stderr)
        if as_json:
            print(each.as_json())
        elif each.error is None:
            print(f"{_shown(each.file)}  {each.as_text()}")
    return unread


def _shown(file: Path | str) -> str:
    """Return a name on one line, also one with a line break or with bytes that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(file))


def _parser() -> ArgumentParser:
    parser = CommandParser(
        prog=program(_COMMAND),
        description=_DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add = _adder(parser)
    written = f"or a folder that {program('export')} wrote"
    add("source", "RUN_OR_EXPORT", f"folder of a run, or a weights file in it, {written}")
    add(
        "images",
        "IMAGE",
        "image files or clips, and folders, which are searched at any depth; or files of texts",
        nargs="+",
    )
    add("--top", "N", "classes of each image (default: 5)", type=int, default=5)
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a line of JSON for each image: {"file", "classes": [{"class", "probability"}, ...]}, or '
        '{"file", "error"}; of texts "text" in the place of "file"',
    )
    add(
        "--output",
        "FOLDER",
        "of instances: label maps of 16 bits and pictures of contours; pictures of boxes",
        type=Path,
    )
    add("--least", "SCORE", "of boxes: those of a lower score are left out (default: 0.3)", type=float, default=0.3)
    add("--strips", "FILE", "PNG file with the frames that the network sees of each clip, at most 20", type=Path)
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
