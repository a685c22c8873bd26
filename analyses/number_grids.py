"""Which terms stand for numbers, such that the way from one number to the next can be walked: the ages of each sex.

It is decided by the data, not by a concept's name: a grid is a continuous labelling of equally spaced numbers with
exactly one term for each number and label of some categorical labelling (each age as a man, a woman and a person, who
has no sex). What is measured on grids is in `age_profiles` and `jump_tables`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses.geometry import Floats
from analyses.projection import Readings, covering_templates
from analyses.series import Key
from warehouse.tables import TEMPLATE_KINDS

FEWEST = 25
"""Numbers that a line and a smooth course need: ten inside the fitted range, and neighbours for each step."""


@dataclass(frozen=True)
class Grid:
    """Terms by stratum and number: each age as a man, a woman and a person.

    Attributes:
        labelling: the continuous labelling.
        variant: the variant of all terms.
        numbers: ascending and equally spaced, shape (numbers,).
        places: of each term in the concept's table, shape (strata, numbers).
        terms: the same by name.
        sexes: the two strata that are labels of one labelling; none if there are not just two.
        templates: by kind, those that have a prompt for each of the terms.
    """

    labelling: str
    variant: str
    numbers: Floats
    places: NDArray[np.intp]
    terms: tuple[tuple[str, ...], ...]
    sexes: tuple[int, ...]
    templates: dict[str, list[str]]

    def cells(self, reading: Readings) -> Iterator[tuple[Key, NDArray[np.float32]]]:
        """The vectors of each position and template, shape (strata, numbers, width), under a key without a metric."""
        for position, (kind, templates) in product(reading.positions, self.templates.items()):
            key = Key("activations", "", self.labelling, self.variant, position, kind)
            for template in templates:
                vectors = reading.of(position, template, self.places.ravel())
                yield key, vectors.reshape(*self.places.shape, -1)


def grids(prompts: pa.Table, terms: pa.Table, labels: pa.Table) -> Iterator[Grid]:
    """Every continuous labelling and variant whose terms make a grid."""
    variants = dict(zip(terms["term"].to_pylist(), terms["variant"].to_pylist(), strict=True))
    places = {term: place for place, term in enumerate(variants)}
    numbers: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    sorts: dict[str, dict[str, str]] = {"": {}}
    for row in labels.select(["labelling", "term", "kind", "label", "number"]).to_pylist():
        if row["kind"] == "continuous" and row["number"] is not None and row["term"] in variants:
            numbers[row["labelling"], variants[row["term"]]][row["term"]] = row["number"]
        elif row["kind"] == "categorical" and row["label"] is not None:
            sorts.setdefault(row["labelling"], {})[row["term"]] = row["label"]
    for (labelling, variant), of_term in sorted(numbers.items()):
        distinct = sorted(set(of_term.values()))
        if len(distinct) < FEWEST or not np.allclose(np.diff(distinct), distinct[1] - distinct[0]):
            continue
        for _, label_of in sorted(sorts.items()):
            cells = {(label_of.get(term, ""), number): term for term, number in of_term.items()}
            strata = sorted({stratum for stratum, _ in cells})
            if len(cells) != len(of_term) or len(cells) != len(strata) * len(distinct):
                continue
            named = tuple(tuple(cells[stratum, number] for number in distinct) for stratum in strata)
            sexes = tuple(place for place, stratum in enumerate(strata) if stratum)
            yield Grid(
                labelling,
                variant,
                np.array(distinct, dtype=np.float64),
                np.array([[places[term] for term in row] for row in named], dtype=np.intp),
                named,
                sexes if len(sexes) == 2 else (),
                {kind: covering_templates(prompts, kind, list(of_term), labelling) for kind in TEMPLATE_KINDS},
            )
            break
