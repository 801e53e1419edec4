"""TRG's inner-instance contextual loss."""

from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_dense_batch

from trg_pyg.errors import check_choice, require
from trg_pyg.graphs.edges import dot_products
from trg_pyg.losses.base import DistillationLoss
from trg_pyg.losses.segments import segment_log_softmax
from trg_pyg.tokens.normalize import full_precision


class ContextualLoss(DistillationLoss):
    r"""How each token of an image sees the others, student against teacher: L_inner of TRG (arXiv 2306.12442).

    .. math:: CS = \mathrm{softmax}\big(F F^\top / \sqrt{D}\big), \qquad L_{inner} = \mathrm{MSE}(CS_T, CS_S)

    with F the ``[n, D]`` tokens of an image and the softmax along a row. The mean runs over all entries of all images.

    Args:
        structure: ``"dense"``: rows over all tokens of the image, itself included (paper). ``"graph"``: the same
            row softmax restricted to the edges into a token; both graphs need the same edges. With a complete graph
            with self loops the two are equal.

    Shapes:
        - two graphs of the same images with ``x`` ``[M, D_S]`` and ``[M, D_T]``, and ``batch``;
          ``"graph"`` needs ``edge_index`` too

    Raises:
        InputError: there is no such structure, or the graphs have different nodes or, for ``"graph"``, edges.
    """

    def __init__(self, structure: Literal["dense", "graph"] = "graph") -> None:
        super().__init__()
        check_choice("structure", structure, ("dense", "graph"))
        self.structure = structure

    def forward(self, student: Data, teacher: Data) -> Tensor:
        """Return the mean squared difference, 0 where the tokens are equal."""
        require(
            student.num_nodes == teacher.num_nodes,
            f"student graph of {student.num_nodes} nodes, teacher graph of {teacher.num_nodes}: "
            "take the tokens of both at the same positions",
        )
        with torch.autocast(student.x.device.type, enabled=False):
            if self.structure == "dense":
                return self._dense(student, teacher)
            require(
                student.edge_index is teacher.edge_index or torch.equal(student.edge_index, teacher.edge_index),
                "structure=graph compares rows over the same edges: score the student on the teacher's edges "
                "(GraphBuilder.reweight), or use structure=dense",
            )
            difference = _edge_similarity(student) - _edge_similarity(teacher).detach()
            return difference.square().mean()

    def _dense(self, student: Data, teacher: Data) -> Tensor:
        (cs_student, pairs), (cs_teacher, _) = _dense_similarity(student), _dense_similarity(teacher)
        return (cs_student - cs_teacher.detach()).square().sum() / pairs


def _edge_similarity(graph: Data) -> Tensor:
    x = full_precision(graph.x)
    logits = dot_products(x, graph.edge_index) / x.shape[-1] ** 0.5
    return segment_log_softmax(logits, graph.edge_index[1], graph.num_nodes).exp()


def _dense_similarity(graph: Data) -> tuple[Tensor, Tensor | int]:
    """Contextual similarity ``[images, n, n]``, 0 beyond an image's tokens, and the number of pairs that it holds."""
    x = full_precision(graph.x)
    sizes = graph.ptr.diff() if "ptr" in graph else torch.tensor([graph.num_nodes])
    tokens, exists = to_dense_batch(x, graph.batch)
    pair = exists.unsqueeze(1) & exists.unsqueeze(2)
    logits = tokens @ tokens.transpose(1, 2) / x.shape[-1] ** 0.5
    similarity = logits.masked_fill(~exists.unsqueeze(1), -torch.inf).softmax(-1)
    return similarity.masked_fill(~pair, 0.0), sizes.square().sum()
