"""Collapse: how far the vectors of a concept's terms fall together, and whether later layers take them apart again.

Three measures of vectors, one a term, that need no labels: in how many directions they spread (effective rank), how
much they point the same way (mean cosine), how long they are. Each is taken under all bootstrap draws at once. Then the
dip of a measure over layers: how deep it falls and what comes back. Pure functions of arrays; which terms, templates
and positions are measured is in `collapse_profiles`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyses.resampling import HIGH, LOW, Floats, Sampled
from analyses.series import Series
from warehouse.errors import InputError

EFFECTIVE_RANK, MEAN_COSINE, NORM = "effective_rank", "mean_cosine", "norm"

_NOTHING = 1e-15
"""A share of the variance below this is rounding."""


def collapse(vectors: NDArray[np.floating], counts: NDArray[np.floating]) -> dict[str, Sampled]:
    """Effective rank, mean cosine and mean length of some vectors, and of each resample of them.

    - `effective_rank`: `exp(-sum q log q)`, q the eigenvalues of the covariance over their sum (Roy & Vetterli 2007):
      from 1, all on one line, to the number of directions that are equally used. Vectors that are all the same have 1.
      Its draws are linear in how often each term was drawn (the infinitesimal jackknife, Efron & Stein 1981, of the
      entropy): a resample with copies spreads in fewer directions than as many distinct terms, so its own rank would
      tell of the copies. They cost one decomposition, where resamples would cost one each.
    - `mean_cosine`: over all pairs of different terms (the anisotropy of Ethayarajh 2019); a zero vector has cosine 0
      with all others. In a resample the pairs of a term's own copies are left out.
    - `norm`: the mean length.

    Args:
        vectors: shape (terms, width).
        counts: how often each draw takes each term, shape (terms, draws).

    Raises:
        InputError: fewer than two vectors, or counts of other terms.
    """
    if len(vectors) < 2 or len(counts) != len(vectors):
        raise InputError(f"Collapse is measured of two vectors or more, with counts for each; got {len(vectors)}.")
    wide = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    # One product of the differences from the first vector serves both matrices, and what is the same differs by zero.
    apart = wide - wide[0]
    products, along = apart @ apart.T, apart @ wide[0]
    inner = products + along[:, None] + along[None, :] + wide[0] @ wide[0]
    scale = np.outer(lengths, lengths)
    cosines = np.divide(inner, scale, out=np.zeros_like(inner), where=scale > 0)
    weights = np.asarray(counts, dtype=np.float64)
    return {
        EFFECTIVE_RANK: _effective_rank(apart, products, weights),
        MEAN_COSINE: _mean_cosine(cosines, weights),
        NORM: Sampled(float(lengths.mean()), lengths @ weights / weights.sum(axis=0)),
    }


def _effective_rank(vectors: Floats, products: Floats, weights: Floats) -> Sampled:
    """From vectors that need not be centred, and their inner products; decomposed on the shorter side."""
    if not vectors.any():
        return Sampled(1.0, np.ones(weights.shape[1]))
    terms, width = vectors.shape
    if width < terms:
        centred = vectors - vectors.mean(axis=0)
        eigenvalues, axes = np.linalg.eigh(centred.T @ centred)
        squares = (centred @ axes) ** 2
    else:
        means = products.mean(axis=0)
        eigenvalues, axes = np.linalg.eigh(products - means[:, None] - means[None, :] + means.mean())
        squares = axes**2 * np.maximum(eigenvalues, 0.0)
    shares = eigenvalues / eigenvalues.sum()
    used = shares > _NOTHING
    logs = np.log(shares, out=np.zeros_like(shares), where=used)
    entropy = -float(np.where(used, shares, 0.0) @ logs)
    # Each term's squared coordinates on the axes, over the whole variance.
    parts = squares * terms / eigenvalues.sum()
    influences = -(parts @ logs) - entropy * parts.sum(axis=1)
    drawn = influences @ weights / weights.sum(axis=0)
    return Sampled(float(np.exp(entropy)), np.exp(entropy + drawn))


def _mean_cosine(cosines: Floats, weights: Floats) -> Sampled:
    terms = len(cosines)
    own = np.diagonal(cosines)
    single = cosines.astype(np.float32)
    products = np.einsum("td,td->d", weights, single @ weights.astype(np.float32))
    copies = (weights**2).sum(axis=0)
    pairs = weights.sum(axis=0) ** 2 - copies
    resampled = np.full(weights.shape[1], np.nan)
    np.divide(products - own @ weights**2, pairs, out=resampled, where=pairs > 0)
    return Sampled(float((cosines.sum() - own.sum()) / (terms * (terms - 1))), resampled)


def with_first_token(means: NDArray[np.floating], first: NDArray[np.floating], tokens: NDArray[np.integer]) -> Floats:
    """The mean over all tokens of a prompt, from the mean over all but the first, and the first.

    Args:
        means: shape (prompts, width); of a prompt of one token that token.
        first: the first token's vectors, shape (prompts, width).
        tokens: tokens of each prompt, shape (prompts,).
    """
    count = np.asarray(tokens, dtype=np.float64)[:, None]
    return np.asarray(((count - 1.0) * means + first) / count)


@dataclass(frozen=True)
class Dip:
    """How a profile falls at an inner layer and comes back.

    Attributes:
        layer: the layer of the dip: where the profile is lowest against the highest layer below it.
        before: that highest layer.
        depth: the fraction of its height there that is lost at the dip; 0 where the profile never falls.
        depth_low, depth_high: the 95% interval of the depth between these two layers.
        recovery: the fraction of what was lost that the last layer has again; above 1 where it is higher than before
            the dip, NaN where nothing was lost.
        recovery_low, recovery_high: its 95% interval; NaN where the interval of the depth holds 0.
        chosen: the share of draws in which the dip is at this layer.
    """

    layer: int
    before: int
    depth: float
    depth_low: float
    depth_high: float
    recovery: float
    recovery_low: float
    recovery_high: float
    chosen: float


def dip(series: Series) -> Dip:
    """The deepest fall of a profile that is never negative, such as the effective rank, at an inner layer.

    The embedding output is left out: at the last token all prompts of a template are the same there. Draws are paired
    over layers; intervals are for the layers found, which draws may place elsewhere (`Dip.chosen`).

    Raises:
        InputError: fewer than three layers, or a profile that can't be computed or goes below zero.
    """
    skipped = max(0, -series.first)
    value, draws = series.value[skipped:], series.resampled[skipped:]
    first = series.first + skipped
    if len(value) < 3 or not np.isfinite(value).all() or (value < 0).any():
        raise InputError("A dip is looked for in at least three layers, each with a number that is not negative.")
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    place = int(_falls(value[:, None])[:, 0].argmax()) + 1
    before = int(value[:place].argmax())
    ((depth,), (recovery,)) = _measured(value[:, None], place, before)
    depths, recoveries = _measured(draws, place, before)
    depth_low, depth_high = _interval(depths, depth)
    low, high = _interval(recoveries, recovery) if depth_low > 0 else (np.nan, np.nan)
    chosen = float((_falls(draws).argmax(axis=0) + 1 == place).mean()) if draws.size else np.nan
    return Dip(
        layer=first + place,
        before=first + before,
        depth=max(0.0, float(depth)),
        depth_low=depth_low,
        depth_high=depth_high,
        recovery=float(recovery),
        recovery_low=low,
        recovery_high=high,
        chosen=chosen,
    )


def _falls(values: Floats) -> Floats:
    """The fraction of the highest layer below that each inner layer lacks, shape (layers - 2, draws)."""
    highest = np.maximum.accumulate(values, axis=0)[:-2]
    return 1.0 - np.divide(values[1:-1], highest, out=np.ones_like(highest), where=highest > 0)


def _measured(values: Floats, place: int, before: int) -> tuple[Floats, Floats]:
    """Depth and recovery between given layers, of values of shape (layers, draws)."""
    height, bottom, last = values[before], values[place], values[-1]
    lost = height - bottom
    depth = np.divide(lost, height, out=np.zeros_like(height), where=height > 0)
    recovery = np.divide(last - bottom, lost, out=np.full_like(height, np.nan), where=lost > 0)
    return depth, recovery


def _interval(draws: Floats, value: float) -> tuple[float, float]:
    """The 95% interval of the percentiles, moved to the estimate as in `resampling.estimate`."""
    finite = draws[np.isfinite(draws)]
    if not finite.size or not np.isfinite(value):
        return np.nan, np.nan
    low, high = np.percentile(finite, [LOW, HIGH]) - (finite.mean() - value)
    return float(low), float(high)
