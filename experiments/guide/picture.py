"""The README's picture, from the runs that ``make run`` leaves: ``python experiments/guide/picture.py picture.png``.

One graph of four images' tokens, as the teacher has it and as students have it that were distilled by KD and by TRG:
2x2 cells of the last map are a token, and each token hears its two nearest. It is drawn with fewer tokens and edges
than TRG trains with, so that single edges can be seen.
"""

import sys
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch_geometric.data import Data

from trg_pyg.data import Digits, ImageSet
from trg_pyg.errors import require
from trg_pyg.graphs import KNNGraph, chance_recall, corrected_recall, edge_recall
from trg_pyg.models import Normalize, TappedModel, build_model, load_weights
from trg_pyg.tokens import Tokenizer
from trg_pyg.viz.cross_image import thumbnail_corners
from trg_pyg.viz.drawing import arcs, patch_centres
from trg_pyg.viz.figure import new_figure, to_png

NETWORKS = {  # title: network and its weights below runs/
    "teacher, resnet20": ("resnet20", "teachers/Digits/resnet20-*/last.safetensors"),
    "student, resnet8, by KD": ("resnet8", "Digits/resnet20-resnet8/KD-*/seed0/last.safetensors"),
    "student, resnet8, by TRG": ("resnet8", "Digits/resnet20-resnet8/TRG-*/seed0/last.safetensors"),
}
DIGITS = (0, 3)
NIGHT, SHARED, OWN = "#0d1117", "#3ddbc0", "#ff6b6b"


def graphs_of(images: torch.Tensor, runs: Path) -> tuple[list[Data], tuple[int, int]]:
    """Return the token graph of the images as each of the networks has it, and the grid of tokens of an image."""
    splits = Digits().load()
    networks = []
    for name, pattern in NETWORKS.values():
        files = sorted(runs.glob(pattern))
        require(len(files) > 0, f"{runs / pattern}: no such file; make run SEEDS=0 leaves it")
        networks.append(TappedModel(build_model(name, 10), normalize=Normalize(splits.mean, splits.std)).eval())
        load_weights(networks[-1].model, files[0])
    teacher, student = (network.describe(32).features[-1] for network in networks[:2])
    tokenize, builder = Tokenizer(student, teacher, patch=2), KNNGraph(k=2, scope="batch")
    of = [tokenize.of_teacher, tokenize.of_student, tokenize.of_student]
    with torch.no_grad():
        graphs = [builder(cut(net(images).features[-1])) for cut, net in zip(of, networks, strict=True)]
    return graphs, tokenize.token_grid


def main(output: Path, runs: Path = Path("runs")) -> None:
    """Draw the picture."""
    from matplotlib.collections import LineCollection

    test = Digits().load().test
    assert isinstance(test, ImageSet)
    images = test.images[torch.cat([(test.targets == digit).nonzero().flatten()[:2] for digit in DIGITS])]
    graphs, grid = graphs_of(images, runs)
    height, width = images.shape[-2:]
    corners = thumbnail_corners(len(images), height, width)
    points = (patch_centres(grid, height, width) + corners.unsqueeze(1)).flatten(0, 1)
    figure = new_figure(10, 4.5)
    figure.set_facecolor(NIGHT)
    for axes, title, graph in zip(figure.subplots(1, len(graphs)), NETWORKS, graphs, strict=True):
        for image, (left, top) in zip(images, corners.tolist(), strict=True):
            extent = (left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5)
            blue = image[0].float().unsqueeze(2) * torch.tensor([0.48, 0.58, 0.95])
            axes.imshow(blue.byte().numpy(), extent=extent, interpolation="bicubic")
        source, target = graph.edge_index
        numbers = [each.edge_index[0] * each.num_nodes + each.edge_index[1] for each in (graph, graphs[0])]
        shared = torch.isin(*numbers)
        for edges, colour in ((~shared, OWN), (shared, SHARED)):
            lines = arcs(points[source[edges]], points[target[edges]]).numpy()
            axes.add_collection(LineCollection(list(lines), colors=colour, linewidths=1.1), autolim=False)
        axes.scatter(*points.T.numpy(), s=9, c="white", zorder=3)
        right, bottom = (corners.max(0).values + torch.tensor([width, height])).tolist()
        axes.set(xlim=(-3, right + 2), ylim=(bottom + 2, -3), aspect="equal")
        recall, chance = edge_recall(graph, graphs[0]).item(), chance_recall(graph)
        told = f"edge recall {recall:.2f}, chance {chance:.2f}, corrected {corrected_recall(recall, chance):.2f}"
        axes.set_title(f"{title}\n{told}", color="white", fontsize=11)
        axes.set_axis_off()
    about = "2x2 cells a token, two neighbours each; turquoise: edges that the teacher has, red: edges that it has not"
    figure.supxlabel(about, color="white", fontsize=10)
    # Few colours make a small file.
    Image.open(BytesIO(to_png(figure, 120))).convert("RGB").quantize(48).save(output, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
