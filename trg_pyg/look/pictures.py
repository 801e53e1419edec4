"""Pictures of what a run's networks make of images, clips or texts, each with a caption of what it shows."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.batch import mask_of
from trg_pyg.data.text.text_data import TextSet
from trg_pyg.distillers.ad_kd import Attribution
from trg_pyg.errors import InputError
from trg_pyg.graphs.base import Scope
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.graphs.recall import chance_recall, corrected_recall, edge_recall
from trg_pyg.look.networks import RunNetworks, Seen
from trg_pyg.models.networks import Networks
from trg_pyg.step import Step
from trg_pyg.tokens.maps import shown_grid
from trg_pyg.viz.cross_image import cross_image_edges, cross_image_lines, draw_cross_image_graph
from trg_pyg.viz.drawing import OWN, SHARED, importing_matplotlib, joined_too, pixels_of, strong_lines, weight_norm
from trg_pyg.viz.embedding import draw_embedding, perplexity_of, silhouette, tsne_points
from trg_pyg.viz.neighbours import draw_neighbours, draw_patch
from trg_pyg.viz.recall import draw_edge_recall
from trg_pyg.viz.similarity import contextual_similarity, cosine_similarity, draw_similarity
from trg_pyg.viz.token_graph import draw_token_graph
from trg_pyg.viz.words import draw_words, text_height, text_width

# Of the tokens that are sampled, and of t-SNE.
_SEED = 0
# In inches.
_PANEL, _TITLE, _SMALL, _CAPTION = 2.5, 0.4, 0.85, 8
_LETTERS = 30  # that fit above a panel
_BEST = 2  # edges of a token that are drawn
_RANKS = 6  # neighbours that are drawn
_COLUMNS = 44  # letters of a line of a text
_OWN_SCALE = "each network has a scale of its own, from the least to the largest value but for the token itself"
_STYLE = {
    "text.parse_math": False,  # names are the user's, and may hold a dollar
    "svg.hashsalt": "trg_pyg",  # the same picture is the same file
    "font.size": 9,
    "axes.titlesize": 9,
}
BEFORE = (
    "Before training: the initial weights that the run's seed gives, in evaluation mode but for batch normalisation, "
    "which takes the statistics of what is shown."
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
    """Images or clips, and what the networks of a run make of them.

    Attributes:
        images: as they are drawn, uint8 ``[B, C, H, W]``; of clips see :func:`sheets`.
        labels: a line on each.
        origin: which they are, for captions.
        seen: by each network, the teacher first where there is one, then the student before and after.
        positions: sampled tokens of each, ``[B, n]``.
        grid: rows and columns of all tokens in what is drawn.
        order: number of the token at each place of that grid, row by row, ``[rows * columns]``.
    """

    images: Tensor
    labels: list[str]
    origin: str
    seen: list[Seen]
    positions: Tensor
    grid: tuple[int, int]
    order: Tensor

    @classmethod
    def of(cls, networks: RunNetworks, images: Tensor, labels: list[str], origin: str) -> "Shown":
        """Show images or clips to the networks of a run, and draw the tokens that graphs are made of."""
        generator = torch.Generator().manual_seed(_SEED)
        tokenize = networks.graphs.tokenize
        positions = tokenize.positions(len(images), generator)
        seen, number = networks.see(images), torch.arange(tokenize.grid_tokens)
        if images.dim() == 4:
            rows, columns = tokenize.token_grid
            return cls(images, labels, origin, seen, positions, (rows, columns), number)
        times, rows, columns = tokenize.token_grid
        drawn, across = sheets(images, times)
        order = rearrange(number.view(tokenize.token_grid), "(a b) h w -> (a h b w)", b=across)
        return cls(drawn, labels, origin, seen, positions, (times // across * rows, across * columns), order)

    def places(self, numbers: Tensor) -> Tensor:
        """Return where tokens are on the grid of what is drawn."""
        return self.order.argsort()[numbers]

    @property
    def stretch(self) -> float:
        """By how much a panel is wider than one of a square, so that wide sheets are not small."""
        return max(1.0, self.images.shape[-1] / self.images.shape[-2]) ** 0.5


def sheets(clips: Tensor, times: int) -> tuple[Tensor, int]:
    """Return clips as pictures: a frame of each of some times, in rows from left to right, a white line between them.

    Args:
        clips: uint8 ``[B, C, T, H, W]``.
        times: equal parts of a clip, at most T; the frame in the middle of each is shown.

    Returns:
        uint8 ``[B, C, rows * H, columns * W]``, and how many columns there are: the fewest that make full rows and are
        no fewer than these.
    """
    columns = min(each for each in range(1, times + 1) if times % each == 0 and each**2 >= times)
    frames = clips[:, :, [(2 * i + 1) * clips.shape[2] // (2 * times) for i in range(times)]]
    frames[..., -1], frames[..., -1, :] = 255, 255
    return rearrange(frames, "n c (a b) h w -> n c (a h) (b w)", b=columns), columns


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
    """Draw the strongest edges of each image's graph over it, a row an image, a column a network."""
    graphs = _graphs(networks, shown, "image")
    figure, panels, bars = _panels(len(shown.images), 1 + len(graphs), *_size(shown), scales=networks.teacher is None)
    for number, (row, image) in enumerate(zip(panels, shown.images, strict=True)):
        _show_image(row[0], image, shown.labels[number])
    for column, (seen, graph) in enumerate(zip(shown.seen, graphs, strict=True), start=1):
        lines = None
        norm = weight_norm(*(graph[i].edge_weight[strong_lines(graph[i], _BEST)[0]] for i in range(len(shown.images))))
        for number, (axes, image) in enumerate(zip(panels[:, column], shown.images, strict=True)):
            wanted = graphs[0][number] if networks.teacher is not None else None
            place = shown.places(shown.positions[number])
            lines = draw_token_graph(axes, image, graph[number], shown.grid, place, norm, best=_BEST, teacher=wanted)
            told = [_wrapped(seen.name)] if number == 0 else []
            if wanted is not None and not seen.is_teacher:
                own, others = (strong_lines(each, _BEST)[0] for each in (graph[number], wanted))
                pairs = wanted.num_nodes * (wanted.num_nodes - 1) / 2
                told.append(_in_common(joined_too(graph[number], own, wanted, others), len(others), pairs))
            axes.set_title("\n".join(told))
        if networks.teacher is None:
            _scale(figure, lines, bars[column], "edge weight")
    _key(
        figure,
        networks,
        f"two patches, each among the other's {_BEST} nearest",
        f"two patches, one among the other's {_BEST} nearest",
    )
    caption = (
        f"Token graphs of {shown.origin}: {_described(networks, 1)} of the same {networks.trained.facts.item}. Drawn "
        f"are the {_BEST} heaviest edges of each token, thick where each of two tokens is among those of the other. A "
        "node lies at the centre of the patch that its token stands for. "
        f"{_about_colours(networks)}{_about_recall(networks)}"
        f"{_recalls(networks, shown, graphs)} {BEFORE}"
    )
    return Picture("token_graph", figure, caption)


def cross_image_graphs(networks: RunNetworks, shown: Shown, strongest: int) -> Picture:
    """Draw the strongest edges between images of the graph of all tokens, a panel a network."""
    graphs = _graphs(networks, shown, "batch")
    columns, images = math.ceil(math.sqrt(len(shown.images))), len(shown.images)
    # Thumbnails are an inch wide or more, so that their names can be read.
    side = max(1.7 * _PANEL, 1.5 * columns) * shown.stretch
    shape = math.ceil(images / columns) / columns / shown.stretch**2
    figure, panels, bars = _panels(1, len(graphs), side, shape * side, scales=networks.teacher is None)
    labels = [_in_lines(label, int(16 * side / columns / 1.25)) for label in shown.labels]
    others = cross_image_lines(graphs[0])[0]
    crossing: list[str] = []
    for axes, bar, seen, graph in zip(panels[0], bars, shown.seen, graphs, strict=True):
        drawn = draw_cross_image_graph(
            axes,
            shown.images,
            graph,
            shown.grid,
            shown.places(shown.positions),
            strongest=strongest,
            labels=labels,
            best=True,
            teacher=graphs[0] if networks.teacher is not None else None,
        )
        told = [seen.name]
        crossing.append(f"{100 * len(cross_image_edges(graph)) / graph.num_edges:.0f} % ({seen.name})")
        if networks.teacher is not None and not seen.is_teacher:
            common = joined_too(graph, cross_image_lines(graph, strongest)[0], graphs[0], others)
            tokens = graph.num_nodes / images
            told.append(_in_common(common, len(others), images * (images - 1) / 2 * tokens**2))
        axes.set_title("\n".join(told), pad=6 + 10 * max(label.count("\n") for label in labels))
        if networks.teacher is None and drawn is not None:
            _scale(figure, drawn, bar, "edge weight")
    item = networks.trained.facts.item
    _key(
        figure,
        networks,
        f"two patches, each the other's nearest in another {item}",
        "two patches, one the other's nearest",
    )
    caption = (
        f"Edges between {item}s in the graph of all tokens of {shown.origin}: "
        f"{_described(networks, len(shown.images))} of all {item}s. "
        f"Drawn is the heaviest edge of each token that comes from another {item}, of these the {strongest} heaviest "
        f"of each network, thick where it is so both ways. Edges within one are left out: between {item}s are "
        f"{', '.join(crossing)}. "
        f"{_about_colours(networks)}{_about_recall(networks)}{_recalls(networks, shown, graphs)} {BEFORE}"
    )
    return Picture("cross_image", figure, caption)


def neighbours(networks: RunNetworks, shown: Shown, token: Sequence[int]) -> Picture:
    """Draw the nearest patches of one patch of each image among all images, a row a network."""
    grid, place_of = shown.grid, _place(networks, shown, token)
    tokens, images = grid[0] * grid[1], len(shown.images)
    scope: Scope = "batch" if images > 1 else "image"
    build = networks.graphs.builder(scope)
    graphs = [build(tokens) for tokens in _all_tokens(networks, shown)]
    most = min(_RANKS, _k(networks, images * tokens) or _RANKS)
    height = (images * len(graphs) + 1.2) * _SMALL / shown.stretch
    figure = _new_figure((most + 4.4) * _SMALL * shown.stretch, height)
    places = figure.add_gridspec(images * len(graphs), 2 + most, width_ratios=[len(graphs), 1.4, *[1] * most])
    for number, image in enumerate(shown.images):
        first = number * len(graphs)
        node = number * tokens + place_of
        axes = figure.add_subplot(places[first : first + len(graphs), 0])
        draw_patch(axes, image, grid, node % tokens)
        axes.set_title(f"a patch of\n{_in_lines(shown.labels[number], _LETTERS)}")
        for place, (seen, graph) in enumerate(zip(shown.seen, graphs, strict=True), start=first):
            row = [figure.add_subplot(places[place, 2 + rank]) for rank in range(most)]
            wanted = graphs[0] if networks.teacher is not None and not seen.is_teacher else None
            hits = draw_neighbours(row, shown.images, graph, grid, node, teacher=wanted)
            told = [textwrap.fill(seen.name, _LETTERS // 2, break_long_words=False)]
            if wanted is not None:
                told.append(f"{hits} of {most} found")
            name = figure.add_subplot(places[place, 1])
            name.text(1, 0.5, "\n".join(told), ha="right", va="center", fontsize=8, transform=name.transAxes)
            name.set_axis_off()
            if number == 0 and place == 0:
                for rank, each in enumerate(row, start=1):
                    each.set_title(_ordinal(rank))
    framed, chance, item = "", None, networks.trained.facts.item
    if networks.teacher is not None:
        chance = most**2 / (images * tokens - 1)
        framed = f" Framed in turquoise: one of the teacher's {most} too; of random patches {chance:.1g} would be."
    _patch_key(figure, most, chance)
    caption = (
        f"The {most} nearest patches of the patch {_where(networks, token)} of {shown.origin}, each in its {item}: by "
        f"the weight of their edges in the graph of all tokens of these {item}s, the heaviest first.{framed}"
        f"{_about_method(networks)} {BEFORE}"
    )
    return Picture("neighbours", figure, caption)


def similarity_maps(networks: RunNetworks, shown: Shown, token: Sequence[int]) -> list[Picture]:
    """Draw how one token of each image sees the others: by the cosine, and by L_inner's softmax."""
    number, item = _place(networks, shown, token), networks.trained.facts.item
    tokens = _all_tokens(networks, shown)
    where = f"the framed token {_where(networks, token)}"
    cosine = [[cosine_similarity(image, number) for image in each] for each in tokens]
    about = (
        f"Cosine similarity of {where} to all tokens of its {item}, of {shown.origin}; {_OWN_SCALE}."
        f"{_about_method(networks)} {BEFORE}"
    )
    pictures = [_maps("similarity_cosine", networks, shown, number, cosine, "cosine", about)]
    graphs = networks.graphs.builder("image")(tokens[0]) if networks.graphs.inner_on_graph else None
    softmax = [
        [contextual_similarity(image, number, graphs and graphs[i]) for i, image in enumerate(each)] for each in tokens
    ]
    whose = "the teacher's" if networks.teacher is not None else "the untrained student's"
    k = _k(networks, len(shown.order))
    support = (
        f"over the {k} tokens from which {whose} graph of all tokens of the {item} has an edge to it "
        "(inner_structure=graph; in training the graph is of the sampled tokens)"
        if graphs is not None
        else "over all tokens of the image, itself included (inner_structure=dense; in training over those sampled)"
    )
    about = (
        f"Contextual similarity of {where}, as L_inner compares it: softmax of the dot products of unnormalised "
        f"tokens, divided by the square root of their width, {support}; of {shown.origin}; {_OWN_SCALE}; "
        f"above each panel its largest value.{_about_method(networks)} {BEFORE}"
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
    figure, panels, bars = _panels(len(shown.images), 1 + len(values), *_size(shown), scales=True)
    grid, bare = shown.grid, torch.full((len(shown.order),), torch.nan)
    for number, (axes, image) in enumerate(zip(panels[:, 0], shown.images, strict=True)):
        draw_similarity(axes, image, bare, grid, token)
        _show_image(axes, image, shown.labels[number])
    for column, (seen, of_network) in enumerate(zip(shown.seen, values, strict=True), start=1):
        # Without the token itself, whose cosine is 1 whatever the network is.
        others = torch.cat([torch.cat([value[:token], value[token + 1 :]]) for value in of_network])
        norm = weight_norm(others[~others.isnan()])
        drawn = None
        for number, (axes, value) in enumerate(zip(panels[:, column], of_network, strict=True)):
            drawn = draw_similarity(axes, shown.images[number], value, grid, token, norm)
            largest = f"at most {value[~value.isnan()].max():.2g}" if label == "probability" else None
            axes.set_title("\n".join(filter(None, [_wrapped(seen.name) if number == 0 else None, largest])))
        _scale(figure, drawn, bars[column], label)
    return Picture(name, figure, caption)


def attributions(networks: RunNetworks, texts: TextSet, index: Tensor, origin: str) -> Picture:
    """Draw which pieces of texts an answer rests on, a row a text, a column a network.

    Args:
        networks: of the run, which declare ``embeddings_path``.
        texts: that some are taken of.
        index: of those that are shown, ``[n]``.
        origin: which texts they are.
    """
    vocabulary, classes = texts.vocabulary, networks.trained.facts.classes
    inputs, labels = texts.read(index), texts.targets[index]
    mask = mask_of(inputs)
    assert vocabulary is not None
    assert isinstance(inputs, Mapping)
    assert mask is not None
    pair = Networks(networks.after, networks.teacher)
    step = Step(labels, 1.0, torch.Generator(), networks=pair, inputs=inputs, mask=mask)
    shown: dict[str, tuple[Tensor, Tensor]] = {}
    for name, network in networks.names().items():
        if network is not networks.before:
            owner: Literal["student", "teacher"] = "student" if network is networks.after else "teacher"
            (scores,) = Attribution(by_label=True).scores(pair, owner, step)
            with torch.no_grad():
                shown[name] = scores.detach(), network(inputs).logits.softmax(1)
    pieces = [vocabulary.pieces(ids[there].tolist()) for ids, there in zip(inputs["input_ids"], mask, strict=True)]
    heights = [text_height(each, _COLUMNS) for each in pieces]
    figure = _new_figure(len(shown) * (text_width(_COLUMNS) + 0.3), sum(heights) + len(pieces) * _TITLE + 0.4)
    panels = figure.subplots(len(pieces), len(shown), squeeze=False, height_ratios=heights)
    first, _ = next(iter(shown.values()))
    for column, (name, (scores, shares)) in enumerate(shown.items()):
        for number, (axes, words) in enumerate(zip(panels[:, column], pieces, strict=True)):
            draw_words(axes, words, scores[number][mask[number]], _COLUMNS)
            share, guess = shares[number].max(0)
            told = f"{classes[int(labels[number])]}; it says {classes[int(guess)]}, {100 * share:.0f} %"
            alike = f"; cosine {scores[number] @ first[number]:.2f}" if column > 0 else ""
            axes.set_title("\n".join([*([name] if number == 0 else []), told + alike]), loc="left")
    caption = (
        f"Attribution of the loss of the label to the pieces of {origin}, as ADKD compares it (arXiv 2305.10010): the "
        "length of embedding times gradient. White is 0, full colour the largest of the text. Above each panel the "
        "label and what the network says; cosine: of its scores and the teacher's, 1 where both rest on the same."
    )
    return Picture("attribution", figure, caption)


def embeddings(features: Mapping[str, Tensor], targets: Tensor, classes: Sequence[str], origin: str) -> Picture:
    """Draw the features that networks classify, in the plane by t-SNE, a panel a network.

    Args:
        features: ``[N, d]`` by name of the network.
        targets: ``[N]``, places in ``classes``.
        classes: names.
        origin: which images they are of.
    """
    columns = min(3, len(features))
    figure, panels, _ = _panels(-(-len(features) // columns), columns, 1.5 * _PANEL)
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
        "64 of what is evaluated, or fewer, each time. Dashed: what random edges would have; corrected: (recall - "
        "chance) / (1 - chance), 0 at chance and 1 for all edges."
    )
    return Picture("edge_recall", figure, caption)


def check_graph(networks: RunNetworks, scope: Scope, images: int) -> None:
    """Refuse a graph that cannot be, before anything is drawn.

    Raises:
        InputError: the builder makes none of so many tokens.
    """
    tokenize, item = networks.graphs.tokenize, networks.trained.facts.item
    try:
        networks.graphs.builder(scope)(torch.ones(images, tokenize.num_tokens, 1))
    except InputError as error:
        raise InputError(
            f"{error} ({tokenize.num_tokens} of {shown_grid(tokenize.token_grid)} of each {item} are sampled); or "
            "leave it out with --pictures" + (f", or show more {item}s" if scope == "batch" else "")
        ) from error


def _in_common(shared: Tensor, wanted: int, pairs: float) -> str:
    """Return how many lines are the teacher's too, and how many random ones, as many, would be."""
    chance = len(shared) * wanted / pairs
    return f"{int(shared.sum())} of {len(shared)} lines are the teacher's\n(by chance {chance:.0f})"


def _recalls(networks: RunNetworks, shown: Shown, graphs: Sequence[Any]) -> str:
    told = [
        f" {seen.name}: {', '.join(recall)}."
        for seen, graph in zip(shown.seen, graphs, strict=True)
        if (recall := _recall(seen, graph, graphs[0], networks))
    ]
    return "".join(told)


def _about_colours(networks: RunNetworks) -> str:
    if networks.teacher is None:
        return "The colour of a line is its weight, on a scale of each network's own."
    return (
        "Turquoise: the teacher has the line too; orange and dashed: it has not; by chance: what as many random lines "
        "would share."
    )


def _key(figure: Any, networks: RunNetworks, thick: str, thin: str) -> None:
    """Say above the panels what dots and lines are."""
    from matplotlib.lines import Line2D

    node = Line2D([], [], marker="o", markersize=5, linestyle="", markerfacecolor="white", markeredgecolor="black")
    lines = {f"a patch of the {networks.trained.facts.item} (a token)": node}
    lines |= {told: Line2D([], [], color="#555555", linewidth=width) for told, width in ((thick, 2.6), (thin, 1.1))}
    if networks.teacher is not None:
        lines["the teacher has the line too"] = Line2D([], [], color=SHARED, linewidth=2)
        lines["the teacher has it not"] = Line2D([], [], color=OWN, linewidth=2, linestyle=(0, (3, 1.2)))
    figure.legend(lines.values(), lines, loc="outside upper left", ncols=2, frameon=False, fontsize=9)


def _patch_key(figure: Any, most: int, chance: float | None) -> None:
    """Say above the panels what frames are; without a chance of hits there are none."""
    from matplotlib.patches import Patch

    frames = {"a patch (a token)": Patch(facecolor="#333333", edgecolor="white", linewidth=1.5)}
    if chance is not None:
        told = f"the teacher has it among its {most} nearest too (by chance {chance:.1g} of {most})"
        frames[told] = Patch(facecolor="#333333", edgecolor=SHARED, linewidth=3)
    square = {"handlelength": 1.3, "handleheight": 1.3}
    figure.legend(frames.values(), frames, loc="outside upper left", ncols=2, frameon=False, fontsize=9, **square)


def _scale(figure: Any, drawn: Any, bar: Any, label: str) -> None:
    """Fill the place below a network's panels with its own scale of colours."""
    bar.set_axis_on()
    figure.colorbar(drawn, cax=bar, label=label, orientation="horizontal")


def _ordinal(rank: int) -> str:
    return {1: "nearest", 2: "2nd", 3: "3rd"}.get(rank, f"{rank}th")


def _size(shown: Shown) -> tuple[float, float]:
    """Return width and height of the panel of an image."""
    return _PANEL * shown.stretch, _PANEL / shown.stretch


def _all_tokens(networks: RunNetworks, shown: Shown) -> list[Tensor]:
    """Return all tokens ``[B, rows * columns, D]`` of each network, row by row of what is drawn."""
    positions = shown.order.expand(len(shown.images), -1)
    return [networks.tokens(seen, positions) for seen in shown.seen]


def _place(networks: RunNetworks, shown: Shown, token: Sequence[int]) -> int:
    """Return where a token is on the grid of what is drawn."""
    number = 0
    for at, side in zip(token, networks.graphs.tokenize.token_grid, strict=True):
        number = number * side + at
    return int(shown.places(torch.tensor(number)))


def _where(networks: RunNetworks, token: Sequence[int]) -> str:
    names = ("time", "row", "column")[-len(token) :]
    places = ", ".join(f"{name} {at}" for name, at in zip(names, token, strict=True))
    return f"in {places} (from 0) of {shown_grid(networks.graphs.tokenize.token_grid)}"


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
    alone += "" if networks.graphs.of_method else f" {method} has no token graphs, these are TRG's by default."
    times = networks.graphs.tokenize.token_grid[:-2]
    if times:
        alone += (
            f" Of each clip the frame in the middle of each of {times[0]} times is shown, in rows from left to right."
        )
    return alone


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
    return f"{which}{cells} of each {networks.trained.facts.item}; {edges}"


def _panels(
    rows: int, columns: int, width: float = _PANEL, height: float | None = None, *, scales: bool = False
) -> tuple[Any, Any, Any]:
    """Return a figure, its panels by row and column, and below each column the place of a scale, if there are any."""
    height = width if height is None else height
    title = _TITLE / 2 if scales else _TITLE  # where the scale is, lines of text are not
    figure = _new_figure(columns * width, rows * (height + title) + (1.4 if scales else 1))
    ratios = [1.0] * rows + [0.1 / height] * scales
    every = figure.subplots(len(ratios), columns, squeeze=False, height_ratios=ratios)
    for bar in every[rows:].flat:
        bar.set_label("<colorbar>")
        bar.set_axis_off()
    return figure, every[:rows], every[-1]


def _new_figure(width: float, height: float) -> Any:
    with importing_matplotlib():
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _show_image(axes: Any, image: Tensor, label: str) -> None:
    axes.imshow(pixels_of(image), interpolation="nearest")
    axes.set_title(_in_lines(label, _LETTERS))
    axes.set_axis_off()


def add_caption(picture: Picture, command: str) -> None:
    """Write the caption, and the command that the picture comes from, below its panels, which keep their size."""
    # A letter is about 0.53 of its height wide, one of a command more.
    inches = picture.figure.get_figwidth() - 0.3
    width = int(inches * 72 / (0.53 * _CAPTION))
    text = "\n".join(
        [textwrap.fill(picture.caption, width), textwrap.fill(command, int(0.88 * width), break_on_hyphens=False)]
    )
    height = picture.figure.get_figheight() + (text.count("\n") + 2) * 1.2 * _CAPTION / 72
    picture.figure.set_figheight(height)
    picture.figure.supxlabel(text, x=0.01, ha="left", fontsize=_CAPTION)


def choose_of_classes(targets: Tensor, wanted: Sequence[int], most: int) -> Tensor:
    """Return the items of some classes, a random part of them where they are more than ``most``."""
    index = torch.isin(targets.cpu(), torch.tensor(wanted)).nonzero().flatten()
    if len(index) <= most:
        return index
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(_SEED))
    return index[order[:most]].sort().values


def choose_examples(targets: Tensor, items: int, item: str = "image") -> Tensor:
    """Return items at random, those of one class each two of a class each time, which are beside one another."""
    if items > len(targets):
        raise InputError(f"--test {items}: the evaluated {item}s are {len(targets)}; choose 1 to {len(targets)}")
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(_SEED)).tolist()
    if targets.dim() > 1:
        return torch.tensor(order[:items])
    of_class: dict[int, list[int]] = {}
    for index in order:
        of_class.setdefault(int(targets[index]), []).append(index)
    pairs = [(place, index) for each in of_class.values() for place, index in enumerate(each)]
    # First two images of every class, then the next two: the sort keeps the order of the classes.
    pairs.sort(key=lambda pair: pair[0] // 2)
    return torch.tensor([index for _, index in pairs[:items]])


def _in_lines(label: str, letters: int) -> str:
    """Return a label in lines of so many letters: a long one broken after the folder, of long names the end."""
    if len(label) <= letters:
        return label
    return "/\n".join(part if len(part) <= letters else f"\u2026{part[1 - letters :]}" for part in label.split("/"))


def _wrapped(name: str) -> str:
    """Return a name in lines that are no wider than a panel, broken between words."""
    return textwrap.fill(name, _LETTERS, break_long_words=False)
