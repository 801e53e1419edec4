"""What a map says as a whole, added to each of its cells."""

import torch
from torch import Tensor, nn

from trg_pyg.errors import require


class GlobalContext(nn.Module):
    r"""The global context block of GCNet (Cao et al., arXiv 1904.11492).

    .. math:: G(F)_x = F_x + W_2\, \mathrm{ReLU}\big(\mathrm{LN}\big(W_1 \sum_y \mathrm{softmax}_y(w F_y) F_y\big)\big)

    Half as many channels within; at the start :math:`W_2` is 0, so that the block changes nothing.

    Args:
        channels: C.

    Shapes:
        ``[B, C, H, W]`` -> ``[B, C, H, W]``.

    Raises:
        InputError: there are fewer than two channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        require(channels >= 2, f"GlobalContext of {channels} channels: give 2 or more, half of which are within")
        inner = channels // 2
        self.score = nn.Conv2d(channels, 1, 1, bias=False)  # a bias would be the same in all cells
        last = nn.Linear(inner, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.change = nn.Sequential(nn.Linear(channels, inner), nn.LayerNorm(inner), nn.ReLU(), last)

    def forward(self, features: Tensor) -> Tensor:
        """Return the map with its context."""
        shares = self.score(features).flatten(1).softmax(1)
        context = torch.einsum("bcn,bn->bc", features.flatten(2), shares)
        changed: Tensor = features + self.change(context)[:, :, None, None]
        return changed
