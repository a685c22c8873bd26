"""Claims about clusters: specialty against mechanism, and whether labels show beyond spelling and an untrained model.

They read profiles of activations as they are and over their rivals, which `rivals` makes. A silhouette of many small
labels lies below 0 by chance, so values are taken over their mean under permuted labels before they are compared.
"""

from collections.abc import Callable
from functools import partial

import polars as pl

from analyses.claims.claim import (
    OURS,
    PAPER,
    Claim,
    Evidence,
    Measured,
    Missing,
    best_layer,
    counted,
    difference,
    place,
)
from analyses.numerals import two
from analyses.resampling import share_interval

_SILHOUETTE, _LINEARITY = "silhouette_cosine", "r2_ridge"
_OVER_SPELLING = "_over_spelling"
_ENDINGS = {
    "_over_rivals": "spelling, tokens, frequency and embeddings",
    "_over_untrained": "an untrained model of its shape",
}


def specialty_over_mechanism(evidence: Evidence, *, kind: str, ending: str = "") -> Measured | Missing:
    """By how much the silhouette by specialty exceeds that by mechanism, at the layer where both together are highest.

    That layer is chosen by the sum of the two, which tells nothing of their difference: it needs no correction.
    """
    metric = _SILHOUETTE + ending
    rows = evidence.profiles(metric, concept="drugs", template_kind=kind).filter(pl.col("layer") >= 0)
    specialty, mechanism = (_over_chance(rows.filter(labelling=name)) for name in ("specialty", "mechanism"))
    both = specialty.join(mechanism, on="layer", suffix="_mechanism").sort("layer")
    if both.is_empty():
        return Missing(
            f"No {metric} of drugs by specialty and by mechanism on {kind} prompts: run the model on the concept drugs."
        )
    best = both.row(int((both["over"] + both["over_mechanism"]).arg_max() or 0), named=True)
    names = ("over", "low", "high")
    mine, other = ({name: best[name + suffix] for name in names} for suffix in ("", "_mechanism"))
    estimate, low, high = difference(mine, other)
    beyond = " beyond what spelling gives" if ending else ""
    return Measured(
        estimate,
        low,
        high,
        basis=f"{counted(best['n'], 'drug')}, last token of {kind} prompts, cosine distance, over permuted labels; "
        "the layer is where the sum of both is largest, which says nothing of their difference",
        said=f"At {place(best['layer'])} drugs have a silhouette over chance{beyond} of {two(mine['over'])} by "
        f"specialty and {two(other['over'])} by mechanism: a difference of {two(estimate)} "
        f"({two(low)} to {two(high)}).",
    )


def beyond_rivals(evidence: Evidence, labelling: str) -> Measured | Missing:
    """What is left of drugs' silhouette over the best of its rivals, at its best layer."""
    metric = f"{_SILHOUETTE}_over_rivals"
    rows = evidence.profiles(metric, concept="drugs", labelling=labelling).filter(pl.col("layer") >= 0)
    if rows.is_empty():
        return Missing(
            f"No {metric} of drugs by {labelling}: run the model on the concept drugs, and measure its rivals."
        )
    best = best_layer(rows)
    rivals = evidence.of_model(
        "rivals", concept="drugs", metric=_SILHOUETTE, labelling=labelling, template_kind="asking", variant=""
    )
    known = ", ".join(
        f"{row['rival'].replace('_', ' ')} {two(row['value'] - (row['null_mean'] or 0.0))}"
        for row in rivals.sort("rival").iter_rows(named=True)
    )
    alone = f" (alone, over chance: {known})" if known else ""
    return Measured(
        best.value,
        best.low,
        best.high,
        basis=f"{counted(int(rows['n'][0]), 'drug')}, last token of asking prompts; {best.choice}",
        said=f"At {place(best.layer)} the silhouette of drugs by {labelling} exceeds the best of its rivals by "
        f"{two(best.value)} ({_span(best.low, best.high)}){alone}.",
    )


def beyond_everywhere(evidence: Evidence, ending: str) -> Measured | Missing:
    """The share of medical labellings that show beyond a rival at their best layer."""
    shown: list[str] = []
    hidden: list[str] = []
    for metric in (_SILHOUETTE, _LINEARITY):
        rows = evidence.profiles(metric + ending).filter(
            pl.col("layer") >= 0, ~pl.col("concept").is_in(sorted(evidence.controls))
        )
        for (concept, labelling), own in rows.group_by("concept", "labelling", maintain_order=True):
            best = best_layer(own)
            side = shown if best.low is not None and best.low > 0 else hidden
            side.append(f"{concept} · {labelling}")
    trials = len(shown) + len(hidden)
    against = _ENDINGS[ending]
    if not trials:
        return Missing(f"No profile of a medical concept was held against {against}: measure the rivals of profiles.")
    low, high = share_interval(len(shown), trials)
    without = f" Not: {', '.join(sorted(hidden))}." if hidden else ""
    return Measured(
        len(shown) / trials,
        low,
        high,
        basis=f"{counted(trials, 'labelling')} of medical concepts, silhouette or R²; intervals widened for the choice "
        "of the best layer",
        said=f"Beyond {against} {len(shown)} of {counted(trials, 'labelling')} of medical concepts can be seen at the "
        f"best layer.{without}",
    )


def _over_chance(rows: pl.DataFrame) -> pl.DataFrame:
    """Value and interval less the mean under permuted labels; of what is left over a rival, chance is off already."""
    chance = pl.col("null_mean").fill_null(0.0)
    shifted = (pl.col(name) - chance for name in ("low", "high"))
    return rows.select("layer", "n", *shifted, over=pl.col("value") - chance)


def _span(low: float | None, high: float | None) -> str:
    return "no interval" if low is None or high is None else f"{two(low)} to {two(high)}"


def _compared(name: str, title: str, claimed_by: str, measure: Callable[[Evidence], Measured | Missing]) -> Claim:
    question = "By how much does the silhouette of drugs by specialty, over chance, exceed that by mechanism?"
    return Claim(name, claimed_by, title, question, 0.0, measure)


CLAIMS = (
    _compared(
        "specialty-over-mechanism",
        "Drugs cluster better by specialty than by mechanism",
        PAPER,
        partial(specialty_over_mechanism, kind="neutral"),
    ),
    _compared(
        "specialty-over-mechanism-asked",
        "Drugs cluster better by specialty than by mechanism, each where it is asked for",
        OURS,
        partial(specialty_over_mechanism, kind="asking"),
    ),
    _compared(
        "specialty-over-mechanism-beyond-spelling",
        "Drugs cluster better by specialty than by mechanism, beyond what spelling gives",
        OURS,
        partial(specialty_over_mechanism, kind="neutral", ending=_OVER_SPELLING),
    ),
    *(
        Claim(
            f"drugs-by-{labelling}-beyond-spelling",
            OURS,
            f"Drugs cluster by {labelling} beyond spelling, tokens, frequency and embeddings",
            f"What is left of the silhouette by {labelling} over the best of spelling, tokens, frequency, embeddings?",
            0.0,
            partial(beyond_rivals, labelling=labelling),
        )
        for labelling in ("specialty", "mechanism")
    ),
    Claim(
        "beyond-rivals",
        OURS,
        "Medical labels show beyond spelling, tokens, frequency and embeddings",
        "Which share of medical labellings shows beyond all of its rivals at its best layer?",
        0.5,
        partial(beyond_everywhere, ending="_over_rivals"),
    ),
    Claim(
        "beyond-untrained",
        OURS,
        "Medical labels show beyond an untrained model of the same shape",
        "Which share of medical labellings shows beyond the untrained model at its best layer?",
        0.5,
        partial(beyond_everywhere, ending="_over_untrained"),
    ),
)
