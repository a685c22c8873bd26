"""What the analyses of a run take, by what they took elsewhere: nothing of them is counted before there are numbers.

The constants are what `python -m benchmarks.analyses_fit --lines benchmarks/analyses.jsonl` prints: three concepts of
101, 192 and 606 terms at 4 and 16 layers, each by itself, on two processors that did nothing else.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extract.estimation import Estimate
    from extract.library import Concept
    from extract.room import Room

PROFILES_FIXED, PROFILES_EACH = 2.6, 9.8e-5
"""Seconds of two processors: of a run, for libraries that are loaded and compiled; of a layer, for each prompt and each
labelling by which it is looked at. Of profiles, with 1,000 resamples."""

MAPS_FIXED, MAPS_EACH = 1.3, 0.069
"""Seconds of two processors: of a run; of a concept and a layer. Of maps, findings, neighbours."""

UMAP_FIXED, UMAP_EACH = 9.9, 9.2e-4
"""Seconds of two processors: of a run, most of it for compiling; of a layer, for each term. Of layouts and pictures."""

ANALYSES_BYTES = 350_000
"""Of tables and pictures, for a concept and a layer; *measured* on 8 concepts and 9 layers of an embedded model."""

LIBRARIES_MEMORY, HELD = 640_000_000, 8
"""Bytes of main memory that the analyses' libraries take, pictures included, besides the program; and how many
layers of the largest concept's vectors are held at once, with all that is made of them."""

_SPREAD = 1.5
_POSITIONS, _FLOAT = 3, 4


def labelled_prompts(concepts: "Sequence[Concept]") -> int:
    """Prompts, each counted once for every labelling of its concept."""
    return sum(len(each.terms) * len(each.templates) * len(each.labellings) for each in concepts)


def analyses_seconds(made: "Estimate", concepts: "Sequence[Concept]") -> dict[str, tuple[float, float]]:
    """The least and the most seconds of two processors: `analyses`, and `umap`, which they can do without."""
    layers = len(made.shape.layers) + 1
    terms = sum(len(each.terms) for each in concepts)
    analysing = PROFILES_FIXED + PROFILES_EACH * layers * labelled_prompts(concepts)
    analysing += MAPS_FIXED + MAPS_EACH * layers * len(concepts)
    found = {"analyses": analysing, "umap": UMAP_FIXED + UMAP_EACH * layers * terms}
    return {name: (seconds / _SPREAD, seconds * _SPREAD) for name, seconds in found.items()}


def analyses_bytes(made: "Estimate") -> int:
    """Bytes of their tables and pictures."""
    return ANALYSES_BYTES * made.concepts * (len(made.shape.layers) + 1)


def analyses_memory(made: "Estimate") -> int:
    """Bytes of main memory that they take at most, besides the program: the model is no longer held then."""
    return LIBRARIES_MEMORY + HELD * made.most_prompts * _POSITIONS * made.shape.width * _FLOAT


def peak(made: "Estimate", room: "Room") -> int:
    """Bytes of the device at most: of extraction or, where that is main memory, of the analyses after it."""
    return room.program + max(made.memory.peak, analyses_memory(made) if room.shared else 0)
