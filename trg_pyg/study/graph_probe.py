"""How much of its teacher's token graphs a student has, measured while it trains."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from trg_pyg.data.base import ImageSource
from trg_pyg.data.loader import make_loader
from trg_pyg.distillers.base import Distiller
from trg_pyg.distillers.trg import TRG
from trg_pyg.graphs.base import Scope
from trg_pyg.graphs.recall import edge_recall
from trg_pyg.models.taps import TappedModel
from trg_pyg.study.study import Study
from trg_pyg.study.token_graphs import TokenGraphs
from trg_pyg.training.metrics import evaluating

_IMAGES = 64
# Of the probe's images and tokens: another number gives other ones, the same for every run.
_SEED = 0


class _Seen(NamedTuple):
    """What the student is compared with.

    Attributes:
        images: uint8 ``[B, 3, H, W]``.
        positions: tokens of each that are joined, ``[B, n]``.
        graphs: the teacher's, by name of the metric.
    """

    images: Tensor
    positions: Tensor
    graphs: dict[str, Batch]


class GraphProbe:
    """Edge recall of a student's kNN token graphs on a few images that are not trained on.

    The images and the tokens of each are the same for every run and epoch, so the figures can be compared as far as K,
    the number of tokens and the scope are. Called with a student in evaluation mode, it returns shares in [0, 1] of the
    teacher's edges that the student has too:

    * ``graph/edge_recall``: of the graph of the method's scope, by default over all tokens of the images;
    * ``graph/edge_recall_image``: of the images' own graphs, where the scope is the batch.

    A graph that cannot be, of K tokens or fewer, has none. Nothing is drawn from a generator that others use.

    Args:
        images: 64 of them are looked at, or all if they are fewer.
        graphs: how tokens are joined.
        teacher: trained; looked at once, at the first call.
        device: where both networks are.
    """

    def __init__(self, images: ImageSource, graphs: TokenGraphs, teacher: TappedModel, device: torch.device) -> None:
        self._set, self._graphs, self._teacher, self._device = images, graphs, teacher, device
        self._seen: _Seen | None = None

    @torch.no_grad()
    def __call__(self, student: TappedModel) -> dict[str, float]:
        """Return the metrics of a student."""
        if self._seen is None:
            self._seen = self._look()
        images, positions, graphs = self._seen
        tokens = self._graphs.tokenize.of_student(student(images).features[-1].float(), positions)
        built = {name: self._graphs.builder(scope)(tokens) for name, scope in self._scopes(tokens).items()}
        return {name: edge_recall(built[name], wanted).item() for name, wanted in graphs.items()}

    def _look(self) -> _Seen:
        generator = torch.Generator().manual_seed(_SEED)
        index = torch.randperm(len(self._set), generator=generator)[:_IMAGES]
        chosen = self._set.select(index.to(self._set.targets.device))
        ((images, _, _),) = make_loader(chosen, len(index), shuffle=False, device=self._device)
        images = images.to(self._device)
        tokenize = self._graphs.tokenize
        positions = tokenize.positions(len(index), generator, self._device)
        with evaluating(self._teacher):
            tokens = tokenize.of_teacher(self._teacher(images).features[-1].float(), positions)
        graphs = {name: self._graphs.builder(scope)(tokens) for name, scope in self._scopes(tokens).items()}
        return _Seen(images, positions, graphs)

    def _scopes(self, tokens: Tensor) -> dict[str, Scope]:
        images, per_image, _ = tokens.shape
        own = self._graphs.scope
        scopes: dict[str, Scope] = {"graph/edge_recall": own}
        if own == "batch":
            scopes["graph/edge_recall_image"] = "image"
        nodes = {"image": per_image, "batch": images * per_image}
        return {name: scope for name, scope in scopes.items() if self._graphs.k < nodes[scope]}


def graph_probe(study: Study, distiller: Distiller, teacher: TappedModel | None) -> GraphProbe | None:
    """Return what measures a method's token graphs; ``None`` where it has none, or nobody asks for it.

    Args:
        study: its test images, device and choice.
        distiller: the method; TRG and its subclasses have token graphs.
        teacher: tapped as the method looks at it.
    """
    if not study.config.graph_metrics or not isinstance(distiller, TRG) or teacher is None:
        return None
    tokenize = distiller.tokenize
    graphs = TokenGraphs.of(distiller, tokenize.student, tokenize.teacher)
    return GraphProbe(study.splits.test, graphs, teacher, study.device)
