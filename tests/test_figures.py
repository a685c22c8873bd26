"""Figures for papers: their printed size, the size of their letters, text that stays text, fonts that are named."""

import json
import re
import struct

import altair as alt
import polars as pl
import pytest

from analyses.drawing import dressed
from analyses.figures import SUFFIXES, Look, figure, read_length
from warehouse.errors import InputError


@pytest.fixture(scope="module")
def chart() -> alt.Chart:
    rows = pl.DataFrame({"layer": [0, 1, 2], "value": [0.1, 0.4, 0.2], "said": ["low", "high", "</script>"]})
    base = alt.Chart(rows, title="One rise").encode(x="layer:O", y="value:Q")
    return dressed(alt.layer(base.mark_line(), base.mark_text().encode(text="said:N")))


def svg(chart: alt.Chart, look: Look | None = None) -> str:
    return figure(chart, "svg", look).decode()


def letters(text: str) -> list[float]:
    """Sizes of letters in an SVG, in its own pixels, by how often they come: the axis labels first."""
    sizes = re.findall(r'font-size="([0-9.]+)px"', text)
    return [float(size) for size in sorted(set(sizes), key=lambda size: -sizes.count(size))]


def test_an_svg_keeps_text_as_text_and_names_its_fonts(chart: alt.Chart) -> None:
    text = svg(chart)
    assert "One rise</text>" in text
    assert "&lt;/script&gt;" in text
    assert "Helvetica" in text
    assert 'font-family="Georgia, Arial' in svg(chart, Look(font="Georgia"))


def test_an_svg_is_as_wide_on_paper_as_asked_and_keeps_its_proportions(chart: alt.Chart) -> None:
    own = re.search(r'width="([0-9.]+)" height="([0-9.]+)"', svg(chart))
    asked = re.search(
        r'<svg[^>]*width="([0-9.]+)mm" height="([0-9.]+)mm" viewBox="0 0 ([0-9.]+)', svg(chart, Look(3.0))
    )
    assert own is not None
    assert asked is not None
    assert float(asked[1]) == pytest.approx(76.2)
    assert float(asked[2]) / float(asked[1]) == pytest.approx(float(own[2]) / float(own[1]), rel=1e-3)
    assert asked[3] == own[1]


def test_a_pdf_is_vector_has_its_size_in_points_and_its_fonts_inside(chart: alt.Chart) -> None:
    content = figure(chart, "pdf", Look(width=3.0))
    box = re.search(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", content)
    assert content.startswith(b"%PDF")
    assert box is not None
    assert float(box[1]) == pytest.approx(216, abs=0.1)
    assert b"/FontFile" in content
    assert b"/Subtype /Image" not in content


def test_a_png_has_the_pixels_of_its_width_and_says_its_resolution(chart: alt.Chart) -> None:
    content = figure(chart, "png", Look(width=2.0, dpi=200))
    width, _ = struct.unpack(">II", content[16:24])
    place = content.index(b"pHYs") + 4
    across, _, unit = struct.unpack(">IIB", content[place : place + 9])
    assert width == pytest.approx(400, abs=1)
    assert (round(across * 0.0254), unit) == (200, 1)


@pytest.mark.parametrize(("width", "points"), [(None, 9.0), (3.0, 7.0), (7.0, 7.0)])
def test_letters_on_the_axes_have_the_printed_size(chart: alt.Chart, width: float | None, points: float) -> None:
    text = svg(chart, Look(width=width, font_size=points))
    drawn = re.search(r'viewBox="0 0 ([0-9.]+)', text)
    assert drawn is not None
    pixel = 1 / 96 if width is None else width / float(drawn[1])
    axes = max(letters(text), key=lambda size: text.count(f'font-size="{size:g}px"'))
    assert axes * pixel * 72 == pytest.approx(points, rel=0.02)


def test_data_that_is_called_like_a_size_is_left_alone() -> None:
    rows = alt.Data(values=[{"fontSize": 5, "x": 1}])
    spec = json.loads(figure(dressed(alt.Chart(rows).mark_point().encode(x="x:Q")), "json", Look(font_size=20)))
    assert '"fontSize": 5' in json.dumps(spec)


def test_json_is_the_chart_and_html_needs_no_network(chart: alt.Chart) -> None:
    assert json.loads(figure(chart, "json")) == chart.to_dict()
    page = figure(chart, "html").decode()
    assert not re.search(r"<(script|link)[^>]*\b(src|href)\s*=", page)


def test_an_unknown_format_is_refused(chart: alt.Chart) -> None:
    with pytest.raises(InputError, match=", ".join(SUFFIXES)):
        figure(chart, "gif")


def test_lengths_are_read_in_the_units_of_print() -> None:
    assert read_length("25.4mm") == pytest.approx(1)
    assert [read_length(text) for text in ("2.54cm", "1in", "72pt", " 96 px ")] == pytest.approx([1, 1, 1, 1])


@pytest.mark.parametrize("text", ["", "180", "0mm", "-3cm", "wide", "1em"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="180mm"):
        read_length(text)
