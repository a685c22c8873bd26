"""The geometry of a set of vectors: distances, local anisotropy, linearity.

Each metric is a function of plain arrays, one vector a term, and knows nothing of layers, templates or tables (see
`profiles`). Silhouettes, which are taken from the distances, are in `silhouettes`. Vectors that are all the same have
defined values: anisotropy 0, R² of the mean. All is in float64.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from warehouse.errors import InputError

Floats = NDArray[np.float64]

NEIGHBOURS = 20
"""Neighbours behind the local anisotropy, as in the paper."""

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""Penalties that the ridge fit chooses from, over the summed variance of the vectors that it is fitted to."""

_SAME = 1e-13
"""Cosine distances below this are zero: float32 vectors that are the same come out no nearer than this in float64."""

_ROUNDING = 1e-12
"""A sum of squares this small, against the one that it was taken from, is rounding."""

_FLAT = 1e-10
"""An axis with less of the squared length, relative to the longest one, is rounding of float32 vectors."""


def cosine_distances(vectors: NDArray[np.floating]) -> Floats:
    """One minus the cosine between any two vectors; a zero vector is at distance 1 from all others.

    Args:
        vectors: shape (terms, width).

    Returns:
        Distances, shape (terms, terms), zero on the diagonal.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    distances: Floats = 1.0 - unit @ unit.T
    distances[distances < _SAME] = 0.0
    np.fill_diagonal(distances, 0.0)
    return distances


def euclidean_distances(points: NDArray[np.floating]) -> Floats:
    """Straight distances between any two points, shape (terms, terms)."""
    return np.asarray(squareform(pdist(np.asarray(points, dtype=np.float64))), dtype=np.float64)


def anisotropy_samples(points: NDArray[np.floating], neighbours: int = NEIGHBOURS) -> Floats:
    """How much the surroundings of each term look like a line: `A_i = 1 - λ2 / λ1` (paper, technique 1).

    λ1 and λ2 are the largest eigenvalues of the covariance of the nearest other terms (straight distance, the term
    itself left out). 1 is a line; where all neighbours are one point no direction stands out, and A is 0.

    Args:
        points: shape (terms, width).
        neighbours: how many; all others where there are fewer terms.

    Returns:
        Values from 0 to 1, shape (terms,).

    Raises:
        InputError: fewer than three terms: one neighbour has no covariance.
    """
    if len(points) < 3:
        raise InputError(f"Local anisotropy needs at least 3 terms; there are {len(points)}.")
    wide = np.asarray(points, dtype=np.float64)
    # Taking the first term off makes vectors that are all the same exactly zero; the mean alone leaves rounding.
    wide = wide - wide[0]
    wide -= wide.mean(axis=0)
    products = wide @ wide.T
    squares = np.diag(products)
    distances = squares[:, None] + squares[None, :] - 2.0 * products
    np.fill_diagonal(distances, np.inf)
    count = min(neighbours, len(wide) - 1)
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    local = products[nearest[:, :, None], nearest[:, None, :]]
    # The non-zero eigenvalues of a covariance are those of the centred products, up to a factor that cancels.
    local -= local.mean(axis=1, keepdims=True)
    local -= local.mean(axis=2, keepdims=True)
    spectrum = np.linalg.eigvalsh(local)
    first, second = spectrum[:, -1], np.maximum(spectrum[:, -2], 0.0)
    floor = np.finfo(np.float64).eps * len(wide) * max(float(squares.max()), np.finfo(np.float64).tiny)
    spread = first > floor
    return np.where(spread, 1.0 - second / np.where(spread, first, 1.0), 0.0)


def ridge_predictions(vectors: NDArray[np.floating], numbers: Floats, folds: NDArray[np.intp]) -> Floats:
    """What a ridge fit with intercept, made on the terms of all other folds, predicts for each term.

    The penalty is chosen inside the training terms, for each column of numbers, from `PENALTIES` times the variance of
    the centred training vectors summed over their entries, by generalised cross-validation (Golub, Heath and Wahba
    1979): the least squared error over the squared degrees of freedom that are left. One decomposition of the vectors a
    fold, as large as the smaller of terms and width, serves all penalties and all columns.

    Args:
        vectors: shape (terms, width).
        numbers: shape (terms, columns).
        folds: the fold of each term.

    Returns:
        Predictions, shape (terms, columns).

    Raises:
        InputError: fewer than two folds.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise InputError("A fit can't be judged on the terms it was made from: give at least two folds.")
    wide = np.asarray(vectors, dtype=np.float64)
    wide = wide - wide[0]
    predictions = np.empty_like(numbers)
    for fold in names:
        test, train = folds == fold, folds != fold
        centre, mean = wide[train].mean(axis=0), numbers[train].mean(axis=0)
        known, wanted = wide[train] - centre, numbers[train] - mean
        scores, squares, directions = _axes(known)
        along = scores.T @ wanted
        beyond = np.maximum((wanted**2).sum(axis=0) - (along**2).sum(axis=0), 0.0)
        penalties = np.array(PENALTIES) * squares.sum() / len(known)
        left = penalties[:, None] / (squares + penalties[:, None])
        freedom = len(known) - 1 - (1.0 - left).sum(axis=1)
        criterion = (left**2 @ along**2 + beyond) / freedom[:, None] ** 2
        kept = 1.0 - left[criterion.argmin(axis=0)]
        slopes = kept.T * along / np.sqrt(squares)[:, None]
        predictions[test] = mean + ((wide[test] - centre) @ directions) @ slopes
    return predictions


def _axes(centred: Floats) -> tuple[Floats, Floats, Floats]:
    """Scores, squared singular values and directions of the axes along which the vectors differ at all."""
    if centred.shape[0] > centred.shape[1]:
        squares, directions = np.linalg.eigh(centred.T @ centred)
        kept = squares > _FLAT * squares[-1]
        squares, directions = squares[kept], directions[:, kept]
        return centred @ directions / np.sqrt(squares), squares, directions
    squares, scores = np.linalg.eigh(centred @ centred.T)
    kept = squares > _FLAT * squares[-1]
    squares, scores = squares[kept], scores[:, kept]
    return scores, squares, centred.T @ scores / np.sqrt(squares)


def linear_fit(points: NDArray[np.floating], numbers: Floats) -> Floats:
    """The ordinary linear fit, with intercept, of numbers from points: in sample, so more columns always fit better.

    Args:
        points: shape (terms, width).
        numbers: shape (terms, columns).

    Returns:
        The fitted numbers, shape (terms, columns).
    """
    wide = np.asarray(points, dtype=np.float64)
    wide = wide - wide[0]
    scores, _, _ = _axes(wide - wide.mean(axis=0))
    mean = numbers.mean(axis=0)
    return np.asarray(mean + scores @ (scores.T @ (numbers - mean)))


def r_squared(numbers: Floats, predictions: Floats, counts: NDArray[np.floating] | None = None) -> Floats:
    """One minus the squared error over the squared distance from the mean: 1 is perfect, below 0 worse than the mean.

    Args:
        numbers: shape (terms,), or (terms, draws) without counts.
        predictions: the same shape.
        counts: how often each draw takes each term, shape (terms, draws); each once if left out.

    Returns:
        One value a draw, shape (draws,) or (); 0 where all numbers of a draw are the same.
    """
    weights = np.ones(len(numbers)) if counts is None else np.asarray(counts, dtype=np.float64).T
    error = weights @ (numbers - predictions) ** 2
    from_first = numbers - numbers[0]
    squares = weights @ from_first**2
    spread = squares - (weights @ from_first) ** 2 / weights.sum(axis=-1)
    varied = spread > _ROUNDING * squares
    return np.asarray(np.where(varied, 1.0 - error / np.where(varied, spread, 1.0), 0.0))
