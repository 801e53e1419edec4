"""Features of two networks as maps on one grid."""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_avg_pool3d

from trg_pyg.errors import require
from trg_pyg.models.taps import FeatureInfo


def as_map(feature: Tensor, info: FeatureInfo) -> Tensor:
    """Bring a tapped feature to the layout of a convolutional map.

    A vision transformer's patch tokens lie on a grid, so they are a map; class, distillation and register tokens do
    not, and are dropped.

    Args:
        feature: what the tap returned, laid out as ``info.layout`` says.
        info: shape of the tap.

    Returns:
        ``[B, C, H, W]``; of a volume ``[B, C, T, H, W]``.

    Raises:
        InputError: the feature has not the shape that ``info`` promises.
    """
    require(
        tuple(feature.shape[1:]) == info.shape,
        f"tap {info.path}: feature of shape {tuple(feature.shape[1:])} an image where {info.shape} was described; "
        "describe the network again with the image size in use",
    )
    if info.layout in ("map", "volume"):
        return feature
    if info.layout == "map_last":
        return rearrange(feature, "b h w c -> b c h w")
    return rearrange(feature[:, info.prefix_tokens :], "b (h w) c -> b c h w", h=info.grid[0])


def common_grid(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Return the grid ``(H, W)``, or ``(T, H, W)``, that both networks are brought to: the coarser one on each axis.

    Raises:
        InputError: one is of a map and one of a volume.
    """
    require(
        len(first) == len(second),
        f"features on {shown_grid(first)} and on {shown_grid(second)} have other axes; tap maps of both networks, or "
        "volumes of both",
    )
    return tuple(map(min, zip(first, second, strict=True)))


def shown_grid(grid: Sequence[int]) -> str:
    """Return a grid for a reader, ``8x8``."""
    return "x".join(map(str, grid))


def plane_of(grid: Sequence[int]) -> tuple[int, int]:
    """Return the ``(H, W)`` of a grid that has no times.

    Raises:
        InputError: it has.
    """
    require(
        len(grid) == 2,
        f"features on {shown_grid(grid)}, cells in time and place, where maps of images are needed; methods of tokens, "
        "embeddings or logits take clips",
    )
    return grid[0], grid[1]


def pool_to_grid(feature_map: Tensor, grid: Sequence[int]) -> Tensor:
    """Bring a map to a coarser grid by adaptive average pooling; a map that is on the grid is returned as it is.

    Args:
        feature_map: ``[B, C, H, W]``, or a volume ``[B, C, T, H, W]``.
        grid: ``(H', W')`` with H' <= H and W' <= W; of a volume T' <= T before them.

    Returns:
        ``[B, C, H', W']``, or ``[B, C, T', H', W']``.

    Raises:
        InputError: there is no such map, it is no floating-point one, or the grid is finer than its own.
    """
    require(
        feature_map.dim() in (4, 5) and feature_map.numel() > 0 and feature_map.is_floating_point(),
        f"feature map {tuple(feature_map.shape)} of type {feature_map.dtype}: give a floating-point map [images, "
        "channels, height, width], none of them 0",
    )
    own = feature_map.shape[2:]
    require(
        len(grid) == len(own) and all(1 <= side <= most for side, most in zip(grid, own, strict=True)),
        f"grid {shown_grid(grid)} for a map on {shown_grid(own)}: averaging only makes it coarser; choose at most its "
        "own height and width, and at least 1",
    )
    if tuple(own) == tuple(grid):
        return feature_map
    if len(grid) == 3:
        return adaptive_avg_pool3d(feature_map, (grid[0], grid[1], grid[2]))
    return adaptive_avg_pool2d(feature_map, (grid[0], grid[1]))
