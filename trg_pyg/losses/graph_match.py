"""Graph-level matching after message passing."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from trg_pyg._transfer import can_look
from trg_pyg.divergences.info_nce import info_nce
from trg_pyg.errors import check_choice, check_positive, require
from trg_pyg.graphs.batch import detach_graph
from trg_pyg.losses.base import DistillationLoss
from trg_pyg.nn.gnn import Propagation, Readout, TokenGNN
from trg_pyg.nn.projection import Projection
from trg_pyg.relations.base import (
    PlainGraph,
    check_graph,
    equal_graphs,
    features_of,
    graph_numbers,
    layout_of,
    weights_of,
)
from trg_pyg.step import Share


class GraphMatch(DistillationLoss):
    """Each image's student graph picks the same image's teacher graph out of the batch: L_graph (ours).

    Each network's weighted token graph goes through h hops of message passing, a readout gives one vector an image, a
    linear projection equalises the widths, and InfoNCE compares the images' vectors. The teacher's tokens and edge
    weights are detached; its projection (and GNN) train with the student's.

    Args:
        student_dim: width of a student token.
        teacher_dim: width of a teacher token.
        dim: width of the projections.
        hops: rounds of message passing; 0 reads the tokens out as they are.
        propagation: ``"free"``: weighted averages without parameters. ``"gnn"``: a small learnable network for each
            side.
        readout: ``"mean"``, ``"max"`` or ``"sum"`` over an image's tokens.
        temperature: of InfoNCE.

    Shapes:
        - two PyG batches of B graphs with ``x`` ``[M, D_S]`` and ``[M, D_T]``, ``edge_index`` and ``edge_weight``

    Raises:
        InputError: an option is impossible, or the batches hold different numbers of graphs.
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        dim: int = 128,
        hops: int = 1,
        propagation: Literal["free", "gnn"] = "free",
        readout: Literal["mean", "max", "sum"] = "mean",
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        check_choice("propagation", propagation, ("free", "gnn"))
        check_positive("temperature", temperature)
        self.project_student = Projection(student_dim, dim)
        self.project_teacher = Projection(teacher_dim, dim)
        self.pass_student = Propagation(hops) if propagation == "free" else TokenGNN(student_dim, hops)
        self.pass_teacher = Propagation(hops) if propagation == "free" else TokenGNN(teacher_dim, hops)
        self.readout = Readout(readout)
        self.temperature = temperature

    def forward(self, student: Batch, teacher: Batch, share: Share | None = None) -> Tensor:
        """Return the loss, 0 for a single image; of a share, each of its images among those of all processes."""
        for graph in (student, teacher):
            found = isinstance(graph, Batch | PlainGraph)
            require(found, f"a {type(graph).__name__}: give a PyG Batch, whose graphs are compared")
            check_graph(graph)
        graphs, graphs_t = (graph_numbers(graph)[1] for graph in (student, teacher))
        require(graphs == graphs_t, f"{graphs} student graphs and {graphs_t} teacher graphs: build both from one batch")
        return info_nce(
            self.project_student(self._read(student, self.pass_student)),
            self.project_teacher(self._read(detach_graph(teacher), self.pass_teacher)),
            self.temperature,
            share=share,
        )

    def _read(self, graph: Batch, propagate: nn.Module) -> Tensor:
        nodes = features_of(graph), graph.edge_index, weights_of(graph)
        # PyG's layers take no number of graphs.
        passed = propagate(*nodes, equal_graphs(graph)) if isinstance(propagate, Propagation) else propagate(*nodes)
        numbers, graphs = graph_numbers(graph)
        assert numbers is not None  # of a Batch
        if layout_of(graph) is None and can_look(numbers):
            empty = (torch.bincount(numbers, minlength=graphs) == 0).nonzero().flatten().tolist()
            require(not empty, f"graph {empty[:1]} of the batch has no node to read out: leave it out of both batches")
        return self.readout(passed, numbers, graphs)
