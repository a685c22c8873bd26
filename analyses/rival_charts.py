"""A model's profiles beside their rivals: does a layer sort terms better than their spelling alone would?

One chart as a pure function; how it is saved is in `charts`, what the rivals are in `rivals`.
"""

from collections.abc import Iterator

import altair as alt
import polars as pl

from analyses.drawing import HUES, INK, dressed, layer_axis, values
from warehouse.errors import InputError

RIVALS = {
    "spelling": "spelling (trigrams)",
    "embeddings": "embeddings at the term",
    "token_count": "token count",
    "frequency": "frequency in English",
}
"""The rivals in the order in which they are named, and their names on the chart."""

_DASHES = {"spelling": [7, 3], "embeddings": [2, 3], "token_count": [1, 6], "frequency": [9, 3, 1, 3]}
_WIDTH, _HEIGHT, _COLUMNS = 250, 170, 3


def rivals_chart(
    profiles: pl.DataFrame,
    rivals: pl.DataFrame,
    model: str,
    *,
    metric: str = "silhouette_cosine",
    template_kind: str = "asking",
    position: str = "last",
) -> alt.Chart:
    """A panel a labelling: the metric at each layer with its interval, and what each rival gives alone.

    The title counts the labellings of which something is left over the strongest rival: at the layer of the largest
    value the interval of `<metric>_over_rivals` lies above 0.

    Args:
        profiles, rivals: one model's rows of these tables, with the column `concept`.
        model: what it is called in the title.
        metric, template_kind, position: which profiles are drawn, of main terms.

    Raises:
        InputError: there is no such profile.
    """
    shown = profiles.filter(
        pl.col("technique") == "activations",
        pl.col("template_kind") == template_kind,
        pl.col("position") == position,
        pl.col("variant") == "",
    )
    drawn = shown.filter(pl.col("metric") == metric).sort("concept", "labelling", "layer")
    if drawn.is_empty():
        raise InputError(
            f"{model} has no profile {metric!r} of {template_kind} templates at {position!r}: run it first."
        )
    against = rivals.filter(
        pl.col("metric") == metric, pl.col("template_kind") == template_kind, pl.col("variant") == ""
    )
    panels, left = [], 0
    for (concept, labelling), rows in drawn.group_by("concept", "labelling", maintain_order=True):
        own = (pl.col("concept") == concept) & (pl.col("labelling") == labelling)
        best = rows["layer"][int(rows["value"].arg_max() or 0)]
        over = shown.filter(own, pl.col("metric") == f"{metric}_over_rivals", pl.col("layer") == best)
        is_left = over.height == 1 and float(over["low"][0]) > 0
        left += is_left
        panels.append(_panel(f"{concept}: {labelling}", rows, against.filter(own), is_left=is_left))
    title = f"In {left} of {len(panels)} labellings, {model} sorts terms better than the strongest rival does"
    said = (
        f"{metric.replace('_', ' ')}, {template_kind} templates, position {position}; line: layers, with 95% interval; "
        "lines across: what the rivals give alone"
    )
    return dressed(alt.concat(*panels, columns=_COLUMNS).properties(title=alt.TitleParams(title, subtitle=said)))


def _panel(name: str, rows: pl.DataFrame, against: pl.DataFrame, *, is_left: bool) -> alt.LayerChart | alt.FacetChart:
    x = layer_axis(rows["layer"].to_list())
    y = alt.Y("value:Q", title=None)
    lines = rows.select("layer", "value", "low", "high")
    base = alt.Chart(values(lines)).encode(x=x)
    parts = [
        base.mark_area(opacity=0.22, color=HUES[0]).encode(y=alt.Y("low:Q", title=None), y2="high:Q"),
        base.mark_line(color=HUES[0], strokeWidth=2, point=alt.OverlayMarkDef(color=HUES[0], size=30)).encode(y=y),
        *_across(against),
    ]
    said = f"{name} · more than the rivals" if is_left else f"{name} · not more than the rivals"
    title = alt.TitleParams(said, anchor="start", fontSize=12, fontWeight="normal")
    return alt.layer(*parts).properties(width=_WIDTH, height=_HEIGHT, title=title)


def _across(against: pl.DataFrame) -> Iterator[alt.Chart]:
    for rival, name in RIVALS.items():
        found = against.filter(pl.col("rival") == rival)
        if found.is_empty():
            continue
        line = pl.DataFrame({"value": found["value"], "rival": [name]})
        scale = alt.Scale(domain=[*RIVALS.values()], range=[[*dash] for dash in _DASHES.values()])
        yield (
            alt.Chart(values(line))
            .mark_rule(color=INK, strokeWidth=1.5)
            .encode(
                y="value:Q",
                strokeDash=alt.StrokeDash(
                    "rival:N",
                    scale=scale,
                    legend=alt.Legend(title="rival", orient="bottom", symbolType="stroke", symbolSize=1600),
                ),
            )
        )
