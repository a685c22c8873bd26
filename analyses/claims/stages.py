"""Claims about progression: whether the stages of a disease lie in order, and whether the late ones bend back.

They read `stage_circles`: measured in the original space, on neutral prompts, at the last token, each against stages
that are exchanged. Its p-values are corrected over all diseases and layers (`q`).
"""

import polars as pl

from analyses.claims.claim import (
    LARGEST_P,
    PAPER,
    Claim,
    Evidence,
    Measured,
    Missing,
    counted,
    wilson,
)
from analyses.rows import listed

_NEUTRAL = {"template_kind": "neutral", "position": "last", "variant": ""}


def circular(evidence: Evidence) -> Measured | Missing:
    """The share of diseases whose late stages lie nearer to early than to middle ones, at some layer."""
    rows = _rows(evidence, "circularity")
    if rows.is_empty():
        return Missing("No circle of stages was looked for: run the model on the concept progression.")
    shown = _standing_out(rows)
    loops = _standing_out(_rows(evidence, "loop"))
    diseases = rows["staged"].n_unique()
    low, high = wilson(len(shown), diseases)
    which = f" ({_placed(shown)})" if len(shown) else ""
    return Measured(
        len(shown) / diseases,
        low,
        high,
        basis=f"{counted(diseases, 'staged disease')}, {counted(rows['layer'].n_unique(), 'layer')}, corrected over "
        "both; original space, neutral prompts",
        said=f"The late stages of {len(shown)} of {counted(diseases, 'disease')} bend back to the early ones at some "
        f"layer{which}; a closed loop shows for {len(loops)}.",
    )


def not_monotonic(evidence: Evidence) -> Measured | Missing:
    """The share of diseases whose stages lie in order at no layer."""
    rows = _rows(evidence, "order")
    if rows.is_empty():
        return Missing("No order of stages was looked for: run the model on the concept progression.")
    ordered = _standing_out(rows)
    diseases = rows["staged"].n_unique()
    without = sorted(set(rows["staged"]) - set(ordered["staged"]))
    low, high = wilson(len(without), diseases)
    which = f": {listed(without)}" if without else ""
    return Measured(
        len(without) / diseases,
        low,
        high,
        basis=f"{counted(diseases, 'staged disease')}, {counted(rows['layer'].n_unique(), 'layer')}, corrected over "
        "both; original space, neutral prompts",
        said=f"The stages of {len(ordered)} of {counted(diseases, 'disease')} lie in order at some layer, those of "
        f"{len(without)} at none{which}.",
    )


def _rows(evidence: Evidence, measure: str) -> pl.DataFrame:
    return evidence.of_model("stage_circles", measure=measure, **_NEUTRAL).filter(pl.col("layer") >= 0)


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
        "For which share of staged diseases do the stages lie in order at no layer?",
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
