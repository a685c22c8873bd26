"""Claims about age: whether it is a straight line, whether it jumps at 18 and at the tokenizer's seams, and sex.

They read the profiles that `age_profiles` makes and the table `jumps`: all on neutral prompts, at the last token, over
main terms. How each number comes about is said there.
"""

import math

import numpy as np
import polars as pl

from analyses.claims.claim import (
    LARGEST_P,
    OURS,
    PAPER,
    Claim,
    Evidence,
    Measured,
    Missing,
    as_float,
    at_least,
    counted,
    place,
    widening,
)
from analyses.numerals import percent, two
from analyses.resampling import share_interval
from analyses.rows import listed

_NEUTRAL = {"concept": "age", "template_kind": "neutral", "position": "last", "variant": ""}
_READABLE = 0.5
_COMING_OF_AGE = 18.0
_ONE_SIDED, _TWO_SIDED = 1.644854, 1.959964
_MOST_NAMED = 6


def bends(evidence: Evidence) -> Measured | Missing:
    """What a straight line through ages 20 to 60 leaves unexplained outside of them: the layer in the middle."""
    inside = evidence.of_model("profiles", metric="r2_inside", **_NEUTRAL).filter(pl.col("layer") >= 0)
    outside = evidence.of_model("profiles", metric="r2_outside", **_NEUTRAL)
    both = inside.join(outside, on=["labelling", "layer"], suffix="_outside").sort("layer")
    if both.is_empty():
        return Missing("No line was fitted to ages: run the model on the concept age.")
    readable = both.filter(pl.col("value") >= _READABLE)
    if readable.is_empty():
        best = as_float(both["value"].max())
        return Missing(
            f"At no layer can age be read by a straight line even inside the fitted range (best R² {two(best)}), so "
            "nothing can be said of its course outside."
        )
    left = 1.0 - readable.select("value_outside", "low_outside", "high_outside").median().to_numpy()[0]
    embedded = evidence.of_model("profiles", metric="r2_ridge", **_NEUTRAL).filter(layer=-1)
    before = f" Before the first layer R² is {two(embedded['value'][0])} already." if len(embedded) else ""
    return Measured(
        float(left[0]),
        float(left[2]),
        float(left[1]),
        basis=f"median over {counted(len(readable), 'layer')} of {len(both)} in which age can be read inside the "
        f"fitted range (R² from {_READABLE:g} on); neutral prompts",
        said="A straight line through ages 20 to 60 explains "
        f"{percent(as_float(readable['value'].median()))} of the spread inside that range and leaves "
        f"{percent(left[0])} of it unexplained outside ({percent(left[2])} to {percent(left[1])}).{before}",
    )


def jumps_at_18(evidence: Evidence) -> Measured | Missing:
    """The step from 17 to 18 over what its neighbours lead to expect, at the layer where it is most surprising."""
    steps = evidence.of_model("jumps", **_NEUTRAL).filter(pl.col("layer") >= 0, pl.col("null_mean") > 0)
    here = steps.filter(pl.col("number") == _COMING_OF_AGE).with_columns(ratio=pl.col("size") / pl.col("null_mean"))
    if here.is_empty():
        return Missing("No step from 17 to 18 was measured: run the model on the concept age.")
    best = here.sort("null_p", "ratio", "layer", descending=[False, True, False]).row(0, named=True)
    wider = widening(len(here)) * _TWO_SIDED / _ONE_SIDED
    scatter = math.exp(wider * math.log(max(best["null_high"] / best["null_mean"], 1.0)))
    split = (
        "the tokenizer splits the two otherwise, which may be all there is to it"
        if best["token_split"]
        else "the tokenizer splits the two alike"
    )
    others = steps.filter(pl.col("q") <= LARGEST_P, pl.col("number") != _COMING_OF_AGE)
    return Measured(
        best["ratio"],
        best["ratio"] / scatter,
        best["ratio"] * scatter,
        basis=f"most surprising of {counted(len(here), 'layer')}, interval and p widened for the choice; the "
        "scatter is that of neighbouring steps; neutral prompts",
        said=f"At {place(best['layer'])} the step from 17 to 18 is {two(best['ratio'])} times what its neighbours lead "
        f"to expect; {split}. Ages that stand out at some layer: {_ages(others)}.",
        null_mean=1.0,
        null_p=min(1.0, as_float(here["null_p"].min()) * len(here)),
    )


def jumps_follow_spelling(evidence: Evidence) -> Measured | Missing:
    """The share of ages with a jump at which the number of tokens or the tens digit changes."""
    steps = evidence.of_model("jumps", **_NEUTRAL).filter(pl.col("layer") >= 0)
    seams = steps.group_by("number").agg(pl.col("token_split", "decade").any(), jumps=(pl.col("q") <= LARGEST_P).any())
    if seams.is_empty():
        return Missing("No steps between ages were measured: run the model on the concept age.")
    written = seams.with_columns(seam=pl.col("token_split") | pl.col("decade"))
    jumping = written.filter("jumps")
    chance = as_float(written["seam"].mean())
    if jumping.is_empty():
        return Missing(
            f"None of {len(seams)} steps between ages stands out at any layer in neutral prompts: "
            "there is no jump to explain."
        )
    hits = int(jumping["seam"].sum())
    low, high = share_interval(hits, len(jumping))
    return Measured(
        hits / len(jumping),
        low,
        high,
        basis=f"{counted(len(jumping), 'age')} with a jump at some layer (q up to {LARGEST_P:g}) of {len(seams)}",
        said=f"{hits} of {counted(len(jumping), 'jump')} between ages lie where the number of tokens or the tens digit "
        f"changes, as {chance:.0%} of all steps do: {_ages(jumping)}.",
        null_mean=chance,
        null_p=at_least(hits, [chance] * len(jumping)),
    )


def differs_by_sex(evidence: Evidence) -> Measured | Missing:
    """How many ages apart the sexes lie, against sexes that are exchanged: the layer in the middle."""
    apart = evidence.of_model("profiles", metric="sex_distance", **_NEUTRAL).filter(pl.col("layer") >= 0)
    across = evidence.of_model("profiles", metric="r2_across_sex", **_NEUTRAL).filter(pl.col("layer") >= 0)
    if apart.is_empty() or apart["low"].null_count() == len(apart):
        return Missing("The ages of men and women were not compared: run the model on the concept age.")
    middle = apart.select("value", "low", "high", "null_mean").median().row(0, named=True)
    # Twice the median of p-values is one, however they hang together (Rüschendorf 1982).
    p = min(1.0, 2.0 * as_float(apart["null_p"].median())) if apart["null_p"].null_count() < len(apart) else None
    shape = (
        f" A line fitted on one sex reads the other's age with R² {two(as_float(across['value'].median()))}."
        if len(across)
        else ""
    )
    return Measured(
        middle["value"],
        middle["low"],
        middle["high"],
        basis=f"median over {counted(len(apart), 'layer')}; neutral prompts",
        said=f"Between a man and a woman of the same age lies {middle['value']:.1f} times the distance from one year "
        f"of age to the next ({middle['low']:.1f} to {middle['high']:.1f}).{shape}",
        null_mean=middle["null_mean"],
        null_p=p,
    )


def _ages(steps: pl.DataFrame) -> str:
    """The ages that steps lead to, few of them named."""
    numbers = [f"{number:g}" for number in np.unique(steps["number"].to_numpy())]
    more = len(numbers) - _MOST_NAMED
    return listed(numbers if more <= 0 else [*numbers[:_MOST_NAMED], f"{more} more"]) if numbers else "none"


CLAIMS = (
    Claim(
        "age-bends",
        PAPER,
        "Age is encoded non-linearly",
        "Which share of the spread of ages does a straight line leave unexplained outside the range it was fitted on?",
        0.1,
        bends,
    ),
    Claim(
        "age-jumps-at-18",
        PAPER,
        "Age jumps between 17 and 18",
        "How many times larger is the step from 17 to 18 than its neighbours lead to expect?",
        1.5,
        jumps_at_18,
        has_null=True,
    ),
    Claim(
        "age-differs-by-sex",
        PAPER,
        "The manifold of age differs by sex",
        "How many times the distance from one year of age to the next lies between a man and a woman of the same age?",
        1.0,
        differs_by_sex,
        has_null=True,
    ),
    Claim(
        "age-jumps-follow-spelling",
        OURS,
        "Jumps of age lie where numbers are written otherwise",
        "At which share of the jumps does the number of tokens or the tens digit change?",
        0.5,
        jumps_follow_spelling,
        has_null=True,
    ),
)
