"""The geometry of stages: are they in order, do they close into a ring, and is there a loop among them?

Each function takes distances between the stages of one disease, often of many draws or layers at once, and knows
nothing of templates or tables: what is measured on what is in `stage_profiles`. Stages are counted from 0, the mildest.
Distances are chords, `sqrt(2 - 2 cos)`: a metric that rises with the cosine distance.
"""

from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from analyses.geometry import Floats
from warehouse.errors import InputError

MOST_IN_LOOP = 10
"""Stages of which a loop can be found: pairs of them are the bits of one number, exact as a float."""

_SAME = 1e-13
"""One minus a cosine below this is zero: float32 vectors that are the same come out no nearer than this in float64."""


def sides(stages: int) -> NDArray[np.intp]:
    """0 for the early stage, the first; 2 for the late one, the last; 1 for the middle ones, all between.

    Thirds would not do: on a perfect ring of six stages the last third is as near to the first as to the middle one.

    Raises:
        InputError: fewer than three stages: there is no middle.
    """
    if stages < 3:
        raise InputError(f"Early, middle and late take at least 3 stages; there are {stages}.")
    return np.array([0, *[1] * (stages - 2), 2], dtype=np.intp)


def stage_distances(products: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Chords between the mean vectors of stages, and from each term to them, in units of the mean chord of two stages.

    Args:
        products: inner products of the terms' vectors, shape (terms, terms).
        weights: how much of each stage's mean each term is, shape (..., terms, stages); columns sum to 1.

    Returns:
        Shape (..., stages, stages) and (..., terms, stages); all zero where all stages have the same mean.
    """
    with_means = products @ weights
    means = np.swapaxes(weights, -1, -2) @ with_means
    lengths = np.sqrt(np.maximum(np.diagonal(means, axis1=-2, axis2=-1), 0.0))[..., None, :]
    own = np.sqrt(np.maximum(np.diag(products), 0.0))[:, None]
    stages = _chords(means, lengths * np.swapaxes(lengths, -1, -2))
    count = stages.shape[-1]
    stages[..., np.arange(count), np.arange(count)] = 0.0
    unit = stages.sum(axis=(-2, -1), keepdims=True) / (count * (count - 1))
    terms = _chords(with_means, own * lengths)
    # Without any distance between stages there is no unit to count the terms' distances in.
    between, away = (np.divide(one, unit, out=np.zeros_like(one), where=unit > 0) for one in (stages, terms))
    return between, away


def _chords(products: Floats, lengths: Floats) -> Floats:
    apart = 1.0 - np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return np.sqrt(2.0 * np.where(apart < _SAME, 0.0, apart))


def reordered(distances: Floats, orders: NDArray[np.intp]) -> Floats:
    """Distances between stages when stages are dealt to places anew.

    Args:
        distances: shape (stages, stages).
        orders: the stage at each place, shape (draws, stages).

    Returns:
        Shape (draws, stages, stages).
    """
    return np.asarray(distances[orders[:, :, None], orders[:, None, :]])


def order(distances: Floats) -> Floats:
    """Spearman's correlation between the distance of two stages and how many stages they are apart; ours.

    1: the further along, the further away, as on a line.

    Args:
        distances: shape (..., stages, stages).

    Returns:
        Shape (...); 0 where all distances are the same.
    """
    places = np.arange(distances.shape[-1])
    return _rank_correlations(distances, np.abs(places[:, None] - places))


def ring(distances: Floats) -> Floats:
    """The same with the stages apart counted on a ring, where the last stage is the first one's neighbour."""
    count = distances.shape[-1]
    along = np.abs(np.arange(count)[:, None] - np.arange(count))
    return _rank_correlations(distances, np.minimum(along, count - along))


def _rank_correlations(distances: Floats, apart: NDArray[np.intp]) -> Floats:
    first, second = np.triu_indices(distances.shape[-1], 1)
    # Rounded, for distances that are the same by symmetry must tie.
    ranks = rankdata(np.round(distances[..., first, second], 9), axis=-1)
    wanted = rankdata(apart[first, second])
    ranks, wanted = ranks - ranks.mean(axis=-1, keepdims=True), wanted - wanted.mean()
    scale = np.sqrt((ranks**2).sum(axis=-1) * (wanted**2).sum())
    products = ranks @ wanted
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))


def circularity(distances: Floats) -> Floats:
    """How much nearer the late stage is to the early one than to the middle ones, in mean distances of stages; ours.

    `(d(late, middle) - d(late, early)) / d`, with the mean over the middle ones: above 0 the course bends back to its
    beginning, as on a ring; on a line it is below 0, -0.9 with four stages.

    Args:
        distances: shape (..., stages, stages).

    Returns:
        Shape (...); 0 where all distances are 0.
    """
    count = distances.shape[-1]
    early, middle, late = (np.flatnonzero(sides(count) == side) for side in range(3))
    to_middle, to_early = (distances[..., late[:, None], side].mean(axis=(-2, -1)) for side in (middle, early))
    mean = distances.sum(axis=(-2, -1)) / (count * (count - 1))
    return np.asarray(np.divide(to_middle - to_early, mean, out=np.zeros_like(mean), where=mean > 0))


def nearest_early(distances: Floats, places: NDArray[np.intp], counts: NDArray[np.floating] | None = None) -> Floats:
    """The share of late terms whose nearest other stage is early rather than middle: the paper's measure (finding 3).

    Args:
        distances: from each term to the mean of the stage at each place, shape (..., terms, stages).
        places: the place of each term's own stage, shape (..., terms).
        counts: how often each term is taken, shape (..., terms); once if left out.

    Returns:
        Shape (...). A term as near to both counts half.
    """
    of_place = sides(distances.shape[-1])
    to_early, to_middle = (distances[..., of_place == side].min(axis=-1) for side in (0, 1))
    turned = (to_early < to_middle) + 0.5 * (to_early == to_middle)
    taken = (of_place[places] == 2) * (1.0 if counts is None else counts)
    return np.asarray((taken * turned).sum(axis=-1) / taken.sum(axis=-1))


def longest_loops(distances: Floats) -> Floats:
    """How long the most persistent loop of each set of points lasts, over the largest distance of two of them.

    Persistent homology of the Vietoris-Rips complex in dimension 1 over two elements (Edelsbrunner, Letscher and
    Zomorodian 2002): points are joined as the radius grows; a loop is born with the edge that closes it and dies when
    triangles fill it. On a line there is none; the corners of a square give `1 - 1/√2`; many points on a circle come
    near √3/2. The boundary matrix is reduced for all sets side by side, a column being the bits of one number.

    Args:
        distances: shape (sets, points, points).

    Returns:
        Death minus birth of the longest bar over the diameter, shape (sets,); 0 where there is no loop.

    Raises:
        InputError: more than 10 points.
    """
    count = distances.shape[-1]
    if count > MOST_IN_LOOP:
        raise InputError(f"Loops are found among at most {MOST_IN_LOOP} stages; there are {count}.")
    first, second = np.triu_indices(count, 1)
    lengths = distances[:, first, second]
    longest = np.zeros(len(lengths))
    if count < 4:
        return longest
    order_ = np.argsort(lengths, axis=1, kind="stable")
    born = np.take_along_axis(lengths, order_, axis=1)
    ranks = np.argsort(order_, axis=1)
    edges = np.sort(ranks[:, _triangles(count)], axis=2)
    edges = np.take_along_axis(edges, np.argsort(edges[:, :, 2], axis=1, kind="stable")[:, :, None], axis=1)
    columns = (np.int64(1) << edges).sum(axis=2)
    reduced = np.zeros_like(ranks)
    sets = np.arange(len(lengths))
    for place in range(columns.shape[1]):
        top, open_, column = edges[:, place, 2], sets, columns[:, place]
        while len(open_):
            low = np.frexp(column.astype(np.float64))[1] - 1
            held = reduced[open_, low]
            new = open_[held == 0]
            birth = low[held == 0]
            reduced[new, birth] = column[held == 0]
            lasted = born[new, top[new]] - born[new, birth]
            longest[new] = np.maximum(longest[new], lasted)
            column = column ^ held
            left = (held != 0) & (column != 0)
            open_, column = open_[left], column[left]
    widest = born[:, -1]
    return np.asarray(np.divide(longest, widest, out=np.zeros_like(longest), where=widest > 0))


@cache
def _triangles(points: int) -> NDArray[np.intp]:
    """The three edges of each triangle, by their place in the upper triangle of a matrix, shape (triangles, 3)."""
    edge = {pair: place for place, pair in enumerate(combinations(range(points), 2))}
    return np.array([[edge[pair] for pair in combinations(corners, 2)] for corners in combinations(range(points), 3)])


def cloud_distances(distances: Floats, chance: Floats) -> Floats:
    """Distances within normal clouds that are as wide as these points along each of their principal axes.

    The axes come from the distances by classical scaling (Torgerson 1952).

    Args:
        distances: shape (points, points).
        chance: standard normal numbers, shape (draws, points, points).

    Returns:
        Shape (draws, points, points).
    """
    count = len(distances)
    centring = np.eye(count) - 1.0 / count
    variances = np.linalg.eigvalsh(-0.5 * centring @ distances**2 @ centring) / (count - 1)
    points = chance * np.sqrt(np.maximum(variances, 0.0))
    return np.asarray(np.linalg.norm(points[:, :, None] - points[:, None], axis=-1))


def shared_direction(products: Floats, slopes: list[Floats]) -> Floats:
    """Cosines between the directions in which diseases move from their mildest stage to their worst.

    A disease's direction is the slope of its terms' vectors on their severity: the sum of vectors, each weighted by how
    far its severity lies from the disease's mean.

    Args:
        products: inner products of all vectors, terms disease by disease, shape (terms, terms).
        slopes: for each disease the weights of its terms under each draw, shape (terms of the disease, draws), each
            draw summing to 0.

    Returns:
        Shape (diseases, diseases, draws); 0 with a disease that does not move.
    """
    ends = np.cumsum([len(weights) for weights in slopes])
    starts = ends - [len(weights) for weights in slopes]
    every = np.concatenate(slopes)
    found = np.empty((len(slopes), len(slopes), every.shape[1]))
    for one, weights in enumerate(slopes):
        along = every * (products[:, starts[one] : ends[one]] @ weights)
        found[one] = np.add.reduceat(along, starts, axis=0)
    squares = found[np.arange(len(slopes)), np.arange(len(slopes))]
    scale = np.sqrt(np.maximum(squares[:, None] * squares, 0.0))
    return np.divide(found, scale, out=np.zeros_like(found), where=scale > 0)
