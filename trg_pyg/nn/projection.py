"""Projections that bring two networks to one width."""

import torch
from torch import Tensor, nn

from trg_pyg.errors import require
from trg_pyg.tokens.normalize import check_type, full_precision


class Projection(nn.Linear):
    """A linear map of tokens to the width in which they are compared, computed in float32 at least.

    Args:
        in_dim: width of the tokens.
        out_dim: width to compare in.

    Raises:
        InputError: a width is not positive.
    """

    def __init__(self, in_dim: int, out_dim: int = 128) -> None:
        require(in_dim >= 1 and out_dim >= 1, f"projection from {in_dim} to {out_dim}: widths must be at least 1")
        super().__init__(in_dim, out_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[..., in_dim]`` to ``[..., out_dim]``.

        Raises:
            InputError: the tokens have another width or precision than the projection.
        """
        tokens = full_precision(tokens)
        require(
            tokens.dim() >= 1 and tokens.shape[-1] == self.in_features,
            f"tokens {tuple(tokens.shape)} for a projection from width {self.in_features}: "
            "make it for the width of the tokens",
        )
        check_type(tokens, self.weight)
        with torch.autocast(tokens.device.type, enabled=False):
            return super().forward(tokens)
