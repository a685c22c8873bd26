"""The short table after a run: per model and labelling, the best layer by activations, and what the map says.

It shows what `profiles`, `localisations` and `plants` hold for asking prompts at their last token, main terms only.
Richer questions are for SQL (`vesalius sql --list`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from warehouse.store import Store

METRICS = {"silhouette_cosine": "silhouette", "r2_ridge": "R²"}
"""The metric that tells of a labelling, and what it is called in the table."""


@dataclass(frozen=True)
class Line:
    """One line of the table: where one labelling of one concept shows in one model.

    Attributes:
        metric: silhouette, or R² for a continuous labelling.
        best: the layer where it is highest, with its value and 95% interval.
        step: the layer that it rises most at.
        places: the layers of the consensus, or why there are none; empty where prompts don't ask for the labelling.
        confidence: the probability of the surest layer; None where `places` names none.
        planted: the layers in which it was planted; empty where that is not known.
    """

    model: str
    concept: str
    labelling: str
    metric: str
    best: int
    value: float
    low: float | None
    high: float | None
    step: int | None
    places: str
    confidence: float | None
    planted: tuple[int, ...]


def summarize(store: Store, models: Sequence[str], concepts: Sequence[str]) -> list[Line]:
    """What the warehouse says of these models and concepts, as far as they were measured."""
    lines = []
    for model in models:
        planted = _planted(store, model)
        for concept in concepts:
            if store.footer("profiles", model=model, concept=concept) is not None:
                lines += _concept_lines(store, model, concept, planted)
    return lines


def unmeasured_of(store: Store, models: Sequence[str]) -> list[str]:
    """A line for each model and reason why tables stay empty for it: the reason is a fact about the model."""
    lines = []
    for model in models:
        if store.footer("unmeasured", model=model) is None:
            continue
        names: dict[str, list[str]] = {}
        for row in store.read("unmeasured", model=model).to_pylist():
            names.setdefault(row["reason"], []).append(row["table_name"])
        lines += [f"Not measured of {model}: {', '.join(tables)}. {reason}" for reason, tables in names.items()]
    return lines


def _concept_lines(store: Store, model: str, concept: str, planted: pl.DataFrame) -> list[Line]:
    profiles = pl.DataFrame(store.read("profiles", model=model, concept=concept)).filter(
        pl.col("technique") == "activations", pl.col("position") == "last", pl.col("variant") == ""
    )
    mapped = _mapped(store, model, concept)
    lines = []
    for labelling in profiles["labelling"].unique().sort():
        own = profiles.filter(pl.col("labelling") == labelling)
        asking = own.filter(pl.col("template_kind") == "asking")
        shown = asking if asking.height else own
        for metric, name in METRICS.items():
            rows = shown.filter(pl.col("metric") == metric).sort("layer")
            if rows.is_empty():
                continue
            best = rows.row(int(rows["value"].arg_max() or 0), named=True)
            steps = shown.filter(pl.col("metric") == f"{metric}_step").sort("layer")
            step = steps["layer"][int(steps["value"].arg_max() or 0)] if steps.height else None
            where = planted.filter(pl.col("concept") == concept, pl.col("labelling") == labelling)["layer"]
            lines.append(
                Line(
                    model,
                    concept,
                    labelling,
                    name,
                    best["layer"],
                    best["value"],
                    best["low"],
                    best["high"],
                    step,
                    *mapped.get(str(labelling), ("", None)),
                    tuple(where.sort()),
                )
            )
    return lines


def _mapped(store: Store, model: str, concept: str) -> dict[str, tuple[str, float | None]]:
    """What the consensus says of each labelling: its layers with the surest probability, or the verdict alone."""
    if store.footer("localisations", model=model, concept=concept) is None:
        return {}
    rows = pl.DataFrame(store.read("localisations", model=model, concept=concept)).filter(mode="consensus")
    return {
        row["labelling"]: (row["places"], row["confidence"]) if row["places"] else (row["verdict"], None)
        for row in rows.iter_rows(named=True)
    }


def _planted(store: Store, model: str) -> pl.DataFrame:
    if store.footer("plants", model=model) is None:
        return pl.DataFrame(schema={"concept": pl.String, "labelling": pl.String, "layer": pl.Int16})
    planted = pl.DataFrame(store.read("plants", model=model))
    # What is spread over all layers was planted in none of them.
    return planted.filter(pl.col("kind") != "spread").select("concept", "labelling", "layer")
