"""Charts of what was measured, as pure functions from tables to Altair charts, and how a chart is saved.

Belongs here: which marks, scales and words show a table, and the files that a chart becomes (JSON, a page that needs no
network, PNG). Numbers are computed elsewhere (`profiles`, `projection`); the page of all maps is not here. Colours are
safe for the colour-blind, what is unsure or not measured has its own sign, and every title is made from the numbers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import altair as alt
import numpy as np
import polars as pl
import vl_convert

from analyses.drawing import (
    CELL,
    GREY,
    HATCH,
    HUES,
    INK,
    PLANTED,
    dressed,
    layer_axis,
    row_axis,
    values,
    width_of,
)
from analyses.geometry import euclidean_distances, linear_fit, r_squared
from analyses.rows import Rows, frame, roles_of, row_name, row_order
from analyses.silhouettes import group, silhouette
from warehouse.atomic import disk_errors, replacing
from warehouse.errors import InputError, StoreError
from warehouse.places import Place

_PNG_LIMIT = 370_000
"""Bytes: as a data URI a PNG grows by a third, and what shows it takes 500 kB."""

_SCALES = (2.0, 1.5, 1.0, 0.75, 0.5)
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_CLEAR, _UNSURE = "largest step, its interval above 0", "largest step, its interval reaches 0"
_FAINT = 0.1
"""A picture's silhouette or R² below this is not spoken of as a finding."""


def knowledge_profile_map(
    profiles: Rows,
    plants: Rows | None = None,
    concepts: Rows | None = None,
    *,
    template_kind: str = "asking",
    position: str = "last",
) -> alt.Chart:
    """Concept x layer, a panel a model: how well activations follow each labelling, and where that rises most.

    A cell's colour is the silhouette of the labelling (`silhouette_cosine`), or R² (`r2_ridge`) for a continuous one,
    each on its own scale. A diamond marks the layer of each row's largest step, black where the step's interval lies
    above 0, white where it does not. Layers in which knowledge was planted are outlined. Cells that were not measured
    are hatched. Controls stand below the medical concepts.

    Args:
        profiles: rows of `profiles` with the columns `model` and `concept`; main terms only are drawn.
        plants: rows of `plants` with the column `model`.
        concepts: rows of `concepts` with the column `concept`, for their roles; all count as medical without it.
        template_kind: which prompts are shown.
        position: which position is shown.

    Raises:
        InputError: no silhouette and no R² at that position of such prompts.
    """
    chosen = frame(profiles).filter(
        pl.col("technique") == "activations",
        pl.col("template_kind") == template_kind,
        pl.col("position") == position,
        pl.col("variant") == "",
    )
    measured = chosen.filter(pl.col("metric").is_in(["silhouette_cosine", "r2_ridge"]))
    if measured.is_empty():
        raise InputError(
            f"No silhouette and no R² at position {position!r} of {template_kind!r} prompts among {len(profiles)} "
            "profiles: measure these first."
        )
    roles = roles_of(concepts)
    cells = measured.select(
        "model", "metric", "layer", "value", "low", "high", "null_high", "null_p", "n", row=row_name(roles)
    )
    steps = _largest_steps(chosen, roles)
    planted = _planted(plants, roles)
    order = row_order(cells["row"])
    shown = _Map(order, cells, steps, planted)
    panels = [_map_panel(model, shown) for model in sorted(cells["model"].unique().to_list())]
    title = alt.TitleParams(
        text=_map_title(steps, planted),
        subtitle=[
            f"Each term of a concept is read at the {position} token of {template_kind} prompts, after each layer "
            "(emb: the embeddings).",
            "A diamond marks the layer where a row rises most: black where the step's 95% interval lies above 0. "
            "Hatched grey: not measured.",
        ],
        anchor="start",
    )
    return dressed(alt.vconcat(*panels, spacing=28, title=title))


def umap_multiples(
    projections: Rows,
    labels: Rows,
    labelling: str,
    *,
    layers: Sequence[int] | None = None,
    most: int = 12,
    columns: int = 5,
) -> alt.Chart:
    """A concept's pictures side by side, a panel a layer, coloured by label, with each one's trustworthiness.

    Args:
        projections: rows of `projections` of one model, concept, template kind, position and variant.
        labels: rows of the concept's `labels`.
        labelling: what to colour by; terms without a label are small and grey.
        layers: which layers to show; spread evenly from the first to the last, `most` of them, if left out.
        most: how many layers are shown at most when `layers` is left out.
        columns: how many panels stand beside each other at most.

    Raises:
        InputError: nothing was projected for these layers, the labelling is unknown, or rows of several pictures.
    """
    pictures = frame(projections)
    keys = [name for name in ("model", "concept", "template_kind", "position", "variant") if name in pictures.columns]
    if pictures.select(keys).unique().height > 1:
        raise InputError("These projections are of several models, concepts or prompts: choose one of each first.")
    found = sorted(pictures["layer"].unique().to_list())
    wanted = list(layers) if layers is not None else _spread(found, most)
    if not wanted or not set(wanted) <= set(found):
        raise InputError(f"Layers {wanted} were asked for, projected are {found}: project them first.")
    named = frame(labels).filter(pl.col("labelling") == labelling).select("term", "kind", "label", "ordinal", "number")
    if named.is_empty():
        known = sorted(frame(labels)["labelling"].unique().to_list())
        raise InputError(f"There is no labelling {labelling!r}; there are: {', '.join(known)}.")
    points = (
        pictures.filter(pl.col("layer").is_in(wanted))
        .select("layer", "term", pl.col("x", "y").cast(pl.Float64).round(3), "trustworthiness")
        .join(named, on="term", how="left", maintain_order="left")
    )
    continuous = named["kind"][0] == "continuous"
    panels = [_picture(points.filter(pl.col("layer") == layer), layer, labelling, named) for layer in wanted]
    title = alt.TitleParams(
        text=_picture_title(points, labelling, continuous),
        subtitle=[
            "UMAP, one point a term. Trust: how far a panel's neighbours are neighbours in the model (1: all).",
            "A picture is no evidence: only who lies near whom means something, axes have no unit.",
        ],
        anchor="start",
    )
    rows = -(-len(panels) // columns)
    return dressed(alt.concat(*panels, columns=-(-len(panels) // rows), spacing=12, title=title))


def save(chart: alt.TopLevelMixin, stem: Place) -> dict[str, Place]:
    """Write a chart as JSON, as a page that opens without network and as PNG of less than 500 kB as a data URI.

    Each file appears whole or not at all; the PNG gets as sharp as its limit allows.

    Args:
        chart: the chart.
        stem: place of the files without suffix; its folder is made.

    Returns:
        The paths, by `json`, `html` and `png`.

    Raises:
        StoreError: the disk or the object store refused, or the chart is too large for its PNG at any sharpness.
    """
    # Altair checked each part when it was built; to check the whole again takes as long as to draw it.
    spec = chart.to_dict(validate=False)
    for scale in _SCALES:
        png = vl_convert.vegalite_to_png(spec, scale=scale)
        if len(png) < _PNG_LIMIT:
            break
    else:
        raise StoreError(f"The PNG of {stem.name} is over {_PNG_LIMIT} bytes even when coarse: draw fewer panels.")
    contents = {
        "json": json.dumps(spec, ensure_ascii=False, indent=1).encode(),
        "html": vl_convert.vegalite_to_html(spec, bundle=True).encode(),
        "png": png,
    }
    paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in contents}
    for suffix, content in contents.items():
        with replacing(paths[suffix]) as temporary, disk_errors(paths[suffix]):
            temporary.write_bytes(content)
    return paths


def _largest_steps(chosen: pl.DataFrame, roles: dict[str, str]) -> pl.DataFrame:
    """The layer of the largest step of each model and row, with its interval and whether that lies above 0."""
    return (
        chosen.filter(pl.col("metric").is_in(["silhouette_cosine_step", "r2_ridge_step"]))
        .select("model", "layer", "value", "low", "high", "null_p", row=row_name(roles))
        .sort("value", descending=True, maintain_order=True)
        .unique(["model", "row"], keep="first", maintain_order=True)
        .with_columns(sign=pl.when(pl.col("low") > 0).then(pl.lit(_CLEAR)).otherwise(pl.lit(_UNSURE)))
    )


def _planted(plants: Rows | None, roles: dict[str, str]) -> pl.DataFrame:
    columns = {
        "model": pl.String,
        "row": pl.String,
        "layer": pl.Int16,
        "recall": pl.Float64,
        "recall_reverted": pl.Float64,
    }
    if plants is None or not len(plants):
        return pl.DataFrame(schema=columns)
    placed = frame(plants).filter(pl.col("kind") != "spread")
    return placed.select("model", "layer", "recall", "recall_reverted", row=row_name(roles)).select(*columns)


def _map_title(steps: pl.DataFrame, planted: pl.DataFrame) -> str:
    clear = steps.filter(pl.col("sign") == _CLEAR)
    if len(planted):
        judged = planted.join(steps, on=["model", "row"], how="inner").select("model", "row").unique()
        hits = planted.join(clear, on=["model", "row", "layer"], how="semi").select("model", "row").unique()
        return f"The largest step names the planted layer for {len(hits)} of {len(judged)} planted labellings"
    if clear.is_empty():
        return f"No layer stands out: none of {len(steps)} labellings has a step whose interval lies above 0"
    found = clear["layer"].to_list()
    first, last = min(found), max(found)
    where = f"at layer {first}" if first == last else f"between layers {first} and {last}"
    return f"{len(clear)} of {len(steps)} labellings take shape {where}"


@dataclass(frozen=True)
class _Map:
    """What a map shows, of all models: rows from top to bottom, cells, largest steps, planted layers."""

    order: list[str]
    cells: pl.DataFrame
    steps: pl.DataFrame
    planted: pl.DataFrame


def _map_panel(model: str, shown: _Map) -> Any:
    order = shown.order
    cells, steps, planted = (
        part.filter(pl.col("model") == model) for part in (shown.cells, shown.steps, shown.planted)
    )
    found = cells["layer"].to_list()
    layers = list(range(min(found), max(found) + 1))
    x, y = layer_axis(layers), row_axis(order)
    grid = pl.DataFrame({"row": order}).join(pl.DataFrame({"layer": layers}, schema={"layer": pl.Int16}), how="cross")
    missing = grid.join(cells, on=["row", "layer"], how="anti").with_columns(sign=pl.lit("not measured"))
    parts: list[alt.Chart | alt.LayerChart] = []
    if len(missing):
        blank = alt.Chart(values(missing)).encode(x=x, y=y, tooltip=["row:N", "layer:O", "sign:N"])
        parts.append(blank.mark_rect(fill=GREY))
        hatch = alt.Scale(domain=["not measured"], range=[HATCH])
        parts.append(
            blank.mark_point(size=110, stroke="#8a8a8a", strokeWidth=1, fill=None).encode(
                shape=alt.Shape("sign:N", scale=hatch, legend=alt.Legend(title=None, orient="bottom"))
            )
        )
    for metric, name in (("silhouette_cosine", "silhouette"), ("r2_ridge", "R²")):
        heated = cells.filter(pl.col("metric") == metric)
        if len(heated):
            domain = _domain(shown.cells.filter(pl.col("metric") == metric), metric)
            colour = alt.Color(
                "value:Q",
                scale=alt.Scale(scheme="viridis" if name == "R²" else "cividis", domain=domain, clamp=True),
                legend=alt.Legend(title=name, orient="right", gradientLength=90, format=".2f"),
            )
            heat = alt.Chart(values(heated)).mark_rect()
            parts.append(heat.encode(x=x, y=y, color=colour, tooltip=_tooltip(name, "null_high", "n")))
    if len(planted):
        outline = alt.Scale(domain=["planted here"], range=[PLANTED])
        parts.append(
            alt.Chart(values(planted.with_columns(sign=pl.lit("planted here"))))
            .mark_rect(fill=None, strokeWidth=3)
            .encode(
                x=x,
                y=y,
                stroke=alt.Stroke("sign:N", scale=outline, legend=alt.Legend(title=None, orient="bottom")),
                tooltip=["row:N", "layer:O", *_numbers("recall", "recall_reverted")],
            )
        )
    if len(steps):
        parts.extend(_step_marks(steps, x, y))
    return (
        alt.layer(*parts)
        .resolve_scale(color="independent", shape="independent", stroke="independent", fill="independent")
        .properties(width=width_of(layers), height=CELL * len(order), title=alt.TitleParams(model, anchor="start"))
    )


def _step_marks(steps: pl.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    scale = alt.Scale(domain=[_CLEAR, _UNSURE], range=[INK, "#ffffff"])
    legend = alt.Legend(
        title=None, orient="bottom", labelLimit=400, symbolType="diamond", symbolStrokeColor=INK, columns=2
    )
    # A dark line inside a light one shows on every colour of the scale.
    base = alt.Chart(values(steps)).encode(x=x, y=y, tooltip=_tooltip("step"))
    halo = base.mark_point(shape="diamond", size=90, stroke="#ffffff", strokeWidth=4, fill=None, opacity=1)
    mark = base.mark_point(shape="diamond", size=90, stroke=INK, strokeWidth=1.5, opacity=1)
    return [halo, mark.encode(fill=alt.Fill("sign:N", scale=scale, legend=legend))]


def _tooltip(name: str, *more: str) -> list[alt.Tooltip | str]:
    value = alt.Tooltip("value:Q", title=name, format=".3f")
    return ["row:N", "layer:O", value, *_numbers("low", "high", "null_p", *more)]


def _numbers(*names: str) -> list[alt.Tooltip]:
    titles = {
        "low": "95% from",
        "high": "95% to",
        "null_p": "p under permuted labels",
        "null_high": "null, 95th percentile",
    }
    return [
        alt.Tooltip(f"{name}:Q", title=titles.get(name, name.replace("_", " ")), format="d" if name == "n" else ".3f")
        for name in names
    ]


def _domain(shown: pl.DataFrame, metric: str) -> list[float]:
    # R² has no lower bound; all that is worse than the mean looks the same.
    low = 0.0 if metric == "r2_ridge" else min(0.0, float(shown["value"].min()))  # type: ignore[arg-type]
    return [round(low - 0.005, 2), round(max(low + 0.1, float(shown["value"].max())) + 0.005, 2)]  # type: ignore[arg-type]


def _spread(layers: list[int], most: int) -> list[int]:
    if len(layers) <= most:
        return layers
    return [layers[place] for place in np.linspace(0, len(layers) - 1, most).round().astype(int)]


def _picture(points: pl.DataFrame, layer: int, labelling: str, named: pl.DataFrame) -> Any:
    trust = points["trustworthiness"][0]
    name = "embeddings" if layer < 0 else f"layer {layer}"
    blank = alt.Axis(labels=False, ticks=False, title=None, grid=False, domain=False)
    base = alt.Chart(values(points.drop("trustworthiness", "layer"))).encode(
        x=alt.X("x:Q", axis=blank, scale=alt.Scale(domain=_range(points["x"]), nice=False)),
        y=alt.Y("y:Q", axis=blank, scale=alt.Scale(domain=_range(points["y"]), nice=False)),
    )
    field = {"continuous": "number:Q", "ordinal": "ordinal:Q"}.get(named["kind"][0], "label:N")
    known = field.split(":")[0]
    tooltip = ["term:N", alt.Tooltip(field, title=labelling), "label:N"]
    if field == "label:N":
        names = sorted(named["label"].drop_nulls().unique().to_list())
        # A hue for each of seven labels, then a new shape: hues alone can't be told apart beyond that.
        shapes = [_SHAPES[place // len(HUES) % len(_SHAPES)] for place in range(len(names))]
        legend = alt.Legend(title=labelling, columns=1 + (len(names) - 1) // 20, symbolLimit=0, labelLimit=220)
        colours = alt.Scale(domain=names, range=list(islice(cycle(HUES), len(names))))
        encoding = {
            "color": alt.Color(field, scale=colours, legend=legend),
            "shape": alt.Shape(field, scale=alt.Scale(domain=names, range=shapes), legend=legend),
        }
    else:
        numbers = named[known].drop_nulls().to_list()
        bounds = [min(numbers), max(numbers)]
        colour = alt.Color(field, scale=alt.Scale(scheme="viridis", domain=bounds), legend=alt.Legend(title=labelling))
        encoding = {"color": colour}
    shown = base.transform_filter(f"isValid(datum.{known})").mark_point(filled=True, size=26, opacity=0.85)
    rest = base.transform_filter(f"!isValid(datum.{known})").mark_circle(size=8, color="#b0b0b0")
    alike = points.select("x", "y").unique().height == 1
    said = f"{name} · all terms alike" if alike else f"{name} · trust {trust:.2f}"
    title = alt.TitleParams(said, anchor="start", fontSize=12, fontWeight="normal", offset=6)
    return alt.layer(rest.encode(tooltip=["term:N"]), shown.encode(tooltip=tooltip, **encoding)).properties(
        width=180, height=180, title=title
    )


def _picture_title(points: pl.DataFrame, labelling: str, continuous: bool) -> str:
    """Which panel shows the labelling best, by what its two dimensions show."""
    known = "number" if continuous else "label"
    scores: dict[int, float] = {}
    for (layer,), panel in points.drop_nulls(known).group_by("layer", maintain_order=True):
        drawn = panel.select("x", "y").to_numpy()
        if continuous:
            numbers = panel[known].to_numpy().astype(np.float64)
            scores[int(layer)] = float(r_squared(numbers, linear_fit(drawn, numbers[:, None])[:, 0]))
        elif panel[known].n_unique() > 1:
            scores[int(layer)] = silhouette(euclidean_distances(drawn), group(panel[known].to_list()))
    best = max(scores, key=lambda layer: scores[layer], default=0)
    if scores.get(best, 0.0) < _FAINT:
        found = "follow a straight line" if continuous else "lie apart by label"
        return f"In no picture do the terms {found}: {labelling}, layer by layer"
    place = "in the embeddings" if best < 0 else f"at layer {best}"
    if continuous:
        return f"Drawn in two dimensions, {labelling} is most nearly a straight line {place} (R² {scores[best]:.2f})"
    return f"Drawn in two dimensions, labels of {labelling} lie most apart {place} (silhouette {scores[best]:.2f})"


def _range(values: pl.Series) -> list[float]:
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    margin = 0.06 * (high - low) or 1.0
    return [low - margin, high + margin]
