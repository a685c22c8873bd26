"""How sure a number is: its bootstrap interval over terms and its permutation null over labels.

Here are the draws (which terms a resample takes, which label a permutation gives) and what is made of the values that
a metric takes under them. The metrics are in `silhouettes` and `geometry`; what is measured on what is in `profiles`;
many p-values at once are in `multiplicity`. Draws come from a seed and a name, so that they are the same for every
layer and template: differences between layers are paired. `benchmarks.calibration` says how often intervals hold.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from warehouse.errors import InputError

LOW, HIGH = 2.5, 97.5
"""Percentiles of the 95% bootstrap interval."""

NULL_HIGH = 95.0
"""Percentile of the null that is kept as `null_high`."""

_TIE = 1e-7
"""Values nearer than this are ties: metrics are computed in float32 products, and a tie must count against us."""

_MOST_SKEW = 2.0
"""Skewness of resamples beyond this is taken for this: it comes from single terms, and levels would run away."""

_KURTOSIS, _KURTOSIS_OF_PLACES = 3.0, 1.0
"""Excess kurtosis that effects of terms are taken to have, that of Laplace's distribution, and what terms add to a
silhouette: a sample's own is too uncertain to widen intervals by."""

_TRUSTED_SKEW = 0.5
"""The share of the resamples' skewness that is allowed for: the rest is as likely the noise of single terms."""

_SECOND_ORDER, _LEAST_SHARE = 0.6, 0.45
"""How `calibrated` makes the variance over sets of terms from the jackknife's, and the least share of it to keep."""

Floats = NDArray[np.float64]


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator of its own for what `names` says, the same in every process."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def bootstrap_counts(
    terms: int, resamples: int, rng: np.random.Generator, strata: Sequence[str] | NDArray[np.int_] | None = None
) -> NDArray[np.float32]:
    """How often each resample takes each term, drawn with replacement.

    Args:
        terms: how many terms there are.
        resamples: how many resamples to draw.
        rng: the source of chance.
        strata: the stratum of each term; a resample then keeps the size of each stratum.

    Returns:
        Counts, shape (terms, resamples); each column sums to `terms`.

    Raises:
        InputError: no terms, or strata of another length.
    """
    if terms < 1:
        raise InputError("There are no terms to draw from: give at least one.")
    groups = np.zeros(terms, dtype=np.intp) if strata is None else np.unique(strata, return_inverse=True)[1]
    if len(groups) != terms:
        raise InputError(f"There are {terms} terms but strata for {len(groups)}: give one for each term.")
    counts = np.zeros((terms, resamples), dtype=np.float32)
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group)
        drawn = members[rng.integers(len(members), size=(len(members), resamples))]
        np.add.at(counts, (drawn, np.arange(resamples)), 1.0)
    return counts


def permutations(terms: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Orders in which terms exchange their labels: under column p, term i gets the label of term `[i, p]`.

    Returns:
        Indices, shape (terms, count).
    """
    order = np.broadcast_to(np.arange(terms)[:, None], (terms, count))
    return rng.permuted(order, axis=0)


@dataclass(frozen=True)
class Sampled:
    """A metric with the values that it takes under resampled terms and under permuted labels.

    Attributes:
        value: the estimate on the terms as they are.
        resampled: one value a bootstrap resample.
        permuted: one value a permutation; None where labels play no part.
        terms: how many terms were drawn from, all alike; None where draws have the right width as they are.
    """

    value: float
    resampled: Floats
    permuted: Floats | None = None
    terms: int | None = None

    def minus(self, other: "Sampled") -> "Sampled":
        """The difference, paired: both were taken under the same draws."""
        paired = self.permuted is not None and other.permuted is not None
        return Sampled(
            value=self.value - other.value,
            resampled=self.resampled - other.resampled,
            permuted=self.permuted - other.permuted if paired else None,  # type: ignore[operator]
            terms=self.terms,
        )


def average(parts: Sequence[Sampled]) -> Sampled:
    """The mean over templates, draw by draw.

    Raises:
        InputError: there is nothing to average.
    """
    if not parts:
        raise InputError("There are no templates to average over: give at least one.")
    permuted = [part.permuted for part in parts if part.permuted is not None]
    return Sampled(
        value=float(np.mean([part.value for part in parts])),
        resampled=np.mean([part.resampled for part in parts], axis=0),
        permuted=np.mean(permuted, axis=0) if len(permuted) == len(parts) else None,
        terms=parts[0].terms,
    )


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval and what it would be if labels meant nothing; None where that was not measured."""

    value: float
    low: float | None
    high: float | None
    null_mean: float | None
    null_high: float | None
    null_p: float | None


def estimate(sampled: Sampled) -> Estimate:
    """The 95% interval and the one-sided p-value, (1 + permutations at least as large) / (1 + all).

    The interval is that of the percentiles, moved by the mean distance of the resamples from the estimate, at levels
    that allow for skewness: BCa (B. Efron, JASA 82, 1987) with bias correction and acceleration both a sixth of the
    skewness of the resamples, to which they come for a mean and what is near one. Twice the skewness's standard error
    is taken off, sqrt(6 / resamples), and half of what is left: allowing for all of it makes intervals of differences
    and of heavy tails hold less often, allowing for none those of effects with few large ones, *measured*. Where the
    number of terms is known, levels also allow for the variance being estimated from them (T. Hesterberg, American
    Statistician 69, 2015).
    """
    low = high = null_mean = null_high = null_p = None
    if sampled.resampled.size:
        away = float(sampled.resampled.mean()) - sampled.value
        levels = _levels(sampled.resampled, sampled.terms)
        low, high = (float(bound) - away for bound in np.percentile(sampled.resampled, levels))
    if sampled.permuted is not None and sampled.permuted.size:
        null_mean = float(sampled.permuted.mean())
        null_high = float(np.percentile(sampled.permuted, NULL_HIGH))
        as_large = int((sampled.permuted >= sampled.value - _TIE).sum())
        null_p = (1 + as_large) / (1 + sampled.permuted.size)
    return Estimate(sampled.value, low, high, null_mean, null_high, null_p)


def _levels(resampled: Floats, terms: int | None) -> Floats:
    """The percentiles of the resamples that bound the interval."""
    deviations = np.array([special.ndtri(LOW / 100), special.ndtri(HIGH / 100)])
    if terms is not None and terms > 1:
        deviations = deviations * _wider(terms)
    centred = resampled - resampled.mean()
    spread = float(np.sqrt((centred**2).mean()))
    if spread <= _TIE:
        return np.array([LOW, HIGH])
    found = float((centred**3).mean()) / spread**3
    clear = np.clip(abs(found) - 2 * np.sqrt(6 / len(resampled)), 0.0, _MOST_SKEW)
    skew = np.sign(found) * _TRUSTED_SKEW * clear / 6
    return np.asarray(100 * special.ndtr(skew + (skew + deviations) / (1 - skew * (skew + deviations))))


def _wider(terms: int) -> float:
    """By how much Student's interval of a mean is wider than that of its resamples."""
    student = special.stdtrit(_freedom(terms, _KURTOSIS), HIGH / 100) / special.ndtri(HIGH / 100)
    return float(student * np.sqrt(terms / (terms - 1)))


def _freedom(terms: NDArray[np.intp] | int, kurtosis: float) -> NDArray[np.float64] | float:
    """The degrees of freedom of a variance that is estimated from n terms: n - 1 for normal ones, less for tails.

    The variance of such an estimate is 2 / (n - 1) + kurtosis / n of its square, which tells how many there are
    (F. Satterthwaite, Biometrics Bulletin 2, 1946).
    """
    return 2 / (2 / (terms - 1) + kurtosis / terms)


def calibrated(value: float, resampled: Floats, left_out: Floats, strata: NDArray[np.intp]) -> Floats:
    """Resamples of a statistic that compares terms with each other, with the centre and width that they should have.

    A resampled silhouette lies low, since the nearest of many labels is nearer the fewer distinct terms they have, and
    spreads too much, since what depends on two terms together counts three times and more in a resample. In the
    stratified jackknife's variance it counts twice (B. Efron and C. Stein, Annals of Statistics 9, 1981). How much of
    it there is can be told from how much larger the bootstrap's variance B is than that of what terms do one by one,
    which in a stratum of m terms is (m - 1) / m of the jackknife's, in sum F: J (1 - 0.6 (B/F - 1)³), *measured* on
    simulated labels, is about the variance over sets of terms. Resamples are moved to the estimate and scaled to that,
    and to the quantile of t with the degrees of freedom of a sum of variances (see `_freedom`), as far as it is beyond
    the widening that `estimate` gives them for the number of terms.

    Args:
        value: the estimate.
        resampled: its resamples, stratified, shape (resamples,).
        left_out: the estimate without each term, shape (terms,).
        strata: the stratum of each term, 0 to strata - 1, shape (terms,).

    Returns:
        Shape (resamples,); their mean is the estimate.
    """
    if not resampled.size:
        return resampled
    sizes = np.bincount(strata)
    deviations = left_out - (np.bincount(strata, left_out) / sizes)[strata]
    variances = np.bincount(strata, deviations**2) * (sizes - 1) / sizes
    jackknife, bootstrap = float(variances.sum()), float(resampled.var())
    if jackknife <= _TIE**2 or bootstrap <= _TIE**2:
        return np.asarray(value + (resampled - resampled.mean()))
    one_by_one = float((variances * (sizes - 1) / sizes).sum())
    apart = max(bootstrap / one_by_one - 1, 0.0)
    variance = jackknife * max(1 - _SECOND_ORDER * apart**3, _LEAST_SHARE)
    freedom = jackknife**2 / float((variances**2 / _freedom(np.maximum(sizes, 2), _KURTOSIS_OF_PLACES)).sum())
    wider = special.stdtrit(freedom, HIGH / 100) / special.ndtri(HIGH / 100) / _wider(len(strata))
    return np.asarray(value + (resampled - resampled.mean()) * wider * np.sqrt(variance / bootstrap))


def calibrated_pairs(
    value: Floats, resampled: Floats, influence: Floats, first: NDArray[np.intp], second: NDArray[np.intp]
) -> Floats:
    """Resamples of a statistic of pairs of terms, drawn by term, with the centre and width that they should have.

    What belongs to a pair alone counts three times in such resamples. The variance of a sum over pairs that hang
    together where they share a term is Σ (sum of a term's influences)² - Σ (sum of two terms' influences)²
    (M. Fafchamps and F. Gubert, Journal of Development Economics 83, 2007; P. Aronow et al., Political Analysis 23,
    2015): the second takes off what the first counts twice, and is the least that is kept. It is n / (n - 2) of that
    for n terms, as the estimate takes a share of each influence off; for fewer than 4, twice.

    Args:
        value: the estimates, shape (layers,).
        resampled: their resamples, shape (layers, resamples); NaN where there is no value.
        influence: by how much each pair moves the estimate, summing to 0, shape (layers, pairs).
        first, second: the terms of each pair, from 0 on, shape (pairs,).

    Returns:
        Shape (layers, resamples); their mean is the estimate.
    """
    if not resampled.shape[1] or not np.isfinite(resampled).any():
        return resampled
    terms = int(max(first.max(), second.max())) + 1
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    both = np.unique(lower * terms + upper, return_inverse=True)[1]
    of_terms = np.zeros((terms, len(influence)))
    np.add.at(of_terms, first, influence.T)
    np.add.at(of_terms, second, influence.T)
    of_pairs = np.zeros((int(both.max()) + 1, len(influence)))
    np.add.at(of_pairs, both, influence.T)
    alone = (of_pairs**2).sum(axis=0)
    variance = np.maximum((of_terms**2).sum(axis=0) - alone, alone) * terms / max(terms - 2, terms / 2)
    away = resampled - np.nanmean(resampled, axis=1, keepdims=True)
    bootstrap = np.nanmean(away**2, axis=1)
    scale = np.sqrt(np.divide(variance, bootstrap, out=np.ones_like(variance), where=bootstrap > _TIE**2))
    return np.asarray(value[:, None] + away * scale[:, None])


@lru_cache(maxsize=4096)
def share_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share (E. Wilson, JASA 22, 1927): it stays within 0 and 1, and has a width at 0 and at n.

    Raises:
        InputError: nothing was tried, or more hits than that.
    """
    if not 0 <= hits <= n or n < 1:
        raise InputError(f"{hits} hits of {n} are no share: give at least one trial, and hits from 0 to that number.")
    interval = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
