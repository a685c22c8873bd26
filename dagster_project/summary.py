"""The short table after a run: per model and labelling, the best layers by activations, lesions and patches.

It shows what `profiles` and `plants` hold for asking prompts at their last token, main terms only. Richer questions are
for SQL (`vesalius sql --list`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from warehouse.store import Store

LESION, PATCH = "resample_log_probability_drop_over_controls", "resid_restored_step"
"""The metrics that tell where the answers to a labelling's prompts come from."""

METRICS = {"silhouette_cosine": "silhouette", "r2_ridge": "R²"}
"""The metric that tells of a labelling, and what it is called in the table."""


@dataclass(frozen=True)
class Line:
    """One line of the table: where one labelling of one concept shows in one model.

    Attributes:
        metric: silhouette, or R² for a continuous labelling.
        best: the layer where it is highest, with its value and 95% interval.
        step: the layer that it rises most at.
        lesion: the layer whose resample lesion takes most of the answers, beyond what it takes of the controls'.
        patch: the layer at which the patched stream's last token brings the answer back most of a sudden.
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
    lesion: int | None
    patch: int | None
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


def _concept_lines(store: Store, model: str, concept: str, planted: pl.DataFrame) -> list[Line]:
    every = pl.DataFrame(store.read("profiles", model=model, concept=concept)).filter(
        pl.col("position") == "last", pl.col("variant") == ""
    )
    profiles = every.filter(pl.col("technique") == "activations")
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
            effects = every.filter(pl.col("labelling") == labelling, pl.col("low") > 0)
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
                    _highest(effects, LESION),
                    _highest(effects, PATCH),
                    tuple(where.sort()),
                )
            )
    return lines


def _highest(effects: pl.DataFrame, metric: str) -> int | None:
    """The layer where a metric is highest, among those whose interval lies above 0."""
    rows = effects.filter(pl.col("metric") == metric)
    return None if rows.is_empty() else int(rows["layer"][int(rows["value"].arg_max() or 0)])


def _planted(store: Store, model: str) -> pl.DataFrame:
    if store.footer("plants", model=model) is None:
        return pl.DataFrame(schema={"concept": pl.String, "labelling": pl.String, "layer": pl.Int16})
    return pl.DataFrame(store.read("plants", columns=["concept", "labelling", "layer"], model=model))
