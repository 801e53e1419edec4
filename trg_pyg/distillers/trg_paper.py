"""TRG's objective as the paper prints it."""

from typing import Any, Literal

from trg_pyg.distillers.trg import TRG
from trg_pyg.losses.temperature import Curve
from trg_pyg.models.taps import NetworkInfo


class TRGPaper(TRG):
    """Preset ``trg_paper``: the objective that the paper prints (arXiv 2306.12442), without our additions.

    Contextual similarity over all tokens of an image; each network on its own graph over the batch; softmax over all
    nodes; KL(S || T); no graph-level matching. It differs from the paper in two points, both of them options: tokens
    are scaled to unit length before distances (``normalize``), and sums over tokens are means (``reduction``), so
    that weights do not depend on the number of tokens. The paper's loss weights are not known; these are ours.

    Args:
        student: the student's classes and tapped features.
        teacher: the teacher's.
        alpha: weight of L_inner; its mean runs over n^2 entries that are near 1 / n.
        beta: weight of L_local; with support over all nodes its value is about 0.005 a node.
        gamma: weight of L_global.
        delta: weight of L_graph, off.
        local_support: see TRG.
        local_edges: see TRG.
        local_direction: see TRG.
        local_temperature: see TRG.
        inner_structure: see TRG.
        tau_start: temperature of L_global at the start of training: high first, to learn coarse topology.
        tau_end: at the end: low, for hard negatives. The paper names no values; these are ours.
        tau_curve: see TRG.
        **options: every other option of TRG.
    """

    by_rows = TRG.by_rows

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        alpha: float = 16.0,
        beta: float = 50.0,
        gamma: float = 0.5,
        delta: float = 0.0,
        local_support: Literal["all", "neighbors"] = "all",
        local_edges: Literal["own", "teacher"] = "own",
        local_direction: Literal["teacher", "student"] = "student",
        local_temperature: float = 1.0,
        inner_structure: Literal["dense", "graph"] = "dense",
        tau_start: float = 0.5,
        tau_end: float = 0.07,
        tau_curve: Curve = "cosine",
        **options: Any,
    ) -> None:
        super().__init__(
            student,
            teacher,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            delta=delta,
            local_support=local_support,
            local_edges=local_edges,
            local_direction=local_direction,
            local_temperature=local_temperature,
            inner_structure=inner_structure,
            tau_start=tau_start,
            tau_end=tau_end,
            tau_curve=tau_curve,
            **options,
        )
