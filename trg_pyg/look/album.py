"""The pictures of a run: which are drawn, of which images, clips or texts, checked before anything is drawn."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from trg_pyg.batch import Inputs
from trg_pyg.data.base import Splits
from trg_pyg.data.files.loose_images import find_images, read_images
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.data.text.text_data import TextSet
from trg_pyg.data.video.clips import find_clips, read_clips
from trg_pyg.errors import InputError, count, few, near, require
from trg_pyg.look import pictures
from trg_pyg.look.networks import load_run_networks, look
from trg_pyg.look.pictures import Picture, Shown
from trg_pyg.models.taps import TappedModel
from trg_pyg.runs import History, read_history
from trg_pyg.tokens.maps import shown_grid
from trg_pyg.use.load import Kind, TrainedNetwork, Which, load
from trg_pyg.viz.embedding import CLASS_COLOURS, check_colours
from trg_pyg.viz.figure import shown_name

PICTURES = ("neighbours", "token_graph", "cross_image", "similarity", "embedding", "edge_recall", "attribution")
"""The names of all pictures."""
# Those that each kind of network has.
_OF: dict[Kind, tuple[str, ...]] = {
    "images": PICTURES[:-1],
    "clips": PICTURES[:-1],
    "pixels": tuple(name for name in PICTURES[:-1] if name != "embedding"),
    "texts": ("embedding", "edge_recall", "attribution"),
}
# Those that a run, or a choice of images, may not have: left out, and said, unless they are asked for by name.
_MAY_LACK = ("cross_image", "edge_recall")
_METRIC = "graph/edge_recall"
_MOST_IMAGES = 32
_LETTERS = 30  # of a label above an image


class Album:
    """The pictures of a run that were asked for, checked before anything is drawn.

    Args:
        run: folder of the run, or a weights file in it.
        names: of :data:`PICTURES`; ``None`` for all that there are of the run's kind of network, without those that
            the run, or a choice of images, does not have.
        images: image files or clips, and folders of them, to look at.
        test: how many of the run's test set, where no files are named: two of a class, >= 1.
        token: row and column, of clips time, row and column, of the token of neighbours and similarity maps, counted
            from 0; ``None`` for the centre.
        edges: lines between images to draw, the heaviest, >= 1.
        classes: of the embedding; ``None`` for the first ones.
        features: items of the test set in the embedding at most, >= 1.
        compare: other runs, for embedding and edge_recall.
        which: weights of the runs.
        teacher: file of the teacher's weights, where they lie elsewhere now.

    Attributes:
        networks: of the run.
        names: pictures to draw.
        lacking: why others are not drawn.

    Raises:
        InputError: says what cannot be drawn, and what to do.
    """

    def __init__(
        self,
        run: str | Path,
        names: Sequence[str] | None = None,
        *,
        images: Sequence[Path] = (),
        test: int = 4,
        token: Sequence[int] | None = None,
        edges: int = 24,
        classes: Sequence[str] | None = None,
        features: int = 1000,
        compare: Sequence[str | Path] = (),
        which: Which = "last",
        teacher: Path | None = None,
    ) -> None:
        for option, value in (("test", test), ("edges", edges), ("features", features)):
            require(value >= 1, f"--{option} {value}: give 1 or more")
        check_colours(len(classes or ()))
        self._given = images
        for path in images:  # before networks and data are read
            require(path.exists(), f"{path}: there is no such file or folder")
        self.networks = load_run_networks(run, which, teacher)
        kind = self.networks.trained.kind
        require(
            not images or kind in ("images", "clips"),
            f"--images: {run} is a network of {kind}; leave it out, and --test shows what its data have",
        )
        if images:
            _ = self._images
        self.names = list(dict.fromkeys(names or _OF[kind]))
        for name in self.names:
            require(
                name in _OF[kind],
                f"--pictures {name}: {run} is a network of {kind}, of which there are {', '.join(_OF[kind])}",
            )
        self.lacking: list[str] = []
        self._test, self._edges, self._features = test, edges, features
        self._named_token, self._named_classes = token, classes
        self._compared = self._load_others(run, compare, which)
        self._check(may_lack=not names)

    @property
    def title(self) -> str:
        """The run, for the index."""
        trained = self.networks.trained
        return f"{trained.method}, seed {trained.seed}: {trained.folder}"

    def _check(self, may_lack: bool) -> None:
        """Refuse what cannot be drawn, and leave out what the run does not have where nobody asked for it by name."""
        checks: dict[str, Callable[[], object]] = {
            "neighbours": self._check_token,
            "token_graph": self._check_graphs,
            "cross_image": self._check_cross_image,
            "similarity": self._check_token,
            "embedding": self._check_embedding,
            "edge_recall": lambda: self._histories,
            "attribution": self._check_attribution,
        }
        for name in list(self.names):
            try:
                checks[name]()
            except InputError as error:
                if not may_lack or name not in _MAY_LACK:
                    raise
                self.names.remove(name)
                self.lacking.append(f"{name} is left out: {error}")
        if {"neighbours", "token_graph", "cross_image", "similarity"} & set(self.names):
            _ = self._images

    def draw(self, name: str) -> list[Picture]:
        """Return the pictures of a name."""
        if name == "neighbours":
            return [pictures.neighbours(self.networks, self._shown, self._token)]
        if name == "token_graph":
            return [pictures.token_graphs(self.networks, self._shown)]
        if name == "cross_image":
            return [pictures.cross_image_graphs(self.networks, self._shown, self._edges)]
        if name == "similarity":
            return pictures.similarity_maps(self.networks, self._shown, self._token)
        if name == "embedding":
            return [self._embedding()]
        if name == "attribution":
            return [self._attribution()]
        return [pictures.recall_curves(self._histories)]

    @property
    def _token(self) -> tuple[int, ...]:
        return tuple(self._named_token or (side // 2 for side in self.networks.graphs.tokenize.token_grid))

    def _check_graphs(self) -> None:
        self._check_grid()
        pictures.check_graph(self.networks, "image", self._count)

    def _check_cross_image(self) -> None:
        require(self._count >= 2, f"cross_image needs 2 {self._item}s or more: give more --images, or a larger --test")
        pictures.check_graph(self.networks, "batch", self._count)

    def _check_grid(self) -> None:
        grid = self.networks.graphs.tokenize.token_grid
        require(
            math.prod(grid) > 1,
            f"{self.networks.trained.folder}: the token grid is {shown_grid(grid)}, and one token has no neighbours: "
            "choose --pictures embedding, or train with another tap or patch",
        )

    def _check_token(self) -> None:
        self._check_grid()
        grid, token = self.networks.graphs.tokenize.token_grid, self._token
        names = ("time", "row", "column")[-len(grid) :]
        highest = ", ".join(f"{name} 0 to {side - 1}" for name, side in zip(names, grid, strict=True))
        require(
            len(token) == len(grid) and all(0 <= at < side for at, side in zip(token, grid, strict=True)),
            f"--token {' '.join(map(str, token))}: the token grid is {shown_grid(grid)}; give {highest}",
        )

    def _check_embedding(self) -> None:
        require(
            len(self._classes) >= 2,
            "--classes: one class has no silhouette; give 2 classes or more",
        )
        for name, network in self._classifiers.items():
            embedding = network.describe(self.networks.trained.facts.example).embedding
            require(embedding is not None, f"{name}: it is not known what it classifies; leave embedding out")
        targets = self._splits.test.targets
        index = pictures.choose_of_classes(targets, self._classes, self._features)
        classes = len(targets.cpu()[index].unique())
        require(
            len(index) >= 4 and 2 <= classes < len(index),
            f"{len(index)} {self._splits.evaluated} {self._item}s of {classes} classes: an embedding needs 4 "
            f"{self._item}s or more, of 2 classes or more, and fewer classes; choose other --classes or --features",
        )

    def _check_attribution(self) -> None:
        for name, network in self.networks.names().items():
            require(
                getattr(network.model, "embeddings_path", None) is not None,
                f"{name}: it is not known what gives a vector for each token; declare embeddings_path in its class",
            )

    def _attribution(self) -> Picture:
        splits = self._splits
        assert isinstance(splits.test, TextSet)
        index = pictures.choose_examples(splits.test.targets, self._test, "text")
        return pictures.attributions(self.networks, splits.test, index, self._drawn(len(index)))

    def _drawn(self, items: int) -> str:
        of_class = ", two of a class" if self._splits.test.targets.dim() == 1 else ""
        return f"{count(items, f'{self._splits.evaluated} {self._item}')}, drawn at random{of_class}"

    @property
    def _item(self) -> str:
        return self.networks.trained.facts.item

    @cached_property
    def _classes(self) -> list[int]:
        """Classes of the embedding by number."""
        known, given = self.networks.trained.facts.classes, self._named_classes
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
        return len(self._files) if self._given else self._test

    @cached_property
    def _files(self) -> list[Path]:
        files = (find_clips if self._item == "clip" else find_images)(self._given)
        require(
            len(files) <= _MOST_IMAGES,
            f"--images: {len(files)} files, and a picture has a row for each; name {_MOST_IMAGES} at most",
        )
        return files

    @cached_property
    def _images(self) -> tuple[Tensor, list[str], str]:
        """Images, a label for each, and which they are."""
        if self._given:
            files = self._files
            return (
                self._decoded(files),
                [f"{file.resolve().parent.name}/{file.name}" for file in files],
                count(len(files), "clip" if self._item == "clip" else "image file"),
            )
        splits = self._splits
        index = pictures.choose_examples(splits.test.targets, self._test, self._item)
        images, targets = _load(splits, index)
        assert isinstance(images, Tensor)
        if targets.dim() > 1:  # of no class each
            labels = [f"{splits.evaluated} {self._item} {number}" for number in index.tolist()]
        else:
            labels = [shown_name(splits.classes[target], _LETTERS) for target in targets.tolist()]
        return images, labels, self._drawn(len(index))

    def _decoded(self, files: Sequence[Path]) -> Tensor:
        trained = self.networks.trained
        if self._item == "clip":
            images, bad = read_clips(files, trained.facts.frames, trained.facts.image_size)
        else:
            images, bad = read_images(files, *trained.preparation)
        listed = few([f"{each.file} ({each.reason})" for each in bad])
        require(not bad, f"--images: cannot be read: {listed}; give other files")
        return images

    @cached_property
    def _shown(self) -> Shown:
        return Shown.of(self.networks, *self._images)

    def _load_others(self, run: str | Path, others: Sequence[str | Path], which: Which) -> dict[str, TrainedNetwork]:
        """Return the run's network and those that it is compared with, by their names in pictures."""
        named = [self.networks.trained]
        wanted = named[0].facts
        for other in others:
            trained = load(other, which, kinds=(self.networks.trained.kind,))
            facts = trained.facts
            require(
                (facts.classes, facts.image_size, facts.frames) == (wanted.classes, wanted.image_size, wanted.frames)
                and facts.vocabulary == wanted.vocabulary,
                f"--compare {other}: it has other classes or {wanted.item}s of another size or kind than {run}",
            )
            named.append(trained)
        names = [f"{each.name} after {each.method}" for each in named]
        if len(set(names)) < len(names):
            names = [f"{name}, seed {each.seed}" for name, each in zip(names, named, strict=True)]
        if len(set(names)) < len(names):
            names = [f"{name} ({each.folder.parent.name})" for name, each in zip(names, named, strict=True)]
        require(len(set(names)) == len(names), "--compare: a run is named twice")
        return dict(zip(names, named, strict=True))

    @property
    def _classifiers(self) -> dict[str, TappedModel]:
        return self.networks.teachers() | {name: each.network for name, each in self._compared.items()}

    def _embedding(self) -> Picture:
        splits, chosen = self._splits, self._classes
        index = pictures.choose_of_classes(splits.test.targets, chosen, self._features)
        images, targets = _load(splits, index)
        features = {}
        for name, network in self._classifiers.items():
            embedding = look(name, network, images).embedding
            assert embedding is not None
            features[name] = embedding
        labels = torch.tensor([chosen.index(int(target)) for target in targets])
        names = [splits.classes[number] for number in chosen]
        which = "all classes" if len(names) == len(splits.classes) else f"{len(names)} of {len(splits.classes)} classes"
        if self._named_classes is None and len(names) < len(splits.classes):
            which = f"the first {which}"
        alone = "" if self.networks.teacher else f" ({self.networks.trained.method} has no teacher)"
        origin = f"{len(index)} {splits.evaluated} {self._item}s of {which}{alone}"
        return pictures.embeddings(features, labels, names, origin)

    @cached_property
    def _histories(self) -> dict[str, History]:
        """Metrics of the runs that have edge recall of two epochs or more, which make a curve."""
        found = {name: read_history(each.folder) for name, each in self._compared.items()}
        points = {name: [each for each in history if _METRIC in each] for name, history in found.items()}
        having = {name: history for name, history in found.items() if len(points[name]) > 1}
        missing = [name for name, measured in points.items() if not measured]
        once = [f"{name} (epoch {each[0]['epoch']:.0f})" for name, each in points.items() if len(each) == 1]
        require(
            len(missing) < len(found),
            f"no run has {_METRIC} in its metrics.jsonl: methods without token graphs have none, nor have trainings "
            "with graph_metrics=false",
        )
        require(bool(having), f"it was measured once, which makes no curve: {few(once)}")
        if missing:
            self.lacking.append(f"edge_recall has no line of {few(missing)}: no {_METRIC} in metrics.jsonl")
        if once:
            self.lacking.append(f"edge_recall has no line of {few(once)}: measured once")
        old = [name for name, history in having.items() if not any(f"{_METRIC}_chance" in epoch for epoch in history)]
        if old:
            self.lacking.append(f"edge_recall has no chance level of {few(old)}: their metrics.jsonl does not say it")
        return having


def _load(splits: Splits, index: Tensor) -> tuple[Inputs, Tensor]:
    """Return what networks are given of items, ``[n, ...]``, and their labels, in the order of the index."""
    (batch,) = make_loader(splits.test.select(index), len(index), shuffle=False)
    return batch.inputs, batch.target
