"""How a silhouette rises from layer to layer in parts of the terms and templates: one pass over activations for all.

Profiles of all terms, with their intervals, are in `profiles`; what is made of parts, in `stability`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyses import silhouettes
from analyses.geometry import cosine_distances
from analyses.projection import Layers, Readings, readings
from analyses.resampling import Floats
from analyses.series import Key, Profile, Series


@dataclass(frozen=True)
class Part:
    """Some of the terms and templates of one labelling, and what it is called in the table."""

    change: str
    repeat: int
    detail: str
    labelling: str
    terms: frozenset[str]
    templates: frozenset[str]


@dataclass(frozen=True)
class _Reader:
    """The terms of one labelling and template, and the parts that read them.

    Attributes:
        places: the terms among all terms, shape (terms,).
        parts: for each part, which of these terms it takes, and their labels.
    """

    template: str
    places: NDArray[np.intp]
    parts: dict[Part, tuple[NDArray[np.intp], silhouettes.Groups]]

    def values(self, reading: Readings) -> dict[Part, float]:
        distances = cosine_distances(reading.of("last", self.template, self.places))
        return {
            part: silhouettes.silhouette(distances[np.ix_(chosen, chosen)], groups)
            for part, (chosen, groups) in self.parts.items()
        }


def silhouette_steps(
    parts: Sequence[Part], prompts: pa.Table, terms: pa.Table, labels: pa.Table, layers: Layers
) -> dict[Part, list[Profile]]:
    """The step of the silhouette at the last token for each part, from its templates' mean.

    Args:
        parts: which terms and templates; one with fewer than two labels of two terms gets no profile.
        prompts, terms, labels: the concept's tables.
        layers: for each layer, ascending, its activations.

    Returns:
        For each part one profile or none; its estimate is its only draw.

    Raises:
        InputError: layers that don't ascend, or activations missing.
    """
    names = terms["term"].to_pylist()
    readers = _readers(parts, prompts, names, labels)
    values: dict[Part, list[float]] = defaultdict(list)
    lowest: int | None = None
    for reading in readings(layers, names) if readers else ():
        lowest = reading.layer if lowest is None else lowest
        found: dict[Part, list[float]] = defaultdict(list)
        for reader in readers:
            for part, value in reader.values(reading).items():
                found[part].append(value)
        for part, by_template in found.items():
            values[part].append(float(np.mean(by_template)))
    made: dict[Part, list[Profile]] = {part: [] for part in parts}
    for part, silhouette in values.items():
        estimate: Floats = np.array(silhouette)
        steps = Series(estimate, estimate[:, None], first=lowest or 0).steps()
        key = Key("activations", "silhouette_cosine", part.labelling, "").step()
        made[part].append(Profile(key, steps, len(part.terms)))
    return made


def _readers(parts: Sequence[Part], prompts: pa.Table, names: Sequence[str], labels: pa.Table) -> list[_Reader]:
    known = pl.DataFrame(labels.select(["labelling", "term", "label"])).filter(pl.col("label").is_not_null())
    prompted = pl.DataFrame(prompts.select(["template", "term"]))
    places = {name: place for place, name in enumerate(names)}
    readers = []
    for labelling in dict.fromkeys(part.labelling for part in parts):
        label_of = dict(known.filter(labelling=labelling).select("term", "label").iter_rows())
        own = [part for part in parts if part.labelling == labelling]
        for template in sorted({template for part in own for template in part.templates}):
            everyone = set(prompted.filter(template=template)["term"])
            read = [term for term in names if term in everyone and term in label_of]
            taken = {}
            for part in own:
                chosen = [place for place, term in enumerate(read) if term in part.terms]
                groups = [label_of[read[place]] for place in chosen]
                enough = (np.unique(groups, return_counts=True)[1] >= 2).sum() >= 2
                if template in part.templates and enough:
                    taken[part] = (np.array(chosen, dtype=np.intp), silhouettes.group(groups))
            readers.append(_Reader(template, np.array([places[term] for term in read], dtype=np.intp), taken))
    return [reader for reader in readers if reader.parts]
