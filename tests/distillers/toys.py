"""Networks of which nothing counts but what a test gives them, and batches of a training set."""

import torch
from inputs import generator
from torch import Tensor, nn

from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.step import Step

LABELS = torch.arange(30) % 5  # of a training set


def with_maps(*maps: Tensor) -> tuple[NetworkInfo, Outputs]:
    """A convolutional network with these maps, ``[B, C, H, W]`` each."""
    taps = [FeatureInfo(f"layer{i}", "map", x.shape[1], (x.shape[2], x.shape[3])) for i, x in enumerate(maps)]
    return NetworkInfo(5, tuple(taps)), Outputs(maps[0].new_zeros(len(maps[0]), 5), maps)


def with_embedding(embedding: Tensor) -> tuple[NetworkInfo, Outputs]:
    """A network without a tap, of embeddings ``[B, D]``."""
    return NetworkInfo(5, (), embedding.shape[1]), Outputs(embedding.new_zeros(len(embedding), 5), (), embedding)


def leaves(student: Outputs, teacher: Outputs, distiller: nn.Module | None = None) -> list[Tensor]:
    """All that could have a gradient."""
    outputs = [x for o in (student, teacher) for x in (o.logits, *o.features, o.embedding)]
    return [*outputs, *(distiller.parameters() if distiller else ())]


def batch(index: list[int], seed: int = 0, labels: Tensor = LABELS) -> Step:
    """A step on these images of the training set, half way through the training."""
    return Step(labels[index], 0.5, generator(seed), torch.tensor(index))
