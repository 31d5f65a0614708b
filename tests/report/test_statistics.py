"""Means, deviations and intervals against numpy's and scipy's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdzoo.report.cells import difference
from kdzoo.report.statistics import estimate, paired_differences

ACCURACIES = st.floats(0, 100)


def paired_difference(ours, baseline):
    """A single comparison, whose interval allows for no other."""
    return paired_differences({"ours": (ours, baseline)}).get("ours")


@given(st.lists(ACCURACIES, min_size=2, max_size=12))
def test_mean_and_sample_deviation(values):
    found = estimate(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    squares = sum((value - sum(values) / len(values)) ** 2 for value in values)
    assert found.std == pytest.approx((squares / (len(values) - 1)) ** 0.5, abs=1e-9)


@given(st.lists(st.tuples(ACCURACIES, ACCURACIES), min_size=2, max_size=12))
def test_the_interval_is_that_of_the_paired_t_test(pairs):
    ours = dict(enumerate(pair[0] for pair in pairs))
    theirs = dict(enumerate(pair[1] for pair in pairs))
    found = paired_difference(ours, theirs)
    differences = np.subtract(*np.array(pairs).T)
    if np.ptp(differences) < 1e-6:
        return  # scipy gives no interval for equal differences
    low, high = stats.ttest_rel(*np.array(pairs).T).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.mean == pytest.approx(differences.mean(), abs=1e-9)


def test_by_hand():
    # Differences 1, 2, 3: mean 2, s = 1, t(2) = 4.3027, so 2 ± 4.3027 / sqrt(3).
    found = paired_difference({0: 91.0, 1: 93.0, 2: 96.0}, {0: 90.0, 1: 91.0, 2: 93.0})
    assert found.mean == pytest.approx(2)
    assert found.low == pytest.approx(2 - 4.302653 / 3**0.5, abs=1e-5)
    assert found.high == pytest.approx(2 + 4.302653 / 3**0.5, abs=1e-5)
    assert not found.excludes_zero


def test_pairs_are_made_by_seed():
    found = paired_difference({5: 10.0, 0: 1.0, 7: 99.0}, {0: 0.0, 5: 8.0, 6: 50.0})
    assert (found.mean, found.n) == (1.5, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_one_run_has_no_spread_and_no_interval():
    assert estimate([93.5]).std is None
    single = paired_difference({0: 2.0}, {0: 1.0})
    assert (single.mean, single.low, single.high, single.n) == (1.0, None, None, 1)
    assert not single.excludes_zero


def test_an_interval_on_one_side_excludes_zero():
    theirs = {0: 90.0, 1: 90.0, 2: 90.0}
    assert paired_difference({0: 91.0, 1: 91.1, 2: 90.9}, theirs).excludes_zero
    assert paired_difference({0: 89.0, 1: 89.1, 2: 88.9}, theirs).excludes_zero
    assert not paired_difference({0: 91.0, 1: 92.0, 2: 87.0}, theirs).excludes_zero


@given(st.lists(st.lists(ACCURACIES, min_size=3, max_size=3), min_size=1, max_size=8))
def test_intervals_exclude_zero_where_holms_adjusted_p_is_below_5_percent(methods):
    samples = [np.array(differences) - 50 for differences in methods]
    if any(np.ptp(sample) < 1e-6 for sample in samples):
        return  # scipy has no p for equal differences
    p_values = [float(stats.ttest_1samp(sample, 0).pvalue) for sample in samples]
    adjusted, highest = {}, 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, (len(samples) - place) * p_values[index])
        adjusted[int(index)] = highest
    found = paired_differences(
        {
            str(index): (dict(enumerate(sample)), dict.fromkeys(range(3), 0.0))
            for index, sample in enumerate(samples)
        }
    )
    for index, p in adjusted.items():
        if abs(p - 0.05) > 1e-9:
            assert found[str(index)].excludes_zero == (p < 0.05)


def test_an_interval_is_wider_the_more_is_compared():
    theirs = {0: 90.0, 1: 90.0, 2: 90.0}
    better = {0: 91.0, 1: 91.1, 2: 90.9}  # alone: 1 ± 4.3027 x 0.1 / sqrt(3)
    others = {f"other {index}": ({0: 92.0, 1: 90.0, 2: 88.0}, theirs) for index in range(4)}
    found = paired_differences({"better": (better, theirs), **others})["better"]
    t = stats.t.ppf(1 - 0.05 / 5 / 2, 2)
    assert (found.low, found.high) == pytest.approx((1 - t * 0.1 / 3**0.5, 1 + t * 0.1 / 3**0.5))
    assert found.excludes_zero  # p = 0.0033 x 5 is below 0.05


def test_a_comparison_without_pairs_does_not_count():
    theirs = {0: 90.0, 1: 90.0, 2: 90.0}
    better = {0: 91.0, 1: 91.1, 2: 90.9}
    found = paired_differences(
        {"better": (better, theirs), "one seed": ({0: 91.0}, theirs), "none": ({7: 91.0}, theirs)}
    )
    assert found["better"] == paired_difference(better, theirs)
    assert found["one seed"].low is None
    assert "none" not in found


@pytest.mark.parametrize(
    ("gains", "too_few"),
    [
        ([0.1, 0.5], True),  # two pairs
        ([1.0, 1.1], False),  # which exclude 0
        ([0.28, 0.28], True),  # no spread, so that no interval is known
        ([0.28, 0.28, 0.28], True),
        ([-0.28, -0.28, -0.28], True),
        ([0.1, 0.5, 0.3], False),
        ([-10.0, 10.0, 0.0], True),  # wider than any two methods are apart
        ([3.0], False),  # no interval at all
    ],
)
def test_an_interval_that_tells_of_the_seeds_says_so(gains, too_few):
    theirs = {seed: 50.0 + seed / 7 for seed in range(len(gains))}
    found = paired_difference(
        {seed: theirs[seed] + gain for seed, gain in enumerate(gains)}, theirs
    )
    assert found.has_too_few_pairs == too_few
    text = difference(found, 2, len(gains)).text
    assert ("too few seeds" in text) == too_few
    assert ("[" in text) == (not too_few and len(gains) > 1)


@pytest.mark.parametrize("gain", [0.28, -0.28, 0.0])
def test_equal_differences_are_no_finding_and_take_no_level_from_others(gain):
    theirs = {0: 61.42, 1: 58.13, 2: 60.07}  # with which they are equal but for rounding
    equal = {seed: accuracy + gain for seed, accuracy in theirs.items()}
    better = {0: theirs[0] + 1.0, 1: theirs[1] + 1.1, 2: theirs[2] + 0.9}
    found = paired_differences({"equal": (equal, theirs), "better": (better, theirs)})
    assert (found["equal"].low, found["equal"].high) == (None, None)
    cell = difference(found["equal"], 2, 3)
    assert (cell.style, "*" in cell.text) == ("", False)
    assert ("too few seeds" in cell.text) == (gain != 0)
    # The other one is held against 5 % / 2, the first of two.
    t = stats.t.ppf(1 - 0.05 / 2 / 2, 2)
    assert found["better"].high - found["better"].mean == pytest.approx(t * 0.1 / 3**0.5)
