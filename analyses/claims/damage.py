"""Claims about damage: collapse at intermediate layers, how much lesions hurt, and what explains effects.

They read profiles of collapse and of lesions; how these are measured is in `collapse_profiles`, `lesion_profiles` and
`effect_correlations`.
"""

import math
from functools import partial

import numpy as np
import polars as pl

from analyses.claims.claim import (
    OURS,
    PAPER,
    Claim,
    Evidence,
    Measured,
    Missing,
    as_float,
    counted,
    mean_of_independent,
    place,
    widening,
)
from analyses.numerals import percent, two

_RANK = "effective_rank"
_ACCURACY, _LOG_PROBABILITY = "identity_accuracy_drop", "identity_log_probability_drop"
_CORRELATIONS = ("resample_log_probability_drop", "identity_log_probability_drop")
_FRAGILE = "Gemma3"

_FOLLOWED = {
    "token_count": ("its term's number of tokens", "The more tokens a term has"),
    "frequency": ("how frequent its term is in English", "The more frequent a term is in English"),
}
"""Of each number of terms what is said where effects don't follow it, and where they do."""


def collapse(evidence: Evidence) -> Measured | Missing:
    """How far the effective rank falls at an inner layer and rises again by the last: the lesser of the two shares."""
    rows = evidence.profiles(_RANK, labelling="").filter(
        pl.col("layer") >= 0, ~pl.col("concept").is_in(sorted(evidence.controls))
    )
    if rows.is_empty():
        return Missing("The effective rank of medical concepts was not measured: measure collapse.")
    concepts = rows["concept"].n_unique()
    by_layer = (
        rows.group_by("layer")
        .agg(
            pl.col("value").mean(),
            reach=((pl.col("high") - pl.col("low")) / 2).pow(2).sum().sqrt() / pl.len(),
        )
        .sort("layer")
    )
    value, reach = by_layer["value"].to_numpy(), by_layer["reach"].to_numpy()
    if len(value) < 3:
        return Missing(f"A collapse in between needs three layers; the model has {len(value)}.")
    falls = 1.0 - value / np.maximum.accumulate(value)
    rises = 1.0 - value / value[-1]
    scores = np.minimum(falls, rises)[1:-1]
    at = int(scores.argmax()) + 1
    before = int(value[: at + 1].argmax())
    estimate, end = (falls[at], before) if falls[at] < rises[at] else (rises[at], len(value) - 1)
    # Of a quotient relative errors add in squares; layers are taken as independent, which widens the interval.
    relative = math.hypot(reach[at] / value[at], reach[end] / value[end])
    width = (1.0 - estimate) * relative * widening(len(scores))
    first = int(by_layer["layer"][0])
    return Measured(
        float(estimate),
        float(estimate - width),
        float(estimate + width),
        basis=f"{counted(concepts, 'medical concept')}, last token of asking prompts, without the first token; "
        f"interval widened for the choice among {counted(len(scores), 'inner layer')}",
        said=f"Between {place(first + before)} and {place(first + at)} the effective rank of medical terms goes from "
        f"{value[before]:.1f} to {value[at]:.1f} directions, and the last layer has {value[-1]:.1f}.",
    )


def lesions_hurt(evidence: Evidence) -> Measured | Missing:
    """How much more accuracy Gemma-3 models lose by a lesioned layer than others: means over layers and concepts."""
    controls = sorted(evidence.controls)
    usual = {"template_kind": "asking", "position": "last", "variant": ""}
    rows = evidence.everywhere("profiles", metric=_ACCURACY, **usual).filter(~pl.col("concept").is_in(controls))
    own = rows.filter(model=evidence.model)
    if own.is_empty():
        return Missing("No identity lesion was run on medical prompts that ask: run the model with lesions.")
    architectures = dict(evidence.everywhere("models").select("model", "architecture").iter_rows())
    drops = {str(model): _mean_drop(drop) for (model,), drop in rows.group_by("model")}
    fragile = {model for model in drops if str(architectures.get(model, "")).startswith(_FRAGILE)}
    mean, low, high = drops[evidence.model]
    nats = evidence.profiles(_LOG_PROBABILITY).filter(~pl.col("concept").is_in(controls))["value"].mean()
    span = f"{percent(low)} to {percent(high)}"
    said = f"A lesioned layer costs {evidence.model} {percent(mean)} of its right medical answers ({span})"
    said += f" and {two(as_float(nats))} nats" if nats is not None else ""
    sides = [sorted(fragile), sorted(drops.keys() - fragile)]
    if not all(sides):
        lacking = "Gemma-3 model" if not fragile else "model of another family"
        return Measured(
            mean,
            None,
            None,
            f"{counted(len(drops), 'model')} in the warehouse",
            f"{said}, in the mean over layers and concepts. There is no {lacking} in the warehouse to compare with.",
        )
    (one, one_low, one_high), (other, other_low, other_high) = (
        _mean_of([drops[name] for name in side]) for side in sides
    )
    estimate = one - other
    return Measured(
        estimate,
        estimate - math.hypot(one - one_low, other_high - other),
        estimate + math.hypot(one_high - one, other - other_low),
        basis=f"{counted(len(sides[0]), 'Gemma-3 model')} and {counted(len(sides[1]), 'other')}; mean over layers, "
        "labellings and medical concepts",
        said=f"{said}; Gemma-3 models lose {percent(one)}, the others {percent(other)}.",
    )


def effects_follow(evidence: Evidence, number: str) -> Measured | Missing:
    """The rank correlation of a lesion's effect on a term with a number of the term, mean over layers."""
    for effect in _CORRELATIONS:
        rows = evidence.profiles(f"{effect}_{number}_correlation").filter(
            ~pl.col("concept").is_in(sorted(evidence.controls))
        )
        if len(rows):
            break
    else:
        return Missing(f"Effects were not held against {number.replace('_', ' ')}, or all terms have the same.")
    # Layers hang together: the interval of their mean is at most as wide as theirs are on average.
    means = (
        rows.group_by("concept", "labelling").agg(pl.col("value", "low", "high").mean()).sort("concept", "labelling")
    )
    mean, low, high = mean_of_independent(means, "value", "low", "high")
    name, more = _FOLLOWED[number]
    follows = (
        f"What a lesion costs an answer doesn't follow {name}"
        if low <= 0 <= high
        else f"{more}, the {'more' if mean > 0 else 'less'} a lesion costs its answer"
    )
    most = means.row(int(means["value"].abs().arg_max() or 0), named=True)
    return Measured(
        mean,
        low,
        high,
        basis=f"Spearman's correlation over terms, mean over layers, of {counted(len(means), 'labelling')} of medical "
        f"concepts under the {effect.split('_')[0]} lesion",
        said=f"{follows}: a rank correlation of {two(mean)} ({two(low)} to {two(high)}), furthest from 0 for "
        f"{most['concept']} · {most['labelling']} ({two(most['value'])}).",
    )


def _mean_drop(rows: pl.DataFrame) -> tuple[float, float, float]:
    """Mean over layers, then over labellings; the interval of a mean over layers is at most theirs on average."""
    means = rows.group_by("concept", "labelling").agg(pl.col("value", "low", "high").mean())
    return mean_of_independent(means, "value", "low", "high")


def _mean_of(drops: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    return mean_of_independent(
        pl.DataFrame(drops, schema=["value", "low", "high"], orient="row"), "value", "low", "high"
    )


CLAIMS = (
    Claim(
        "collapse",
        PAPER,
        "The model collapses at intermediate layers and recovers by the last ones",
        "Which share of its directions do medical terms lose at an inner layer and have again at the last?",
        0.5,
        collapse,
    ),
    Claim(
        "lesion-sensitivity",
        PAPER,
        "Lesions hurt Gemma-3 models much more than others",
        "How much more of the right medical answers does a lesioned layer cost Gemma-3 models than others?",
        0.1,
        lesions_hurt,
    ),
    Claim(
        "effects-follow-length",
        OURS,
        "Effects of lesions follow the number of tokens of a term",
        "How far does a lesion's effect on a term rise with the term's number of tokens?",
        0.2,
        partial(effects_follow, number="token_count"),
    ),
    Claim(
        "effects-follow-frequency",
        OURS,
        "Effects of lesions follow how frequent a term is in English",
        "How far does a lesion's effect on a term rise with the term's frequency?",
        0.2,
        partial(effects_follow, number="frequency"),
    ),
)
