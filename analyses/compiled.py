"""The one loop that matrix products can't express fast enough, compiled: silhouettes under many draws.

Imported only where it is called, since numba takes half a second to load; its machine code is kept between processes.
The loop lets go of Python's lock, so that layers are computed side by side. What a draw means is in `silhouettes`.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FAR = np.float32(1e30)
"""Farther than anything: stands where a term's own label would be."""

Singles = NDArray[np.float32]
Places = NDArray[np.int64]

_SIDE_BY_SIDE = 16
"""Draws that are taken to one label before the next, while the distances to that label are in the nearest cache."""


_compiled = njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nnan", "nsz"})


@_compiled
def mean_silhouettes(
    matrix: Singles, members: Places, weights: Singles, starts: Places, values: NDArray[np.float64]
) -> None:
    """Fill in the mean silhouette of each draw.

    Args:
        matrix: symmetric distances, shape (terms, terms); further columns may be added to fill vector registers.
        members: the terms that each draw takes, those of one label next to each other, shape (draws, terms).
        weights: how often each of them is taken, shape (draws, terms).
        starts: where each label begins in `members`, and where the last one ends, shape (draws, labels + 1).
        values: receives the results, shape (draws,).
    """
    width = matrix.shape[1]
    sums = np.empty(width, np.float32)
    nearest = np.empty((_SIDE_BY_SIDE, width), np.float32)
    own, weight = np.empty_like(nearest), np.empty_like(nearest)
    for first in range(0, len(values), _SIDE_BY_SIDE):
        count = min(_SIDE_BY_SIDE, len(values) - first)
        nearest[:], own[:], weight[:] = _FAR, 0.0, 0.0
        for label in range(starts.shape[1] - 1):
            for at in range(count):
                start, stop = starts[first + at, label], starts[first + at, label + 1]
                if start < stop:
                    member, taken = members[first + at, start:stop], weights[first + at, start:stop]
                    _add_up(matrix, member, taken, sums)
                    _compare(sums, member, taken, own[at], weight[at], nearest[at])
        for at in range(count):
            total = weights[first + at, : starts[first + at, -1]].sum()
            values[first + at] = _weighed(own[at], nearest[at], weight[at]) / total


@_compiled
def _add_up(matrix: Singles, member: Places, taken: Singles, sums: Singles) -> None:
    """Each term's summed distance to the drawn terms of one label.

    All terms' sums lie next to each other, and a term that the draw leaves out costs nothing. Four rows at a time, so
    that sums are read and written a quarter as often.
    """
    fours = len(member) % 4
    sums[:] = 0.0
    for place in range(fours):
        row, times = matrix[member[place]], taken[place]
        for term in range(len(sums)):
            sums[term] += times * row[term]
    for place in range(fours, len(member), 4):
        row0, row1, row2, row3 = (
            matrix[member[place]],
            matrix[member[place + 1]],
            matrix[member[place + 2]],
            matrix[member[place + 3]],
        )
        times0, times1, times2, times3 = taken[place], taken[place + 1], taken[place + 2], taken[place + 3]
        for term in range(len(sums)):
            sums[term] += times0 * row0[term] + times1 * row1[term] + times2 * row2[term] + times3 * row3[term]


@_compiled
def _compare(  # noqa: PLR0917
    sums: Singles, member: Places, taken: Singles, own: Singles, weight: Singles, nearest: Singles
) -> None:
    """Keep the mean distances of a label's own terms, and for all others the smaller of this one and what was there."""
    size = taken.sum()
    for place in range(len(member)):
        term = member[place]
        if size > taken[place]:
            own[term] = sums[term] / (size - taken[place])
            weight[term] = taken[place]
        sums[term] = _FAR * size
    share = np.float32(1.0) / size
    for term in range(len(sums)):
        mean = sums[term] * share
        nearest[term] = mean if mean < nearest[term] else nearest[term]


@_compiled
def _weighed(own: Singles, nearest: Singles, weight: Singles) -> np.float32:
    """The weighted sum of the terms' silhouettes; without another label, or with all at one place, they are 0."""
    value = np.float32(0.0)
    for term in range(len(own)):
        larger = own[term] if own[term] > nearest[term] else nearest[term]
        told = weight[term] if 0 < larger < _FAR / 2 else np.float32(0.0)
        value += told * (nearest[term] - own[term]) / (larger if larger > 0 else _FAR)
    return value
