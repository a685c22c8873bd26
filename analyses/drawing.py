"""What all charts have in common: colours, signs, the axis of layers, fonts and margins.

Belongs here: what must look and read the same on every chart. What a single chart shows, and its words, are in
`charts`, `map_charts`, `finding_charts` and `validity_charts`; how a chart is saved is in `charts`.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

FONT = "Arial, Helvetica, Liberation Sans, sans-serif"
INK, GREY, FAINT_INK = "#222222", "#e4e4e4", "#8a8a8a"
PLANTED = "#d55e00"
HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
"""Okabe and Ito's colours without the yellow, which is lost on white."""

HATCH = "M-1,0L0,-1M-1,1L1,-1M0,1L1,0"
"""The sign of what was not measured."""

CELL = 26
"""Pixels of a cell of concept x layer."""

SHARES = alt.Scale(domain=[0.0, 0.25, 0.5, 0.75, 1.0], range=["#fbf8ec", "#d9c96a", "#7c7b78", "#3c4d6e", "#00224e"])
"""A share from none to all: cividis, with an end so pale that nothing looks like nothing."""

_LAYER_LABEL = "datum.value < 0 ? 'emb' : datum.value"


class _Rows(alt.Data):
    """Rows that charts share: Altair copies a chart, row by row, each time that it is put beside another or dressed."""

    def __deepcopy__(self, memo: object = None) -> "_Rows":
        return self


def values(rows: pl.DataFrame) -> alt.Data:
    """Rows as a chart carries them; they are not to be changed."""
    return _Rows(values=rows.to_dicts())  # type: ignore[no-untyped-call]


def layer_axis(layers: Sequence[int]) -> alt.X:
    """The axis of layers, the same on every chart; -1 is called emb.

    Beyond forty layers the labels of all would overlap: every fifth is named, and always the last.
    """
    last = layers[-1]
    named = [layer for layer in layers if len(layers) <= 40 or layer == last or (layer % 5 == 0 and last - layer > 2)]
    return alt.X(
        "layer:O",
        scale=layer_scale(layers),
        axis=alt.Axis(title="layer", values=named, labelExpr=_LAYER_LABEL, labelAngle=0, labelOverlap=False),
    )


def layer_scale(layers: Sequence[int]) -> alt.Scale:
    """Where each layer stands on that axis: for what begins at one layer and ends at another."""
    return alt.Scale(domain=list(layers), paddingInner=0.06, paddingOuter=0.03)


def width_of(layers: Sequence[int]) -> int:
    """How wide a panel of these layers is, in pixels: narrower cells where there are many."""
    return max(320, (CELL if len(layers) <= 40 else 14) * len(layers))


def row_axis(order: Sequence[str], *, labels: bool = True) -> alt.Y:
    """The axis of rows of a map; without labels where the panel to the left has them."""
    scale = alt.Scale(domain=list(order), paddingInner=0.12, paddingOuter=0.06)
    return alt.Y(
        "row:N", sort=list(order), scale=scale, axis=alt.Axis(title=None, labels=labels, ticks=labels, labelLimit=320)
    )


def dressed(chart: Any) -> alt.Chart:
    """The chart with our fonts, margins and sizes."""
    # All in one: each call of a method that configures copies the whole chart.
    return chart.configure(  # type: ignore[no-any-return]
        font=FONT,
        background="#ffffff",
        padding=14,
        view=alt.ViewConfig(stroke="#bbbbbb"),
        title=alt.TitleConfig(
            fontSize=16, subtitleFontSize=12, subtitleColor="#555555", subtitlePadding=6, offset=14, color=INK
        ),
        axis=alt.AxisConfig(labelFontSize=12, titleFontSize=12, labelColor=INK, titleColor=INK),
        legend=alt.LegendConfig(labelFontSize=11, titleFontSize=12, labelColor=INK, titleColor=INK),
    )
