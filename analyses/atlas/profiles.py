"""Profiles as the page draws them: which ones, what they are called, and their numbers as packed columns.

Belongs here: the choice among all that `profiles` holds. A profile of a control concept is packed like any other: the
page reads a concept's profile against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analyses.atlas.library import Tables
from analyses.atlas.packing import Pack
from analyses.atlas.precision import precision_of
from analyses.contrasts import contrasts
from analyses.metric_words import meaning, unit_of

NUMBERS = ("null_mean", "null_high", "value", "low", "high")
"""What is kept of each layer, each as the difference from the one before it; `null_p` has a column of its own, as it
has another unit."""

SILHOUETTE_STEP = "silhouette_cosine_step"


@dataclass(frozen=True)
class Shown:
    """A profile that the page can show.

    Attributes:
        technique, metric, position: which one, of asking prompts and main terms.
        title: what it says, in a few words.
    """

    technique: str
    metric: str
    position: str
    title: str


SHOWN = (
    Shown("activations", SILHOUETTE_STEP, "last", "silhouette, step"),
    Shown("activations", "silhouette_cosine", "last", "silhouette"),
    Shown("activations", "silhouette_cosine", "mean", "silhouette, mean over tokens"),
    Shown("activations", "silhouette_cosine_over_rivals", "last", "silhouette over its rivals"),
    Shown("activations", "silhouette_cosine_over_untrained", "last", "silhouette over untrained"),
    Shown("activations", "r2_ridge_step", "last", "R², step"),
    Shown("activations", "r2_ridge", "last", "R²"),
    Shown("lesions", "resample_log_probability_drop_over_controls", "last", "resample, over controls"),
    Shown("lesions", "resample_accuracy_drop_over_controls", "last", "resample, accuracy over controls"),
    Shown("lesions", "mean_log_probability_drop_over_controls", "last", "mean, over controls"),
    Shown("lesions", "mean_accuracy_drop_over_controls", "last", "mean, accuracy over controls"),
    Shown("lesions", "identity_log_probability_drop_over_controls", "last", "identity, over controls"),
    Shown("lesions", "resample_log_probability_drop", "last", "resample, raw"),
    Shown("lesions", "identity_log_probability_drop", "last", "identity, raw (the paper's)"),
    Shown("patches", "delta_restored", "last", "a layer's own contribution"),
    Shown("patches", "resid_restored_step", "last", "residual stream, step"),
    Shown("patches", "resid_restored", "last", "residual stream, P (the paper's)"),
    Shown("patches", "delta_restored", "term", "own contribution, at the term"),
    Shown("saliency", "logit_difference_first_order_effect_over_controls", "last", "Σ g·w over controls"),
    Shown("saliency", "logit_difference_first_order_effect", "last", "Σ g·w on the logit difference"),
    Shown("saliency", "mean_abs_gradient", "last", "mean |g| (the paper's)"),
)
"""All that can be shown, those that the consensus reads among them; the first of a technique that is there is shown."""


def shown() -> list[dict[str, Any]]:
    """The choice as the page is told it, with what of it the consensus reads."""
    best = {(item.technique, item.metric, item.position) for item in contrasts() if item.is_best}
    keys = ("technique", "metric", "position", "title")
    return [
        {key: getattr(item, key) for key in keys}
        | {
            "unit": unit_of(item.metric),
            "means": meaning(item.metric),
            "best": (item.technique, item.metric, item.position) in best,
        }
        for item in SHOWN
    ]


def profiles_of(tables: Tables, layers: int, pack: Pack) -> list[dict[str, Any]]:
    """The profiles of one model, each as a column of `NUMBERS` x layers (from the embeddings, -1, on).

    Args:
        tables: `profiles` of one model.
        layers: how many layers it has.
        pack: takes the numbers.
    """
    precision = precision_of(layers)
    asking = tables["profiles"].filter(pl.col("template_kind") == "asking", pl.col("variant") == "")
    told = []
    for number, item in enumerate(SHOWN):
        rows = asking.filter(
            pl.col("technique") == item.technique,
            pl.col("metric") == item.metric,
            pl.col("position") == item.position,
        )
        for (concept, labelling), part in sorted(rows.group_by("concept", "labelling"), key=lambda found: found[0]):
            numbers = _numbers(part, layers, NUMBERS)
            scale = _scale(numbers)
            told.append(
                {
                    "shown": number,
                    "concept": concept,
                    "labelling": labelling,
                    "n": int(part["n"].max()),  # type: ignore[arg-type]
                    "numbers": pack.decimals(numbers * scale, most=4, largest=precision.largest, stride=layers + 1)
                    | {"scale": scale},
                    "p": pack.decimals(_numbers(part, layers, ("null_p",)), most=precision.chances),
                }
            )
    return told


def _numbers(part: pl.DataFrame, layers: int, names: Sequence[str]) -> NDArray[np.float64]:
    grid = np.full((len(names), layers + 1), np.nan)
    places = part["layer"].to_numpy() + 1
    for row, name in enumerate(names):
        grid[row, places] = part[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return grid


def _scale(numbers: NDArray[np.float64]) -> int:
    """1, or for tiny values (|g|) the power of ten at which decimals tell them apart."""
    largest = float(np.nanmax(np.abs(numbers), initial=0.0))
    return 1 if largest >= 0.05 or largest == 0.0 else int(10 ** np.ceil(-np.log10(largest)))
