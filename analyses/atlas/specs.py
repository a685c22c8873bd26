"""The page's own charts: Altair definitions with named, empty datasets, compiled to Vega when the page is built.

Belongs here: marks, scales and axes. The script of the page fills the datasets (`view.data`) and the signals
(`view.signal`): domains, ticks and the colours of the theme, so that one definition serves every model, any number of
layers, dark and light. All scales have domains of their own: an empty dataset never decides about one. Places on the
axis of layers are given as edges (`x0`, `x1`), the same for all charts of a model, so that a layer stands at the same
place on each.
"""

from typing import Any

import altair as alt
import vl_convert

from analyses.drawing import FONT, HATCH

LEFT, RIGHT = 168, 14
"""Pixels beside a chart of layers, for the names of rows: the same for all that stand under each other."""

_THEME = {"ink": "#222222", "faint": "#767676", "line": "#d8d8d8", "paper": "#ffffff", "accent": "#c2410c"}
_PROFILE_HEIGHT = 118
_PICTURE = 420


def page_charts() -> dict[str, dict[str, Any]]:
    """The Vega specification of each chart of the page, by name."""
    charts = {"map": _map(), "profile": _profile(), "picture": _picture(), "difference": _difference()}
    return {name: _compiled(chart) for name, chart in charts.items()}


def _map() -> Any:
    """Concept x layer: cells by class of confidence, what techniques mark, regions, planted layers, a cursor."""
    parts = [
        _rects("column", fill=_signal("line"), opacity=0.55),
        _rects("bars", fill=None, stroke=_signal("faint"), strokeWidth=1.3, strokeDash=[5, 3]),
        _on("hatch")
        .mark_point(shape=HATCH, size=90, stroke=_signal("faint"), strokeWidth=1, fill=None)
        .encode(**_at()),
        _on("bars").mark_text(fontSize=12, fontStyle="italic", color=_signal("ink")).encode(text="words:N", **_at()),
        _rects("cells", stroke=_signal("ink"), strokeWidth=0.5).encode(fill=_plain("fill")),
        _rects("techniques").encode(fill=_plain("fill")),
        _on("dots")
        .mark_point(size=30, stroke=_signal("ink"), strokeWidth=1, opacity=1)
        .encode(**_at(), fill=_plain("fill"), shape=_plain_shape()),
        _rects("regions", fill=None, stroke=_signal("ink"), strokeWidth=1.4),
        _rects("planted", fill=None, stroke=_signal("accent"), strokeWidth=3),
        _rects("cursor", fill=None, stroke=_signal("ink"), strokeWidth=2.5, strokeDash=[2, 2]),
        _rects("hits", fill="#000000", opacity=0, cursor="pointer").encode(tooltip="tip:N"),
    ]
    return _of_layers(parts, rows=True)


def _difference() -> Any:
    """Concept x layer of two models: a cell's colour and sign tell which one is surer, and by how much."""
    parts = [
        _rects("column", fill=_signal("line"), opacity=0.55),
        _on("hatch")
        .mark_point(shape=HATCH, size=90, stroke=_signal("faint"), strokeWidth=1, fill=None)
        .encode(**_at()),
        _rects("cells").encode(fill=_plain("fill")),
        _on("signs").mark_text(fontSize=12, fontWeight="bold").encode(text="sign:N", color=_plain("ink"), **_at()),
        _rects("cursor", fill=None, stroke=_signal("ink"), strokeWidth=2.5, strokeDash=[2, 2]),
        _rects("hits", fill="#000000", opacity=0, cursor="pointer").encode(tooltip="tip:N"),
    ]
    return _of_layers(parts, rows=True)


def _profile() -> Any:
    """One number a layer with its interval, its null, and the same of control concepts, each with a line of its own; or
    of another model."""
    x = alt.X("x:Q", scale=_layer_scale(), axis=_layer_axis())
    y, low, high, null_mean, null_high = (_value(name) for name in ("value", "low", "high", "null_mean", "null_high"))
    parts = [
        _on("column").mark_rect(fill=_signal("line"), opacity=0.75).encode(x=_edge("x0"), x2="x1"),
        # Over the layer that is looked at, and framed: what is marked is seen there too.
        _on("regions")
        .mark_rect(fill=_signal("accent"), fillOpacity=0.15, stroke=_signal("accent"), strokeOpacity=0.7, strokeWidth=1)
        .encode(x=_edge("x0"), x2="x1"),
        _on("zero").mark_rule(stroke=_signal("line"), strokeWidth=1).encode(y=y),
        _on("line")
        .mark_area(fill=_signal("faint"), opacity=0.28, interpolate="step")
        .encode(x=x, y=null_high, y2="null_mean"),
        _on("line").mark_line(stroke=_signal("faint"), strokeWidth=1.2, strokeDash=[1, 3]).encode(x=x, y=null_mean),
        _on("controls")
        .mark_line(stroke=_signal("faint"), strokeWidth=1.6)
        .encode(x=x, y=y, detail="control:N", strokeDash=alt.StrokeDash("dash:N", scale=None)),
        _on("beside").mark_area(fill=_signal("ink"), opacity=0.12).encode(x=x, y=high, y2="low"),
        _on("beside").mark_line(stroke=_signal("ink"), strokeWidth=2, strokeDash=[8, 3]).encode(x=x, y=y),
        _on("beside")
        .mark_point(shape="square", fill=_signal("paper"), stroke=_signal("ink"), size=26, opacity=1)
        .encode(x=x, y=y),
        _on("line").mark_area(fill=_signal("hue"), opacity=0.25).encode(x=x, y=high, y2="low"),
        _on("line").mark_rule(stroke=_signal("hue"), strokeWidth=1, opacity=0.6).encode(x=x, y=low, y2="high"),
        _on("line").mark_line(stroke=_signal("hue"), strokeWidth=2).encode(x=x, y=y),
        _on("line").mark_point(filled=True, fill=_signal("hue"), size=22, opacity=1).encode(x=x, y=y),
        _on("planted")
        .mark_point(shape="triangle-up", size=90, filled=True, fill=_signal("accent"), opacity=1)
        .encode(x=x, y=y),
        _on("hits")
        .mark_rect(fill="#000000", opacity=0, cursor="pointer")
        .encode(x=_edge("x0"), x2="x1", tooltip="tip:N"),
    ]
    return alt.layer(*parts).properties(width=600, height=_PROFILE_HEIGHT)


def _picture() -> Any:
    """Terms as points, paths with their direction, the chosen term and its nearest in the original space."""
    x = alt.X("x:Q", scale=alt.Scale(domain=[_signal("left"), _signal("right")], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[_signal("bottom"), _signal("top")], nice=False), axis=None)
    place = {"x": x, "y": y}
    parts = [
        _on("links")
        .mark_rule(stroke=_signal("ink"), strokeWidth=1.2, opacity=0.7, clip=True)
        .encode(**place, x2="x2", y2="y2"),
        _on("paths")
        .mark_line(strokeWidth=1.6, opacity=0.75, clip=True)
        .encode(**place, detail="path:N", order="step:Q", stroke=_plain("stroke")),
        _on("points")
        .mark_point(
            filled=True, stroke=_signal("ink"), strokeWidth=0.5, strokeOpacity=0.45, cursor="pointer", clip=True
        )
        .encode(
            **place,
            fill=_plain("fill"),
            shape=_plain_shape(),
            size=alt.Size("size:Q", scale=None),
            opacity=alt.Opacity("opacity:Q", scale=None),
            tooltip="tip:N",
        ),
        _on("arrows")
        .mark_point(shape="triangle", filled=True, size=110, opacity=1, clip=True)
        .encode(**place, angle=alt.Angle("angle:Q", scale=None), fill=_plain("stroke")),
        _on("chosen")
        .mark_point(size=190, stroke=_signal("ink"), strokeWidth=2.2, fill=None, opacity=1, clip=True)
        .encode(**place, shape=_plain_shape()),
        _name(stroke=_signal("paper"), strokeWidth=3, strokeOpacity=0.85).encode(**place, text="text:N"),
        _name().encode(**place, text="text:N"),
    ]
    return alt.layer(*parts).properties(width=_PICTURE, height=_PICTURE)


def _name(**mark: Any) -> Any:
    """A name, as far from its point as the script says."""
    placed = {name: _signal(f"datum.{name}") for name in ("dx", "dy")}
    return _on("names").mark_text(
        fontSize=12, fontWeight=_signal("datum.weight"), color=_signal("ink"), **placed, **mark
    )


def _of_layers(parts: list[Any], *, rows: bool) -> Any:
    return alt.layer(*parts).properties(width=600, height=200 if rows else _PROFILE_HEIGHT)


def _on(name: str) -> Any:
    return alt.Chart(alt.NamedData(name))


def _rects(name: str, **mark: Any) -> Any:
    y = alt.Y("y0:Q", scale=_row_scale(), axis=_row_axis())
    return _on(name).mark_rect(**mark).encode(x=_edge("x0"), x2="x1", y=y, y2="y1")


def _at() -> dict[str, Any]:
    """The middle of a cell."""
    return {"x": _edge("x"), "y": alt.Y("y:Q", scale=_row_scale(), axis=_row_axis())}


def _edge(name: str) -> alt.X:
    return alt.X(f"{name}:Q", scale=_layer_scale(), axis=_layer_axis())


def _value(name: str) -> alt.Y:
    scale = alt.Scale(domain=[_signal("lowest"), _signal("highest")], nice=False, zero=False)
    axis = alt.Axis(title=None, tickCount=4, grid=True, gridOpacity=0.5, domain=False, format="~g")
    return alt.Y(f"{name}:Q", scale=scale, axis=axis)


def _layer_scale() -> alt.Scale:
    return alt.Scale(domain=[_signal("first"), _signal("last")], nice=False, zero=False)


def _layer_axis() -> alt.Axis:
    # The script names the ticks: all layers where there is room, and always the last.
    return alt.Axis(
        title=None,
        values=_signal("ticks"),
        labelExpr="tickNames[datum.value] || datum.label",
        grid=False,
        labelOverlap=False,
        labelFlush=False,
        domain=False,
        tickSize=3,
    )


def _row_scale() -> alt.Scale:
    return alt.Scale(domain=[_signal("rows - 0.5"), -0.5], nice=False, zero=False)


def _row_axis() -> alt.Axis:
    return alt.Axis(
        title=None,
        values=_signal("rowTicks"),
        labelExpr="rowNames[datum.value]",
        grid=False,
        domain=False,
        ticks=False,
        labelLimit=_signal("rowLimit"),
        # A name in two lines hangs from its first one.
        labelOffset=_signal("rowOffset"),
        labelOverlap=False,
        labelPadding=6,
    )


def _plain(name: str) -> Any:
    """A channel that holds colours as they are."""
    kinds = {"fill": alt.Fill, "stroke": alt.Stroke, "ink": alt.Color}
    return kinds[name](f"{name}:N", scale=None)


def _plain_shape() -> alt.Shape:
    return alt.Shape("shape:N", scale=None)


def _signal(expression: str) -> Any:
    return alt.ExprRef(expression)


def _compiled(chart: Any) -> dict[str, Any]:
    parameters = [alt.param(name=name, value=value) for name, value in _THEME.items()]
    parameters += [
        alt.param(name=name, value=value)
        for name, value in {
            "first": -0.5, "last": 0.5, "ticks": [0], "tickNames": {}, "rows": 1, "rowTicks": [0], "rowNames": [""],
            "rowLimit": LEFT - 12, "rowOffset": 0, "lowest": 0, "highest": 1, "hue": "#0072b2", "left": 0, "right": 1,
            "bottom": 0, "top": 1,
        }.items()
    ]  # fmt: skip
    dressed = (
        chart.add_params(*parameters)
        .properties(
            autosize=alt.AutoSizeParams(type="none"), padding={"left": LEFT, "right": RIGHT, "top": 6, "bottom": 22}
        )
        .configure(font=FONT, background="transparent", aria=False)
        .configure_view(stroke=_signal("line"))
        .configure_axis(
            labelFontSize=11, labelColor=_signal("ink"), gridColor=_signal("line"), tickColor=_signal("faint")
        )
    )
    compiled: dict[str, Any] = vl_convert.vegalite_to_vega(dressed.to_dict())
    return compiled
