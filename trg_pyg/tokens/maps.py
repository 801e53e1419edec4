"""Feature maps and token sequences as one thing: a map."""

from einops import rearrange
from torch import Tensor

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
