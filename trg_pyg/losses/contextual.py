"""TRG's inner-instance contextual loss."""

from typing import ClassVar, Literal

from torch import Tensor
from torch_geometric.data import Data

from trg_pyg.divergences.pointwise import MSE
from trg_pyg.errors import check_choice
from trg_pyg.graphs.batch import replace_nodes
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.losses.relational import RelationalLoss
from trg_pyg.relations.base import layout_of
from trg_pyg.relations.kernels import Cosine, DotProduct
from trg_pyg.relations.softmax import Softmax
from trg_pyg.step import Step


class ContextualLoss(RelationalLoss):
    r"""How each token of an image sees the others, student against teacher: L_inner of TRG (arXiv 2306.12442).

    .. math:: CS = \mathrm{softmax}\big(F F^\top / \sqrt{D}\big), \qquad L_{inner} = \mathrm{MSE}(CS_T, CS_S)

    with F the ``[n, D]`` tokens of an image and the softmax along a row. The mean runs over all entries of all images.
    As a composition: dot product over the square root of D, softmax, MSE.

    With a ``temperature`` t the tokens are of unit length, and :math:`CS = \mathrm{softmax}(\hat F \hat F^\top / t)`
    (ours): the dot products of long tokens make a softmax that chooses one neighbour, and pass on no more than which.

    Args:
        structure: ``"dense"``: rows over all tokens of the image, itself included (paper); edges do not matter.
            ``"graph"``: the same row softmax restricted to the edges into a token; both graphs need the same edges.
            With a complete graph with self loops the two are equal.
        temperature: of the cosines, > 0; ``None`` takes the dot products over :math:`\sqrt{D}` (paper).

    Shapes:
        - two graphs of the same images with ``x`` ``[M, D_S]`` and ``[M, D_T]``, and ``batch``;
          ``"graph"`` needs ``edge_index`` too

    Raises:
        InputError: there is no such structure, the temperature is not positive, or the graphs have different nodes or,
            for ``"graph"``, edges.
    """

    otherwise: ClassVar[str] = ", or use structure=dense"

    def __init__(self, structure: Literal["dense", "graph"] = "graph", temperature: float | None = None) -> None:
        similarity = Softmax(DotProduct(scaled=True)) if temperature is None else Softmax(Cosine(), temperature)
        super().__init__(similarity, MSE())
        check_choice("structure", structure, ("dense", "graph"))
        self.structure = structure
        self.all_tokens = CompleteGraph(None, self_loops=True)

    def forward(self, student: Data, teacher: Data, step: Step | None = None) -> Tensor:
        """Return the mean squared difference, 0 where the tokens are equal."""
        if self.structure == "dense":
            sizes = [layout and (layout.graphs, len(layout.batch)) for layout in map(layout_of, (student, teacher))]
            teacher = self.all_tokens(teacher)
            # Of equal sizes they have the same edges, and nobody need compare them.
            equal = sizes[0] is not None and sizes[0] == sizes[1]
            student = replace_nodes(teacher, student.x) if equal else self.all_tokens(student)
        return super().forward(student, teacher, step)
