"""Which layers stand out in a profile, draw by draw, and the runs that they form.

Here profiles, as arrays, become marks. What a mark is worth is in `contrasts`, what marks say together in `mapping`.
The paper's own rule is in `paper_map`.
"""

import numpy as np
from numpy.typing import NDArray

from analyses.resampling import Floats

HALF = 0.5
"""Share of the largest value from which a layer stands out, and of the whole effect that such layers must carry."""


def stand_out(values: Floats, least: float) -> NDArray[np.bool_]:
    """The layers that stand out in each draw of a profile.

    A layer stands out with at least half of the largest value, and at least `least`. What has half of the largest value
    is a place only if it is few layers that carry much: at most half of the layers, and at least half of the sum of all
    positive values. Otherwise the draw marks no layer: its effect is spread out, or too small to speak of.

    Args:
        values: shape (layers, draws); what is larger is more.
        least: what each layer must have by itself, in the unit of the values. Layers that matter little don't become a
            place by being several.

    Returns:
        Shape (layers, draws).
    """
    positive = np.maximum(values, 0.0)
    largest = positive.max(axis=0)
    high = (positive >= HALF * largest) & (largest > 0)
    carried, whole = np.where(high, positive, 0.0).sum(axis=0), positive.sum(axis=0)
    is_place = (high.sum(axis=0) <= HALF * len(values)) & (carried >= HALF * whole)
    return np.asarray(high & is_place & (positive >= least))


def runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last layer of each run of marked layers, from the lowest.

    Args:
        marked: shape (layers,).
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def named(regions: list[tuple[int, int]]) -> str:
    """Regions in words: `2-3, 7`."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in regions)


def first_half_shares(values: Floats) -> Floats:
    """The share of the positive values that the first half of the layers has, in each draw.

    Of an odd number of layers the one in the middle counts half.

    Args:
        values: shape (layers, draws).

    Returns:
        Shape (draws,); NaN in a draw without any positive value.
    """
    positive = np.maximum(values, 0.0)
    depth = np.clip(len(values) / 2 - np.arange(len(values)), 0.0, 1.0)
    whole = positive.sum(axis=0)
    return np.asarray(np.divide(depth @ positive, whole, out=np.full(len(whole), np.nan), where=whole > 0))
