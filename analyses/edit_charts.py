"""What came of training recommended layers rather than others: the figures of the closed loop, in words and as a chart.

Belongs here: what counts as gained and as lost in an edit, how arms are compared, and how that is drawn. The edits are
made in the closed loop, and kept in the table `edits`.
"""

import altair as alt
import numpy as np
import polars as pl

from analyses.drawing import INK, dressed, values
from analyses.numerals import signed, two
from analyses.palette import OTHERS
from analyses.resampling import HIGH, LOW, generator
from analyses.rows import Rows, frame
from warehouse.errors import InputError

ARMS = {
    "recommended": "recommended layers",
    "random": "as many others at random",
    "first": "as many, the first ones",
    "all": "all layers",
}
TASKS = {"teach": "Teach changed facts", "unlearn": "Unlearn a labelling"}
MEASURES = {
    "gained": "gained: facts taught, or forgotten",
    "same_lost": "lost: other facts of the labelling",
    "others_lost": "lost: other relations",
    "kl_neutral": "moved: neutral text, nats a token",
}
_SHAPES = ("circle", "square", "triangle-up", "diamond")
_RESAMPLES = 2000
_LEAST_EDITS = 3
"""Pairs of edits from which a title dares a verdict."""

_RELATION = ("model", "concept", "labelling")


def gains(edits: Rows) -> pl.DataFrame:
    """Rows of `edits` with what each edit gained and lost, all on held-out templates.

    - `gained`: in `teach` the rise of the target's recall; in `unlearn` the share of the recall before that is gone.
    - `same_lost`, `others_lost`: by how much recall of what should have stayed fell; below 0 it rose.
    """
    target, was = pl.col("target_after"), pl.col("target_before")
    return frame(edits).with_columns(
        gained=pl.when(pl.col("task") == "teach").then(target - was).otherwise((was - target) / was),
        same_lost=pl.col("same_before") - pl.col("same_after"),
        others_lost=pl.col("others_before") - pl.col("others_after"),
    )


def arm_means(edits: Rows, seed: int = 0) -> pl.DataFrame:
    """The mean of each measure by task, arm and whether the labelling is localised, with a 95% interval.

    Resamples draw relations, and within each its repeats: repeats of a relation hang together. With few relations such
    an interval is too narrow; `relations` says how many there were.

    Returns:
        Columns `task`, `verdict`, `arm`, `measure`, `value`, `low`, `high`, `relations`, `edits`.
    """
    rows, found = gains(edits), []
    for (task, verdict, arm), chosen in rows.group_by("task", "verdict", "arm", maintain_order=True):
        for measure in MEASURES:
            groups = [
                part[measure].drop_nulls().to_numpy() for _, part in chosen.group_by(_RELATION, maintain_order=True)
            ]
            drawn = _means([group for group in groups if len(group)], seed)
            if drawn is None:
                continue
            value, low, high = drawn
            keys = {"task": task, "verdict": verdict, "arm": arm, "measure": measure}
            numbers = {"value": value, "low": low, "high": high, "relations": len(groups), "edits": len(chosen)}
            found.append(keys | numbers)
    return pl.DataFrame(found)


def differences(edits: Rows, arm: str = "random", seed: int = 0) -> pl.DataFrame:
    """Recommended layers less another arm, paired by relation and repeat, with a 95% interval as in `arm_means`.

    Returns:
        Columns `task`, `measure`, `value`, `low`, `high`, `relations`, `edits`; empty where nothing was recommended.
    """
    rows, found = gains(edits), []
    keys = [*_RELATION, "task", "repeat"]
    recommended = rows.filter(pl.col("arm") == "recommended")
    paired = recommended.join(rows.filter(pl.col("arm") == arm), on=keys, suffix="_other", maintain_order="left")
    for (task,), chosen in paired.group_by("task", maintain_order=True):
        for measure in MEASURES:
            less = chosen.select(*_RELATION, less=pl.col(measure) - pl.col(f"{measure}_other")).drop_nulls()
            groups = [part["less"].to_numpy() for _, part in less.group_by(_RELATION, maintain_order=True)]
            drawn = _means(groups, seed)
            if drawn is not None:
                value, low, high = drawn
                numbers = {"value": value, "low": low, "high": high, "relations": len(groups), "edits": len(less)}
                found.append({"task": task, "measure": measure} | numbers)
    names = ("value", "low", "high")
    empty = {"task": pl.String, "measure": pl.String} | dict.fromkeys(names, pl.Float64)
    return pl.DataFrame(found, schema=None if found else empty | {"relations": pl.Int64, "edits": pl.Int64})


def compared(edits: Rows) -> list[str]:
    """The comparison in sentences: each arm's gain and losses, and recommended layers against random ones."""
    if not len(edits):
        return ["No edits were made."]
    told = []
    for (task, verdict, arm), part in arm_means(edits).group_by("task", "verdict", "arm", maintain_order=True):
        shown = {row["measure"]: row for row in part.iter_rows(named=True)}
        numbers = "; ".join(
            f"{measure.replace('_', ' ')} {two(row['value'])} [{two(row['low'])}, {two(row['high'])}]"
            for measure, row in shown.items()
        )
        count = shown["gained"]
        told.append(
            f"{TASKS[str(task)]}, {verdict}, {ARMS[str(arm)]}: {numbers} "
            f"({count['edits']} edits of {count['relations']} relations)"
        )
    for row in differences(edits).iter_rows(named=True):
        told.append(
            f"{TASKS[row['task']]}: {row['measure'].replace('_', ' ')}, recommended less random: "
            f"{signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}]"
        )
    return told


def closed_loop_chart(edits: Rows) -> alt.Chart:
    """Task x measure: every edit as a faint point, each arm's mean with its 95% interval.

    Args:
        edits: rows of `edits`.

    Raises:
        InputError: no edits.
    """
    if not len(edits):
        raise InputError("There are no edits to draw: make some first, with `python -m dagster_project.closed_loop`.")
    named = pl.col("arm").replace_strict(ARMS)
    means, points = arm_means(edits).with_columns(arm=named), gains(edits).with_columns(arm=named)
    rows = [
        alt.hconcat(
            *(
                _panel(means, points, task, verdict, measure)
                for measure in MEASURES
                if len(means.filter(task=task, verdict=verdict, measure=measure))
            ),
            spacing=18,
        )
        for task, verdict in means.select("task", "verdict").unique(maintain_order=True).iter_rows()
    ]
    title = alt.TitleParams(
        text=_title(edits),
        subtitle=[
            "Only the matrices of these layers were trained, by the same sentences and steps; each at the learning "
            "rate that did best on taught templates.",
            "Measured on held-out templates. Faint: one edit. Line: 95% interval of the mean over relations and "
            "repeats.",
        ],
        anchor="start",
    )
    return dressed(alt.vconcat(*rows, spacing=26, title=title))


def _panel(
    means: pl.DataFrame, points: pl.DataFrame, task: str, verdict: str, measure: str
) -> alt.LayerChart | alt.FacetChart:
    names = list(ARMS.values())
    is_first = measure == next(iter(MEASURES))
    y = alt.Y("arm:N", sort=names, scale=alt.Scale(domain=names), axis=alt.Axis(title=None, labels=is_first))
    colour = alt.Color("arm:N", scale=alt.Scale(domain=names, range=list(OTHERS)), legend=None)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=names, range=list(_SHAPES)), legend=None)
    own = means.filter(task=task, verdict=verdict, measure=measure)
    each = points.filter(task=task, verdict=verdict).drop_nulls(measure).with_columns(value=pl.col(measure))
    top = float(points[measure].drop_nulls().max() or 0.0)  # type: ignore[arg-type]
    bottom = float(points[measure].drop_nulls().min() or 0.0)  # type: ignore[arg-type]
    domain = [min(0.0, bottom) - 0.02, max(0.1, top) + 0.02]
    x = alt.X(
        "value:Q", scale=alt.Scale(domain=domain, nice=False), axis=alt.Axis(title=MEASURES[measure], tickCount=5)
    )
    tooltip = ["model:N", "concept:N", "labelling:N", "repeat:O", "places:N", alt.Tooltip("value:Q", format=".2f")]
    drawn = each.select("model", "concept", "labelling", "repeat", "places", "arm", "value")
    faint = alt.Chart(values(drawn)).mark_point(filled=True, opacity=0.3, size=34)
    told = alt.Chart(values(own))
    interval = told.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", y=y, color=colour)
    interval = interval.encode(x=alt.X("low:Q", scale=alt.Scale(domain=domain, nice=False)))
    numbers = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high")]
    mean = told.mark_point(filled=True, size=90, opacity=1, stroke=INK, strokeWidth=1)
    parts = [faint.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip), interval]
    parts.append(mean.encode(x=x, y=y, color=colour, shape=shape, tooltip=["arm:N", *numbers, "relations:Q"]))
    heading = f"{TASKS[task]}: {verdict} by the map" if is_first else ""
    return alt.layer(*parts).properties(
        width=190, height=112, title=alt.TitleParams(heading, anchor="start", fontSize=13)
    )


def _title(edits: Rows) -> str:
    found = differences(edits)
    if not len(found):
        return "No map named layers to train: nothing was recommended"
    told = []
    for task, verb in (("teach", "teach"), ("unlearn", "unlearn")):
        rows = {row["measure"]: row for row in found.filter(task=task).iter_rows(named=True)}
        if "gained" in rows:
            told.append(f"{_judged(rows['gained'])} to {verb}")
    return f"Recommended layers are {' and '.join(told)} than others drawn at random"


def _judged(row: dict[str, float]) -> str:
    if row["edits"] < _LEAST_EDITS:
        return f"not yet tried often enough ({row['edits']})"
    if row["low"] > 0:
        return "better"
    return "worse" if row["high"] < 0 else "not clearly better"


def _means(groups: list[np.ndarray], seed: int) -> tuple[float, float, float] | None:
    """The mean over groups of their means, and its interval when groups and what is in them are drawn anew."""
    if not groups:
        return None
    rng = generator(seed, "edits")
    sizes = np.array([len(group) for group in groups])
    padded = np.stack([np.pad(group, (0, sizes.max() - len(group))) for group in groups])
    chosen = rng.integers(len(groups), size=(_RESAMPLES, len(groups)))
    drawn_of = sizes[chosen][:, :, None]
    within = rng.integers(drawn_of, size=(*chosen.shape, sizes.max()))
    # As many are taken of a group as it has: what is drawn beyond that counts nothing.
    counts = np.arange(sizes.max()) < drawn_of
    drawn = (padded[chosen[:, :, None], within] * counts).sum(axis=2) / sizes[chosen]
    low, high = np.percentile(drawn.mean(axis=1), [LOW, HIGH])
    return float(np.mean([group.mean() for group in groups])), float(low), float(high)
