"""Pictures of what a run's networks make of images, each with a caption of what it shows."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.errors import InputError
from trg_pyg.graphs.base import Scope
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.recall import chance_recall, corrected_recall, edge_recall
from trg_pyg.look.networks import RunNetworks, Seen
from trg_pyg.viz.cross_image import cross_image_edges, draw_cross_image_graph
from trg_pyg.viz.drawing import importing_matplotlib, pixels_of, weight_norm
from trg_pyg.viz.embedding import draw_embedding, perplexity_of, silhouette, tsne_points
from trg_pyg.viz.recall import draw_edge_recall
from trg_pyg.viz.similarity import contextual_similarity, cosine_similarity, draw_similarity
from trg_pyg.viz.token_graph import draw_token_graph

# Of the tokens that are sampled, and of t-SNE.
_SEED = 0
# In inches.
_PANEL, _CAPTION = 2.5, 8
_LETTERS = 30  # that fit above a panel
_STYLE = {
    "text.parse_math": False,  # names are the user's, and may hold a dollar
    "svg.hashsalt": "trg_pyg",  # the same picture is the same file
    "font.size": 9,
    "axes.titlesize": 9,
}
BEFORE = (
    "Before training: the initial weights that the run's seed gives, in evaluation mode but for batch normalisation, "
    "which takes the statistics of the images shown."
)


class Picture(NamedTuple):
    """A picture.

    Attributes:
        name: of its file, without an ending.
        figure: matplotlib's.
        caption: what it shows; it is in the figure too, below the panels.
    """

    name: str
    figure: Any
    caption: str


@dataclass(frozen=True)
class Shown:
    """Images, and what the networks of a run make of them.

    Attributes:
        images: uint8 ``[B, 3, H, W]``.
        labels: a line on each.
        origin: which images they are, for captions.
        seen: by each network, the teacher first where there is one, then the student before and after.
        positions: sampled tokens of each image, ``[B, n]``.
    """

    images: Tensor
    labels: list[str]
    origin: str
    seen: list[Seen]
    positions: Tensor

    @classmethod
    def of(cls, networks: RunNetworks, images: Tensor, labels: list[str], origin: str) -> "Shown":
        """Show images to the networks of a run, and draw the tokens that graphs are made of."""
        generator = torch.Generator().manual_seed(_SEED)
        positions = networks.graphs.tokenize.positions(len(images), generator)
        return cls(images, labels, origin, networks.see(images), positions)


@contextmanager
def picture_style() -> Iterator[None]:
    """Draw and save in the style of these pictures.

    Raises:
        InputError: matplotlib is missing.
    """
    with importing_matplotlib():
        from matplotlib import rc_context
    with rc_context(_STYLE):
        yield


def token_graphs(networks: RunNetworks, shown: Shown) -> Picture:
    """Draw the graph of each image over it, a row an image, a column a network."""
    graphs = _graphs(networks, shown, "image")
    norm = weight_norm(*(graph.edge_weight for graph in graphs))
    figure, panels = _panels(len(shown.images), 1 + len(graphs))
    lines = None
    for number, (row, image) in enumerate(zip(panels, shown.images, strict=True)):
        _show_image(row[0], image, shown.labels[number])
        of_image = [graph[number] for graph in graphs]
        for axes, seen, graph in zip(row[1:], shown.seen, of_image, strict=True):
            place = shown.positions[number]
            lines = draw_token_graph(axes, image, graph, networks.graphs.tokenize.token_grid, place, norm)
            recall = _recall(seen, graph, of_image[0], networks)
            axes.set_title("\n".join(([_wrapped(seen.name)] if number == 0 else []) + recall))
    figure.colorbar(lines, ax=panels[:, 1:], label="edge weight", shrink=min(1, 2 / len(panels)), aspect=25)
    caption = (
        f"Token graphs of {shown.origin}: {_described(networks, 1)} of the same image. A node lies at the centre of "
        "the patch that its token stands for. An edge leads from a neighbour to the token that has it, and bends to "
        "the left on its way; its colour is its weight, on one scale for all panels."
        f"{_about_recall(networks)} {BEFORE}"
    )
    return Picture("token_graph", figure, caption)


def cross_image_graphs(networks: RunNetworks, shown: Shown, strongest: int) -> Picture:
    """Draw the edges between images of the graph of all tokens, a panel a network."""
    graphs = _graphs(networks, shown, "batch")
    chosen = [cross_image_edges(graph, strongest) for graph in graphs]
    weights = [graph.edge_weight[edges] for graph, edges in zip(graphs, chosen, strict=True)]
    norm = weight_norm(*weights) if any(map(len, weights)) else None
    figure, panels = _panels(1, len(graphs), 1.7 * _PANEL)
    lines = None
    for axes, seen, graph, drawn in zip(panels[0], shown.seen, graphs, chosen, strict=True):
        drawing = draw_cross_image_graph(
            axes,
            shown.images,
            graph,
            networks.graphs.tokenize.token_grid,
            shown.positions,
            strongest=strongest,
            labels=shown.labels,
            norm=norm,
        )
        lines = drawing or lines
        crossing = len(cross_image_edges(graph))
        share = f"{len(drawn)} of {crossing} edges between images, {100 * crossing / graph.num_edges:.0f} % of all"
        axes.set_title("\n".join([seen.name, share, *_recall(seen, graph, graphs[0], networks)]))
    if lines is not None:
        figure.colorbar(lines, ax=panels, label="edge weight", shrink=0.8, aspect=25)
    caption = (
        f"Edges between images in the graph of all tokens of {shown.origin}: "
        f"{_described(networks, len(shown.images))} of all images. "
        f"Of the edges between two images the {strongest} heaviest of each network are drawn, from patch to "
        "patch; those within an image are left out. An edge bends to the left on its way to the token that has the "
        f"neighbour; its colour is its weight, on one scale for all panels.{_about_recall(networks)} {BEFORE}"
    )
    return Picture("cross_image", figure, caption)


def similarity_maps(networks: RunNetworks, shown: Shown, token: tuple[int, int]) -> list[Picture]:
    """Draw how one token of each image sees the others: by the cosine, and by L_inner's softmax."""
    grid = networks.graphs.tokenize.token_grid
    number = token[0] * grid[1] + token[1]
    tokens = [networks.tokens(seen) for seen in shown.seen]
    where = f"the token in row {token[0]}, column {token[1]} (from 0; framed) of {grid[0]}x{grid[1]}"
    cosine = [[cosine_similarity(image, number) for image in each] for each in tokens]
    about = (
        f"Cosine similarity of {where} to all tokens of its image, of {shown.origin}; one scale for all panels."
        f"{_about_method(networks)} {BEFORE}"
    )
    pictures = [_maps("similarity_cosine", networks, shown, number, cosine, "cosine", about)]
    graphs = networks.graphs.builder("image")(tokens[0]) if networks.graphs.inner_on_graph else None
    softmax = [
        [contextual_similarity(image, number, graphs and graphs[i]) for i, image in enumerate(each)] for each in tokens
    ]
    whose = "the teacher's" if networks.teacher is not None else "the untrained student's"
    k = _k(networks, grid[0] * grid[1])
    support = (
        f"over the {k} tokens from which {whose} graph of all tokens of the image has an edge to it "
        "(inner_structure=graph; in training the graph is of the sampled tokens)"
        if graphs is not None
        else "over all tokens of the image, itself included (inner_structure=dense; in training over those sampled)"
    )
    about = (
        f"Contextual similarity of {where}, as L_inner compares it: softmax of the dot products of unnormalised "
        f"tokens, divided by the square root of their width, {support}; of {shown.origin}. One scale for all panels; "
        f"above each the largest value.{_about_method(networks)} {BEFORE}"
    )
    return [*pictures, _maps("similarity_softmax", networks, shown, number, softmax, "probability", about)]


def _maps(
    name: str,
    networks: RunNetworks,
    shown: Shown,
    token: int,
    values: Sequence[Sequence[Tensor]],
    label: str,
    caption: str,
) -> Picture:
    every = torch.cat([value for of_network in values for value in of_network])
    norm = weight_norm(every[~every.isnan()])
    figure, panels = _panels(len(shown.images), 1 + len(values))
    drawn = None
    grid = networks.graphs.tokenize.token_grid
    bare = torch.full((grid[0] * grid[1],), torch.nan)
    for number, (row, image) in enumerate(zip(panels, shown.images, strict=True)):
        draw_similarity(row[0], image, bare, grid, token, norm)
        _show_image(row[0], image, shown.labels[number])
        for axes, seen, of_network in zip(row[1:], shown.seen, values, strict=True):
            value = of_network[number]
            drawn = draw_similarity(axes, image, value, grid, token, norm)
            largest = f"at most {value[~value.isnan()].max():.2g}" if label == "probability" else None
            axes.set_title("\n".join(filter(None, [_wrapped(seen.name) if number == 0 else None, largest])))
    figure.colorbar(drawn, ax=panels[:, 1:], label=label, shrink=min(1, 2 / len(panels)), aspect=25)
    return Picture(name, figure, caption)


def embeddings(features: Mapping[str, Tensor], targets: Tensor, classes: Sequence[str], origin: str) -> Picture:
    """Draw the features that networks classify, in the plane by t-SNE, a panel a network.

    Args:
        features: ``[N, d]`` by name of the network.
        targets: ``[N]``, places in ``classes``.
        classes: names.
        origin: which images they are of.
    """
    columns = min(3, len(features))
    figure, panels = _panels(-(-len(features) // columns), columns, 1.5 * _PANEL)
    for axes in panels.flat[len(features) :]:
        axes.set_axis_off()
    for axes, (name, values) in zip(panels.flat, features.items(), strict=False):
        draw_embedding(axes, tsne_points(values, _SEED), targets, classes)
        axes.set_title(f"{name}\nsilhouette {silhouette(values, targets):.3f}")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", markerscale=1.8, fontsize=8, title="class")
    caption = (
        f"Features that the networks classify (the input of the last linear layer) of {origin}, in the plane by t-SNE "
        f"(scikit-learn, perplexity {perplexity_of(len(targets)):.3g}, random state {_SEED}). Silhouette: mean "
        "silhouette coefficient of the classes by Euclidean distance (scikit-learn), computed on the features "
        "themselves and not on the picture; 1 is best, 0 is overlap. Distances between groups in the picture mean "
        "little."
    )
    return Picture("embedding", figure, caption)


def recall_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Picture:
    """Draw ``graph/edge_recall`` of runs over their epochs."""
    figure = _new_figure(6.5, 4.5)
    draw_edge_recall(figure.subplots(), histories)
    caption = (
        "Edge recall after each evaluated epoch (graph/edge_recall of metrics.jsonl): share of the edges of the "
        "teacher's token graph that the student's own graph has too, in the graph of the method's scope, on the same "
        "64 or fewer evaluated images each time. Dashed: what random edges would have; corrected: (recall - chance) / "
        "(1 - chance), 0 at chance and 1 for all edges."
    )
    return Picture("edge_recall", figure, caption)


def check_graph(networks: RunNetworks, scope: Scope, images: int) -> None:
    """Refuse a graph that cannot be, before anything is drawn.

    Raises:
        InputError: the builder makes none of so many tokens.
    """
    tokenize = networks.graphs.tokenize
    rows, columns = tokenize.token_grid
    try:
        networks.graphs.builder(scope)(torch.ones(images, tokenize.num_tokens, 1))
    except InputError as error:
        raise InputError(
            f"{error} ({tokenize.num_tokens} of an image's {rows}x{columns} are sampled); or leave it out with "
            "--pictures" + (", or show more images" if scope == "batch" else "")
        ) from error


def _graphs(networks: RunNetworks, shown: Shown, scope: Scope) -> list[Any]:
    build = networks.graphs.builder(scope)
    return [build(networks.tokens(seen, shown.positions)) for seen in shown.seen]


def _recall(seen: Seen, graph: Data, teacher: Data, networks: RunNetworks) -> list[str]:
    if seen.is_teacher or networks.teacher is None:
        return []
    recall, chance = edge_recall(graph, teacher).item(), chance_recall(graph)
    corrected = corrected_recall(recall, chance)
    above = "" if corrected is None else f", corrected {corrected:.2f}"
    return [f"edge recall {recall:.2f}", f"chance {chance:.2g}{above}"]


def _about_recall(networks: RunNetworks) -> str:
    recall = (
        " Edge recall: share of the teacher's edges that the student has too; chance: what random edges would have; "
        "corrected: (recall - chance) / (1 - chance), 0 at chance and 1 for all edges."
    )
    return (recall if networks.teacher is not None else "") + _about_method(networks)


def _about_method(networks: RunNetworks) -> str:
    """Return what a reader has to know where a picture is not all of the method's own."""
    method = networks.trained.method
    alone = "" if networks.teacher is not None else f" {method} has no teacher, so the student alone is shown."
    return alone + ("" if networks.graphs.of_method else f" {method} has no token graphs, these are TRG's by default.")


def _k(networks: RunNetworks, nodes: int) -> int | None:
    k = networks.graphs.k
    return None if k is None else min(k, nodes - 1)


def _described(networks: RunNetworks, images: int) -> str:
    """Return which tokens there are and how they are joined, in graphs of so many images."""
    graphs = networks.graphs
    sampled, every = graphs.tokenize.num_tokens, graphs.tokenize.grid_tokens
    which = f"all {every} tokens" if sampled == every else f"{sampled} of the {every} tokens, sampled at random,"
    patch = graphs.tokenize.patch
    cells = "" if patch == 1 else f" of {patch}x{patch} cells"
    length = "unit-length" if graphs.edges.normalize else "unnormalised"
    edges = f"the edges are those of {type(graphs.edges).__name__}, of {length} tokens"
    if isinstance(graphs.edges, KNNGraph):
        edges = (
            f"each has edges from its K = {_k(networks, images * sampled)} nearest"
            f"{' and to them' if graphs.edges.symmetric else ''} by Euclidean distance of {length} tokens"
        )
    return f"{which}{cells} of each image; {edges}"


def _panels(rows: int, columns: int, side: float = _PANEL) -> tuple[Any, Any]:
    figure = _new_figure(columns * side + 1, rows * side + 1.3)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _new_figure(width: float, height: float) -> Any:
    with importing_matplotlib():
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _show_image(axes: Any, image: Tensor, label: str) -> None:
    axes.imshow(pixels_of(image), interpolation="nearest")
    axes.set_title(label)
    axes.set_axis_off()


def add_caption(picture: Picture, command: str) -> None:
    """Write the caption, and the command that the picture comes from, below its panels."""
    # A letter is about 0.53 of its height wide, one of a command more.
    inches = picture.figure.get_figwidth() - 0.3
    width = int(inches * 72 / (0.53 * _CAPTION))
    text = "\n".join(
        [textwrap.fill(picture.caption, width), textwrap.fill(command, int(0.88 * width), break_on_hyphens=False)]
    )
    picture.figure.supxlabel(text, x=0.01, ha="left", fontsize=_CAPTION)


def choose_of_classes(targets: Tensor, wanted: Sequence[int], most: int) -> Tensor:
    """Return the images of some classes, a random part of them where they are more than ``most``."""
    index = torch.isin(targets.cpu(), torch.tensor(wanted)).nonzero().flatten()
    if len(index) <= most:
        return index
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(_SEED))
    return index[order[:most]].sort().values


def choose_examples(targets: Tensor, images: int) -> Tensor:
    """Return images at random, but two of a class each time, so that images of one class are beside one another."""
    if images > len(targets):
        raise InputError(f"--test {images}: the evaluated images are {len(targets)}; choose 1 to {len(targets)}")
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(_SEED)).tolist()
    of_class: dict[int, list[int]] = {}
    for index in order:
        of_class.setdefault(int(targets[index]), []).append(index)
    pairs = [(place, index) for each in of_class.values() for place, index in enumerate(each)]
    # First two images of every class, then the next two: the sort keeps the order of the classes.
    pairs.sort(key=lambda pair: pair[0] // 2)
    return torch.tensor([index for _, index in pairs[:images]])


def _wrapped(name: str) -> str:
    """Return a name in lines that are no wider than a panel, broken between words."""
    return textwrap.fill(name, _LETTERS, break_long_words=False)
