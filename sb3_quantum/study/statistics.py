"""
Statistics of few seeds: estimates with intervals that hold with five seeds, and the number of seeds that a comparison needs.

The unit is the seed: a run counts once, with the mean return of its evaluation, however many episodes that has. The bootstrap
over seeds is too narrow for few seeds (:data:`BOOTSTRAP_COVERAGE`). Therefore the intervals here are Student's for trimmed
means (Tukey and McLaughlin 1963) and their differences (Yuen 1974), and Newcombe's (2006) for the probability of improvement.
``tests/study/test_statistics.py`` simulates how often they are right.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

#: share that is trimmed at each end; the middle half remains
TRIM = 0.25
#: confidence level of every interval
LEVEL = 0.95
#: coverage of scipy's percentile bootstrap, nominally 95 %, for the interquartile mean and the mean of a normal distribution,
#: by the number of seeds (20,000 simulations of 1,000 draws each)
BOOTSTRAP_COVERAGE = {3: (0.75, 0.75), 4: (0.86, 0.79), 5: (0.88, 0.82), 6: (0.92, 0.86), 8: (0.94, 0.88), 10: (0.94, 0.90)}
#: power for which numbers of seeds are computed
POWER = 0.8
#: largest number of seeds considered
MOST = 10_000


class Estimate(NamedTuple):
    """
    An estimate and its interval, NaN without one.

    :param value: the estimate
    :param low: lower end of the 95 % interval
    :param high: upper end
    """

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """
    Difference between two arms.

    :param value: difference of their interquartile means
    :param low: lower end of the 95 % interval
    :param high: upper end
    :param p: p-value of no difference
    """

    value: float
    low: float
    high: float
    p: float


def trimmed_error(values: np.ndarray) -> tuple[float, int]:
    """
    Compute the standard error of the interquartile mean.

    :param values: one of every seed, ``(seeds,)``
    :return: standard error, from the winsorized variance, and the number of averaged values; NaN with fewer than two
    """
    n = len(values)
    cut = int(TRIM * n)
    rest = n - 2 * cut
    if rest < 2:
        return math.nan, rest
    winsorized = np.clip(values, *np.sort(values)[[cut, n - cut - 1]])
    return float(winsorized.std(ddof=1) * math.sqrt((n - 1) / (rest * (rest - 1)))), rest


def iqm(values: np.ndarray) -> Estimate:
    """
    Compute the interquartile mean: the mean of the middle half of the seeds, or of all with fewer than four.

    :param values: one of every seed, ``(seeds,)``
    :return: the estimate with Student's interval for trimmed means
    """
    error, rest = trimmed_error(values)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, rest - 1)) * error if rest > 1 else math.nan
    middle = float(stats.trim_mean(values, TRIM))
    return Estimate(middle, middle - half, middle + half)


def mean(values: np.ndarray) -> Estimate:
    """
    Compute the mean.

    :param values: one of every seed, ``(seeds,)``
    :return: the mean with Student's interval
    """
    middle, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(middle, middle - half, middle + half)


def bootstrapped(values: np.ndarray, trimmed: bool = True, draws: int = 5000) -> Estimate:
    """
    Compute the percentile bootstrap, for comparison with other people's results.

    :param values: one of every seed, ``(seeds,)``
    :param trimmed: whether to use the interquartile mean instead of the mean
    :param draws: number of draws, from a fixed seed
    :return: the estimate with a nominal 95 % interval, whose coverage is in :data:`BOOTSTRAP_COVERAGE`
    """

    def statistic(sample: np.ndarray, axis: int = -1) -> np.ndarray:
        return stats.trim_mean(sample, TRIM if trimmed else 0.0, axis=axis)

    value = float(statistic(values))
    if len(values) < 2 or np.ptp(values) == 0:
        return Estimate(value, value, value) if len(values) > 1 else Estimate(value, math.nan, math.nan)
    found = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=draws,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Estimate(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


def difference(tested: np.ndarray, against: np.ndarray) -> Difference:
    """
    Compare interquartile means by Yuen's test for unequal variances, which is Welch's with fewer than four seeds.

    :param tested: one value of every seed, ``(seeds,)``
    :param against: likewise
    :return: the difference with interval and p, both NaN with fewer than two seeds, or if neither arm has any spread
    """
    value = float(stats.trim_mean(tested, TRIM) - stats.trim_mean(against, TRIM))
    errors = [trimmed_error(values)[0] for values in (tested, against)]
    if not all(math.isfinite(error) for error in errors) or sum(errors) == 0:
        return Difference(value, math.nan, math.nan, math.nan)
    found = stats.ttest_ind(tested, against, equal_var=False, trim=TRIM)
    interval = found.confidence_interval(LEVEL)
    return Difference(value, float(interval.low), float(interval.high), float(found.pvalue))


def probability_of_improvement(tested: np.ndarray, against: np.ndarray) -> Estimate:
    """
    Estimate the probability that a run of one arm has a higher return than a run of another; ties count half.

    Source of the interval: Newcombe, Statistics in Medicine 25, 559 (2006), method 5.

    :param tested: one value of every seed, ``(seeds,)``
    :param against: likewise
    :return: Mann and Whitney's U as a share, with its interval
    """
    n, m = len(tested), len(against)
    signs = np.sign(tested[:, None] - against[None, :])
    value = float((0.5 + 0.5 * signs).mean())
    z, middle = float(stats.norm.ppf(0.5 + LEVEL / 2)), (n + m) / 2 - 1

    def beyond(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + middle * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (n * m)
        return (theta - value) ** 2 - z**2 * variance

    # At 0 and 1 the variance is 0 too
    low = 0.0 if value == 0 else float(optimize.brentq(beyond, 0, min(value, 1 - 1e-9)))
    high = 1.0 if value == 1 else float(optimize.brentq(beyond, max(value, 1e-9), 1))
    return Estimate(value, low, high)


def holm(p_values: list[float]) -> list[float]:
    """
    Apply Holm's correction, which keeps the probability of any false alarm among all comparisons at that of a single one.

    :param p_values: p-values of comparisons; NaN counts as 1
    :return: corrected p-values, in the same order
    """
    plain = [1.0 if math.isnan(p) else p for p in p_values]
    corrected, largest = [0.0] * len(plain), 0.0
    for rank, place in enumerate(np.argsort(plain, kind="stable")):
        largest = max(largest, min(1.0, (len(plain) - rank) * plain[place]))
        corrected[place] = largest
    return corrected


def _spreads(tested: np.ndarray, against: np.ndarray) -> float:
    """Compute the variance of the difference times the seeds per arm, from the arms' current spreads."""
    return sum(len(values) * trimmed_error(values)[0] ** 2 for values in (tested, against))


def _power(effect: float, spread: float, n: int) -> float:
    """Compute the power of the test with a number of seeds per arm."""
    freedom = 2 * (n - 2 * int(TRIM * n) - 1)
    bound = stats.t.ppf(0.5 + LEVEL / 2, freedom)
    return float(stats.nct.sf(bound, freedom, effect / math.sqrt(spread / n)))


def seeds_to_tell(tested: np.ndarray, against: np.ndarray, effect: float) -> int | None:
    """
    Compute the number of seeds that would detect a difference.

    :param tested: one value of every seed, ``(seeds,)``
    :param against: likewise
    :param effect: a difference of interquartile means
    :return: seeds per arm, at least 3, with which one comparison of arms of this spread detects the difference with a
        probability of 0.8; ``None`` if that is more than :data:`MOST`, or unknown
    """
    spread, effect = _spreads(tested, against), abs(effect)
    if not spread > 0 or effect == 0 or _power(effect, spread, MOST) < POWER:
        return 3 if spread == 0 and effect > 0 else None
    low, high = 2, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, spread, middle) >= POWER else (middle, high)
    return high


def detectable(tested: np.ndarray, against: np.ndarray) -> float:
    """
    Compute the difference that the present seeds would detect.

    :param tested: one value of every seed, ``(seeds,)``
    :param against: likewise
    :return: the difference detected with a probability of 0.8; NaN with fewer than two seeds
    """
    errors = [trimmed_error(values) for values in (tested, against)]
    variances = [error**2 for error, _ in errors]
    if not all(math.isfinite(variance) for variance in variances) or sum(variances) == 0:
        return math.nan
    freedom = sum(variances) ** 2 / sum(v**2 / (rest - 1) for v, (_, rest) in zip(variances, errors, strict=True))
    quantiles = stats.t.ppf(0.5 + LEVEL / 2, freedom) + stats.t.ppf(POWER, freedom)
    return float(quantiles * math.sqrt(sum(variances)))


def profile(returns: list[np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """
    Compute the performance profile: the probability that an episode of an arm exceeds a return.

    :param returns: returns of the episodes of every seed
    :param thresholds: returns, ``(n,)``
    :return: estimate, lower and upper end of a pointwise bootstrap interval over seeds, ``(3, n)``
    """
    shares = np.stack([(episodes[:, None] > thresholds).mean(0) for episodes in returns])
    drawn = np.random.default_rng(0).integers(len(shares), size=(1000, len(shares)))
    low, high = np.percentile(shares[drawn].mean(1), [2.5, 97.5], axis=0)
    return np.stack([shares.mean(0), low, high])


def first_reached(curve: dict[str, np.ndarray], threshold: float, column: str) -> float:
    """
    Find when a curve first reaches a return.

    :param curve: curve of a cell
    :param threshold: a return
    :param column: ``steps``, ``updates`` or ``cpu_minutes``
    :return: the column's value at the first evaluation that reaches it; infinite if none does
    """
    places = np.flatnonzero(curve["return"] >= threshold) if curve else np.zeros(0, dtype=int)
    return float(curve[column][places[0]]) if len(places) else math.inf
