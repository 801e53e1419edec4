"""How sure a difference between two methods is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from scipy.special import stdtr, stdtrit

from trg_pyg.errors import require

_CONFIDENCE = 0.95
_NO_SPREAD = 1e-9  # of a standard error in points: what rounding leaves of equal differences


@dataclass(frozen=True)
class Difference:
    """A mean difference with its 95 % confidence interval.

    Attributes:
        mean: of the differences, in their unit.
        low: lower end of the interval; ``None`` for a single seed, which says nothing of the spread.
        high: upper end.
        seeds: number of differences.
        p: two-sided p value of Student's paired t test that the mean difference is 0, in [0, 1]; ``None`` for a single
            seed, or where all differences are equal, which leaves no spread to test against.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    p: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.mean:+.2f}{interval}"


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    r"""Return the mean of :math:`d_i = a_i - b_i` and its 95 % confidence interval by Student's t.

    .. math::
        \bar d \pm t_{0.975,\,n-1} \, s_d / \sqrt{n}, \qquad s_d^2 = \frac{1}{n-1} \sum_i (d_i - \bar d)^2, \qquad
        p = 2 \, F_{n-1}\!\left(-|\bar d| \sqrt{n} / s_d\right)

    with :math:`F_{n-1}` the distribution function of Student's t with n - 1 degrees of freedom.

    Two methods start from the same weights and see the same batches for one seed, so what the seed does to both
    cancels in :math:`d_i`. The interval holds for differences that are normally distributed, and tells of seeds only:
    the test images are the same for all. Source: Student, "The probable error of a mean", Biometrika 6(1), 1908.

    Args:
        a: a value for each seed.
        b: those of the other method, for the same seeds in the same order.

    Raises:
        InputError: the lengths differ, or there is no value.
    """
    require(len(a) == len(b), f"{len(a)} and {len(b)} values: a paired difference needs the same seeds of both")
    require(len(a) > 0, "a paired difference needs the values of at least one seed")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    centre, seeds = mean(differences), len(differences)
    if seeds == 1:
        return Difference(centre, None, None, seeds)
    error = stdev(differences) / sqrt(seeds)
    half = float(stdtrit(seeds - 1, (1 + _CONFIDENCE) / 2)) * error
    p = None if error < _NO_SPREAD else 2 * float(stdtr(seeds - 1, -abs(centre) / error))
    return Difference(centre, centre - half, centre + half, seeds, p)
