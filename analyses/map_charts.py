"""The chart of the knowledge map: where each concept is kept, and how sure that is.

Belongs here: how `knowledge_map`, `localisations` and `regions` are drawn. How a map comes about is in `mapping`, what
each technique says and how well a map holds are drawn in `mark_charts`; colours and axes are in `drawing`. Confidence
has three named classes, each with a colour and a height of its own, so that no class hangs on a shade; what is not
localised stands there with equal rank, in words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from analyses.drawing import (
    CELL,
    FAINT_INK,
    GREY,
    HATCH,
    INK,
    PLANTED,
    dressed,
    layer_axis,
    layer_scale,
    row_axis,
    values,
    width_of,
)
from analyses.rows import Rows, frame, roles_of, row_name, row_order
from warehouse.errors import InputError

CLASSES = {
    "consensus": (("sure", 0.9), ("likely", 0.5), ("a hint", 0.2)),
    "paper": (("most techniques", 0.7), ("half of them", 0.45), ("fewer", 0.01)),
}
"""The classes of confidence of each mode, with the least confidence that each begins at."""

_COLOURS = ("#00224e", "#6c6e72", "#cbba69")
"""Cividis at its dark end, its middle and three quarters of the way."""

_HEIGHTS = (0.94, 0.62, 0.3)
_CONFIDENCE = {"consensus": "confidence", "paper": "marked by"}
_HOLDS, _FALLS = "say the same", "often say otherwise"
_LEAST_AGREEMENT = 0.8
MARKED = 0.5
"""The least confidence at which the consensus map marks a layer."""

_WORDS = {
    "not localised": "not localised: no layer stands out",
    "not known": "not known: the model can't answer",
    "not measured": "not measured",
}


@dataclass(frozen=True)
class _Map:
    """What a map shows, of all models: rows from top to bottom, and what is drawn on them."""

    mode: str
    order: list[str]
    cells: pl.DataFrame
    verdicts: pl.DataFrame
    regions: pl.DataFrame
    planted: pl.DataFrame

    def of(self, model: str) -> "_Map":
        """The part of one model."""
        parts = (part.filter(pl.col("model") == model) for part in self._parts())
        return _Map(self.mode, self.order, *parts)

    def _parts(self) -> tuple[pl.DataFrame, ...]:
        return self.cells, self.verdicts, self.regions, self.planted


def knowledge_map_chart(
    knowledge_map: Rows,
    localisations: Rows,
    regions: Rows | None = None,
    plants: Rows | None = None,
    concepts: Rows | None = None,
    *,
    mode: str = "consensus",
    models: Sequence[str] | None = None,
) -> alt.Chart:
    """The knowledge map: concept x layer, a panel a model.

    A cell's class of confidence is told by its colour and its height. A dot says whether maps made from other terms,
    templates, seeds or metrics say the same of the cell. A frame runs around each region, and a thick one around
    layers in which knowledge was planted. A row that is not localised is an outlined bar that says so; one that was not
    measured is hatched.

    Args:
        knowledge_map: its rows, with `model` and `concept`.
        localisations: their rows, with `model` and `concept`.
        regions: their rows, with `model` and `concept`; frames are left out without them.
        plants: rows of `plants` with `model`.
        concepts: rows of `concepts`, for their roles; all count as medical without them.
        mode: which map.
        models: which models, from top to bottom; all by name if left out.

    Raises:
        InputError: there is no map of that mode and those models.
    """
    shown = _shown((knowledge_map, localisations, regions, plants), roles_of(concepts), mode)
    found = set(shown.verdicts["model"])
    wanted = sorted(found) if models is None else list(models)
    if not wanted or not set(wanted) <= found:
        raise InputError(
            f"No map of the mode {mode!r} for {', '.join(models or ['any model'])}; there are maps of "
            f"{', '.join(sorted(found)) or 'none'}: draw them first."
        )
    title = alt.TitleParams(text=_map_title(shown, wanted), subtitle=_map_subtitle(shown), anchor="start")
    return dressed(alt.vconcat(*(_panel(model, shown.of(model)) for model in wanted), spacing=28, title=title))


def _shown(tables: tuple[Rows, Rows, Rows | None, Rows | None], roles: dict[str, str], mode: str) -> _Map:
    knowledge_map, localisations, regions, plants = tables
    chosen = pl.col("mode") == mode
    cells = frame(knowledge_map).filter(chosen).with_columns(pl.col("layer").cast(pl.Int64), row=row_name(roles))
    verdicts = _without_repeats(frame(localisations).filter(chosen)).with_columns(row=row_name(roles))
    cells = cells.join(verdicts.select("model", "row"), on=["model", "row"], how="semi")
    framed = pl.DataFrame(schema={"model": pl.String, "row": pl.String, "first": pl.Int16, "last": pl.Int16})
    if regions is not None and len(regions):
        together = frame(regions).filter(chosen, pl.col("technique") == "all").with_columns(row=row_name(roles))
        framed = together.join(verdicts.select("model", "row"), on=["model", "row"], how="semi")
    classes = CLASSES[mode]
    named = pl.lit(None, pl.String)
    for name, least in reversed(classes):
        named = pl.when(pl.col("confidence") >= least).then(pl.lit(name)).otherwise(named)
    names = pl.concat([cells["row"], verdicts["row"]])
    return _Map(mode, row_order(names), cells.with_columns(class_=named), verdicts, framed, planted_rows(plants, roles))


def _without_repeats(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Without the whole of a concept that has one labelling: both rows would say the same."""
    labellings = pl.col("labelling").filter(pl.col("labelling") != "").n_unique().over("model", "concept")
    return verdicts.filter((pl.col("labelling") != "") | (labellings != 1))


def planted_rows(plants: Rows | None, roles: dict[str, str]) -> pl.DataFrame:
    """Rows of `plants` with the map's row that they belong to; none without plants."""
    schema = {"model": pl.String, "concept": pl.String, "labelling": pl.String, "layer": pl.Int16}
    rows = pl.DataFrame(schema=schema)
    if plants is not None and len(plants):
        known = frame(plants)
        # Of knowledge that is spread over all layers none is the right answer.
        rows = (known.filter(pl.col("kind") != "spread") if "kind" in known.columns else known).select(*schema)
    return rows.with_columns(pl.col("layer").cast(pl.Int64), row=row_name(roles), sign=pl.lit("planted here"))


def _map_title(shown: _Map, models: Sequence[str]) -> str:
    said = shown.verdicts.filter(pl.col("model").is_in(list(models)))
    planted = shown.planted.join(said, on=["model", "row"], how="semi")
    named = "The consensus map" if shown.mode == "consensus" else "The map as in the paper"
    if len(planted):
        least = MARKED if shown.mode == "consensus" else CLASSES["paper"][1][1]
        marked = shown.cells.filter(pl.col("confidence") >= least)
        hits = planted.join(marked, on=["model", "row", "layer"], how="semi").select("model", "row").unique()
        return (
            f"{named} marks the planted layer of {len(hits)} of {len(planted.select('model', 'row').unique())} plants"
        )
    # A control says nothing of medical knowledge; a concept of several labellings counts with each.
    medical = said.filter(~pl.col("row").str.starts_with("control: "), pl.col("verdict") != "not measured")
    every, labelled = medical, medical.filter(pl.col("labelling") != "")
    medical = labelled if len(labelled) else medical
    localised = medical.filter(pl.col("verdict") == "localised")
    if localised.is_empty():
        return f"{named} localises none of {len(medical)} medical labellings"
    # As the claim `first-half` does: each concept weighs the same, and says what it says as a whole.
    concepts = every.sort("labelling").unique(["model", "concept"], keep="first", maintain_order=True)
    share = concepts.filter(pl.col("verdict") != "not known")["first_half_share"].drop_nulls()
    where = f"; {sum(share) / len(share):.0%} of the weight is in the first half of the layers" if len(share) else ""
    return f"{named} localises {len(localised)} of {len(medical)} medical labellings{where}"


def _map_subtitle(shown: _Map) -> list[str]:
    if shown.mode == "paper":
        return [
            "A cell's colour and height say how many techniques mark the layer, without weights and without error.",
            "It is drawn to compare with the paper; the map to believe is the consensus map.",
        ]
    bounds = [f"{name}: from {least:.0%} on" for name, least in CLASSES[shown.mode]]
    return [
        f"The probability that a layer holds the concept, by colour and height ({', '.join(bounds)}).",
        "Dots tell whether maps from half of the terms, other templates, seeds or metrics say the same of a cell.",
    ]


def _panel(model: str, shown: _Map) -> Any:
    layers = list(range(max(shown.cells["layer"], default=0) + 1))
    x, y = layer_axis(layers), row_axis(shown.order)
    parts = [*_unlocalised(shown, layers, x, y), *_cells(shown, x, y), *_frames(shown, layers, x, y)]
    return (
        alt.layer(*parts)
        .resolve_scale(shape="independent", stroke="independent", fill="independent")
        .properties(
            width=width_of(layers), height=CELL * len(shown.order), title=alt.TitleParams(model, anchor="start")
        )
    )


def _unlocalised(shown: _Map, layers: list[int], x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """Bars of full width: outlined with words, hatched where nothing was measured."""
    told = shown.verdicts.filter(pl.col("verdict") != "localised").select("row", "verdict", "sentence")
    silent = pl.DataFrame({"row": shown.order}).join(shown.verdicts, on="row", how="anti")
    unmeasured = pl.concat(
        [
            told.filter(pl.col("verdict") == "not measured").select("row"),
            silent.select("row"),
        ]
    ).with_columns(sign=pl.lit("not measured"))
    outlined = told.filter(pl.col("verdict") != "not measured")
    if len(unmeasured):
        every = unmeasured.join(pl.DataFrame({"layer": layers}), how="cross")
        blank = alt.Chart(values(every)).encode(x=x, y=y, tooltip=["row:N", "sign:N"])
        yield blank.mark_rect(fill=GREY)
        hatch = alt.Scale(domain=["not measured"], range=[HATCH])
        legend = alt.Legend(title=None, orient="right")
        yield blank.mark_point(size=110, stroke=FAINT_INK, strokeWidth=1, fill=None).encode(
            shape=alt.Shape("sign:N", scale=hatch, legend=legend)
        )
    if len(outlined):
        worded = outlined.with_columns(words=pl.col("verdict").replace_strict(_WORDS))
        base = alt.Chart(values(worded)).encode(y=y, tooltip=["row:N", "sentence:N"])
        yield base.mark_rect(
            fill="#ffffff", stroke=FAINT_INK, strokeWidth=1.5, strokeDash=[5, 3], height={"band": 0.82}
        )
        yield base.mark_text(fontSize=12, fontStyle="italic", color=INK).encode(
            text="words:N", x=alt.value(width_of(layers) / 2)
        )


def _cells(shown: _Map, x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    localised = shown.verdicts.filter(pl.col("verdict") == "localised")
    cells = shown.cells.join(localised.select("row"), on="row", how="semi")
    names = [name for name, _ in CLASSES[shown.mode]]
    legend = alt.Legend(title=_CONFIDENCE[shown.mode], orient="right", symbolType="square", symbolStrokeWidth=0)
    colour = alt.Color("class_:N", scale=alt.Scale(domain=names, range=list(_COLOURS)), legend=legend)
    tooltip = ["row:N", "layer:O", alt.Tooltip("confidence:Q", format=".2f"), alt.Tooltip("agreement:Q", format=".2f")]
    if cells.is_empty():
        return
    # Cells without a class answer the pointer too.
    base = alt.Chart(values(cells.select("row", "layer", "confidence", "agreement", "class_")))
    yield base.mark_rect(opacity=0).encode(x=x, y=y, tooltip=tooltip)
    for name, height in zip(names, _HEIGHTS, strict=True):
        own = cells.filter(pl.col("class_") == name)
        # An empty class is drawn as well, so that the legend names all three.
        drawn = alt.Chart(values(own.select("row", "layer", "confidence", "agreement", "class_")))
        yield drawn.mark_rect(height={"band": height}).encode(x=x, y=y, color=colour, tooltip=tooltip)
    judged = cells.filter(pl.col("agreement").is_not_null()).with_columns(
        sign=pl.when(pl.col("agreement") >= _LEAST_AGREEMENT).then(pl.lit(_HOLDS)).otherwise(pl.lit(_FALLS))
    )
    dots = judged.filter(pl.col("class_").is_not_null() | (pl.col("sign") == _FALLS))
    if len(dots):
        fill = alt.Scale(domain=[_HOLDS, _FALLS], range=["#fee838", INK])
        shape = alt.Scale(domain=[_HOLDS, _FALLS], range=["circle", "cross"])
        said = alt.Legend(
            title="maps made otherwise", orient="right", symbolStrokeColor=INK, symbolStrokeWidth=1, symbolSize=45
        )
        yield (
            alt.Chart(values(dots.select("row", "layer", "confidence", "agreement", "sign")))
            .mark_point(size=34, stroke=INK, strokeWidth=1, opacity=1)
            .encode(
                x=x,
                y=y,
                fill=alt.Fill("sign:N", scale=fill, legend=said),
                shape=alt.Shape("sign:N", scale=shape, legend=said),
                tooltip=tooltip,
            )
        )


def _frames(shown: _Map, layers: list[int], x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    if len(shown.regions):
        spans = shown.regions.select("row", "first", "last", "confidence")
        yield (
            alt.Chart(values(spans))
            .mark_rect(fill=None, stroke=INK, strokeWidth=1.3, height={"band": 1.04})
            .encode(
                x=alt.X("first:O", scale=layer_scale(layers), bandPosition=0),
                x2=alt.X2("last", bandPosition=1),
                y=y,
                tooltip=["row:N", "first:O", "last:O", alt.Tooltip("confidence:Q", format=".2f")],
            )
        )
    if len(shown.planted):
        outline = alt.Scale(domain=["planted here"], range=[PLANTED])
        legend = alt.Legend(title=None, orient="right", symbolFillColor="#ffffff")
        yield (
            alt.Chart(values(shown.planted.filter(pl.col("row").is_in(shown.order))))
            .mark_rect(fill=None, strokeWidth=3)
            .encode(x=x, y=y, stroke=alt.Stroke("sign:N", scale=outline, legend=legend), tooltip=["row:N", "layer:O"])
        )
