"""How far a network's confidence is from its accuracy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trg_pyg._transfer import in_double
from trg_pyg.errors import require


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predictions in M bins of equal width by their confidence, and what they come to.

    Attributes:
        count: predictions in each bin, int64 [M].
        confidence: their mean confidence, float64 [M], in [0, 1]; NaN where a bin is empty.
        accuracy: the share of them that is right, float64 [M], in [0, 1]; NaN where a bin is empty.
        error: the expected calibration error, in [0, 1].
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor
    error: float


def calibration(confidence: Tensor, correct: Tensor, bins: int = 15) -> Calibration:
    r"""Return the reliability of predictions and their expected calibration error.

    .. math::
        \mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \, |\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|, \qquad
        B_m = \{i : \hat p_i \in ((m - 1) / M, \; m / M]\}

    from Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equations 1 to 3 and 5. The first bin takes
    a confidence of 0 as well.

    Args:
        confidence: probability that each prediction is given, [N], in [0, 1].
        correct: whether it is right, bool [N].
        bins: M >= 1; the paper has 15.

    Raises:
        InputError: there is no prediction, the lengths differ, a confidence is outside [0, 1], or there is no bin.
    """
    require(bins >= 1, f"bins={bins}: give at least one")
    require(
        confidence.dim() == 1 and confidence.shape == correct.shape,
        f"confidence {list(confidence.shape)} and correct {list(correct.shape)}: give one value of each a prediction",
    )
    require(len(confidence) > 0, "a calibration needs at least one prediction")
    confidence, right = in_double(confidence.detach()), in_double(correct)
    inside = (confidence >= 0) & (confidence <= 1)  # false for NaN
    require(
        bool(inside.all()),
        f"confidence holds {confidence[~inside][:1].tolist()}, which is no probability; give softmax of the logits",
    )
    edges = torch.arange(1, bins + 1, dtype=torch.float64, device=confidence.device) / bins
    index = torch.bucketize(confidence, edges)
    count = torch.bincount(index, minlength=bins)
    mean_confidence = torch.bincount(index, confidence, bins) / count
    accuracy = torch.bincount(index, right, bins) / count
    gap = (accuracy - mean_confidence).abs().nan_to_num()
    return Calibration(count, mean_confidence, accuracy, float((gap * count).sum() / len(confidence)))
