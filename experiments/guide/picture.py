"""The README's picture, from the runs that ``make run`` leaves: ``python experiments/guide/picture.py picture.png``.

A patch of a test digit and the patches nearest to it among those of 60 test digits, as the teacher has them and as
students have them that were distilled by KD and by TRG: 2x2 cells of the last map are a token, as large as patches that
can be told apart.
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
from trg_pyg.tokens import Tokenizer, plane_of
from trg_pyg.viz.figure import new_figure, to_png
from trg_pyg.viz.neighbours import draw_neighbours, draw_patch

NETWORKS = {  # title: network and its weights below runs/
    "teacher, resnet20": ("resnet20", "teachers/Digits/resnet20-*/last.safetensors"),
    "student, resnet8, by KD": ("resnet8", "Digits/resnet20-resnet8/KD-*/seed0/last.safetensors"),
    "student, resnet8, by TRG": ("resnet8", "Digits/resnet20-resnet8/TRG-*/seed0/last.safetensors"),
}
IMAGES, NEAREST = 60, 6
IMAGE, TOKEN = 14, 10  # a patch of which students find about as many neighbours as of all patches on average


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
    tokenize, builder = Tokenizer(student, teacher, patch=2), KNNGraph(k=NEAREST, scope="batch")
    of = [tokenize.of_teacher, tokenize.of_student, tokenize.of_student]
    with torch.no_grad():
        graphs = [builder(cut(net(images).features[-1])) for cut, net in zip(of, networks, strict=True)]
    return graphs, plane_of(tokenize.token_grid)


def main(output: Path, runs: Path = Path("runs")) -> None:
    """Draw the picture."""
    test = Digits().load().test
    assert isinstance(test, ImageSet)
    images = test.images[:IMAGES]
    graphs, grid = graphs_of(images, runs)
    node = IMAGE * grid[0] * grid[1] + TOKEN
    figure = new_figure(10, 4.2)
    places = figure.add_gridspec(3, 2 + NEAREST, width_ratios=[3, 1.7, *[1] * NEAREST])
    whole = figure.add_subplot(places[:, 0])
    draw_patch(whole, images[IMAGE], grid, TOKEN)
    whole.set_title("a patch of a digit", loc="center")
    for number, (title, graph) in enumerate(zip(NETWORKS, graphs, strict=True)):
        row = [figure.add_subplot(places[number, 2 + rank]) for rank in range(NEAREST)]
        hits = draw_neighbours(row, images, graph, grid, node, teacher=graphs[0] if number else None)
        name = figure.add_subplot(places[number, 1])
        recall, chance = edge_recall(graph, graphs[0]).item(), chance_recall(graph)
        corrected = corrected_recall(recall, chance) or 0.0
        found = [
            f"{hits} of {NEAREST} are the teacher's,",
            f"of all patches {100 * recall:.0f} %,",
            f"corrected {100 * corrected:.0f} %",
        ]
        told = "\n".join([title, *(found if number else [])])
        name.text(1, 0.5, told, ha="right", va="center", transform=name.transAxes)
        name.set_axis_off()
        if number == 0:
            for rank, axes in enumerate(row, start=1):
                axes.set_title("nearest" if rank == 1 else str(rank), loc="center")
    figure.supxlabel(
        f"The {NEAREST} nearest among the patches of {IMAGES} digits; framed in turquoise: the teacher's too "
        f"(by chance {100 * chance_recall(graphs[0]):.1f} %)",
        fontsize=10,
    )
    # Few colours make a small file.
    Image.open(BytesIO(to_png(figure, 100))).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        output, optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
