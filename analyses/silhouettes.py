"""Silhouettes: how much nearer terms are to their own label than to the nearest other one, under thousands of draws.

A silhouette is taken from a matrix of distances (`geometry`), and knows nothing of layers, templates or tables (see
`profiles`). What must be taken thousands of times, under resampled terms or permuted labels, is taken for all draws at
once from one matrix, by the loop in `compiled`. Vectors that are all the same have silhouette 0. Single silhouettes are
in float64, draws in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import InputError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_LANES = 16
"""Columns of distances are filled up to a multiple of this, the numbers that a processor adds at once."""


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
    """Draws of terms, or of labels, made ready for `drawn_silhouettes`.

    Attributes:
        members: the terms that each draw takes, those of one label next to each other; shape (draws, terms), zeros
            behind the last one.
        weights: how often each of them is taken, shape (draws, terms).
        starts: where each label begins in `members`, and where the last one ends, shape (draws, labels + 1).
    """

    members: NDArray[np.int64]
    weights: Singles
    starts: NDArray[np.int64]


def group_draws(groups: Groups, counts: NDArray[np.floating]) -> GroupDraws:
    """The draws that take each term as often as `counts` says, shape (terms, resamples), under the labels as they are.

    Weights that are no whole numbers are allowed, zeros leave terms out.
    """
    ordered = counts[groups.order].T
    taken = ordered > 0
    draws, terms = np.nonzero(taken)
    of_draw = taken.sum(axis=1)
    places = np.arange(len(draws)) - np.repeat(np.cumsum(of_draw) - of_draw, of_draw)
    members, weights = np.zeros(ordered.shape, np.int64), np.zeros(ordered.shape, np.float32)
    members[draws, places], weights[draws, places] = groups.order[terms], ordered[draws, terms]
    of_label = np.add.reduceat(taken, [part.start for part in groups.slices], axis=1, dtype=np.int64)
    return GroupDraws(members, weights, np.pad(np.cumsum(of_label, axis=1), ((0, 0), (1, 0))))


def permuted_groups(groups: Groups, orders: NDArray[np.intp]) -> GroupDraws:
    """The draws that take each term once, under labels exchanged by `orders`, shape (terms, permutations)."""
    members = np.argsort(groups.codes[orders].T, axis=1, kind="stable")
    starts = np.tile([0, *(part.stop for part in groups.slices)], (len(members), 1))
    return GroupDraws(members, np.ones(members.shape, np.float32), starts)


def left_out_groups(groups: Groups) -> GroupDraws:
    """The draws that take all terms but one, each of them in turn, as the jackknife does."""
    return group_draws(groups, 1.0 - np.eye(len(groups.codes)))


def drawn_silhouettes(distances: Floats, draws: GroupDraws) -> Floats:
    """The silhouette under each draw, from one matrix of distances.

    A term that was drawn w times counts w times, and its copies are left out of the mean distance to its own label:
    they lie at distance zero and would make any labelling look tighter than it is. A term that has nothing but copies
    in its label is alone there and gets 0. Labels of which nothing was drawn are no label.

    Args:
        distances: symmetric, shape (terms, terms).
        draws: from `group_draws`, `left_out_groups` or `permuted_groups`.

    Returns:
        Shape (draws,).
    """
    from analyses.compiled import mean_silhouettes

    matrix = np.zeros((len(distances), -(-len(distances) // _LANES) * _LANES), dtype=np.float32)
    matrix[:, : len(distances)] = distances
    values = np.zeros(len(draws.members))
    mean_silhouettes(matrix, draws.members, draws.weights, draws.starts, values)
    return values
