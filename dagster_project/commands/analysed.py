"""What the analyses of a run take, by what they took elsewhere: nothing of them is counted before there are numbers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extract.estimation import Estimate

ANALYSES_SECONDS = 2.4
"""Of one processor, for a concept and a layer: profiles with 1,000 resamples, layouts, maps. Rough: 175 seconds for 8
concepts and 9 layers of an embedded model (another time 138 and 114); how it grows with layers and terms is assumed."""

ANALYSES_BYTES = 350_000
"""Of tables and pictures, for a concept and a layer; *measured* on the same."""

_SPREAD = 2.0


def analyses_seconds(made: "Estimate") -> tuple[float, float]:
    """The least and the most seconds that they may take."""
    seconds = ANALYSES_SECONDS * made.concepts * (len(made.shape.layers) + 1)
    return seconds / _SPREAD, seconds * _SPREAD


def analyses_bytes(made: "Estimate") -> int:
    """Bytes of their tables and pictures."""
    return ANALYSES_BYTES * made.concepts * (len(made.shape.layers) + 1)
