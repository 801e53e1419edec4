"""A network that ends in the classifier of another one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from trg_pyg.errors import require

_GRID = ".grid"


class Projected(nn.Module):
    """A stage of a network, and behind it a projector to the channels and the grid of another network's map.

    What is tapped of it is the stage.

    Args:
        stage: gives a map ``[B, C, H, W]``.
        projector: see :func:`make_projector`.
        grid: that a finer map is averaged to before it is projected.
    """

    grid: Tensor

    def __init__(self, stage: nn.Module, projector: nn.Module, grid: tuple[int, int]) -> None:
        super().__init__()
        self.stage, self.projector, self._size = stage, projector, grid
        self.register_buffer("grid", torch.tensor(grid))  # for a file, which has no other place for it

    @property
    def tapped(self) -> nn.Module:
        """The module that is read where this one is tapped."""
        return self.stage

    def forward(self, x: Tensor) -> Tensor:
        """Return the projected map ``[B, C', H', W']``."""
        found: Tensor = self.stage(x)
        if tuple(found.shape[2:]) != tuple(self._size):
            found = adaptive_avg_pool2d(found, self._size)
        projected: Tensor = self.projector(found)
        return projected


def make_projector(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Return convolutions of 1x1, 3x3 and 1x1, each with batch norm and ReLU (SimKD, arXiv 2203.14001).

    Args:
        in_channels: of the map.
        width: channels in between.
        out_channels: of the result.

    Raises:
        InputError: a number is not positive.
    """
    require(
        min(in_channels, width, out_channels) >= 1,
        f"projector from {in_channels} over {width} to {out_channels} channels: each is at least 1",
    )
    layers: list[nn.Module] = []
    for before, behind, kernel in (
        (in_channels, width, 1),
        (width, width, 3),
        (width, out_channels, 1),
    ):
        layers += [
            nn.Conv2d(before, behind, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(behind),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def widen(classifier: nn.Linear, width: int) -> None:
    """Let a classifier take embeddings of another width, in place: with a bias, its weights are 0 and do not learn."""
    classes, like = classifier.out_features, classifier.weight
    classifier.in_features = width
    classifier.weight = nn.Parameter(like.new_zeros(classes, width), requires_grad=False)
    classifier.bias = nn.Parameter(like.new_zeros(classes), requires_grad=False)


def restore_projector(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network the projector, and the classifier of another width, that a state dict says it had; in place.

    Args:
        model: built as it was before it was trained.
        state: of any network; without a projector nothing happens.
    """
    for name in state:
        path = name.removesuffix(_GRID)
        shapes = [state.get(f"{path}.projector.{place}.weight") for place in (0, 6)]
        if path == name or shapes[0] is None or shapes[1] is None or path not in dict(model.named_modules()):
            continue
        (width, in_channels), out_channels = shapes[0].shape[:2], shapes[1].shape[0]
        height, breadth = state[name].tolist()
        stage = model.get_submodule(path)
        if not isinstance(stage, Projected):
            projector = make_projector(in_channels, width, out_channels)
            model.set_submodule(path, Projected(stage, projector, (height, breadth)))
        for other, module in model.named_modules():
            weight, bias = (state.get(f"{other}.{kind}") for kind in ("weight", "bias"))
            if not isinstance(module, nn.Linear) or weight is None or weight.shape[1:] != (out_channels,):
                continue
            if module.in_features != out_channels or (module.bias is None and bias is not None):
                widen(module, out_channels)
