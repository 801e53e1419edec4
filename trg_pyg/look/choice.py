"""Which pictures of a run are drawn, of which images: checked before anything is drawn."""

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from trg_pyg.data._decode import decode_images
from trg_pyg.data.base import Splits
from trg_pyg.data.image_files import ImageFiles
from trg_pyg.data.loader import make_loader
from trg_pyg.data.loose_images import find_images
from trg_pyg.errors import InputError, few, near, require
from trg_pyg.look import pictures
from trg_pyg.look.networks import RunNetworks, load_run_networks, look
from trg_pyg.look.pictures import Picture, Shown
from trg_pyg.models.taps import TappedModel
from trg_pyg.use.trained import Trained, load_trained
from trg_pyg.viz.embedding import CLASS_COLOURS, check_colours

PICTURES = ("token_graph", "cross_image", "similarity", "embedding", "edge_recall")
# Those that a run, or a choice of images, may not have: left out, and said, unless they are asked for by name.
_MAY_LACK = ("cross_image", "edge_recall")
_METRIC = "graph/edge_recall"
_MOST_IMAGES = 32


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
            "token_graph": self._check_graphs,
            "cross_image": self._check_cross_image,
            "similarity": self._check_token,
            "embedding": self._check_embedding,
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
            f"{self.networks.trained.folder}: the token grid is {rows}x{columns}, and one token has no neighbours: "
            "choose --pictures embedding, or train with another tap or patch",
        )

    def _check_token(self) -> None:
        self._check_grid()
        rows, columns = self.networks.graphs.tokenize.token_grid
        row, column = self._token
        require(
            0 <= row < rows and 0 <= column < columns,
            f"--token {row} {column}: the token grid is {rows}x{columns}; rows count from 0 to {rows - 1}, columns "
            f"from 0 to {columns - 1}",
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
            len(self._classes) >= 2,
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
        return len(self._files) if self._chosen.images else self._chosen.test

    @cached_property
    def _files(self) -> list[Path]:
        files = find_images(self._chosen.images)
        require(
            len(files) <= _MOST_IMAGES,
            f"--images: {len(files)} files, and a picture has a row for each; name {_MOST_IMAGES} at most",
        )
        return files

    @cached_property
    def _images(self) -> tuple[Tensor, list[str], str]:
        """Images, a label for each, and which they are."""
        if self._chosen.images:
            files = self._files
            return self._decoded(files), [file.stem[:24] for file in files], _counted(len(files), "image file")
        splits = self._splits
        index = pictures.choose_examples(splits.test.targets, self._chosen.test)
        images, targets = _load(splits, index)
        labels = [splits.classes[target][:24] for target in targets.tolist()]
        return images, labels, f"{_counted(len(index), f'{splits.evaluated} image')}, drawn at random, two of a class"

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
    def _classifiers(self) -> dict[str, TappedModel]:
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


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
