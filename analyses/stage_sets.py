"""Which terms stand for stages, and of what: the stages of each disease, the age groups of each sex.

It is decided by the data, not by a concept's name: there are stages where terms have an ordinal labelling, apart for
each label of the finest categorical labelling under which at least two labels have three stages or more. What is
measured on them is in `stage_profiles`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from analyses.projection import covering_templates
from warehouse.tables import TEMPLATE_KINDS

FEWEST_STAGES = 3
"""Stages that early, middle and late take."""


@dataclass(frozen=True)
class StageSet:
    """The terms of each disease, by their place in the concept's table, and the stage of each, from 0."""

    labelling: str
    variant: str
    of_disease: dict[str, tuple[list[int], list[int]]]
    templates: dict[str, list[str]]


def stage_sets(prompts: pa.Table, terms: pa.Table, labels: pa.Table) -> Iterator[StageSet]:
    """Every ordinal labelling and variant that has stages."""
    variants = dict(zip(terms["term"].to_pylist(), terms["variant"].to_pylist(), strict=True))
    names = list(variants)
    places = {term: place for place, term in enumerate(names)}
    steps: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    sorts: dict[str, dict[str, str]] = defaultdict(dict)
    for row in labels.select(["labelling", "term", "kind", "label", "ordinal"]).to_pylist():
        if row["kind"] == "ordinal" and row["ordinal"] is not None and row["term"] in variants:
            steps[row["labelling"], variants[row["term"]]][row["term"]] = row["ordinal"]
        elif row["kind"] == "categorical" and row["label"] is not None:
            sorts[row["labelling"]][row["term"]] = row["label"]
    for (labelling, variant), ordinals in sorted(steps.items()):
        finest: dict[str, dict[str, int]] = {}
        for _, label_of in sorted(sorts.items()):
            grouped: dict[str, dict[str, int]] = defaultdict(dict)
            for term in sorted(ordinals, key=lambda term: places[term]):
                if term in label_of:
                    grouped[label_of[term]][term] = ordinals[term]
            staged = {name: of for name, of in sorted(grouped.items()) if len(set(of.values())) >= FEWEST_STAGES}
            if len(staged) > max(len(finest), 1):
                finest = staged
        if finest:
            of_disease = {}
            for name, of in finest.items():
                rank = {ordinal: place for place, ordinal in enumerate(sorted(set(of.values())))}
                of_disease[name] = ([places[term] for term in of], [rank[ordinal] for ordinal in of.values()])
            known = [names[place] for at, _ in of_disease.values() for place in at]
            templates = {kind: covering_templates(prompts, kind, known, labelling) for kind in TEMPLATE_KINDS}
            yield StageSet(labelling, variant, of_disease, templates)
