"""Local structure preserving distillation, on images."""

from typing import Any, ClassVar, Literal

from trg_pyg.distillers.base import check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import TermDistiller
from trg_pyg.divergences.kl import KL
from trg_pyg.errors import check_choice, require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.graphs.grid import GridGraph
from trg_pyg.graphs.knn import KNNGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.tokens import Tokens
from trg_pyg.relations.kernels import Laplace
from trg_pyg.relations.softmax import Softmax
from trg_pyg.tasks.base import Task
from trg_pyg.tokens.maps import plane_of


class LSP(TermDistiller):
    r"""How like its neighbours each node is (Yang et al., arXiv 2003.10477), with the tokens of an image as nodes.

    The method takes a graph as given, and a token has one: the tokens beside it in the image. Kernel
    :math:`\exp(-\lVert x_i - x_j \rVert_1 / 100)` as in its public code, softmax over the neighbourhood, KL(T || S),
    mean over nodes.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        weight: weight of the local structure term.
        patch: edge of a token, in cells of the feature grid common to both networks.
        edges: neighbours in the image (grid, eight around a token), or the teacher's nearest tokens of the image (knn).
        k: neighbours of a token with knn, or all others of its image where they are fewer.
        scale: of the kernel, in units of the distance.
        **options: ce_weight, kd_weight, tau, standardize and decoupled of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, or an
            option is impossible.
    """

    tasks: ClassVar[tuple[type[Task], ...]] = (Task,)
    per_image: ClassVar[bool] = True

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        weight: float = 1.0,
        patch: int = 1,
        edges: Literal["grid", "knn"] = "grid",
        k: int = 8,
        scale: float = 100.0,
        **options: Any,
    ) -> None:
        check_weights(weight=weight)
        check_choice("edges", edges, ("grid", "knn"))
        tokens = Tokens(student, check_networks(student, teacher), patch)
        require(
            tokens.grid != (1, 1),
            f"patch={patch}: an image of one token has no neighbours; lower patch, or tap a larger map",
        )
        builder: GraphBuilder = (
            KNNGraph(k, None, at_most=True)
            if edges == "knn"
            else GridGraph(*plane_of(tokens.grid), None, diagonal=True)
        )
        super().__init__(
            student,
            teacher,
            terms={"local": (weight, Relational(tokens, builder, Softmax(Laplace(scale)), KL()))},
            **options,
        )
