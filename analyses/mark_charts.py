"""Charts of what a map is made from and of how well it holds: each technique's marks, and maps made otherwise.

Belongs here: how `marks` and `stability` are drawn. The map itself is in `map_charts`, colours and axes are in
`drawing`. How marks and changed maps come about is not said here.
"""

from collections.abc import Iterator
from typing import Any

import altair as alt
import polars as pl

from analyses.drawing import (
    CELL,
    HUES,
    INK,
    PLANTED,
    SHARES,
    dressed,
    layer_axis,
    row_axis,
    values,
    width_of,
)
from analyses.map_charts import MARKED, planted_rows
from analyses.rows import Rows, frame, roles_of, row_name, row_order
from warehouse.errors import InputError

_SHOWN = HUES[3]
"""Frames what the shown map marks: neither the sign of a region nor that of a plant."""

_TOGETHER = "all together"
_CHANGES = ("half of the terms", "one template", "held-out templates", "seed", "metric", "umap")


def marks_chart(
    marks: Rows,
    concept: str,
    *,
    model: str | None = None,
    mode: str = "consensus",
    knowledge_map: Rows | None = None,
    plants: Rows | None = None,
) -> alt.Chart:
    """What each technique says of a concept, layer by layer, before they are put together; a panel a labelling.

    Args:
        marks: their rows, with `model` and `concept`.
        concept: the concept.
        model: the model; may be left out where there is one.
        mode: which map.
        knowledge_map: its rows, with `model` and `concept`: shown below as what they say together.
        plants: rows of `plants` with `model`.

    Raises:
        InputError: no marks of that concept, or several models and none named.
    """
    rows = frame(marks).filter(pl.col("concept") == concept, pl.col("mode") == mode)
    if model is not None:
        rows = rows.filter(pl.col("model") == model)
    if rows["model"].n_unique() != 1:
        raise InputError(
            f"Marks of {concept!r} in the mode {mode!r} are of {rows['model'].n_unique()} models: name one that has "
            "been mapped."
        )
    of = rows["model"][0]
    rows = rows.with_columns(pl.col("layer").cast(pl.Int64), row=_contrast_name(), confidence=pl.col("marked"))
    together = _together(knowledge_map, of, concept, mode)
    planted = planted_rows(plants, {}).filter(pl.col("model") == of, pl.col("concept") == concept)
    layers = list(range(int(rows["layer"].max()) + 1))  # type: ignore[arg-type]
    panels = []
    for labelling in sorted(rows["labelling"].unique().to_list()):
        own = (part.filter(pl.col("labelling") == labelling) for part in (rows, together, planted))
        panels.append(_marks_panel(labelling, layers, *own))
    said = "The share of resamples in which a layer stands out" if mode == "consensus" else "1: marked, as in the paper"
    title = alt.TitleParams(
        text=_marks_title(rows, concept),
        subtitle=[
            f"{of} · {said}, for each technique's contrast, heaviest first.",
            "A technique's weight follows from how well it finds planted knowledge; the last row puts them together.",
        ],
        anchor="start",
    )
    return dressed(alt.vconcat(*panels, spacing=20, title=title))


def stability_chart(
    stability: Rows, knowledge_map: Rows, concepts: Rows | None = None, *, model: str | None = None
) -> alt.Chart:
    """How far the map holds when it is made otherwise: by what was changed, and by layer.

    On the left the share of cells that a changed map calls as the shown one does (marked from a confidence of one half
    on), mean over repeats; on the right the share of all changed maps that mark a layer, with the shown map's marks
    framed.

    Args:
        stability: its rows, with `model` and `concept`.
        knowledge_map: its rows, with `model` and `concept`.
        concepts: rows of `concepts`, for their roles.
        model: the model; may be left out where there is one.

    Raises:
        InputError: nothing was made otherwise, or several models and none named.
    """
    roles = roles_of(concepts)
    changed = frame(stability).with_columns(row=row_name(roles))
    if model is not None:
        changed = changed.filter(pl.col("model") == model)
    if changed["model"].n_unique() != 1:
        raise InputError(
            f"Maps made otherwise are of {changed['model'].n_unique()} models: name one whose stability was measured."
        )
    of = changed["model"][0]
    shown = (
        frame(knowledge_map)
        .filter(pl.col("mode") == "consensus", pl.col("model") == of)
        .select("layer", shown=pl.col("confidence") >= MARKED, row=row_name(roles))
    )
    compared = changed.join(shown, on=["row", "layer"]).with_columns(marks=pl.col("confidence") >= MARKED)
    if compared.is_empty():
        raise InputError("No cell of the map was made otherwise: measure stability with the present map first.")
    agreeing = compared.group_by("row", "change").agg(
        agreement=(pl.col("marks") == pl.col("shown")).mean(), maps=pl.struct("repeat", "detail").n_unique()
    )
    by_layer = compared.group_by("row", "layer").agg(marked=pl.col("marks").mean(), shown=pl.col("shown").first())
    order = row_order(compared["row"])
    title = alt.TitleParams(
        text=_stability_title(agreeing),
        subtitle=[
            f"{of} · left: cells that maps made otherwise call as the shown map does, by what was changed.",
            "Right: the share of all those maps that mark a layer; framed is what the shown map marks.",
        ],
        anchor="start",
    )
    panels = (_agreement_panel(agreeing, order), _remade_panel(by_layer, order))
    return dressed(alt.hconcat(*panels, spacing=24, title=title).resolve_scale(color="independent"))


def _contrast_name() -> pl.Expr:
    """Technique, metric in words and, where it is not the last token, the position."""
    metric = pl.col("metric").str.replace_all("_", " ")
    position = pl.when(pl.col("position") == "last").then(pl.lit("")).otherwise(pl.lit(" at the ") + pl.col("position"))
    return pl.concat_str("technique", pl.lit(": "), metric, position)


def _together(knowledge_map: Rows | None, model: str, concept: str, mode: str) -> pl.DataFrame:
    schema = {"labelling": pl.String, "layer": pl.Int64, "confidence": pl.Float64, "row": pl.String}
    if knowledge_map is None:
        return pl.DataFrame(schema=schema)
    wanted = (pl.col("model") == model, pl.col("concept") == concept, pl.col("mode") == mode)
    return (
        frame(knowledge_map)
        .filter(*wanted)
        .select(
            pl.lit(_TOGETHER).alias("row"), *(pl.col(name).cast(kind) for name, kind in schema.items() if name != "row")
        )
    )


def _marks_panel(
    labelling: str, layers: list[int], rows: pl.DataFrame, together: pl.DataFrame, planted: pl.DataFrame
) -> Any:
    heaviest = rows.group_by("row").agg(pl.col("weight").abs().max()).sort("weight", "row", descending=[True, False])
    order = [*heaviest["row"], *([_TOGETHER] if len(together) else [])]
    shared = ["row", "layer", "confidence"]
    cells = pl.concat([rows.select(shared), together.select(shared)])
    x, y = layer_axis(layers), row_axis(order)
    legend = alt.Legend(title="share", orient="right", gradientLength=70, format=".0%")
    tooltip = ["row:N", "layer:O", alt.Tooltip("confidence:Q", title="share", format=".2f")]
    parts = [
        alt.Chart(values(cells))
        .mark_rect()
        .encode(x=x, y=y, color=alt.Color("confidence:Q", scale=SHARES, legend=legend), tooltip=tooltip)
    ]
    if len(planted):
        everywhere = planted.select("layer", "sign").join(pl.DataFrame({"row": order}), how="cross")
        outline = alt.Scale(domain=["planted here"], range=[PLANTED])
        stroke = alt.Stroke("sign:N", scale=outline, legend=alt.Legend(title=None, orient="right"))
        parts.append(
            alt.Chart(values(everywhere)).mark_rect(fill=None, strokeWidth=2.5).encode(x=x, y=y, stroke=stroke)
        )
    name = alt.TitleParams(labelling.replace("_", " ") or "the concept as a whole", anchor="start", fontSize=13)
    return (
        alt.layer(*parts)
        .resolve_scale(stroke="independent")
        .properties(width=width_of(layers), height=CELL * len(order), title=name)
    )


def _marks_title(rows: pl.DataFrame, concept: str) -> str:
    """Which layers the techniques name first, of all labellings."""
    best = rows.sort("marked", descending=True, maintain_order=True).unique(
        ["labelling", "row"], keep="first", maintain_order=True
    )
    clear = best.filter(pl.col("marked") >= MARKED)
    if clear.is_empty():
        return f"{concept.capitalize()}: no technique's favourite layer stands out in half of the resamples"
    counts = clear.group_by("layer").len().sort("len", "layer", descending=[True, False])
    return (
        f"{concept.capitalize()}: {counts['len'][0]} of {len(best)} contrasts agree on layer {counts['layer'][0]}"
        f" ({len(clear)} name a layer clearly)"
    )


def _stability_title(agreeing: pl.DataFrame) -> str:
    by_change = agreeing.group_by("change").agg(pl.col("agreement").mean()).sort("agreement", "change")
    overall = float(agreeing["agreement"].mean())  # type: ignore[arg-type]
    worst = by_change.row(0, named=True)
    if len(by_change) == 1:
        return f"{overall:.0%} of the map's cells are the same when {_changed(worst['change'])}"
    return (
        f"{overall:.0%} of the map's cells are the same in maps made otherwise; "
        f"least ({worst['agreement']:.0%}) when {_changed(worst['change'])}"
    )


def _changed(change: str) -> str:
    return {
        "half of the terms": "half of the terms are left out",
        "one template": "one template is left out",
        "held-out templates": "held-out templates are read",
        "seed": "the seed is another",
        "metric": "the metric is another",
        "umap": "UMAP's settings are others",
    }[change]


def _agreement_panel(agreeing: pl.DataFrame, order: list[str]) -> Any:
    changes = [change for change in _CHANGES if change in set(agreeing["change"])]
    x = alt.X("change:N", scale=alt.Scale(domain=changes), axis=alt.Axis(title=None, labelAngle=-35, labelLimit=200))
    base = alt.Chart(values(agreeing)).encode(x=x, y=row_axis(order))
    colour = alt.Color(
        "agreement:Q",
        scale=alt.Scale(domain=[0.5, 0.625, 0.75, 0.875, 1.0], range=SHARES.range, clamp=True),
        legend=alt.Legend(title="same cells", orient="right", gradientLength=90, format=".0%"),
    )
    tooltip = ["row:N", "change:N", alt.Tooltip("agreement:Q", format=".1%"), "maps:Q"]
    heat = base.mark_rect().encode(color=colour, tooltip=tooltip)
    dark = alt.condition("datum.agreement > 0.8", alt.value("#ffffff"), alt.value(INK))
    words = base.mark_text(fontSize=11).encode(text=alt.Text("agreement:Q", format=".0%"), color=dark)
    return alt.layer(heat, words).properties(width=52 * len(changes), height=CELL * len(order))


def _remade_panel(by_layer: pl.DataFrame, order: list[str]) -> Any:
    layers = list(range(int(by_layer["layer"].max()) + 1))  # type: ignore[arg-type]
    x = layer_axis(layers)
    y = row_axis(order, labels=False)
    colour = alt.Color(
        "marked:Q", scale=SHARES, legend=alt.Legend(title="maps", orient="right", gradientLength=90, format=".0%")
    )
    tooltip = ["row:N", "layer:O", alt.Tooltip("marked:Q", title="maps that mark it", format=".0%"), "shown:N"]
    return alt.layer(*_remade_parts(by_layer, x, y, colour, tooltip)).properties(
        width=width_of(layers), height=CELL * len(order)
    )


def _remade_parts(
    by_layer: pl.DataFrame, x: alt.X, y: alt.Y, colour: alt.Color, tooltip: list[Any]
) -> Iterator[alt.Chart]:
    yield alt.Chart(values(by_layer)).mark_rect().encode(x=x, y=y, color=colour, tooltip=tooltip)
    framed = by_layer.filter(pl.col("shown"))
    if len(framed):
        yield (alt.Chart(values(framed)).mark_rect(fill=None, stroke=_SHOWN, strokeWidth=2.5).encode(x=x, y=y))
