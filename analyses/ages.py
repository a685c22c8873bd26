"""The geometry of numbers, ages above all: how far a straight line carries, and how two sexes lie to each other.

Each function takes plain arrays and knows nothing of layers, templates or tables: what is measured on what is in
`age_profiles`, the jumps from one number to the next are judged in `jumps`, and linearity over all numbers is in
`geometry`. Distances here are chords: straight distances between vectors scaled to length 1, `sqrt(2 - 2 cos)`. They
rise with the cosine distance and, unlike it, obey the triangle inequality.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyses.geometry import PENALTIES, Floats

INNER = (0.2, 0.6)
"""The stretch of the range that a line is fitted on: ages 20 to 60 of 0 to 100."""

_FLAT = 1e-10
"""An axis with less of the squared length, relative to the longest one, is rounding of float32 vectors."""

_SAME = 1e-13
"""One minus a cosine below this is zero: float32 vectors that are the same come out no nearer than this in float64."""


def is_inner(numbers: Floats) -> NDArray[np.bool_]:
    """Which numbers lie in the inner stretch, ends included, shape (numbers,)."""
    least, spread = numbers.min(), np.ptp(numbers)
    low, high = (least + share * spread for share in INNER)
    return np.asarray((numbers >= low) & (numbers <= high))


def centred_products(vectors: NDArray[np.floating]) -> Floats:
    """Inner products of vectors less their mean: all that a fit needs to know of them.

    Args:
        vectors: shape (terms, width).

    Returns:
        Shape (terms, terms); exactly zero where all vectors are the same.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    if not (vectors != vectors[0]).any():
        centred = np.zeros_like(centred)
    # Once centred, single precision is enough, at half the price: penalties are far above its rounding.
    narrow = centred.astype(np.float32)
    return np.asarray(narrow @ narrow.T, dtype=np.float64)


def centred_within(products: Floats, strata: int) -> Floats:
    """Inner products of the same vectors, each less the mean of its stratum.

    Args:
        products: inner products about any point, shape (terms, terms), terms stratum by stratum, all of one size.
        strata: how many strata there are.
    """
    each = len(products) // strata
    blocks = products.reshape(strata, each, strata, each)
    rows, columns = blocks.mean(axis=1, keepdims=True), blocks.mean(axis=3, keepdims=True)
    centred = blocks - rows - columns + blocks.mean(axis=(1, 3), keepdims=True)
    return np.asarray(centred.reshape(products.shape))


def ridge_transfer(products: Floats, numbers: Floats, train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
    """What a ridge fit with intercept on some terms predicts for others, from inner products alone.

    The same fit as `geometry.ridge_predictions`, penalty by generalised cross-validation inside the training terms
    included, in its dual form (Saunders, Gammerman and Vovk 1998): with K the products of training terms, centred on
    them, the prediction is `mean + k' (K + λ)⁻¹ (y - mean)`.

    Args:
        products: inner products of all vectors about any point, shape (terms, terms).
        numbers: shape (terms, columns).
        train: places of the terms that the fit is made on.
        test: places of the terms that it is asked about.

    Returns:
        Predictions, shape (test terms, columns).
    """
    own, across = products[np.ix_(train, train)], products[np.ix_(test, train)]
    centre = own.mean(axis=0)
    known = own - centre - centre[:, None] + centre.mean()
    seen = across - across.mean(axis=1, keepdims=True) - centre + centre.mean()
    mean = numbers[train].mean(axis=0)
    wanted = numbers[train] - mean
    squares, scores = np.linalg.eigh(known)
    kept = squares > _FLAT * squares[-1]
    squares, scores = squares[kept], scores[:, kept]
    along = scores.T @ wanted
    beyond = np.maximum((wanted**2).sum(axis=0) - (along**2).sum(axis=0), 0.0)
    penalties = np.array(PENALTIES) * squares.sum() / len(known)
    left = penalties[:, None] / (squares + penalties[:, None])
    freedom = len(known) - 1 - (1.0 - left).sum(axis=1)
    criterion = (left**2 @ along**2 + beyond) / freedom[:, None] ** 2
    chosen = penalties[criterion.argmin(axis=0)]
    return np.asarray(mean + (seen @ scores) @ (along / (squares[:, None] + chosen)))


def chords(one: NDArray[np.floating], other: NDArray[np.floating]) -> Floats:
    """Chords between vectors of the same place: `sqrt(2 - 2 cos)`, from 0 to 2; √2 where a vector is zero.

    Args:
        one, other: shape (..., width).

    Returns:
        Shape (...).
    """
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    lengths = np.sqrt(np.vecdot(one, one) * np.vecdot(other, other))
    products = np.vecdot(one, other)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    apart = 1.0 - cosines
    return np.sqrt(2.0 * np.where(apart < _SAME, 0.0, apart))


@dataclass(frozen=True)
class SexGaps:
    """The chords that tell how far apart two sexes lie, seen against the way from one age to the next.

    Attributes:
        between: from one sex to the other at each age, shape (ages,).
        along: the mean way from each age to the next within a sex, shape (ages - 1,).
        across: the mean way from each age of one sex to the next of the other, shape (ages - 1,).
    """

    between: Floats
    along: Floats
    across: Floats

    def distance(self, counts: NDArray[np.floating] | None = None) -> Floats:
        """How many ages apart the sexes are: the mean way between them over the mean way to the next age.

        0 if they are one and the same manifold, 1 if sexes differ as much as neighbouring ages do; ours.

        Args:
            counts: how often each draw takes each age, shape (ages, draws); once if left out. An age brings the way
                to the next one along.

        Returns:
            Shape (draws,) or (); 0 where neighbouring ages have the same vectors.
        """
        weights = np.ones(len(self.between)) if counts is None else np.asarray(counts, dtype=np.float64).T
        return _over_steps(self.between, weights, self.along @ weights[..., :-1].T, weights[..., :-1].sum(axis=-1))

    def swapped(self, swaps: NDArray[np.bool_]) -> Floats:
        """The same if the sexes of some ages are exchanged: the null in which sexes are no manifolds.

        Args:
            swaps: whether the sexes of an age are exchanged, shape (ages, draws).

        Returns:
            Shape (draws,).
        """
        together = (swaps[1:] == swaps[:-1]).astype(np.float64)
        steps = self.along @ together + self.across @ (1.0 - together)
        weights = np.ones((swaps.shape[1], len(self.between)))
        return _over_steps(self.between, weights, steps, np.full(swaps.shape[1], len(self.along), dtype=np.float64))


def _over_steps(between: Floats, weights: Floats, steps: Floats, count: Floats) -> Floats:
    ways, usual = weights @ between / weights.sum(axis=-1), np.asarray(steps) / np.maximum(count, 1.0)
    return np.asarray(np.divide(ways, usual, out=np.zeros_like(usual), where=usual > 0))


def sex_gaps(one: NDArray[np.floating], other: NDArray[np.floating]) -> SexGaps:
    """The chords between two sexes and along them.

    Args:
        one, other: vectors of each sex, ages ascending, shape (ages, width).
    """
    along = (chords(one[:-1], one[1:]) + chords(other[:-1], other[1:])) / 2
    across = (chords(one[:-1], other[1:]) + chords(other[:-1], one[1:])) / 2
    return SexGaps(chords(one, other), along, across)


def relative_gaps(vectors: NDArray[np.floating]) -> Floats:
    """The way from each number to the next: the chord, averaged over strata, over the mean of all such ways.

    Args:
        vectors: shape (strata, numbers, width), numbers ascending.

    Returns:
        Shape (numbers - 1,), with mean 1; all 0 where all vectors of a stratum are the same.
    """
    gaps = chords(vectors[:, :-1], vectors[:, 1:]).mean(axis=0)
    return np.asarray(gaps / gaps.mean() if gaps.any() else gaps)
