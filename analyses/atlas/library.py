"""What all models share on the page: concepts, their terms, labels and templates, and what was published.

Belongs here: the concept library as the page knows it, with a running number for each term of a concept, by which all
other parts name terms. What a model says of them is in `models`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

Tables = Mapping[str, pl.DataFrame]

_CONCEPT = "concept"


@dataclass(frozen=True)
class Concept:
    """A concept as the page knows it.

    Attributes:
        name: its slug.
        terms: the names of its main terms, in the order of their numbers.
        templates: the names of its templates, in the order of theirs.
        told: what the page is told of it.
    """

    name: str
    terms: list[str]
    templates: list[str]
    told: dict[str, Any]

    @property
    def term_numbers(self) -> dict[str, int]:
        """The number of each term."""
        return {term: place for place, term in enumerate(self.terms)}

    @property
    def template_numbers(self) -> dict[str, int]:
        """The number of each template."""
        return {template: place for place, template in enumerate(self.templates)}


def concepts_of(tables: Tables) -> list[Concept]:
    """The concepts of the library, medical ones first, each by name.

    Args:
        tables: `concepts`, `terms`, `frequencies`, `labels` and `prompts`, with `concept` as a column.
    """
    ordered = tables["concepts"].sort(pl.col("role") == "control", _CONCEPT)
    return [_concept(row, tables) for row in ordered.iter_rows(named=True)]


def _concept(row: dict[str, Any], tables: Tables) -> Concept:
    name = row[_CONCEPT]
    terms = tables["terms"].filter(pl.col(_CONCEPT) == name, pl.col("variant") == "")
    uses = tables["frequencies"].filter(pl.col(_CONCEPT) == name)
    zipf = dict(zip(uses["term"].to_list(), uses["zipf_frequency"].to_list(), strict=True))
    labels = tables["labels"].filter(pl.col(_CONCEPT) == name)
    prompts = tables["prompts"].filter(pl.col(_CONCEPT) == name)
    names = terms["term"].to_list()
    spellings = terms["spelling"].to_list()
    templates = _templates(prompts, dict(zip(names, spellings, strict=True)))
    asked = set(prompts["labelling"].drop_nulls())
    found = labels["labelling"].unique(maintain_order=True).to_list()
    # What prompts ask for comes first: it is what the map speaks of.
    ordered = sorted(found, key=lambda labelling: labelling not in asked)
    told = {
        "name": name,
        "title": row["title"],
        "role": row["role"],
        "about": row["description"],
        "terms": names,
        "spellings": [] if spellings == names else spellings,
        "sources": terms["source"].to_list(),
        "zipf": [None if term not in zipf else round(zipf[term], 2) for term in names],
        "labellings": [_labelling(labels, labelling, names, labelling in asked) for labelling in ordered],
        "templates": templates,
        "prompts": len(prompts),
    }
    return Concept(name, names, [template["name"] for template in templates], told)


def _labelling(labels: pl.DataFrame, labelling: str, terms: list[str], asked: bool) -> dict[str, Any]:
    rows = labels.filter(pl.col("labelling") == labelling)
    by_term = {row["term"]: row for row in rows.iter_rows(named=True)}
    known = [by_term.get(term) for term in terms]
    kind = rows["kind"][0]
    told: dict[str, Any] = {"name": labelling, "kind": kind, "asked": asked}
    if kind == "continuous":
        told["unit"] = rows["unit"].drop_nulls().first()
        told["numbers"] = [row["number"] if row else None for row in known]
    else:
        order = rows.select("label", "ordinal").drop_nulls("label").unique(maintain_order=True)
        names = order.sort("ordinal", "label", nulls_last=True)["label"].unique(maintain_order=True).to_list()
        place = {label: number for number, label in enumerate(names)}
        told["labels"] = names
        told["of"] = [place.get(row["label"], -1) if row else -1 for row in known]
    if asked:
        told["answers"] = [row["answer"] if row else None for row in known]
    return told


def _templates(prompts: pl.DataFrame, spellings: dict[str, str]) -> list[dict[str, Any]]:
    """Each template as what stands before and behind its slot; prompts that are otherwise keep their own text."""
    told = []
    for (name,), rows in prompts.group_by("template", maintain_order=True):
        first = rows.row(0, named=True)
        before, behind = first["text"][: first["term_start"]], first["text"][first["term_end"] :]
        own = {
            row["term"]: row["text"]
            for row in rows.iter_rows(named=True)
            if row["term"] in spellings and row["text"] != f"{before}{spellings[row['term']]}{behind}"
        }
        told.append(
            {
                "name": name,
                "kind": first["template_kind"],
                "labelling": first["labelling"],
                "held_out": first["held_out"],
                "before": before,
                "behind": behind,
                **({"own": own} if own else {}),
            }
        )
    return sorted(told, key=lambda template: str(template["name"]))
