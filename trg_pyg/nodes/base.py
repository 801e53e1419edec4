"""The contract of nodes."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from trg_pyg.models.taps import Outputs
from trg_pyg.step import Step


class NodePair(NamedTuple):
    """The nodes of G graphs of N nodes each, the same for both networks.

    Attributes:
        student: ``[G, N, D_S]``.
        teacher: ``[G, N, D_T]``.
    """

    student: Tensor
    teacher: Tensor


class Nodes(nn.Module, ABC):
    """What the graphs of a relational method are made of, out of the outputs of two networks.

    The teacher's outputs are detached here, so that nodes which embed them can learn the embedding.

    Attributes:
        per_image: each image is a graph of its own (tokens); otherwise the images of a batch form one graph.
        num_tokens: nodes of an image, where each image is a graph of its own.
        layers: number of layers of a network that the nodes come from, layer after layer.
        student_dim: D_S.
        teacher_dim: D_T.
        frozen_teacher: nothing that learns lies between the teacher's outputs and its nodes.
    """

    per_image: bool = False
    num_tokens: int | None = None
    layers: int = 1
    student_dim: int
    teacher_dim: int
    frozen_teacher: bool = True

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return the nodes of a batch."""

    def labels(self, target: Tensor, nodes: int) -> Tensor:
        """Return the class of each of N nodes of each graph, ``[G, N]``, from those of the images, ``[B]``."""
        if self.per_image:
            return target.unsqueeze(1).expand(-1, nodes)
        return target.repeat(nodes // len(target)).unsqueeze(0)
