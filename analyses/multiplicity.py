"""Many p-values at once: what stays of them when layers and concepts were all looked at.

Here are the two corrections, of plain arrays. How a single p-value is made is in `resampling`; which ones are judged
together is said by who reads them.
"""

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import InputError

Floats = NDArray[np.float64]

_TIE = 1e-7
"""Values nearer than this are ties, which count against us: metrics are computed in float32."""


def benjamini_hochberg(p: Floats) -> Floats:
    """The false discovery rate at which each p-value would be called a discovery, among all of the array.

    Source: Y. Benjamini and Y. Hochberg, J. R. Statist. Soc. B 57, 1995. The smallest of p n / rank over the p-values
    at least as large; what was not measured (NaN) stays so, and does not count.

    Args:
        p: of any shape, such as (concepts, layers).

    Returns:
        The same shape.

    Raises:
        InputError: a p-value outside of 0 to 1.
    """
    known = np.isfinite(p)
    measured = p[known]
    if measured.size and (measured.min() < 0 or measured.max() > 1):
        raise InputError(f"P-values lie from 0 to 1; here they run from {measured.min():g} to {measured.max():g}.")
    order = np.argsort(measured)[::-1]
    ranks = np.arange(measured.size, 0, -1)
    rates = np.empty(measured.size)
    rates[order] = np.minimum.accumulate(measured[order] * measured.size / ranks)
    found = np.full(p.shape, np.nan)
    found[known] = rates
    return found


def family_wise_p(value: Floats, permuted: Floats) -> Floats:
    """How often the largest value over all layers is, by chance, at least as large as each layer's.

    The single-step maximum of P. Westfall and S. Young, Resampling-Based Multiple Testing, 1993: layers hang together,
    and permutations keep that, so that the probability of any false call is at most the p-value.

    Args:
        value: shape (layers,).
        permuted: under the same permutations at all layers, shape (layers, permutations).

    Returns:
        (1 + permutations whose largest value is at least as large) / (1 + all), shape (layers,).

    Raises:
        InputError: shapes that don't fit.
    """
    if permuted.ndim != 2 or permuted.shape[:1] != value.shape:
        raise InputError(f"Values of shape {value.shape} need permutations at each; theirs have {permuted.shape}.")
    largest = permuted.max(axis=0)
    as_large = (largest[None, :] >= value[:, None] - _TIE).sum(axis=1)
    return np.asarray((1 + as_large) / (1 + permuted.shape[1]))
