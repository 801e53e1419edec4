"""Pictures of what a run's networks see: ``python experiments/visualize.py --help``."""

import json
import shlex
import sys
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

# So that a clone runs without having been installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# PyG calls torch.jit.script when it is imported, which PyTorch announces to everybody.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from experiments import pictures  # noqa: E402
from experiments.exit_codes import exit_code_of  # noqa: E402
from experiments.pictures import Picture, Shown  # noqa: E402
from experiments.run_folder import write_text, written  # noqa: E402
from experiments.run_networks import RunNetworks, load_run_networks, look  # noqa: E402
from experiments.trained import Trained, Which, load_trained  # noqa: E402
from trg_pyg.data._decode import decode_images  # noqa: E402
from trg_pyg.data.base import Splits  # noqa: E402
from trg_pyg.data.image_files import ImageFiles  # noqa: E402
from trg_pyg.data.loader import make_loader  # noqa: E402
from trg_pyg.errors import InputError, few, near, require  # noqa: E402
from trg_pyg.viz.drawing import part_of_matplotlib  # noqa: E402
from trg_pyg.viz.embedding import CLASS_COLOURS, check_colours  # noqa: E402

_COMMAND = "visualize.py"
_METRIC = "graph/edge_recall"
PICTURES = ("token_graph", "cross_image", "similarity", "embedding", "edge_recall")
# Those that a run, or a choice of images, may not have: left out, and said, unless they are asked for by name.
_MAY_LACK = ("cross_image", "edge_recall")
_DESCRIPTION = """\
Draw what the teacher and the student of a run, before and after its training, make of images:

  token_graph  the kNN graph of each image's tokens over the image
  cross_image  edges between images, in the graph of all their tokens
  similarity   how one token of each image sees the others: cosine, and L_inner's softmax
  embedding    the features that are classified, by t-SNE, with silhouette scores
  edge_recall  how much of the teacher's graph the student has, over the epochs

Taps, tokens and graphs are those of the run's method; a method without token graphs is looked at with TRG's defaults,
one without a teacher as student alone. Each picture has its caption and the command in it; index.md lists them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the pictures of a command line and return the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    chosen = _parser().parse_args(given)
    command = shlex.join(["python", "experiments/visualize.py", *given])
    return exit_code_of(lambda: draw(chosen, command), _COMMAND)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=_COMMAND, description=_DESCRIPTION, allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run, or a weights file in it")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--images", metavar="FILE", nargs="+", type=Path, help="image files to look at")
    images.add_argument(
        "--test", metavar="N", type=int, default=4, help="images of the run's test set, two of a class (default: 4)"
    )
    parser.add_argument(
        "--pictures", metavar="NAME", nargs="+", choices=PICTURES, help=f"{', '.join(PICTURES)} (default: all)"
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="default: pictures in the folder of the run")
    parser.add_argument("--format", nargs="+", choices=("png", "svg"), default=["png"], help="png (default), svg")
    parser.add_argument(
        "--token",
        metavar=("ROW", "COLUMN"),
        nargs=2,
        type=int,
        help="token of the similarity maps, counted from 0 (default: the centre)",
    )
    parser.add_argument(
        "--edges", metavar="N", type=int, default=60, help="edges between images to draw, the heaviest (default: 60)"
    )
    parser.add_argument(
        "--classes",
        metavar="NAME",
        nargs="+",
        help=f"classes of the embedding, at most {len(CLASS_COLOURS)} (default: the first ones)",
    )
    parser.add_argument(
        "--features", metavar="N", type=int, default=1000, help="test images of the embedding at most (default: 1000)"
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
    part_of_matplotlib("figure")
    task = Task(chosen)
    task.check()
    for reason in task.lacking:
        print(reason)
    folder = chosen.output or task.networks.trained.folder / "pictures"
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# Pictures of {task.title}", "", f"`{command}`", ""]
    with pictures.picture_style():
        for name in task.wanted:
            for picture in task.draw(name):
                pictures.add_caption(picture, command)
                lines += _save(picture, folder, chosen.format)
    lines += [f"* {reason}" for reason in task.lacking]
    write_text(folder / "index.md", "\n".join(lines).rstrip() + "\n")
    print(folder / "index.md")


def _save(picture: Picture, folder: Path, formats: Sequence[str]) -> list[str]:
    """Write a picture and return its lines of the index."""
    for ending in dict.fromkeys(formats):
        file = folder / f"{picture.name}.{ending}"
        with written(file):
            picture.figure.savefig(file, dpi=130, metadata={"Date": None} if ending == "svg" else None)
        print(file)
    return [f"![{picture.name}]({picture.name}.{formats[0]})", "", picture.caption, ""]


@dataclass(frozen=True)
class Comparison:
    """Another run that is drawn beside the first.

    Attributes:
        name: in pictures.
        trained: its network.
    """

    name: str
    trained: Trained


class Task:
    """What a command line asks for, checked before anything is drawn.

    Args:
        chosen: the arguments.

    Attributes:
        networks: of the run.
        wanted: pictures to draw.
        lacking: why others are not drawn.
    """

    def __init__(self, chosen: Namespace) -> None:
        self._chosen = chosen
        for option in ("test", "edges", "features"):
            value = getattr(chosen, option)
            require(value >= 1, f"--{option} {value}: give 1 or more")
        check_colours(len(chosen.classes or ()))
        self.networks: RunNetworks = load_run_networks(chosen.run, chosen.which, chosen.teacher)
        self.wanted = list(dict.fromkeys(chosen.pictures or PICTURES))
        self.lacking: list[str] = []

    @property
    def title(self) -> str:
        """The run, for the index."""
        trained = self.networks.trained
        return f"{trained.method}, seed {trained.seed}: {trained.folder}"

    def check(self) -> None:
        """Refuse what cannot be drawn, and leave out what the run does not have where nobody asked for it by name.

        Raises:
            InputError: says what, and what to do.
        """
        checks: dict[str, Callable[[], object]] = {
            "token_graph": lambda: self._check_graphs(),
            "cross_image": lambda: self._check_cross_image(),
            "similarity": lambda: self._check_token(),
            "embedding": lambda: self._check_embedding(),
            "edge_recall": lambda: self._histories,
        }
        for name in list(self.wanted):
            try:
                checks[name]()
            except InputError as error:
                if self._chosen.pictures or name not in _MAY_LACK:
                    raise
                self.wanted.remove(name)
                self.lacking.append(f"{name} is left out: {error}")
        if {"token_graph", "cross_image", "similarity"} & set(self.wanted):
            _ = self._images

    def draw(self, name: str) -> list[Picture]:
        """Return the pictures of a name."""
        if name == "token_graph":
            return [pictures.token_graphs(self.networks, self._shown)]
        if name == "cross_image":
            return [pictures.cross_image_graphs(self.networks, self._shown, self._chosen.edges)]
        if name == "similarity":
            return pictures.similarity_maps(self.networks, self._shown, self._token)
        if name == "embedding":
            return [self._embedding()]
        return [pictures.recall_curves(self._histories)]

    @property
    def _token(self) -> tuple[int, int]:
        rows, columns = self.networks.graphs.tokenize.token_grid
        row, column = self._chosen.token or (rows // 2, columns // 2)
        return row, column

    def _check_graphs(self) -> None:
        self._check_grid()
        pictures.check_graph(self.networks, "image", self._count)

    def _check_cross_image(self) -> None:
        require(self._count >= 2, "cross_image needs 2 images or more: give more --images, or a larger --test")
        pictures.check_graph(self.networks, "batch", self._count)

    def _check_grid(self) -> None:
        tokenize = self.networks.graphs.tokenize
        rows, columns = tokenize.token_grid
        require(
            rows * columns > 1,
            f"{self.networks.trained.folder}: the token grid is {rows}x{columns}, and a single token has no neighbours; "
            "choose --pictures embedding edge_recall, or train with another tap or patch",
        )

    def _check_token(self) -> None:
        self._check_grid()
        rows, columns = self.networks.graphs.tokenize.token_grid
        row, column = self._token
        require(
            0 <= row < rows and 0 <= column < columns,
            f"--token {row} {column}: the token grid is {rows}x{columns}; rows count from 0 to {rows - 1}, columns from "
            f"0 to {columns - 1}",
        )
        if self.networks.graphs.inner_on_graph:
            k = self.networks.graphs.k
            require(
                k < rows * columns,
                f"K={k} neighbours among {rows}x{columns} tokens: L_inner has no such graph; leave similarity out with "
                "--pictures",
            )

    def _check_embedding(self) -> None:
        require(
            self._classes is not None and len(self._classes) >= 2,
            "--classes: one class has no silhouette; give 2 classes or more",
        )
        for name, network in self._classifiers.items():
            embedding = network.describe(self.networks.trained.facts.image_size).embedding
            require(embedding is not None, f"{name}: it is not known what it classifies; leave embedding out")
        targets = self._splits.test.targets
        index = pictures.choose_of_classes(targets, self._classes, self._chosen.features)
        classes = len(targets.cpu()[index].unique())
        require(
            len(index) >= 4 and 2 <= classes < len(index),
            f"{len(index)} {self._splits.evaluated} images of {classes} classes: an embedding needs 4 images or more, "
            "of 2 classes or more, and fewer classes than images; choose other --classes or more --features",
        )

    @cached_property
    def _classes(self) -> list[int]:
        """Classes of the embedding by number."""
        known, given = self.networks.trained.facts.classes, self._chosen.classes
        if given is None:
            return list(range(min(len(known), len(CLASS_COLOURS))))
        for name in given:
            require(name in known, f"--classes {name}: no such class{near(name, known)}")
        require(len(set(given)) == len(given), f"--classes {' '.join(given)}: one is named twice")
        return [known.index(name) for name in given]

    @cached_property
    def _splits(self) -> Splits:
        return self.networks.trained.read_data()

    @property
    def _count(self) -> int:
        return len(self._chosen.images) if self._chosen.images else self._chosen.test

    @cached_property
    def _images(self) -> tuple[Tensor, list[str], str]:
        """Images, a label for each, and which they are."""
        if self._chosen.images:
            files = self._chosen.images
            return self._decoded(files), [file.stem[:24] for file in files], f"{len(files)} image files"
        splits = self._splits
        index = pictures.choose_examples(splits.test.targets, self._chosen.test)
        images, targets = _load(splits, index)
        labels = [splits.classes[target][:24] for target in targets.tolist()]
        return images, labels, f"{len(index)} {splits.evaluated} images, drawn at random, two of a class"

    def _decoded(self, files: Sequence[Path]) -> Tensor:
        data, size = self.networks.trained.choices.config.data, self.networks.trained.facts.image_size
        shorter = data.shorter if isinstance(data, ImageFiles) else size
        images, bad = decode_images(Path(), [str(file) for file in files], size, shorter)
        listed = few([f"{each.file} ({each.reason})" for each in bad])
        require(not bad, f"--images: cannot be read: {listed}; give other files")
        return images

    @cached_property
    def _shown(self) -> Shown:
        return Shown.of(self.networks, *self._images)

    @cached_property
    def _compared(self) -> list[Comparison]:
        facts = self.networks.trained.facts
        found = []
        for run in self._chosen.compare:
            trained = load_trained(run, self._chosen.which)
            require(
                trained.facts.classes == facts.classes and trained.facts.image_size == facts.image_size,
                f"--compare {run}: it has other classes or images of another size than {self._chosen.run}",
            )
            found.append(trained)
        named = [self.networks.trained, *found]
        names = [f"{each.name} after {each.method}" for each in named]
        if len(set(names)) < len(names):
            names = [f"{name}, seed {each.seed}" for name, each in zip(names, named, strict=True)]
        if len(set(names)) < len(names):
            names = [f"{name} ({each.folder.parent.name})" for name, each in zip(names, named, strict=True)]
        require(len(set(names)) == len(names), "--compare: a run is named twice")
        return [Comparison(name, each) for name, each in zip(names, named, strict=True)]

    @property
    def _classifiers(self) -> dict:
        teacher, config = self.networks.teacher, self.networks.trained.choices.config
        found = {} if teacher is None else {f"teacher {config.teacher.name}": teacher}
        return found | {each.name: each.trained.network for each in self._compared}

    def _embedding(self) -> Picture:
        splits, chosen = self._splits, self._classes
        index = pictures.choose_of_classes(splits.test.targets, chosen, self._chosen.features)
        images, targets = _load(splits, index)
        features = {}
        for name, network in self._classifiers.items():
            embedding = look(name, network, images).embedding
            assert embedding is not None
            features[name] = embedding
        labels = torch.tensor([chosen.index(int(target)) for target in targets])
        names = [splits.classes[number] for number in chosen]
        which = "all classes" if len(names) == len(splits.classes) else f"{len(names)} of {len(splits.classes)} classes"
        if self._chosen.classes is None and len(names) < len(splits.classes):
            which = f"the first {which}"
        alone = "" if self.networks.teacher else f" ({self.networks.trained.method} has no teacher)"
        origin = f"{len(index)} {splits.evaluated} images of {which}{alone}"
        return pictures.embeddings(features, labels, names, origin)

    @cached_property
    def _histories(self) -> dict[str, list[dict[str, float]]]:
        """Metrics of the runs that have edge recall."""
        found = {each.name: _history(each.trained.folder) for each in self._compared}
        having = {name: history for name, history in found.items() if any(_METRIC in epoch for epoch in history)}
        missing = [name for name in found if name not in having]
        require(
            bool(having),
            f"no run has {_METRIC} in its metrics.jsonl: methods without token graphs have none, nor have trainings "
            "with graph_metrics=false",
        )
        if missing:
            self.lacking.append(f"edge_recall has no line of {few(missing)}: no {_METRIC} in metrics.jsonl")
        return having


def _load(splits: Splits, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return images uint8 ``[n, 3, H, W]`` and their classes, in the order of the index."""
    chosen = splits.test.select(index)
    batches = list(make_loader(chosen, min(256, len(index)), shuffle=False))
    return torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])


def _history(folder: Path) -> list[dict[str, float]]:
    file = folder / "metrics.jsonl"
    try:
        return [json.loads(line) for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); resume the run, which writes it again") from error


if __name__ == "__main__":
    sys.exit(main())
