"""Jumps from one number to the next: how large each step is against a smooth course, and what the large ones follow.

Pure functions on the sizes of steps; the sizes themselves are measured by `ages.relative_gaps`, and which terms and
layers they come from is settled in `jump_tables`. A step is one of the `numbers - 1` ways from a number to the next.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from analyses.resampling import NULL_HIGH, Floats, generator

NEIGHBOURS = 20
"""Steps that tell how large a step should be: ten on either side, more on one side near an end."""

_ROUNDS = 3
"""Rounds of the robust fit; Cleveland (1979) finds two enough."""

_LEAST_SPREAD = 0.01
"""Steps scatter by at least 1%: what differs by less from its neighbours is no jump, however smooth they are."""

_SMALLEST = 1e-6
"""Steps are counted as at least this share of the largest: a logarithm of zero says nothing."""

_TO_DEVIATION = 1.4826
"""A normal deviation over a median absolute deviation."""


@dataclass(frozen=True)
class Judged:
    """Steps against the smooth course of their neighbours.

    Attributes:
        excess: natural logarithm of the step over what its neighbours lead to expect, shape (..., steps).
        expected: what they lead to expect, shape (..., steps).
        high: 95th percentile of a step there if nothing jumps, shape (..., steps).
        p: how often a step of a smooth course stands out as much, shape (..., steps).
        q: the same after Benjamini and Hochberg (1995) over all steps of a course.
    """

    excess: Floats
    expected: Floats
    high: Floats
    p: Floats
    q: Floats


def judge(sizes: Floats, *, seed: int, courses: int) -> Judged:
    """How much larger each step is than its neighbours lead to expect, and how surprising that is.

    The null: the logarithms of steps follow a smooth course with normal scatter, equal everywhere. What is expected at
    a step is a robust local line through the 20 nearest steps, the step itself left out (`smoothed`). Its excess,
    over 1.4826 times the median absolute excess of the whole course, is set against the same ratio in simulated courses
    of the same length that are nothing but scatter: all their steps together are the null, so the p-value of a single
    step reaches down to 1 / (courses x steps), which a correction over all steps needs. Steps near an end, where less
    is known, scatter more in these courses too and are scaled by it. A robust scale is not blown up by the jumps
    themselves, as long as they are fewer than half.

    Args:
        sizes: shape (..., steps), at least 5 steps.
        seed: of the simulated courses.
        courses: how many are simulated.
    """
    largest = sizes.max(axis=-1, keepdims=True)
    moved = largest > 0
    logs = np.log(np.maximum(sizes, _SMALLEST * np.where(moved, largest, 1.0)))
    fitted = smoothed(logs)
    excess = np.where(moved, logs - fitted, 0.0)
    ends, simulated = _scatter(sizes.shape[-1], seed, courses)
    spread = _spread(excess) * ends
    standing = excess / spread
    below = np.searchsorted(simulated, standing.ravel() - 1e-9).reshape(standing.shape)
    p = np.asarray((1.0 + len(simulated) - below) / (1.0 + len(simulated)), dtype=np.float64)
    limit = np.percentile(simulated, NULL_HIGH) * spread
    expected = np.where(moved, np.exp(fitted), 0.0)
    high = np.asarray(expected * np.exp(limit), dtype=np.float64)
    return Judged(excess, expected, high, p, np.asarray(false_discovery_control(p, axis=-1)))


def smoothed(values: Floats) -> Floats:
    """What the neighbours of each step lead to expect there: a robust local line that leaves the step out.

    Locally weighted regression (Cleveland 1979): a line through the nearest `NEIGHBOURS` steps, weighted by the tricube
    of their distance; then again, three times, with each step also weighted by the bisquare of its residual from the
    line over six times their median size. The only difference: the step itself has no weight.

    Args:
        values: shape (..., steps).

    Returns:
        The same shape.
    """
    places, away, near = _windows(values.shape[-1])
    around = values[..., places]
    level, slope = _line(away, around, np.broadcast_to(near, around.shape))
    for _ in range(_ROUNDS):
        off = np.abs(around - level[..., None] - slope[..., None] * away)
        far = 6.0 * np.maximum(np.median(off, axis=-1, keepdims=True), _LEAST_SPREAD)
        level, slope = _line(away, around, near * np.maximum(1.0 - (off / far) ** 2, 0.0) ** 2)
    return level


@cache
def _windows(steps: int) -> tuple[NDArray[np.intp], Floats, Floats]:
    """For each step its nearest neighbours: their places, how far away they are, and their tricube weights."""
    offsets = np.arange(steps) - np.arange(steps)[:, None]
    distances = np.where(offsets == 0, steps, np.abs(offsets))
    places = np.sort(np.argsort(distances, axis=1, kind="stable")[:, : min(NEIGHBOURS, steps - 1)], axis=1)
    away = np.take_along_axis(offsets, places, axis=1).astype(np.float64)
    reach = np.abs(away).max(axis=1, keepdims=True) + 1.0
    return places, away, (1.0 - (np.abs(away) / reach) ** 3) ** 3


def _line(away: Floats, values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Level at distance 0 and slope of the weighted least-squares line through each window."""
    total = weights.sum(axis=-1)
    at, mean = (
        np.einsum("...w,...w->...", weights, np.broadcast_to(one, weights.shape)) / total for one in (away, values)
    )
    apart = away - at[..., None]
    spread = np.einsum("...w,...w,...w->...", weights, apart, apart)
    slope = np.einsum("...w,...w,...w->...", weights, apart, values - mean[..., None]) / spread
    return mean - slope * at, slope


def _spread(excess: Floats) -> Floats:
    return np.maximum(_TO_DEVIATION * np.median(np.abs(excess), axis=-1, keepdims=True), _LEAST_SPREAD)


@cache
def _scatter(steps: int, seed: int, courses: int) -> tuple[Floats, Floats]:
    """Excess over its scale in courses that are nothing but scatter: its deviation at each step, and all, sorted."""
    logs = generator(seed, "smooth courses").normal(size=(courses, steps))
    excess = logs - smoothed(logs)
    standing = excess / _spread(excess)
    deviations = standing.std(axis=0)
    deviations /= np.median(deviations)
    return deviations, np.sort((standing / deviations).ravel())


def explained(excess: Floats, features: NDArray[np.floating], counts: NDArray[np.floating] | None = None) -> Floats:
    """The share of the variance of the excess that features of the steps explain: R² of a linear fit, in sample.

    Args:
        excess: shape (..., steps).
        features: one row a step, or one set of rows a draw, shape (steps, features) or (draws, steps, features).
        counts: how often each draw takes each step, shape (steps, draws); each once if left out.

    Returns:
        From 0 to 1, shape (...) or (..., draws) with counts or features by draw; 0 where the excess does not vary.
    """
    draws = 1 if counts is None else counts.shape[1]
    each = np.ones((draws, excess.shape[-1])) if counts is None else np.asarray(counts, dtype=np.float64).T
    of_draw = features if features.ndim == 3 else features[None]
    ones = np.ones((*of_draw.shape[:2], 1))
    known = np.concatenate([ones, of_draw], axis=2)
    normal = np.einsum("dsf,ds,dsg->dfg", known, np.broadcast_to(each, (max(len(known), draws), each.shape[1])), known)
    with_excess = np.einsum(
        "dsf,ds,...s->...df", known, np.broadcast_to(each, normal.shape[:1] + each.shape[1:]), excess
    )
    # A pseudo-inverse, for a flag may be the same for all steps that a draw takes.
    slopes = np.einsum("dfg,...dg->...df", np.linalg.pinv(normal, hermitian=True), with_excess)
    totals = each.sum(axis=1)
    mean = excess @ each.T / totals
    squares = excess**2 @ each.T
    fitted = np.einsum("...df,...df->...d", slopes, with_excess) - totals * mean**2
    spread = squares - totals * mean**2
    varied = spread > 1e-12 * np.maximum(squares, np.finfo(np.float64).tiny)
    shares = np.clip(np.where(varied, fitted / np.where(varied, spread, 1.0), 0.0), 0.0, 1.0)
    return np.asarray(shares[..., 0] if counts is None and features.ndim == 2 else shares)


def unexplained(excess: Floats, features: NDArray[np.floating]) -> Floats:
    """What a linear fit on features of the steps leaves of the excess.

    Args:
        excess: shape (..., steps).
        features: shape (steps, features).

    Returns:
        The residuals, shape (..., steps).
    """
    known = np.column_stack([np.ones(len(features)), features])
    return np.asarray(excess - excess @ np.linalg.pinv(known).T @ known.T)


def correlations(one: Floats, other: Floats, counts: NDArray[np.floating] | None = None) -> Floats:
    """Pearson's correlation over steps; 0 where one of the two does not vary.

    Args:
        one, other: shape (..., steps).
        counts: how often each draw takes each step, shape (steps, draws).

    Returns:
        Shape (...) or (..., draws).
    """
    if counts is None:
        one, other = one - one.mean(axis=-1, keepdims=True), other - other.mean(axis=-1, keepdims=True)
        product, squares = (one * other).sum(axis=-1), (one**2).sum(axis=-1) * (other**2).sum(axis=-1)
    else:
        weights = np.asarray(counts, dtype=np.float64) / counts.sum(axis=0)
        means = one @ weights, other @ weights
        product = (one * other) @ weights - means[0] * means[1]
        squares = (one**2 @ weights - means[0] ** 2) * (other**2 @ weights - means[1] ** 2)
    scale = np.sqrt(np.maximum(squares, 0.0))
    return np.asarray(np.divide(product, scale, out=np.zeros_like(product), where=scale > 1e-12))
