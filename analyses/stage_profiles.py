"""Stages, layer by layer: the table `stage_circles`, and profiles of what diseases have in common.

Here it is said what is measured on which terms; how each number is computed is in `stages`. What has stages is decided
in `stage_sets`: diseases, and sexes with their age groups. Other concepts have no rows.

Distances are taken per template, in units of the mean distance of two stages there, and averaged over templates; all
measures are of these. Intervals redraw terms within stages, and for profiles the diseases too. The null keeps the
stages as they lie and exchanges their order, so that stages which differ, in whatever order, are no finding. Four
stages have too few orders for one disease to stand out by it (p is at least 1/12): what holds for a disease, its
interval says; what holds for diseases, the null of the profiles.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from analyses import stages
from analyses.geometry import Floats
from analyses.parallel import in_order
from analyses.projection import Layers, Progress, Readings, readings
from analyses.resampling import Sampled, bootstrap_counts, estimate, generator
from analyses.series import Key, Profile, Series
from analyses.stage_sets import StageSet, stage_sets
from warehouse.tables import table

FEWEST_STAGED = 5
"""Diseases that a profile takes: over fewer there is little to redraw, and each has its own rows anyway."""

_SHARED = "severity_shared"


@dataclass(frozen=True)
class _Staged:
    """The stages of one disease, with their draws.

    Attributes:
        name: the disease.
        at: its terms, by their place among all terms of the labelling.
        places: the stage of each term, from 0.
        weights: how much of each stage's mean each term is, first as they are, then redrawn, shape
            (1 + resamples, terms, stages).
        counts: how often each term is taken, shape (1 + resamples, terms).
        orders: the stage at each place under each permutation, shape (permutations, stages).
        chance: standard normal numbers for clouds, shape (permutations, stages, stages).
    """

    name: str
    at: slice
    places: NDArray[np.intp]
    weights: Floats
    counts: Floats
    orders: NDArray[np.intp]
    chance: Floats

    @property
    def stages(self) -> int:
        """How many stages there are."""
        return int(self.weights.shape[2])

    def slopes(self) -> Floats:
        """Weights of its terms in the direction of severity, as they are and under each permutation.

        Shape (terms, 1 + permutations): every stage weighs the same, however many terms it has.
        """
        there = np.vstack([np.arange(self.stages), np.argsort(self.orders, axis=1)]).astype(np.float64)
        there -= there.mean(axis=1, keepdims=True)
        return np.asarray(self.weights[0] @ there.T)

    def measure(self, between: Floats, to_stages: Floats) -> dict[str, Sampled]:
        """Every measure of the mean distances.

        Args:
            between: between stages, under each resample, shape (1 + resamples, stages, stages).
            to_stages: from terms to stages, shape (1 + resamples, terms, stages).
        """
        permuted = stages.reordered(between[0], self.orders)
        moved = to_stages[0][:, self.orders].swapaxes(0, 1)
        places = np.argsort(self.orders, axis=1)[:, self.places]
        measured = {
            name: _sampled(function(between), function(permuted))
            for name, function in (
                ("order", stages.order),
                ("ring", stages.ring),
                ("circularity", stages.circularity),
            )
        }
        measured["nearest_early"] = _sampled(
            stages.nearest_early(to_stages, self.places, self.counts), stages.nearest_early(moved, places)
        )
        if 4 <= self.stages <= stages.MOST_IN_LOOP:
            loops = stages.longest_loops(np.concatenate([between, stages.cloud_distances(between[0], self.chance)]))
            measured["loop"] = _sampled(loops[: len(between)], loops[len(between) :])
        return measured


def _sampled(values: Floats, permuted: Floats) -> Sampled:
    return Sampled(float(values[0]), values[1:], permuted)


@dataclass(frozen=True)
class _Course:
    """All that is staged by one ordinal labelling, in one variant.

    Attributes:
        places: of each term in the concept's table, disease by disease.
        chosen: how often each resample takes each disease, shape (diseases, resamples).
    """

    labelling: str
    variant: str
    places: NDArray[np.intp]
    diseases: tuple[_Staged, ...]
    chosen: NDArray[np.float32]
    templates: dict[str, list[str]]


@dataclass(frozen=True)
class StageCircles:
    """What was found of stages: rows of `stage_circles`, sorted by key, and profiles."""

    table: pa.Table
    profiles: list[Profile]


def stage_circles(
    layers: Layers,
    prompts: pa.Table,
    terms: pa.Table,
    labels: pa.Table,
    *,
    seed: int = 0,
    resamples: int = 200,
    permutations: int = 200,
    progress: Progress | None = None,
) -> StageCircles:
    """Order, rings and loops of stages at each layer of one model and concept.

    The table has, for each disease: `order`, `ring`, `circularity`, `nearest_early` and, from 4 to 10 stages, `loop`
    (`stages.longest_loops`; its null is a normal cloud as wide as the stages along each axis, for an exchange of stages
    changes no loop). Where at least 5 diseases are staged, there are profiles of the mean over diseases, with `stage_`
    before the name, and `severity_shared`: the mean cosine between the directions in which two diseases move with
    severity.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        prompts, terms, labels: the concept's tables.
        seed: of the draws.
        resamples: bootstrap resamples.
        permutations: exchanges of stages, and clouds.
        progress: called with each layer when it is done.

    Returns:
        Table and profiles; both without rows if the concept has no stages.

    Raises:
        InputError: layers that don't ascend, or activations missing.
    """
    courses = [_drawn(each, seed, resamples, permutations) for each in stage_sets(prompts, terms, labels)]
    rows: list[dict[str, object]] = []
    found: dict[Key, list[Sampled]] = defaultdict(list)
    sizes: dict[Key, int] = {}
    first: int | None = None
    for layer, measured in in_order(partial(_measured, courses), readings(layers, terms["term"].to_pylist())):
        first = layer if first is None else first
        for course, key, of_diseases, shared in measured:
            rows += _rows(course, key, layer, of_diseases)
            for named, sampled in _common(course, key, of_diseases, shared):
                found[named].append(sampled)
                sizes[named] = len(course.places)
        if progress is not None:
            progress(layer)
    profiles = [Profile(key, _series(found[key], first or 0), sizes[key]) for key in sorted(found, key=astuple)]
    return StageCircles(_circles(rows), profiles)


def _measured(
    courses: list[_Course], reading: Readings
) -> tuple[int, list[tuple[_Course, Key, list[dict[str, Sampled]], Floats]]]:
    """A layer, and for each course, position and kind of template: each disease's measures, and shared directions."""
    found = []
    for course, position in product(courses, reading.positions):
        for kind, templates in course.templates.items():
            if templates:
                key = Key("activations", "", course.labelling, course.variant, position, kind)
                cells = [reading.of(position, template, course.places) for template in templates]
                products = [_products(vectors) for vectors in cells]
                found.append(
                    (course, key, [_of_disease(each, products) for each in course.diseases], _shared(course, products))
                )
    return reading.layer, found


def _products(vectors: NDArray[np.float32]) -> Floats:
    wide = vectors.astype(np.float64)
    return np.asarray(wide @ wide.T)


def _of_disease(disease: _Staged, products: list[Floats]) -> dict[str, Sampled]:
    apart = [stages.stage_distances(each[disease.at, disease.at], disease.weights) for each in products]
    between, to_stages = (np.mean(parts, axis=0) for parts in zip(*apart, strict=True))
    return disease.measure(between, to_stages)


def _shared(course: _Course, products: list[Floats]) -> Floats:
    """Cosines between the directions of severity, averaged over templates, (diseases, diseases, 1 + permutations)."""
    slopes = [disease.slopes() for disease in course.diseases]
    return np.asarray(np.mean([stages.shared_direction(each, slopes) for each in products], axis=0))


def _common(
    course: _Course, key: Key, of_diseases: list[dict[str, Sampled]], shared: Floats
) -> Iterator[tuple[Key, Sampled]]:
    """Each measure over diseases, redrawn with their terms, and the direction that they share."""
    if len(of_diseases) < FEWEST_STAGED:
        return
    for metric in sorted(set.intersection(*(set(measured) for measured in of_diseases))):
        each = [measured[metric] for measured in of_diseases]
        resampled = np.array([sampled.resampled for sampled in each])
        yield (
            replace(key, metric=f"stage_{metric}"),
            Sampled(
                float(np.mean([sampled.value for sampled in each])),
                (resampled * course.chosen).mean(axis=0),
                np.mean([sampled.permuted for sampled in each if sampled.permuted is not None], axis=0),
            ),
        )
    first, second = np.triu_indices(len(shared), 1)
    cosines, taken = shared[first, second], course.chosen[first] * course.chosen[second]
    total = taken.sum(axis=0)
    redrawn = np.divide(cosines[:, 0] @ taken, total, out=np.full(total.shape, cosines[:, 0].mean()), where=total > 0)
    yield replace(key, metric=_SHARED), Sampled(float(cosines[:, 0].mean()), redrawn, cosines[:, 1:].mean(axis=0))


def _series(sampled: list[Sampled], first: int) -> Series:
    return Series(
        np.array([one.value for one in sampled]),
        np.array([one.resampled for one in sampled]),
        np.array([one.permuted for one in sampled]),
        first,
    )


def _rows(course: _Course, key: Key, layer: int, of_diseases: list[dict[str, Sampled]]) -> Iterator[dict[str, object]]:
    for disease, measured in zip(course.diseases, of_diseases, strict=True):
        for measure, sampled in measured.items():
            found = estimate(sampled)
            yield {
                "labelling": key.labelling,
                "staged": disease.name,
                "measure": measure,
                "template_kind": key.template_kind,
                "position": key.position,
                "variant": key.variant,
                "layer": layer,
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "null_mean": found.null_mean,
                "null_high": found.null_high,
                "null_p": found.null_p,
                "q": found.null_p,
                "stages": disease.stages,
                "n": len(disease.places),
            }


def _circles(rows: list[dict[str, object]]) -> pa.Table:
    """The table, its `q` corrected over all that is staged and all layers (Benjamini and Hochberg 1995)."""
    entry = table("stage_circles")
    together = defaultdict(list)
    for row in rows:
        together[tuple(row[name] for name in ("labelling", "measure", "template_kind", "position", "variant"))].append(
            row
        )
    for family in together.values():
        for row, q in zip(family, false_discovery_control([row["null_p"] for row in family]), strict=True):
            row["q"] = float(q)
    found = pa.Table.from_pylist(rows, schema=entry.schema())
    return found.sort_by([(column.name, "ascending") for column in entry.keys])


def _drawn(found: StageSet, seed: int, resamples: int, permutations: int) -> _Course:
    diseases: list[_Staged] = []
    places: list[int] = []
    for name, (at, stage_of) in found.of_disease.items():
        rng = generator(seed, "stages", found.labelling, found.variant, name)
        own = np.array(stage_of, dtype=np.intp)
        count = int(own.max()) + 1
        counts = np.vstack([np.ones(len(own)), bootstrap_counts(len(own), resamples, rng, own).T]).astype(np.float64)
        weights = counts[:, :, None] * (own[:, None] == np.arange(count))
        orders = rng.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
        chance = rng.normal(size=(permutations, count, count))
        here = slice(len(places), len(places) + len(at))
        weights /= weights.sum(axis=1, keepdims=True)
        diseases.append(_Staged(name, here, own, weights, counts, orders, chance))
        places += at
    rng = generator(seed, "staged", found.labelling, found.variant)
    chosen = bootstrap_counts(len(diseases), resamples, rng)
    every = np.array(places, dtype=np.intp)
    return _Course(found.labelling, found.variant, every, tuple(diseases), chosen, found.templates)
