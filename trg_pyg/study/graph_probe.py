"""How much of its teacher's token graphs a student has, measured while it trains."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg.batch import Inputs, mask_of
from trg_pyg.data.base import Source
from trg_pyg.data.loading.loader import make_loader
from trg_pyg.distillers.base import Distiller
from trg_pyg.graphs.recall import chance_recall, corrected_recall, edge_recall
from trg_pyg.graphs.token_graphs import TokenGraphs
from trg_pyg.models.taps import TappedModel
from trg_pyg.study.study import Study
from trg_pyg.training.metrics import evaluating

_IMAGES = 64
# Of the probe's images and tokens: another number gives other ones, the same for every run.
_SEED = 0


class _Seen(NamedTuple):
    """What the student is compared with.

    Attributes:
        inputs: of the images, uint8 ``[B, C, H, W]``, or others.
        positions: tokens of each that are joined, ``[B, n]``.
        graphs: the teacher's, by name of the metric.
    """

    inputs: Inputs
    positions: Tensor
    graphs: dict[str, Batch]


class GraphProbe:
    """Edge recall of a student's kNN token graphs on a few images that are not trained on.

    The images and the tokens of each are the same for every run and epoch, so the figures can be compared as far as K,
    the number of tokens and the scope are. Called with a student in evaluation mode, it returns shares in [0, 1] of the
    teacher's edges that the student has too:

    * ``graph/edge_recall``: of the graph of the method's scope, by default over all tokens of the images;
    * ``graph/edge_recall_image``: of the images' own graphs, where the scope is the batch;
    * each with ``_chance``: what random edges would have, K of the n - 1 others in the graph; and with ``_corrected``:
      how far the share is from chance to all, (recall - chance) / (1 - chance), which compares whatever K and n are.

    A graph of K tokens or fewer, or without an edge, has none. Nothing is drawn from a generator that others use.

    Args:
        images: 64 of them are looked at, or all if they are fewer.
        graphs: how tokens are joined.
        teacher: trained; looked at once, at the first call.
        device: where both networks are.
    """

    def __init__(self, images: Source, graphs: TokenGraphs, teacher: TappedModel, device: torch.device) -> None:
        self._set, self._graphs, self._teacher, self._device = images, graphs, teacher, device
        self._seen: _Seen | None = None

    @torch.no_grad()
    def __call__(self, student: TappedModel) -> dict[str, float]:
        """Return the metrics of a student."""
        if self._seen is None:
            self._seen = self._look()
        inputs, positions, graphs = self._seen
        tokens = self._graphs.tokenize.of_student(student(inputs).features[-1].float(), positions)
        built = self._build(tokens)
        metrics = {}
        for name, wanted in graphs.items():
            if name in built:
                metrics[name] = recall = edge_recall(built[name], wanted).item()
                metrics[f"{name}_chance"] = chance = chance_recall(built[name])
                if (corrected := corrected_recall(recall, chance)) is not None:
                    metrics[f"{name}_corrected"] = corrected
        return metrics

    def _look(self) -> _Seen:
        generator = torch.Generator().manual_seed(_SEED)
        index = torch.randperm(len(self._set), generator=generator)[:_IMAGES]
        chosen = self._set.select(index.to(self._set.targets.device))
        (batch,) = make_loader(chosen, len(index), shuffle=False, device=self._device)
        inputs = batch.to(self._device).inputs
        tokenize = self._graphs.tokenize
        positions = tokenize.positions(len(index), generator, self._device, mask_of(inputs))
        with evaluating(self._teacher):
            tokens = tokenize.of_teacher(self._teacher(inputs).features[-1].float(), positions)
        graphs = {name: graph for name, graph in self._build(tokens).items() if graph.num_edges}
        return _Seen(inputs, positions, graphs)

    def _build(self, tokens: Tensor) -> dict[str, Batch]:
        own = self._graphs.edges.scope
        graphs = {"graph/edge_recall": self._graphs.graph(tokens, own)}
        if own == "batch":
            graphs["graph/edge_recall_image"] = self._graphs.graph(tokens, "image")
        return {name: graph for name, graph in graphs.items() if graph is not None}


def graph_probe(study: Study, distiller: Distiller, teacher: TappedModel | None) -> GraphProbe | None:
    """Return what measures a method's token graphs; ``None`` where it has none, or nobody asks for it.

    Args:
        study: its test images, device and choice.
        distiller: the method.
        teacher: tapped as the method looks at it.
    """
    if not study.config.graph_metrics or teacher is None or (graphs := distiller.token_graphs) is None:
        return None
    return GraphProbe(study.splits.test, graphs, teacher, study.device)
