"""Manifold distillation."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from trg_pyg.distillers.base import Taps, check_networks, check_weights
from trg_pyg.distillers.relational import Relational
from trg_pyg.distillers.terms import Term, TermDistiller
from trg_pyg.divergences.pointwise import MSE
from trg_pyg.errors import require
from trg_pyg.graphs.complete import CompleteGraph
from trg_pyg.graphs.place import PlaceGraph
from trg_pyg.models.taps import NetworkInfo
from trg_pyg.nodes.tokens import Tokens
from trg_pyg.relations.kernels import Cosine


class ManifoldKD(TermDistiller):
    r"""Cosines of tokens within images, at one place of all, and of a few at random (Hao et al., arXiv 2107.01378).

    .. math:: L = L_{CE} + \frac{1}{\lvert \mathcal{L} \rvert} \sum_{l \in \mathcal{L}} \big(
        w_i \, \mathrm{MSE}_{b, n, m}(\cos_{bn, bm}) + w_p \, \mathrm{MSE}_{n, a, b}(\cos_{an, bn})
        + w_r \, \mathrm{MSE}_{i, j}(\cos_{ij}) \big)

    where cos is the cosine of two tokens of the student, less that of the teacher. Nodes: tokens of each layer l.
    Edges: all pairs, loops included, of an image, of a place, of a sample of the batch. Relation: cosine. Divergence:
    squared error. Of TRG's relatives it is the nearest: it has no neighbours, and no learned projection.

    Weights are those of the public code for a DeiT-Ti under a CaiT-S24, whose layers are the first and the last four of
    each network: (0, 1, 2, 3, -4, -3, -2, -1). It trains so with ``kd_weight`` 1, ``tau`` 1 and ``ce_weight`` 0, which
    are left to the options here, as for all methods. Its sample are 192 tokens of the batch; here it is as many of
    each image, 192 of 64 images by default. An early map of a convolutional network has many tokens, and the edges
    within images are their number squared: by default the last layer alone is compared.

    Args:
        student: the student's classes and features.
        teacher: the teacher's.
        image_weight: w_i, weight of the pairs within an image.
        place_weight: w_p, weight of the pairs at one place of all images.
        random_weight: w_r, weight of the pairs of sampled tokens.
        random_tokens: tokens that are sampled of each image in each step.
        layers: the layers, as indices of the taps of both networks, none twice.
        **options: ce_weight, kd_weight and tau of TermDistiller.

    Raises:
        InputError: a weight is negative, tau is not positive, the networks have different numbers of classes, a network
            has no such tap, no token is to be sampled, or there is no layer or one twice.
    """

    taps: ClassVar[Taps] = "stages"

    def __init__(
        self,
        student: NetworkInfo,
        teacher: NetworkInfo | None,
        *,
        image_weight: float = 4.0,
        place_weight: float = 0.1,
        random_weight: float = 0.2,
        random_tokens: int = 3,
        layers: Sequence[int] = (-1,),
        **options: Any,
    ) -> None:
        teacher = check_networks(student, teacher)
        check_weights(image_weight=image_weight, place_weight=place_weight, random_weight=random_weight)
        chosen, taps = set(), max(len(student.features), 1)
        terms: dict[str, tuple[float, Term]] = {}
        for layer in layers:
            tokens = Tokens(student, teacher, stage=layer)
            sample = Tokens(student, teacher, tokens_per_image=random_tokens, stage=layer)
            places, cosine = math.prod(tokens.grid), Cosine()
            pairs, of_sample = (
                CompleteGraph(None, self_loops=True),
                CompleteGraph(None, self_loops=True, scope="batch"),
            )
            for name, weight, term in (
                ("image", image_weight, Relational(tokens, pairs, cosine, MSE())),
                ("place", place_weight, Relational(tokens, PlaceGraph(places, None), cosine, MSE())),
                ("random", random_weight, Relational(sample, of_sample, cosine, MSE())),
            ):
                terms[f"{name}{layer}"] = (weight / len(layers), term)
            chosen.add(layer % taps)
        require(
            0 < len(chosen) == len(layers),
            f"layers={list(layers)}: choose at least one, and none twice",
        )
        super().__init__(student, teacher, terms=terms, **options)
