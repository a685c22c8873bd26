"""Jumps between ages, layer by layer: the table `jumps`, and profiles that say what the large ones follow.

Here it is said on which terms and templates steps are measured, and how they are seen by the tokenizer. How a step is
judged is in `jumps`; what has ages is decided in `number_grids`, and other concepts have no rows.
"""

from collections import defaultdict
from dataclasses import astuple, dataclass, replace
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from analyses.ages import relative_gaps
from analyses.geometry import Floats
from analyses.jumps import correlations, explained, judge, unexplained
from analyses.number_grids import Grid, grids
from analyses.parallel import in_order
from analyses.projection import Layers, Progress, Readings, readings
from analyses.resampling import bootstrap_counts, generator
from analyses.resampling import permutations as exchanges
from analyses.series import Key, Profile, Series
from warehouse.tables import table

_KEYS = ("labelling", "template_kind", "position", "variant")


def jumps(
    layers: Layers,
    prompts: pa.Table,
    terms: pa.Table,
    labels: pa.Table,
    tokens: pa.Table,
    *,
    seed: int = 0,
    permutations: int = 200,
    progress: Progress | None = None,
) -> pa.Table:
    """The step from each age to the next, against a smooth course, at each layer of one model and concept.

    A step is the chord between the vectors of two ages of the same sex, over the mean of all such chords; averaged over
    sexes and templates, so that 1 is a usual step. `jumps.judge` says what its neighbours lead to expect.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        prompts, terms, labels: the concept's tables.
        tokens: how the model splits these prompts.
        seed: of the null.
        permutations: smooth courses that are simulated.
        progress: called with each layer when it is done.

    Returns:
        Rows of `jumps`, sorted by key; none if the concept has no ages.

    Raises:
        InputError: layers that don't ascend, or activations missing.
    """
    entry = table("jumps")
    found = list(grids(prompts, terms, labels))
    frames = [entry.schema().empty_table()]
    sizes: dict[Key, list[Floats]] = defaultdict(list)
    measured_layers = []
    for layer, measured in in_order(partial(_steps, found), readings(layers, terms["term"].to_pylist())):
        measured_layers.append(layer)
        for key, steps in measured.items():
            sizes[key].append(steps)
        if progress is not None:
            progress(layer)
    splits = {(grid.labelling, grid.variant): (grid, _is_split(grid, tokens)) for grid in found}
    for key, of_layers in sizes.items():
        grid, is_split = splits[key.labelling, key.variant]
        steps = np.array(of_layers)
        judged = judge(steps, seed=seed, courses=permutations)
        values = {
            "size": steps,
            "null_mean": judged.expected,
            "null_high": judged.high,
            "null_p": judged.p,
            "q": judged.q,
        }
        each = len(steps) * steps.shape[1]
        columns = {name: pa.repeat(getattr(key, name), each) for name in _KEYS}
        columns["layer"] = pa.array(np.repeat(measured_layers, steps.shape[1]), pa.int16())
        columns["number"] = pa.array(np.tile(grid.numbers[1:], len(steps)))
        columns |= {name: pa.array(value.ravel()) for name, value in values.items()}
        columns["token_split"] = pa.array(np.tile(is_split, len(steps)))
        columns["decade"] = pa.array(np.tile(_begins_decade(grid.numbers), len(steps)))
        schema = entry.schema()
        frames.append(pa.table([columns[name] for name in schema.names], schema=schema))
    return pa.concat_tables(frames).sort_by([(column.name, "ascending") for column in entry.keys])


def _steps(found: list[Grid], reading: Readings) -> tuple[int, dict[Key, Floats]]:
    parts: dict[Key, list[Floats]] = defaultdict(list)
    for grid in found:
        for key, vectors in grid.cells(reading):
            parts[key].append(relative_gaps(vectors))
    return reading.layer, {key: np.asarray(np.mean(steps, axis=0)) for key, steps in parts.items()}


def _is_split(grid: Grid, tokens: pa.Table) -> NDArray[np.bool_]:
    """Whether a number's terms are split into another number of tokens than those of the number before."""
    templates = sorted({name for names in grid.templates.values() for name in names})
    counted = pl.DataFrame(tokens).filter(pl.col("template").is_in(templates)).group_by("term")
    means = dict(counted.agg(pl.col("term_tokens").mean()).iter_rows())
    counts = np.array([[means.get(term, 0.0) for term in row] for row in grid.terms])
    return np.asarray((np.diff(counts, axis=1) != 0).any(axis=0))


def _begins_decade(numbers: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.diff(numbers // 10) != 0)


@dataclass(frozen=True)
class _Course:
    """The steps of all layers under one key.

    Attributes:
        first: the lowest layer.
        numbers: the number that each step leads to.
        excess: shape (layers, steps); 0 where nothing moves.
        facts: whether the number of tokens, and the tens digit, changes, shape (steps, 2).
    """

    first: int
    numbers: Floats
    excess: Floats
    facts: Floats


def _course(rows: pl.DataFrame) -> _Course:
    ordered = rows.sort("layer", "number")
    layers = ordered["layer"].n_unique()
    size, expected = (ordered[name].to_numpy().reshape(layers, -1) for name in ("size", "null_mean"))
    moved = (size > 0) & (expected > 0)
    excess = np.log(np.where(moved, size, 1.0) / np.where(moved, expected, 1.0))
    one = ordered.head(size.shape[1])
    facts = one.select("token_split", "decade").to_numpy().astype(np.float64)
    return _Course(int(ordered["layer"][0]), one["number"].to_numpy(), excess, facts)


def jump_profiles(
    measured: pa.Table, *, seed: int = 0, resamples: int = 1000, permutations: int = 200
) -> list[Profile]:
    """What the jumps of each layer follow: the spelling of the numbers, or the numbers themselves.

    The excess of a step is the logarithm of its size over what its neighbours lead to expect.

    - `jumps_by_spelling`: share of the variance of the excess that two facts about a step explain: that the number of
      tokens changes, and that the tens digit does (R² of a linear fit, in sample; `null_mean` says what chance gives).
    - `jumps_by_number`: correlation of what these facts leave of the excess, between numerals and the same numbers
      spelled in the other variant, which is split otherwise. Jumps that belong to the number are in both.

    Args:
        measured: rows of `jumps` of one model and concept.
        seed: of the draws.
        resamples: bootstrap resamples, of steps.
        permutations: exchanges of steps.

    Returns:
        Profiles by key, `jumps_by_number` for each variant but the main one; none without jumps.
    """
    courses = {
        Key("activations", "", labelling, variant, position, kind): _course(frame)
        for (labelling, kind, position, variant), frame in pl.DataFrame(measured).group_by(*_KEYS)
    }
    profiles = []
    for key, course in courses.items():
        rng = generator(seed, "jumps", key.labelling, key.variant)
        steps = course.excess.shape[1]
        counts = bootstrap_counts(steps, resamples, rng)
        orders = exchanges(steps, permutations, rng)
        series = Series(
            explained(course.excess, course.facts),
            explained(course.excess, course.facts, counts),
            explained(course.excess, np.moveaxis(course.facts[orders], 1, 0)),
            course.first,
        )
        profiles.append(Profile(replace(key, metric="jumps_by_spelling"), series, steps))
        main = courses.get(replace(key, variant=""))
        if key.variant and main is not None and np.array_equal(main.numbers, course.numbers):
            facts = np.column_stack([main.facts, course.facts])
            one, other = (unexplained(each.excess, facts) for each in (main, course))
            series = Series(
                correlations(one, other),
                correlations(one, other, counts),
                correlations(one[:, None], np.moveaxis(other[:, orders], 2, 1)),
                course.first,
            )
            profiles.append(Profile(replace(key, metric="jumps_by_number"), series, steps))
    return sorted(profiles, key=lambda profile: astuple(profile.key))
