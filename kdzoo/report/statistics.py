"""Means, spreads and differences over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
"""Of all intervals of a table together."""

FEWEST_PAIRS = 3
"""With fewer, the spread over seeds is known from a single difference."""
WIDEST_INTERVAL = 20.0
"""Percentage points beyond which an interval of accuracies says nothing."""
ROUNDING = 1e-9
"""By how much differences that are equal may be apart as floating-point numbers."""


@dataclass(frozen=True)
class Estimate:
    """A figure over n runs.

    Attributes:
        mean: of the runs.
        std: the sample standard deviation (n - 1 below the line); None for a single run.
        n: how many runs.
    """

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """How much higher a figure is than the baseline's, over the seeds that both have.

    Attributes:
        mean: of the differences, seed by seed.
        low: where the confidence interval of that mean begins; None for a single pair, and where
            all pairs differ by the same: accuracies are counted in whole images, so that a few
            seeds agree by chance, and say nothing of how far others would scatter.
        high: where it ends.
        n: how many pairs.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def has_too_few_pairs(self) -> bool:
        """Whether the interval tells of the number of seeds and not of the methods: two pairs give
        one of 9 standard deviations to each side, and among ten methods of 90. There is none where
        several pairs differ by the same, which is no gain that is known.
        """
        if self.low is None or self.high is None:
            return self.n > 1 and abs(self.mean) > ROUNDING
        if self.excludes_zero:
            return False
        return self.n < FEWEST_PAIRS or self.high - self.low > WIDEST_INTERVAL

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard deviation of at least one value."""
    sample = np.asarray(values, dtype=float)
    std = float(sample.std(ddof=1)) if len(sample) > 1 else None
    return Estimate(float(sample.mean()), std, len(sample))


def paired_differences(
    comparisons: Mapping[str, tuple[Mapping[int, float], Mapping[int, float]]],
) -> dict[str, Difference]:
    """The mean differences of several comparisons, with intervals that allow for their number.

    Among many methods without any gain, some have a 95 % interval that excludes 0. Holm's procedure
    (Scandinavian Journal of Statistics 6, 1979) keeps the chance that any of m intervals wrongly
    does at 5 %: the comparison with the least p of the paired t-test is held against 5 % / m, the
    next one against 5 % / (m - 1), and so on until one fails, whose level is that of all after it.
    Each interval, mean ± t(n - 1) s / sqrt(n), is of that level: it excludes 0 where Holm's test
    rejects. Differences that are all equal reject nothing, and count among the m.

    Args:
        comparisons: by name, a figure by seed, and the baseline's.

    Returns:
        the difference of each comparison that has a seed in common.
    """
    samples = {
        name: np.array(
            [ours[seed] - baseline[seed] for seed in sorted(ours.keys() & baseline.keys())]
        )
        for name, (ours, baseline) in comparisons.items()
    }
    levels = _holm({name: _p_value(sample) for name, sample in samples.items() if len(sample) > 1})
    return {
        name: _difference(sample, levels.get(name))
        for name, sample in samples.items()
        if len(sample)
    }


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The level that each comparison is held against."""
    levels: dict[str, float] = {}
    level, failed = 0.0, False
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if not failed:
            level = (1 - CONFIDENCE) / (len(p_values) - place)
            failed = p_values[name] > level
        levels[name] = level
    return levels


def _p_value(sample: np.ndarray) -> float:
    """Two-sided, of the t-test that the mean is 0; 1 where no spread is known to test it by."""
    if _are_equal(sample):
        return 1.0
    return float(2 * stats.t.sf(abs(sample.mean()) / _standard_error(sample), len(sample) - 1))


def _are_equal(sample: np.ndarray) -> bool:
    return bool(np.ptp(sample) <= ROUNDING)


def _difference(sample: np.ndarray, level: float | None) -> Difference:
    mean, n = float(sample.mean()), len(sample)
    if level is None or _are_equal(sample):
        return Difference(mean, None, None, n)
    half = float(stats.t.isf(level / 2, n - 1)) * _standard_error(sample)
    return Difference(mean, mean - half, mean + half, n)


def _standard_error(sample: np.ndarray) -> float:
    return float(sample.std(ddof=1)) / len(sample) ** 0.5
