"""The chart of what each technique is worth: how often it finds planted knowledge, and what is not there.

Belongs here: how the table `validation` is drawn. What its rows come to is in `validity_summary`; how they are made is
in `validity`.
"""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from analyses.drawing import FAINT_INK, INK, dressed, values
from analyses.palette import MAPS, TECHNIQUES
from analyses.rows import Rows, frame
from analyses.validity_summary import EMPTY_KINDS, Summary, summarize_validation
from warehouse.errors import InputError

PAPERS = (
    ("lesions", "identity_log_probability_drop", "last"),
    ("saliency", "mean_abs_gradient", "last"),
    ("patches", "resid_restored", "last"),
    ("activations", "silhouette_cosine", "last"),
)
"""The raw scores that the paper reads: shown whatever they are worth."""

_KINDS = ("one layer", "several concepts", "block of two", "mlp at term")
_SPANS = ("hit", "error", "localised")
_NUMBERS = ("overlap", *(f"{name}{end}" for name in _SPANS for end in ("", "_low", "_high")))
_ROW = 24
_SHAPES = {"spread": "circle", "untrained": "square", "unknown": "triangle-up"}


def validity_chart(validation: Rows, *, most: int = 14) -> alt.Chart:
    """How well each profile, and each map, finds planted knowledge: a row a profile, the best on top.

    From left to right: the share of plants whose layer is its best one, by kind, with Wilson's 95% interval and
    a tick at chance; how far its best layer lies from the plant; and how often it marks a layer where knowledge sits in
    none. The maps and the paper's raw scores are always shown.

    Args:
        validation: its rows.
        most: how many other profiles are shown at most.

    Raises:
        InputError: there are no rows.
    """
    rows = frame(validation)
    if rows.is_empty():
        raise InputError("Nothing was validated yet: `vesalius validate` tries the techniques on planted models.")
    found = summarize_validation(rows)
    drawn = _chosen(found, most)
    told = pl.DataFrame([_told(each) for each in found if _key(each) in drawn])
    order = [_label(key) for key in drawn]
    chance = _chance(rows)
    panels = [
        _shares(told.filter(kind=kind), order, kind, chance.get(kind), labels=place == 0)
        for place, kind in enumerate(_present(rows, _KINDS))
    ]
    panels.append(_errors(told.filter(kind=""), order, labels=not panels))
    nowhere = told.filter(pl.col("kind").is_in(EMPTY_KINDS))
    if len(nowhere):
        panels.append(_false_localisations(nowhere, order))
    title = alt.TitleParams(
        text=_title(found),
        subtitle=[
            f"{rows['model'].n_unique()} models, {rows.select('model', 'concept', 'labelling').n_unique()} relations. "
            "Left: share of plants whose layer a profile names first, with 95% intervals; the dashed line is chance.",
            "Right: distance of that layer from the plant, and how often a layer is marked where no layer holds the "
            "knowledge. The consensus is fitted without the models it is judged on.",
        ],
        anchor="start",
    )
    return dressed(alt.hconcat(*panels, spacing=14, title=title))


def _key(summary: Summary) -> tuple[str, str, str]:
    return summary.technique, summary.metric, summary.position


def _label(key: tuple[str, str, str]) -> str:
    technique, metric, position = key
    if technique in MAPS:
        return "the consensus map" if technique == "consensus" else "the map as in the paper"
    where = "" if position == "last" else f" at the {position}"
    raw = " (as in the paper)" if key in PAPERS else ""
    return f"{technique}: {metric.replace('_', ' ')}{where}{raw}"


def _chosen(found: Sequence[Summary], most: int) -> list[tuple[str, str, str]]:
    """What is shown, the best first: both maps, the paper's scores, and the best of all others."""
    ordered = list(dict.fromkeys(_key(each) for each in found))
    always = {key for key in ordered if key[0] in MAPS or key in PAPERS}
    others = [key for key in ordered if key not in always][:most]
    return [key for key in ordered if key in always or key in others]


def _told(each: Summary) -> dict[str, object]:
    known = {name: None if math.isnan(getattr(each, name)) else getattr(each, name) for name in _NUMBERS}
    group = each.technique if each.technique in TECHNIQUES else _label(_key(each))
    return {"row": _label(_key(each)), "technique": group, "kind": each.kind, "relations": each.relations, **known}


def _chance(rows: pl.DataFrame) -> dict[str, float]:
    """The share that a layer drawn at random would hit, by kind."""
    planted = pl.col("planted").str.split(", ").list.eval(_length(pl.element())).list.sum()
    shares = rows.filter(pl.col("planted") != "").with_columns(chance=planted / pl.col("layers"))
    return dict(shares.group_by("kind").agg(pl.col("chance").mean()).iter_rows())


def _length(run: pl.Expr) -> pl.Expr:
    """The layers of a run like `2-3` or `7`."""
    ends = run.str.split("-")
    return ends.list.last().cast(pl.Int64) - ends.list.first().cast(pl.Int64) + 1


def _present(rows: pl.DataFrame, kinds: Sequence[str]) -> list[str]:
    there = set(rows["kind"])
    return [kind for kind in kinds if kind in there]


def _colour() -> alt.Color:
    names = [*TECHNIQUES, _label(("consensus", "", "")), _label(("paper", "", ""))]
    hues = [*TECHNIQUES.values(), *MAPS.values()]
    return alt.Color("technique:N", scale=alt.Scale(domain=names, range=hues), legend=None)


def _rows(order: Sequence[str], *, labels: bool) -> alt.Y:
    axis = alt.Axis(title=None, labels=labels, ticks=False, labelLimit=380, grid=True, gridColor="#f0f0f0")
    return alt.Y("row:N", sort=list(order), scale=alt.Scale(domain=list(order)), axis=axis)


def _heading(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, anchor="start", frame="group", fontSize=12, offset=6)


def _shares(rows: pl.DataFrame, order: Sequence[str], kind: str, chance: float | None, *, labels: bool) -> Any:
    counts = max(rows["relations"], default=0)
    x = alt.X("hit:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="top-1 hits", format=".0%", tickCount=3))
    base = alt.Chart(values(rows)).encode(y=_rows(order, labels=labels), color=_colour())
    tooltip = ["row:N", "kind:N", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("hit", "hit_low", "hit_high"))]
    parts: list[Any] = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("hit_low:Q"), x2="hit_high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, tooltip=[*tooltip, "relations:Q"]),
    ]
    if chance is not None:
        parts.insert(0, alt.Chart().mark_rule(color=FAINT_INK, strokeDash=[4, 3]).encode(x=alt.XDatum(chance)))
    return alt.layer(*parts, data=values(rows)).properties(
        width=130, height=_ROW * len(order), title=_heading(f"{kind} (n = {counts})")
    )


def _errors(rows: pl.DataFrame, order: Sequence[str], *, labels: bool) -> Any:
    x = alt.X("error:Q", scale=alt.Scale(zero=True), axis=alt.Axis(title="layers off", tickCount=4))
    base = alt.Chart(values(rows.drop_nulls("error"))).encode(y=_rows(order, labels=labels), color=_colour())
    tooltip = ["row:N", alt.Tooltip("error:Q", format=".2f"), alt.Tooltip("overlap:Q", format=".2f"), "relations:Q"]
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(x=alt.X("error_low:Q"), x2="error_high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, tooltip=tooltip),
    ).properties(width=130, height=_ROW * len(order), title=_heading("mean error, all plants"))


def _false_localisations(rows: pl.DataFrame, order: Sequence[str]) -> Any:
    kinds = [kind for kind in _SHAPES if kind in set(rows["kind"])]
    x = alt.X("localised:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="marked", format=".0%", tickCount=3))
    shape = alt.Shape(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[_SHAPES[kind] for kind in kinds]),
        legend=alt.Legend(title="no layer holds it", orient="right", symbolStrokeColor=INK),
    )
    told = rows.drop_nulls("localised")
    base = alt.Chart(values(told)).encode(y=_rows(order, labels=False), color=_colour())
    tooltip = ["row:N", "kind:N", alt.Tooltip("localised:Q", format=".2f"), "relations:Q"]
    return alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(x=alt.X("localised_low:Q"), x2="localised_high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, shape=shape, tooltip=tooltip),
    ).properties(width=150, height=_ROW * len(order), title=_heading("false localisations"))


def _title(found: Sequence[Summary]) -> str:
    """What the consensus comes to, beside the paper's raw lesion."""
    over_all = {_key(each): each for each in found if not each.kind}
    consensus = next((each for key, each in over_all.items() if key[0] == "consensus"), None)
    raw = over_all.get(PAPERS[0])
    if consensus is None or math.isnan(consensus.hit):
        best = max(over_all.values(), key=lambda each: each.hit, default=None)
        return (
            "No planted knowledge was tried" if best is None else f"{_label(_key(best))} finds {best.hit:.0%} of plants"
        )
    than = f", the raw identity lesion for {raw.hit:.0%}" if raw is not None and not math.isnan(raw.hit) else ""
    return f"The consensus names the planted layer for {consensus.hit:.0%} of plants{than}"
