"""Instance relationship graphs."""

from collections.abc import Sequence
from typing import Any, ClassVar

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.pointwise import MSE
from trg_pyg.errors import require
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.graphs.layers import LayerGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.images import FlattenedMaps, Probabilities
from trg_pyg.nodes.stages import StageMaps
from trg_pyg.relations.carried import NodeFeatures
from trg_pyg.relations.kernels import Distance
from trg_pyg.relations.scaled import Scaled


class IRG(TermDistiller):
    r"""Graphs of the images of a batch, and how they change between layers (Liu et al., CVPR 2019).

    .. math:: L = L_{CE} + \lambda_1 \lVert z_T - z_S \rVert^2
        + \lambda_2 \sum_l \lVert A_T(L) - A_S(l) \rVert^2 + \lambda_3 \lVert \Lambda_T - \Lambda_S \rVert^2

    :math:`A(l)` holds the squared distances between the images' flattened maps of layer l, :math:`\Lambda_i` the
    squared distance of image i between two layers, each divided by its largest value; squared norms are means. The
    teacher's last layer L is compared with each chosen layer of the student. Layers of one network are brought to one
    shape by averaging grids and neighbouring channels.

    The weights are the figures of a public PyTorch port (Knowledge-Distillation-Zoo), which divides lambda_2 by its
    three graphs and compares equal layers; here each chosen layer has all of it.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        vertex_weight: lambda_1, weight of the logits.
        edge_weight: lambda_2, weight of the graphs of each chosen layer.
        transform_weight: lambda_3, weight of the change between layers.
        layers: the student's chosen layers, as indices of its taps, none twice; the change is between the last two
            (ours).
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, a
            network has no such tap, or a layer is chosen twice.
    """

    taps: ClassVar[Taps] = "stages"
    by_rows = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        vertex_weight: float = 0.1,
        edge_weight: float = 5.0,
        transform_weight: float = 5.0,
        layers: Sequence[int] = (-2, -1),
        **options: Any,
    ) -> None:
        teacher = check_networks(student, teacher)
        check_weights(vertex_weight=vertex_weight, edge_weight=edge_weight, transform_weight=transform_weight)
        pairs, relation = CompleteGraph(None, self_loops=True), Scaled(Distance(squared=True), by="max")
        logits = Probabilities(student, teacher, softmax=False)
        terms: dict[str, tuple[float, Term]] = {
            "vertex": (vertex_weight, Relational(logits, pairs, NodeFeatures(), MSE()))
        }
        # A term that is off does not ask for its taps.
        chosen: set[int] = set()
        for layer in layers if edge_weight else ():
            maps = FlattenedMaps(student, teacher, student_stage=layer)
            terms[f"edge{layer}"] = (edge_weight, Relational(maps, pairs, relation, MSE()))
            chosen.add(layer % len(student.features))
        require(
            len(chosen) == len(layers) or not edge_weight,
            f"layers={list(layers)}: a layer is chosen twice; raise edge_weight instead",
        )
        if transform_weight:
            between = StageMaps(student, teacher, (-2, -1))
            terms["transform"] = (transform_weight, Relational(between, LayerGraph(2, None), relation, MSE()))
        super().__init__(student, teacher, terms=terms, **options)
