"""Draw token graphs, similarities and embeddings of a run's networks, or what answers of texts rest on."""

import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from trg_pyg._files import check_writable, write_text, written
from trg_pyg._program import program
from trg_pyg.cli._exit import CommandParser, exit_code_of
from trg_pyg.look.album import PICTURES, Album
from trg_pyg.look.pictures import Picture, add_caption, picture_style
from trg_pyg.use.load import Which
from trg_pyg.viz.drawing import importing_matplotlib
from trg_pyg.viz.embedding import CLASS_COLOURS

_COMMAND = "visualize"
_DESCRIPTION = """\
Draw what the teacher and the student of a run, before and after its training, make of images, clips or texts:

  neighbours   the nearest patches of one patch of each image, in the order of their rank
  token_graph  the strongest edges of the graph of each image's tokens, over the image
  cross_image  the strongest edges between images, in the graph of all their tokens
  similarity   how one token of each image sees the others: cosine, and L_inner's softmax
  embedding    the features that are classified, by t-SNE, with silhouette scores
  edge_recall  how much of the teacher's graph the student has, over the epochs
  attribution  of texts: which pieces the answers of teacher and student rest on

Of texts there are embedding, edge_recall and attribution, of networks that answer for each pixel all of images but
embedding. A clip is shown by a frame of each time of its tokens, in rows from left to right.

Taps, tokens and graphs are those of the run's method; a method without token graphs is looked at with TRG's defaults,
one without a teacher as student alone. index.md beside the pictures has the caption and the command of each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the pictures of a command line and return the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    command = f"{program(_COMMAND)} {shlex.join(given)}"
    return exit_code_of(lambda: draw(_parser().parse_args(given), command), _COMMAND)


def _parser() -> ArgumentParser:
    parser = CommandParser(
        prog=program(_COMMAND),
        description=_DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run, or a weights file in it")
    images = parser.add_mutually_exclusive_group()
    images.add_argument(
        "--images",
        metavar="PATH",
        nargs="+",
        type=Path,
        default=[],
        help="image files or clips, and folders of them, to look at",
    )
    images.add_argument(
        "--test",
        metavar="N",
        type=int,
        default=4,
        help="images, clips or texts of the run's test set, two of a class (default: 4)",
    )
    parser.add_argument(
        "--pictures",
        dest="names",
        metavar="NAME",
        nargs="+",
        choices=PICTURES,
        help=f"{', '.join(PICTURES)} (default: all that the run's data have)",
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="default: pictures in the folder of the run")
    parser.add_argument("--format", nargs="+", choices=("png", "svg"), default=["png"], help="png (default), svg")
    parser.add_argument(
        "--caption", action="store_true", help="write caption and command into the pictures too, below the panels"
    )
    parser.add_argument(
        "--token",
        metavar="PLACE",
        nargs="+",
        type=int,
        help="row and column, of clips time, row and column, of the token of neighbours and similarity maps, counted "
        "from 0 (default: the centre)",
    )
    parser.add_argument(
        "--edges", metavar="N", type=int, default=24, help="lines between images to draw, the heaviest (default: 24)"
    )
    parser.add_argument(
        "--classes",
        metavar="NAME",
        nargs="+",
        help=f"classes of the embedding, at most {len(CLASS_COLOURS)} (default: the first ones)",
    )
    parser.add_argument(
        "--features", metavar="N", type=int, default=1000, help="items of the embedding at most (default: 1000)"
    )
    parser.add_argument(
        "--compare", metavar="RUN", nargs="+", type=Path, default=[], help="other runs, for embedding and edge_recall"
    )
    parser.add_argument(
        "--which", choices=get_args(Which), default="last", help="weights of a run: last epoch (default) or best"
    )
    parser.add_argument("--teacher", metavar="FILE", type=Path, help="the teacher's weights, where they lie elsewhere")
    return parser


def draw(chosen: Namespace, command: str) -> None:
    """Check everything, then draw the pictures that were chosen, and print what each shows.

    Raises:
        InputError: an argument is impossible, matplotlib is missing, or a file cannot be read or written.
    """
    with importing_matplotlib():
        import matplotlib.figure  # noqa: F401 - said before a run is read
    options = dict(vars(chosen))
    output, formats, caption = (options.pop(name) for name in ("output", "format", "caption"))
    if output is not None:
        check_writable(output, "--output")
    album = Album(**options)
    for reason in album.lacking:
        print(reason)
    folder = output or album.networks.trained.folder / "pictures"
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# Pictures of {album.title}", ""]
    with picture_style():
        for name in album.names:
            for picture in album.draw(name):
                if caption:
                    add_caption(picture, command)
                lines += [*_save(picture, folder, formats), f"`{command}`", ""]
    lines += [f"* {reason}" for reason in album.lacking]
    write_text(folder / "index.md", "\n".join(lines).rstrip() + "\n")
    print(folder / "index.md")


def _save(picture: Picture, folder: Path, formats: Sequence[str]) -> list[str]:
    """Write a picture and return its lines of the index."""
    for ending in dict.fromkeys(formats):
        file = folder / f"{picture.name}.{ending}"
        with written(file):
            # Without the empty margins that panels of a fixed shape leave.
            picture.figure.savefig(
                file, dpi=130, bbox_inches="tight", pad_inches=0.1, metadata={"Date": None} if ending == "svg" else None
            )
        print(file)
    return [f"![{picture.name}]({picture.name}.{formats[0]})", "", picture.caption, ""]
