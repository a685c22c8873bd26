"""A chart as a figure for a paper: a file of one format, of a printed width, with letters of a printed size.

SVG keeps text as text and names its fonts; PDF has them embedded; PNG carries its resolution. Sizes are those on paper:
a chart's pixel is 1/96 inch. Charts for the screen and for Dagster are saved by `charts`.
"""

import json
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

from analyses.drawing import FONT
from warehouse.errors import InputError

SUFFIXES = ("svg", "pdf", "png", "json", "html")
"""The formats, by the ends of files' names. JSON is Vega-Lite; HTML opens without network."""

PRINTED = ("svg", "pdf", "png")
"""Those that have a size on paper."""

_INCHES = {"mm": 1 / 25.4, "cm": 1 / 2.54, "in": 1.0, "pt": 1 / 72, "px": 1 / 96}
_LABELS = 12
"""Pixels of the letters on our charts' axes."""

_UNSAID = {"text": {"fontSize": 11}, "header": {"labelFontSize": 10, "titleFontSize": 12}}
"""Sizes that Vega takes where a chart says none."""

_SVG_SIZE = re.compile(r'width="([0-9.]+)" height="([0-9.]+)"')


@dataclass(frozen=True)
class Look:
    """How a figure comes out.

    Attributes:
        width: inches on paper; None for the chart's own.
        font_size: points of the letters on the axes, on paper; the others go along. None for the chart's own.
        font: the name of a font that comes before ours; empty for ours.
        dpi: pixels an inch, of a PNG.
    """

    width: float | None = None
    font_size: float | None = None
    font: str = ""
    dpi: int = 300


def read_length(text: str) -> float:
    """Inches of a length like 180mm, 8.5cm, 7in, 510pt or 800px.

    Raises:
        InputError: it is none, or not above 0.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(mm|cm|in|pt|px)\s*", text)
    if found is None or not float(found[1]):
        raise InputError(f"{text!r} is no width: write a number with mm, cm, in, pt or px, like 180mm.")
    return float(found[1]) * _INCHES[found[2]]


def figure(chart: alt.TopLevelMixin, suffix: str, look: Look | None = None) -> bytes:
    """A chart as the content of a file.

    Args:
        chart: the chart.
        suffix: one of `SUFFIXES`.
        look: how it comes out.

    Raises:
        InputError: there is no such format.
    """
    if suffix not in SUFFIXES:
        raise InputError(f"There is no format {suffix!r}; there are: {', '.join(SUFFIXES)}.")
    look = look or Look()
    spec = _lettered(chart.to_dict(validate=False), look)
    if suffix == "json":
        return json.dumps(spec, ensure_ascii=False, indent=1).encode()
    if suffix == "html":
        return bytes(vl_convert.vegalite_to_html(spec, bundle=True).encode())
    svg = vl_convert.vegalite_to_svg(spec)
    width, height = _size(svg)
    inches = width / 96 if look.width is None else look.width
    if suffix == "png":
        return bytes(vl_convert.svg_to_png(svg, scale=inches * 72 / width, ppi=look.dpi))
    tall = inches * height / width
    if suffix == "pdf":  # The converter takes the pixels of an SVG for points.
        return bytes(vl_convert.svg_to_pdf(_resized(svg, f"{inches * 72:.3f}", f"{tall * 72:.3f}")))
    if look.width is not None:
        svg = _resized(svg, f"{inches * 25.4:.2f}mm", f"{tall * 25.4:.2f}mm")
    return bytes(svg.encode())


def _lettered(spec: dict[str, Any], look: Look) -> dict[str, Any]:
    """The chart with the font, and letters so large that they have the printed size at the printed width."""
    if look.font:
        spec = {**spec, "config": {**spec.get("config", {}), "font": f"{look.font}, {FONT}"}}
    if look.font_size is None:
        return spec
    grown, factor = spec, 1.0
    for _ in range(3):  # Larger letters make a wider chart, which is then printed smaller.
        width, _height = _size(vl_convert.vegalite_to_svg(grown))
        pixel = 1 / 96 if look.width is None else look.width / width
        factor = look.font_size / 72 / pixel / _LABELS
        grown = _with_letters(spec, factor)
        if look.width is None:
            break
    return grown


def _with_letters(spec: dict[str, Any], factor: float) -> dict[str, Any]:
    grown = deepcopy(spec)
    config = grown.setdefault("config", {})
    for part, sizes in _UNSAID.items():
        config[part] = {**sizes, **config.get(part, {})}
    for part in [value for name, value in grown.items() if name != "datasets"]:
        _grow(part, factor)
    return grown


def _grow(part: Any, factor: float) -> None:
    if isinstance(part, list):
        for each in part:
            _grow(each, factor)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("fontSize", "labelFontSize", "titleFontSize", "subtitleFontSize") and isinstance(
                value, int | float
            ):
                part[name] = round(value * factor, 2)
            elif name not in ("data", "values"):
                _grow(value, factor)


def _size(svg: str) -> tuple[float, float]:
    found = _SVG_SIZE.search(svg)
    assert found is not None, "an SVG of Vega begins with its size"
    return float(found[1]), float(found[2])


def _resized(svg: str, width: str, height: str) -> str:
    return _SVG_SIZE.sub(f'width="{width}" height="{height}"', svg, count=1)
