"""Means, spreads and differences over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


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
        low: where the 95% confidence interval of that mean begins; None for a single pair.
        high: where it ends.
        n: how many pairs.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and standard deviation of at least one value."""
    sample = np.asarray(values, dtype=float)
    std = float(sample.std(ddof=1)) if len(sample) > 1 else None
    return Estimate(float(sample.mean()), std, len(sample))


def paired_difference(
    ours: Mapping[int, float], baseline: Mapping[int, float]
) -> Difference | None:
    """The mean difference with its t-interval, paired by seed; None where no seed is in both.

    The interval takes the differences for a normal sample: mean ± t(n - 1) s / sqrt(n).

    Args:
        ours: the figure by seed.
        baseline: the baseline's.
    """
    seeds = sorted(ours.keys() & baseline.keys())
    if not seeds:
        return None
    differences = np.array([ours[seed] - baseline[seed] for seed in seeds])
    mean, n = float(differences.mean()), len(differences)
    if n == 1:
        return Difference(mean, None, None, 1)
    error = float(differences.std(ddof=1)) / n**0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * error
    return Difference(mean, mean - half, mean + half, n)
