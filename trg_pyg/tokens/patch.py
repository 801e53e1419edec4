"""Maps cut in patches."""

from einops import rearrange
from torch import Tensor

from trg_pyg.errors import require


def check_patch(grid: tuple[int, int], patch: int) -> None:
    """Raise :class:`~trg_pyg.errors.InputError` unless ``patch`` x ``patch`` cells tile ``grid``."""
    height, width = grid
    require(patch >= 1, f"patch={patch}: a patch has at least 1 x 1 cells")
    divisors = [p for p in range(1, min(grid) + 1) if height % p == 0 and width % p == 0]
    require(
        patch in divisors,
        f"patch={patch} does not divide the {height}x{width} feature grid; "
        f"patch sizes that do: {', '.join(map(str, divisors))}",
    )


def patchify(feature_map: Tensor, patch: int = 1) -> Tensor:
    """Cut a feature map in square patches; each patch, flattened, is a token (TRG, arXiv 2306.12442).

    Args:
        feature_map: ``[B, C, H, W]``.
        patch: edge p of a patch, in cells of the map.

    Returns:
        Tokens ``[B, (H / p)(W / p), C p^2]``, row by row.

    Raises:
        InputError: there is no such map, or the patch does not divide the grid.
    """
    require(
        feature_map.dim() == 4 and feature_map.numel() > 0,
        f"feature map {tuple(feature_map.shape)}: give [images, channels, height, width], none of them 0",
    )
    height, width = feature_map.shape[-2:]
    check_patch((height, width), patch)
    return rearrange(feature_map, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)
