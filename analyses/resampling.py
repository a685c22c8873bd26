"""How sure a number is: its bootstrap interval over terms and its permutation null over labels.

Here are the draws (which terms a resample takes, which label a permutation gives) and what is made of the values that
a metric takes under them. The metrics are in `geometry`; what is measured on what is in `profiles`. Draws come from a
seed and a name, so that they are the same for every layer and template: differences between layers are paired.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import InputError

LOW, HIGH = 2.5, 97.5
"""Percentiles of the 95% bootstrap interval."""

NULL_HIGH = 95.0
"""Percentile of the null that is kept as `null_high`."""

_TIE = 1e-7
"""Values nearer than this are ties: metrics are computed in float32 products, and a tie must count against us."""

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
    """

    value: float
    resampled: Floats
    permuted: Floats | None = None

    def minus(self, other: "Sampled") -> "Sampled":
        """The difference, paired: both were taken under the same draws."""
        paired = self.permuted is not None and other.permuted is not None
        return Sampled(
            value=self.value - other.value,
            resampled=self.resampled - other.resampled,
            permuted=self.permuted - other.permuted if paired else None,  # type: ignore[operator]
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

    The interval is that of the percentiles, moved by the mean distance of the resamples from the estimate. A silhouette
    needs it: the nearest of many labels is nearer the fewer distinct terms they have, so all resamples lie low. With 14
    labels of 11 terms the plain percentiles covered the expected silhouette in 1 to 48 of 100 simulated sets of terms,
    the moved ones in 99.
    """
    low = high = null_mean = null_high = null_p = None
    if sampled.resampled.size:
        away = float(sampled.resampled.mean()) - sampled.value
        low, high = (float(bound) - away for bound in np.percentile(sampled.resampled, [LOW, HIGH]))
    if sampled.permuted is not None and sampled.permuted.size:
        null_mean = float(sampled.permuted.mean())
        null_high = float(np.percentile(sampled.permuted, NULL_HIGH))
        as_large = int((sampled.permuted >= sampled.value - _TIE).sum())
        null_p = (1 + as_large) / (1 + sampled.permuted.size)
    return Estimate(sampled.value, low, high, null_mean, null_high, null_p)
