"""Claims about progression: whether the stages of a disease lie in order, and whether the late ones bend back.

They read `stage_circles`: measured in the original space, on neutral prompts, at the last token, each against stages
that are exchanged. A disease of four stages has 24 orders, too few for a p-value that survives correction, so order and
circularity go by their intervals; loops, whose null is a cloud of points, by p-values corrected over all (`q`).
"""

import numpy as np
import polars as pl

from analyses.claims.claim import (
    LARGEST_P,
    PAPER,
    Claim,
    Evidence,
    Measured,
    Missing,
    counted,
    mean_of_independent,
    widening,
)
from analyses.numerals import two
from analyses.resampling import share_interval
from analyses.rows import listed

_NEUTRAL = {"template_kind": "neutral", "position": "last", "variant": ""}


def circular(evidence: Evidence) -> Measured | Missing:
    """The share of diseases whose late stages lie nearer to early than to middle ones, at some layer.

    A disease counts where its interval, widened for the number of layers, lies above 0 at some layer; it counts against
    the claim where that interval lies below 0 at every layer. Between the two lies what nobody can tell.
    """
    rows = _rows(evidence, "circularity")
    if rows.is_empty():
        return Missing("No circle of stages was looked for: run the model on the concept progression.")
    shown = _above_zero(rows)
    loops = _standing_out(_rows(evidence, "loop"))
    diseases, layers = rows["staged"].n_unique(), rows["layer"].n_unique()
    highest = pl.col("value") + widening(layers) * (pl.col("high") - pl.col("value"))
    straight = rows.group_by("staged").agg((highest < 0).all().alias("straight"))["straight"].to_list().count(True)
    low, _ = share_interval(len(shown), diseases)
    _, high = share_interval(diseases - straight, diseases)
    which = f" ({_placed(shown)})" if len(shown) else ""
    return Measured(
        len(shown) / diseases,
        low,
        high,
        basis=f"{counted(diseases, 'staged disease')}, {counted(layers, 'layer')}, intervals widened for the layers; "
        "that of the share reaches from those that are shown to those that can't be ruled out; original space, neutral "
        "prompts",
        said=f"The late stages of {len(shown)} of {counted(diseases, 'disease')} bend back to the early ones at some "
        f"layer{which}, those of {straight} do so at none, of the others nobody can tell; a closed loop shows for "
        f"{len(loops)}.",
    )


def not_monotonic(evidence: Evidence) -> Measured | Missing:
    """How far stages are from lying in order: 1 less the rank correlation, mean over diseases, median over layers."""
    rows = _rows(evidence, "order")
    if rows.is_empty():
        return Missing("No order of stages was looked for: run the model on the concept progression.")
    means = [mean_of_independent(own, "value", "low", "high") for _, own in rows.group_by("layer")]
    value, low, high = np.median(means, axis=0)
    ordered = _above_zero(rows)
    diseases = rows["staged"].n_unique()
    return Measured(
        1.0 - value,
        1.0 - high,
        1.0 - low,
        basis=f"mean over {counted(diseases, 'staged disease')}, median over {counted(len(means), 'layer')}; original "
        "space, neutral prompts",
        said=f"How far apart two stages lie goes along with how many stages they are apart by a rank correlation of "
        f"{two(value)} ({two(low)} to {two(high)}; 1 is a straight course); it stands out at some layer for "
        f"{len(ordered)} of {counted(diseases, 'disease')}.",
    )


def _rows(evidence: Evidence, measure: str) -> pl.DataFrame:
    return evidence.of_model("stage_circles", measure=measure, **_NEUTRAL).filter(pl.col("layer") >= 0)


def _above_zero(rows: pl.DataFrame) -> pl.DataFrame:
    """For each disease whose widened interval lies above 0 at some layer, the layer where it does so most."""
    lowest = pl.col("value") + widening(rows["layer"].n_unique()) * (pl.col("low") - pl.col("value"))
    clear = rows.with_columns(lowest.alias("lowest")).filter(pl.col("lowest") > 0).sort("lowest", descending=True)
    return clear.unique("staged", keep="first", maintain_order=True).sort("staged")


def _standing_out(rows: pl.DataFrame) -> pl.DataFrame:
    """For each disease that stands out at some layer, the layer where it is most surprising."""
    clear = rows.filter(pl.col("q") <= LARGEST_P).sort("q", "value", descending=[False, True])
    return clear.unique("staged", keep="first", maintain_order=True).sort("staged")


def _placed(rows: pl.DataFrame) -> str:
    return listed([f"{disease} at layer {layer}" for disease, layer in rows.select("staged", "layer").iter_rows()])


CLAIMS = (
    Claim(
        "progression-not-monotonic",
        PAPER,
        "Disease progression is non-monotonic",
        "How far are distances between stages from following the stages' order: 0 is in order, 1 is no order?",
        0.5,
        not_monotonic,
    ),
    Claim(
        "progression-circular",
        PAPER,
        "Disease progression is circular at some layers",
        "For which share of staged diseases do late stages lie nearer to early than to middle ones, at some layer?",
        0.25,
        circular,
    ),
)
