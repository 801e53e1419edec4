"""One token grid for two networks."""

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


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
    """
    if tuple(feature_map.shape[-2:]) == tuple(grid):
        return feature_map
    return adaptive_avg_pool2d(feature_map, grid)
