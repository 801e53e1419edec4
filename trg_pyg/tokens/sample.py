"""Random choice of tokens: it bounds the size of the graph."""

import torch
from torch import Tensor

from trg_pyg._transfer import to_device
from trg_pyg.errors import require


def sample_positions(
    batch_size: int, num_tokens: int, sampled: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw token positions for every image, without replacement and independently of the other images.

    Args:
        batch_size: number of images B.
        num_tokens: tokens an image has, N.
        sampled: tokens to keep of each image, n.
        generator: CPU generator of the draw; it is not touched where n = N.
        device: where the positions are needed.

    Returns:
        Positions ``[B, n]``, int64, ascending in each row.

    Raises:
        InputError: n is not in 1..N.
    """
    require(
        1 <= sampled <= num_tokens,
        f"{sampled} tokens to sample of an image that has {num_tokens}; choose 1 to {num_tokens}, or all",
    )
    if sampled == num_tokens:
        return torch.arange(num_tokens, device=device).expand(batch_size, -1)
    order = torch.rand(batch_size, num_tokens, generator=generator).argsort(dim=1)
    return to_device(order[:, :sampled].sort(dim=1).values, torch.device(device))


def take_tokens(tokens: Tensor, positions: Tensor) -> Tensor:
    """Gather the tokens at ``positions``: ``[B, N, D]`` and ``[B, n]`` give ``[B, n, D]``."""
    return tokens.gather(1, positions.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
