"""Features of two networks as maps on one grid."""

from einops import rearrange
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

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
        ``[B, C, H, W]``.

    Raises:
        InputError: the feature has not the shape that ``info`` promises.
    """
    require(
        tuple(feature.shape[1:]) == info.shape,
        f"tap {info.path}: feature of shape {tuple(feature.shape[1:])} an image where {info.shape} was described; "
        "describe the network again with the image size in use",
    )
    if info.layout == "map":
        return feature
    if info.layout == "map_last":
        return rearrange(feature, "b h w c -> b c h w")
    return rearrange(feature[:, info.prefix_tokens :], "b (h w) c -> b c h w", h=info.grid[0])


def common_grid(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Return the grid ``(H, W)`` that both networks are brought to: the coarser one along each axis."""
    return min(first[0], second[0]), min(first[1], second[1])


def pool_to_grid(feature_map: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring a map to a coarser grid by adaptive average pooling; a map that is on the grid is returned as it is.

    Args:
        feature_map: ``[B, C, H, W]``.
        grid: ``(H', W')`` with H' <= H and W' <= W.

    Returns:
        ``[B, C, H', W']``.

    Raises:
        InputError: there is no such map, it is no floating-point one, or the grid is finer than its own.
    """
    require(
        feature_map.dim() == 4 and feature_map.numel() > 0 and feature_map.is_floating_point(),
        f"feature map {tuple(feature_map.shape)} of type {feature_map.dtype}: give a floating-point map [images, "
        "channels, height, width], none of them 0",
    )
    height, width = feature_map.shape[2:]
    require(
        1 <= grid[0] <= height and 1 <= grid[1] <= width,
        f"grid {grid[0]}x{grid[1]} for a map on {height}x{width}: averaging only makes it coarser; choose at most its "
        "own height and width, and at least 1",
    )
    if tuple(feature_map.shape[-2:]) == tuple(grid):
        return feature_map
    return adaptive_avg_pool2d(feature_map, grid)
