"""How far the probabilities of a network are from how often it is right."""

import torch
from torch import Tensor

from trg_pyg.errors import require


def expected_calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> float:
    r"""Return the expected calibration error, in percent.

    .. math:: 100 \sum_m \frac{|B_m|}{N} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    where :math:`B_m` are the images whose largest probability lies in :math:`((m - 1) / M, m / M]`. Source: Guo et
    al., On Calibration of Modern Neural Networks (ICML 2017), equation 3.

    Args:
        probabilities: softmax of the logits, ``[N, C]``, N >= 1.
        targets: class of each image, int64 ``[N]``.
        bins: M, of equal width, >= 1.

    Raises:
        InputError: the shapes do not match, there is no image or no bin, or the rows do not sum to 1.
    """
    require(bins >= 1, f"bins {bins} is below 1")
    require(
        probabilities.ndim == 2 and len(probabilities) >= 1 and targets.shape == probabilities.shape[:1],
        f"probabilities {list(probabilities.shape)} and targets {list(targets.shape)} must be [N, C] and [N], N >= 1",
    )
    probabilities = probabilities.double()
    sums = probabilities.sum(dim=1)
    require(
        bool((probabilities >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4),
        "probabilities must be at least 0 with rows that sum to 1; take the softmax of logits",
    )
    confidence, guess = probabilities.max(dim=1)
    right = (guess == targets).double()
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    # Of a bin, count times the gap of the means is the gap of the sums.
    gaps = torch.zeros(bins, dtype=torch.float64, device=place.device).index_add_(0, place, right - confidence)
    return 100 * gaps.abs().sum().item() / len(targets)
