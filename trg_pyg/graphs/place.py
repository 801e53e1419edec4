"""What joins the tokens at one place of all images."""

from typing import ClassVar

import torch
from torch import Tensor

from trg_pyg.errors import require
from trg_pyg.graphs.base import GraphBuilder
from trg_pyg.relations.base import EdgeRelation
from trg_pyg.relations.kernels import Gaussian


class PlaceGraph(GraphBuilder):
    """Joins each token of a batch to those at the same place in all images, itself included: a graph of the batch.

    Args:
        places: tokens of an image, the same ones in the same order in all images.
        weight: weight of an edge.
        normalize: unit-length tokens before weights.

    Raises:
        InputError: there is no place; or, on building, the tokens are not a multiple of the places.
    """

    regular: ClassVar[bool] = True

    def __init__(
        self,
        places: int,
        weight: EdgeRelation | None = Gaussian(),  # noqa: B008 - a weight has no state
        *,
        normalize: bool = True,
    ) -> None:
        super().__init__(weight, normalize=normalize, scope="batch")
        require(places >= 1, f"places={places}: an image has at least 1 token")
        self.places = places

    def connect(self, x: Tensor) -> Tensor:
        """Return the edges of B graphs of N nodes each, sorted by target, then source."""
        graphs, nodes, _ = x.shape
        require(
            nodes % self.places == 0,
            f"{nodes} tokens of images of {self.places}: give all tokens of each image, row by row",
        )
        target = torch.arange(graphs * nodes, device=x.device)
        same = torch.arange(0, nodes, self.places, device=x.device)
        source = (target - target % nodes + target % nodes % self.places).unsqueeze(1) + same
        return torch.stack([source.flatten(), target.repeat_interleave(len(same))])

    def num_edges(self, nodes: int) -> int:
        """Return as many edges into each node as there are images."""
        return nodes * (nodes // self.places)
