"""How finely numbers are kept: shallow models nearly as measured, deep ones coarser, so that several fit on a page.

Belongs here: what a reader would lose, said once. `page/page.html.jinja` says the same to the reader.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

WHOLE, MOST = 24, 16
"""Models of up to so many layers are kept whole; of deeper ones neighbours, effects and answers of so many layers."""


@dataclass(frozen=True)
class Precision:
    """How numbers are rounded.

    Attributes:
        steps: how many steps an axis of a picture has.
        largest: the largest whole number that a profile is kept in: 9,999 keeps four digits of its largest value.
        chances: decimals of a p value.
        cosines: decimals of a neighbour's cosine.
    """

    steps: int
    largest: int
    chances: int
    cosines: int


def precision_of(layers: int) -> Precision:
    """How the numbers of a model with so many layers are rounded."""
    return Precision(4096, 9_999, 4, 3) if layers <= WHOLE else Precision(1024, 999, 2, 2)


def detail_layers(layers: int, wanted: Iterable[int]) -> list[int]:
    """Which layers are told of in detail.

    Args:
        layers: how many layers the model has.
        wanted: layers that must be among them, as far as there is room: those that its maps mark.
    """
    if layers <= WHOLE:
        return list(range(layers))
    marked = sorted({layer for layer in wanted if 0 <= layer < layers})
    chosen = marked[:: -(-len(marked) // (MOST // 2))] if marked else []
    spread = np.linspace(0, layers - 1, MOST - len(chosen)).round().astype(int).tolist()
    return sorted({*chosen, *spread})
