"""The geometry of a set of vectors: distances, silhouettes, local anisotropy, linearity.

Each metric is a function of plain arrays, one vector a term, and knows nothing of layers, templates or tables (see
`profiles`). What must be taken thousands of times, under resampled terms or permuted labels, is taken for all draws at
once by matrix products with one distance matrix. Vectors that are all the same have defined values: silhouette 0,
anisotropy 0, R² of the mean. Distances and fits are in float64, the products of draws in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist, squareform

from warehouse.errors import InputError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

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

_BLOCK, _PERMUTED_BLOCK = 128, 32
"""Resamples and permutations taken at a time, so that the matrices of a block stay in the processor's cache."""


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


@dataclass(frozen=True)
class Groups:
    """Terms sorted by label.

    Attributes:
        codes: the label of each term, 0 to labels - 1, shape (terms,).
        order: the terms, those of one label next to each other.
        slices: where each label's terms stand in `order`.
    """

    codes: NDArray[np.intp]
    order: NDArray[np.intp]
    slices: tuple[slice, ...]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Terms of each label."""
        return np.array([part.stop - part.start for part in self.slices], dtype=np.intp)


def group(labels: Sequence[str] | Sequence[int] | NDArray[np.generic]) -> Groups:
    """Sort terms by label.

    Raises:
        InputError: fewer than two labels.
    """
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    ends = np.cumsum(np.bincount(codes))
    if len(ends) < 2:
        raise InputError("A silhouette compares labels: give terms of at least two.")
    starts = (0, *ends[:-1])
    return Groups(
        codes, np.argsort(codes, kind="stable"), tuple(slice(*ends_of) for ends_of in zip(starts, ends, strict=True))
    )


def silhouette_samples(distances: Floats, groups: Groups) -> Floats:
    """How much nearer each term is to its own label than to the nearest other one.

    `s(i) = (b(i) - a(i)) / max(a(i), b(i))`: a is the mean distance to the other terms of the same label, b the mean
    distance to the terms of the nearest other label (paper, technique 1; Rousseeuw 1987). A term alone in its label,
    and one for which a and b are both zero, gets 0.

    Args:
        distances: shape (terms, terms).
        groups: the labels of the terms.

    Returns:
        Values from -1 to 1, shape (terms,).
    """
    sums = np.stack([distances[:, groups.order[part]].sum(axis=1) for part in groups.slices], axis=1)
    rows, own_size = np.arange(len(distances)), groups.sizes[groups.codes]
    own = sums[rows, groups.codes] / np.maximum(own_size - 1, 1)
    others = sums / groups.sizes
    others[rows, groups.codes] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(own, nearest)
    counted = (larger > 0) & (own_size > 1)
    return np.asarray(np.divide(nearest - own, larger, out=np.zeros_like(own), where=counted))


def silhouette(distances: Floats, groups: Groups) -> float:
    """The mean of `silhouette_samples` over terms."""
    return float(silhouette_samples(distances, groups).mean())


@dataclass(frozen=True)
class GroupDraws:
    """Bootstrap counts made ready for silhouettes: terms sorted by label, all shapes (terms, resamples).

    Attributes:
        groups: the labels.
        shares: a term's count over all counts of its label.
        own: what turns the mean distance to a label, a term's own copies (at distance zero) counted in, into the mean
            without them; 0 where a term has nothing but copies.
        weights: a term's count over all counts.
        lost: for each label the resamples that hold none of its terms, shape (labels, resamples).
    """

    groups: Groups
    shares: Singles
    own: Singles
    weights: Singles
    lost: NDArray[np.bool_]


def group_draws(groups: Groups, counts: Singles) -> GroupDraws:
    """Make counts of shape (terms, resamples) ready for `resampled_silhouettes`."""
    ordered = counts[groups.order].astype(np.float64)
    starts = [part.start for part in groups.slices]
    sizes = np.add.reduceat(ordered, starts, axis=0)
    of_term = np.repeat(sizes, groups.sizes, axis=0)
    rest = of_term - ordered
    return GroupDraws(
        groups=groups,
        shares=np.divide(ordered, of_term, out=np.zeros_like(ordered), where=of_term > 0).astype(np.float32),
        own=np.divide(of_term, rest, out=np.zeros_like(ordered), where=rest > 0).astype(np.float32),
        weights=(ordered / ordered.sum(axis=0)).astype(np.float32),
        lost=sizes == 0,
    )


def resampled_silhouettes(distances: Floats, draws: GroupDraws) -> Floats:
    """The silhouette of each resample of terms.

    A term that was drawn w times counts w times, and its copies are left out of the mean distance to its own label:
    they lie at distance zero and would make any labelling look tighter than it is. A term that has nothing but copies
    in its label is alone there and gets 0.

    Args:
        distances: shape (terms, terms).
        draws: from `group_draws`.

    Returns:
        Shape (resamples,).
    """
    groups = draws.groups
    matrix = distances[np.ix_(groups.order, groups.order)].astype(np.float32)
    columns = [np.ascontiguousarray(matrix[:, part]) for part in groups.slices]
    resamples = draws.shares.shape[1]
    values = np.empty(resamples)
    for start in range(0, resamples, _BLOCK):
        block = slice(start, min(start + _BLOCK, resamples))
        own = np.empty((len(matrix), block.stop - start), dtype=np.float32)
        nearest = np.full_like(own, np.inf)
        to_label = np.empty_like(own)
        for label, part in enumerate(groups.slices):
            np.matmul(columns[label], draws.shares[part, block], out=to_label)
            own[part] = to_label[part]
            to_label[part] = np.inf
            if draws.lost[label, block].any():
                to_label[:, draws.lost[label, block]] = np.inf
            np.minimum(nearest, to_label, out=nearest)
        own *= draws.own[:, block]
        counted = (draws.own[:, block] > 0) & np.isfinite(nearest)
        values[block] = (_samples(own, nearest, counted) * draws.weights[:, block]).sum(axis=0)
    return values


@dataclass(frozen=True)
class PermutedGroups:
    """Labels under permutation.

    Attributes:
        groups: the labels as they are.
        codes: the label of each term under each permutation, shape (permutations, terms).
    """

    groups: Groups
    codes: NDArray[np.intp]


def permuted_groups(groups: Groups, orders: NDArray[np.intp]) -> PermutedGroups:
    """Make permutations of shape (terms, permutations) ready for `permuted_silhouettes`."""
    return PermutedGroups(groups, np.ascontiguousarray(groups.codes[orders].T))


def permuted_silhouettes(distances: Floats, permuted: PermutedGroups) -> Floats:
    """The silhouette under each permutation of the labels, shape (permutations,).

    A sparse product: a row for each permutation and label, with an entry for each term that carries the label.
    """
    matrix = distances.astype(np.float32)
    sizes = permuted.groups.sizes
    labels, terms = len(sizes), len(matrix)
    without_itself = np.where(sizes > 1, sizes / np.maximum(sizes - 1, 1), 0.0).astype(np.float32)
    values = np.empty(len(permuted.codes))
    for start in range(0, len(values), _PERMUTED_BLOCK):
        codes = permuted.codes[start : start + _PERMUTED_BLOCK]
        draws = np.arange(len(codes))[:, None]
        entries = np.repeat((1.0 / sizes).astype(np.float32)[None], len(codes), axis=0)[draws, codes]
        cells = (entries.ravel(), ((draws * labels + codes).ravel(), np.tile(np.arange(terms), len(codes))))
        shares = csr_array(cells, shape=(len(codes) * labels, terms))
        to_label = (shares @ matrix).reshape(len(codes), labels, terms)
        place = (draws, codes, np.arange(terms)[None])
        own = to_label[place] * without_itself[codes]
        to_label[place] = np.inf
        values[start : start + len(codes)] = _samples(own, to_label.min(axis=1), sizes[codes] > 1).mean(axis=1)
    return values


def _samples(own: Singles, nearest: Singles, counted: NDArray[np.bool_]) -> Floats:
    larger = np.maximum(own, nearest)
    counted = counted & (larger > 0)
    samples: Floats = np.divide(nearest - own, larger, out=np.zeros(own.shape), where=counted)
    return samples


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
