"""Charts of findings: claims with their verdicts, a run beside the paper's Table 1, and how concepts' maps overlap.

Belongs here: how `findings`, `published` and overlaps are drawn. The numbers come from `findings`, `published` and
`relations`; colours and axes are in `drawing`.
"""

from typing import Any

import altair as alt
import polars as pl

from analyses.claims.claim import counted
from analyses.drawing import FAINT_INK, GREY, INK, SHARES, dressed, values
from analyses.findings import in_order
from analyses.numerals import two
from analyses.palette import OTHERS
from analyses.published import COUNTERPARTS
from analyses.relations import overlap
from analyses.rows import Rows, frame, listed
from warehouse.errors import InputError

VERDICTS = ("supported", "refuted", "undecided")
_SIGNS = {"color": ("#0072b2", "#d55e00", "#8a8a8a"), "shape": ("circle", "diamond", "square")}
_ROW = 30
_WIDTH = 340
_REACH = 1.25
"""How far the axis of a finding reaches beyond its longest interval."""

_SPACES = {"umap": "UMAP's space", "cosine": "original space", "ridge": "original space", "restored": "last token"}


def findings_chart(findings: Rows, *, model: str | None = None) -> alt.Chart:
    """Every claim with its estimate, interval and verdict; claims of different units share one axis of evidence.

    On the axis 0 is the claim's threshold; to the right the numbers speak for the claim, to the left against it. Each
    row is scaled by itself, so lengths don't compare between rows; the numbers stand beside it.

    Args:
        findings: rows of `findings` with `model`.
        model: the model; may be left out where there is one.

    Raises:
        InputError: no findings, or several models and none named.
    """
    rows = frame(findings)
    if model is not None:
        rows = rows.filter(pl.col("model") == model)
    if rows["model"].n_unique() != 1:
        raise InputError(f"These findings are of {rows['model'].n_unique()} models: name one that has findings.")
    drawn = _scaled(in_order(rows))
    order = drawn["row"].to_list()
    y = alt.Y("row:N", sort=order, axis=alt.Axis(title=None, labelLimit=460), scale=alt.Scale(domain=order))
    x = alt.X(
        "at:Q",
        scale=alt.Scale(domain=[-1.08, 1.08]),
        axis=alt.Axis(
            title="speaks against  ←  the claim's threshold  →  speaks for", labels=False, ticks=False, grid=False
        ),
    )
    base = alt.Chart(values(drawn)).encode(y=y)
    tooltip = ["title:N", "verdict:N", "question:N", "sentence:N", "basis:N", "rule:N"]
    signs = [
        channel(
            "verdict:N",
            scale=alt.Scale(domain=list(VERDICTS), range=list(_SIGNS[name])),
            legend=alt.Legend(title=None, orient="top", symbolSize=90),
        )
        for name, channel in (("color", alt.Color), ("shape", alt.Shape))
    ]
    measured = base.transform_filter("isValid(datum.at)")
    interval = measured.transform_filter("isValid(datum.from)").mark_rule(strokeWidth=2)
    parts = [
        base.mark_rule(color=INK, strokeWidth=1).encode(
            x=alt.XDatum(0), y=alt.value(0), y2=alt.value(_ROW * len(order))
        ),
        interval.encode(x=alt.X("from:Q"), x2="to:Q", color=signs[0], tooltip=tooltip),
        measured.mark_point(filled=True, size=95, opacity=1).encode(
            x=x, color=signs[0], shape=signs[1], tooltip=tooltip
        ),
        base.transform_filter("!isValid(datum.at)")
        .mark_text(align="center", fontStyle="italic", fontSize=11, color=FAINT_INK)
        .encode(x=alt.value(_WIDTH / 4), text=alt.value("not measured"), tooltip=tooltip),
    ]
    numbers = (
        base.mark_text(align="left", fontSize=11, color=INK)
        .encode(
            x=alt.value(0), text="numbers:N", y=alt.Y("row:N", sort=order, axis=None, scale=alt.Scale(domain=order))
        )
        .properties(width=300, height=_ROW * len(order), view=alt.ViewConfig(stroke=None))
    )
    title = alt.TitleParams(
        text=_findings_title(drawn),
        subtitle=[
            f"{rows['model'][0]} · estimates with 95% intervals; ● the paper's claims, ○ ours.",
            "Each row has a scale of its own: only the side of the line and the numbers on the right compare.",
        ],
        anchor="start",
    )
    left = alt.layer(*parts).properties(width=_WIDTH, height=_ROW * len(order))
    return dressed(alt.hconcat(left, numbers, spacing=10, title=title))


def published_chart(beside: Rows) -> alt.Chart:
    """Our best values and how deep they lie, beside the paper's Table 1; a row a figure, a sign a source.

    Args:
        beside: from `published.beside_published`, or the query `published-beside-run`.

    Raises:
        InputError: no run has a counterpart of a published figure.
    """
    rows = frame(beside)
    if rows.is_empty():
        raise InputError("No run has a number beside the paper's Table 1: run a model on the paper's concepts first.")
    panels = []
    named = dict.fromkeys((concept, metric) for concept, metric, *_ in COUNTERPARTS)
    ours = sorted(rows["model"].unique().to_list())
    for place, (concept, metric) in enumerate(named):
        own = rows.filter(pl.col("concept") == concept, pl.col("metric") == metric)
        if len(own):
            panels.append(_figure(own, f"{concept} · {metric}", ours, place == 0))
    title = alt.TitleParams(
        text=_published_title(rows),
        subtitle=[
            "Grey: the five models of the paper's Table 1. Colours: the best layer of our runs, with 95% intervals.",
            "Depth is the best layer over the last one: layers of models of different height compare by it alone.",
        ],
        anchor="start",
    )
    return dressed(alt.vconcat(*panels, spacing=14, title=title))


def relations_chart(knowledge_map: Rows, localisations: Rows, *, model: str) -> alt.Chart:
    """How far the maps of each two concepts overlap: 1 is the same map, 0 no layer in common.

    Args:
        knowledge_map: its rows, with `model` and `concept`.
        localisations: their rows, with `model` and `concept`.
        model: the model.

    Raises:
        InputError: fewer than two concepts are localised.
    """
    chosen = {"model": model, "mode": "consensus", "labelling": ""}
    verdicts = frame(localisations).filter(**chosen)
    localised = verdicts.filter(verdict="localised")
    pairs = overlap(frame(knowledge_map).filter(**chosen), localised)
    if pairs.is_empty():
        raise InputError(
            f"Of {len(verdicts)} concepts of {model!r} {len(localised)} are localised: two make a relation."
        )
    mirrored = pairs.select(concept="other_concept", other_concept="concept", overlap="overlap")
    order = sorted({*pairs["concept"], *pairs["other_concept"]})
    cells = pl.concat([pairs, mirrored])
    size = 44 * len(order)
    axis = alt.Axis(title=None, labelAngle=-35)
    base = alt.Chart(values(cells)).encode(
        x=alt.X("other_concept:N", sort=order, axis=axis), y=alt.Y("concept:N", sort=order, axis=alt.Axis(title=None))
    )
    legend = alt.Legend(title="overlap", gradientLength=90, format=".1f")
    heat = base.mark_rect().encode(color=alt.Color("overlap:Q", scale=SHARES, legend=legend))
    dark = alt.condition("datum.overlap > 0.55", alt.value("#ffffff"), alt.value(INK))
    words = base.mark_text(fontSize=11).encode(text=alt.Text("overlap:Q", format=".2f"), color=dark)
    nearest = pairs.sort("overlap", descending=True).row(0, named=True)
    left_out = sorted(set(verdicts["concept"]) - set(order))
    without = f" Left out, for they are not localised: {listed(left_out)}." if left_out else ""
    title = alt.TitleParams(
        text=f"{nearest['concept'].capitalize()} and {nearest['other_concept']} share their layers most "
        f"({nearest['overlap']:.2f})",
        subtitle=[f"{model} · cosine of two concepts' maps over layers.{without}"],
        anchor="start",
    )
    return dressed(alt.layer(heat, words).properties(width=size, height=size, title=title))


def _scaled(rows: pl.DataFrame) -> pl.DataFrame:
    """Estimates and intervals as distances from the threshold, each row over its own longest; and the row's words."""
    ends = [pl.col(name) - pl.col("threshold") for name in ("estimate", "low", "high")]
    longest = pl.max_horizontal(*(end.abs() for end in ends)) * _REACH
    at, start, end = (end / pl.when(longest > 0).then(longest).otherwise(1.0) for end in ends)
    sign = pl.when(pl.col("claimed_by") == "the paper").then(pl.lit("● ")).otherwise(pl.lit("○ "))
    numbers = pl.struct("estimate", "low", "high", "threshold", "null_p").map_elements(_numbers, return_dtype=pl.String)
    return rows.with_columns(
        at.alias("at"), start.alias("from"), end.alias("to"), numbers.alias("numbers")
    ).with_columns(row=pl.concat_str(sign, "title"))


def _numbers(row: dict[str, float | None]) -> str:
    if row["estimate"] is None:
        return ""
    span = f" ({two(row['low'])} to {two(row['high'])})" if row["low"] is not None and row["high"] is not None else ""
    null = f", p {row['null_p']:.2g}" if row["null_p"] is not None else ""
    return f"{two(row['estimate'])}{span}; threshold {row['threshold']:g}{null}"


def _findings_title(rows: pl.DataFrame) -> str:
    paper = rows.filter(pl.col("claimed_by") == "the paper")
    counts = [f"{len(paper.filter(pl.col('verdict') == verdict))} {verdict}" for verdict in VERDICTS]
    return f"The paper's {counted(len(paper), 'claim')}: {', '.join(counts)}"


def _figure(rows: pl.DataFrame, name: str, ours: list[str], is_first: bool) -> Any:
    """Two strips: values and depths, those of the paper in grey below our runs' rows."""
    paper = (
        rows.unique("published_model", maintain_order=True)
        .sort("published_model")
        .select("value", "depth", "layer", source=pl.lit("the paper"), who=pl.col("published_model"))
    )
    space = pl.col("run_metric").str.split("_").list.last().replace_strict(_SPACES, default="")
    runs = rows.unique(["model", "run_metric"], maintain_order=True).select(
        "model",
        space=space,
        who=pl.col("model"),
        value=pl.col("run_value"),
        low=pl.col("run_low"),
        high=pl.col("run_high"),
        depth=pl.col("run_depth"),
        layer=pl.col("run_layer"),
        source=pl.concat_str("model", pl.lit(", "), space),
    )
    spaces = [space for space in dict.fromkeys(_SPACES.values()) if space in set(runs["space"])]
    order = ["the paper", *(f"{model}, {space}" for model in ours for space in spaces)]
    strips = [
        _strip(paper, runs, order, ours, measure, heading=name if measure == "value" else None)
        for measure in ("value", "depth")
    ]
    return alt.hconcat(*strips, spacing=14)


def _strip(
    paper: pl.DataFrame, runs: pl.DataFrame, order: list[str], ours: list[str], measure: str, *, heading: str | None
) -> Any:
    of_value = measure == "value"
    scale = (
        alt.Scale(zero=False, nice=True, padding=10) if of_value else alt.Scale(domain=[0, 1], padding=10, nice=False)
    )
    axis = alt.Axis(title=None if of_value else "depth", grid=True, gridColor=GREY, tickCount=5)
    x = alt.X(f"{measure}:Q", scale=scale, axis=axis)
    y = alt.Y(
        "source:N", sort=order, scale=alt.Scale(domain=order), axis=alt.Axis(title=None, labels=of_value, ticks=False)
    )
    colour = alt.Color("model:N", scale=alt.Scale(domain=ours, range=_colours(len(ours))), legend=None)
    tooltip = ["who:N", alt.Tooltip("value:Q", format=".2f"), "layer:Q", alt.Tooltip("depth:Q", format=".2f")]
    parts = [
        alt.Chart(values(paper))
        .mark_point(shape="circle", size=70, filled=False, stroke="#666666", strokeWidth=1.6, opacity=1)
        .encode(x=x, y=y, tooltip=tooltip),
        alt.Chart(values(runs))
        .mark_point(shape="diamond", size=90, filled=True, opacity=1)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
    ]
    if of_value:
        told = runs.drop_nulls("low")
        parts.insert(
            1, alt.Chart(values(told)).mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
        )
    properties: dict[str, Any] = {"width": 330 if of_value else 200, "height": 20 * len(order)}
    if heading is not None:
        properties["title"] = alt.TitleParams(heading, anchor="start", fontSize=13, offset=4)
    return alt.layer(*parts).properties(**properties)


def _colours(count: int) -> list[str]:
    return [OTHERS[place % len(OTHERS)] for place in range(count)]


def _published_title(rows: pl.DataFrame) -> str:
    """How many of our best values lie within the range of the published ones."""
    figures = rows.group_by("concept", "metric", "model", "run_metric").agg(
        low=pl.col("value").min(), high=pl.col("value").max(), ours=pl.col("run_value").first()
    )
    within = figures.filter(pl.col("ours").is_between(pl.col("low"), pl.col("high")))
    above = figures.filter(pl.col("ours") > pl.col("high"))
    return f"{len(within)} of {len(figures)} of our best values lie within the published range, {len(above)} above it"
