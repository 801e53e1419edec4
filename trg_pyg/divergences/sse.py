"""Sums of squared errors."""

from typing import ClassVar

from torch import Tensor

from trg_pyg.divergences.base import Related
from trg_pyg.divergences.pointwise import MSE
from trg_pyg.relations.base import Place
from trg_pyg.step import Step


class SSE(MSE):
    """Squared differences of values, summed over the edges into a node; mean over nodes."""

    accepts: ClassVar[tuple[Place, ...]] = ("edges",)

    def forward(self, student: Related, teacher: Related, step: Step | None = None) -> Tensor:
        """Return the mean over nodes, 0 where there is no edge."""
        graph = teacher.graph
        return super().forward(student, teacher, step) * (graph.edge_index.shape[1] / graph.num_nodes)
