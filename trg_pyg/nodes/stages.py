"""Images as nodes in several layers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from trg_pyg.errors import InputError, require
from trg_pyg.models.taps import FeatureInfo, NetworkInfo, Outputs
from trg_pyg.nodes.base import NodePair, Nodes
from trg_pyg.step import Step
from trg_pyg.tokens.maps import as_map, common_grid, pool_to_grid


class StageMaps(Nodes):
    """One node for each image in each of several layers, layer after layer: for relations between layers.

    So that layers of a network compare, their maps are averaged to the coarsest grid among them and to the fewest
    channels, neighbouring channels together, and flattened.

    Args:
        student: the student's features.
        teacher: the teacher's.
        stages: indices of the taps, the same for both networks: -1 is the last.

    Raises:
        InputError: there are fewer than two stages, or a network lacks one.
    """

    def __init__(self, student: NetworkInfo, teacher: NetworkInfo, stages: Sequence[int] = (-2, -1)) -> None:
        super().__init__()
        require(len(stages) >= 2, f"stages={list(stages)}: relations between layers need at least two of them")
        self.stages, self.layers = tuple(stages), len(stages)
        self.student = [at_stage(student, stage, "student") for stage in stages]
        self.teacher = [at_stage(teacher, stage, "teacher") for stage in stages]
        self.student_dim, self.teacher_dim = _width(self.student), _width(self.teacher)

    def forward(self, student: Outputs, teacher: Outputs, step: Step) -> NodePair:
        """Return ``[1, layers B, D]`` of each network."""
        return NodePair(self._stack(student, self.student), self._stack(teacher, self.teacher).detach())

    def _stack(self, outputs: Outputs, infos: list[FeatureInfo]) -> Tensor:
        grid, channels = _common(infos)
        layers = []
        for stage, info in zip(self.stages, infos, strict=True):
            cells = pool_to_grid(as_map(outputs.features[stage], info), grid).flatten(2).transpose(1, 2)
            layers.append((cells if info.channels == channels else adaptive_avg_pool1d(cells, channels)).flatten(1))
        return torch.cat(layers).unsqueeze(0)


def at_stage(network: NetworkInfo, stage: int, owner: str) -> FeatureInfo:
    """Return the tap at an index, or raise :class:`~trg_pyg.errors.InputError` with the taps that there are."""
    taps = network.features
    if not -len(taps) <= stage < len(taps):
        found = ", ".join(tap.path for tap in taps) or "none"
        raise InputError(
            f"stage {stage} of the {owner}, which has {len(taps)} tapped features ({found}): "
            f"choose another stage, or name more modules in {owner}.taps"
        )
    return taps[stage]


def _common(infos: list[FeatureInfo]) -> tuple[tuple[int, ...], int]:
    grid = infos[0].grid
    for info in infos[1:]:
        grid = common_grid(grid, info.grid)
    return grid, min(info.channels for info in infos)


def _width(infos: list[FeatureInfo]) -> int:
    grid, channels = _common(infos)
    return channels * math.prod(grid)
