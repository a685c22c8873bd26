"""Profiles of the activations: one number a layer for each labelling, with its interval and its null.

Here it is said what is measured on what: which terms and templates enter, how templates are averaged, which draws are
shared, which metric each sort of labelling gets. How a metric is computed is in `geometry`, how its interval is made in
`resampling`. Profiles of lesions, patches and saliency don't belong here, nor does reading a map from profiles.

Each metric is taken per template over terms and then averaged over templates, for the estimate and for every draw: put
together, prompts cluster by template. Draws are the same for all layers, templates and positions, so steps are paired.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyses import geometry
from analyses.geometry import Floats
from analyses.parallel import in_order
from analyses.projection import DIMENSIONS, Layers, Progress, Readings, covering_templates, readings
from analyses.resampling import Sampled, average, bootstrap_counts, estimate, generator, permutations
from warehouse.tables import TEMPLATE_KINDS, table

FOLDS = 5
"""Folds of the cross-validated fit."""

STEP = "_step"
"""Ends the name of a metric's change from the layer below."""

_FEWEST_NUMBERS = 2 * FOLDS
_FEWEST_FOR_COORDINATES = 2 * (DIMENSIONS + 1)


@dataclass(frozen=True)
class _Grouped:
    """A categorical or ordinal labelling with its draws."""

    groups: geometry.Groups
    draws: geometry.GroupDraws
    permuted: geometry.PermutedGroups

    def in_vectors(self, space: "_Space") -> dict[str, Sampled]:
        return {"silhouette_cosine": self._silhouette(space.cosine)}

    def in_coordinates(self, space: "_Space") -> dict[str, Sampled]:
        return {"silhouette_umap": self._silhouette(space.straight)}

    def _silhouette(self, distances: Floats) -> Sampled:
        return Sampled(
            value=geometry.silhouette(distances, self.groups),
            resampled=geometry.resampled_silhouettes(distances, self.draws),
            permuted=geometry.permuted_silhouettes(distances, self.permuted),
        )


@dataclass(frozen=True)
class _Numbered:
    """A continuous labelling with its draws; terms of the same number share a fold."""

    numbers: Floats
    folds: NDArray[np.intp]
    counts: NDArray[np.float32]
    orders: NDArray[np.intp]

    def in_vectors(self, space: "_Space") -> dict[str, Sampled]:
        predicted = geometry.ridge_predictions(space.points, self.columns, self.folds)
        return {"r2_ridge": self._linearity(predicted), "local_anisotropy": self._anisotropy(space.points)}

    def in_coordinates(self, space: "_Space") -> dict[str, Sampled]:
        measured = {"local_anisotropy_umap": self._anisotropy(space.points)}
        if len(self.numbers) >= _FEWEST_FOR_COORDINATES:
            measured["r2_umap"] = self._linearity(geometry.linear_fit(space.points, self.columns))
        return measured

    @cached_property
    def columns(self) -> Floats:
        """The numbers as they are, then under each permutation."""
        return np.column_stack([self.numbers, self.numbers[self.orders]])

    def _linearity(self, predicted: Floats) -> Sampled:
        values = geometry.r_squared(self.columns, predicted)
        return Sampled(
            value=float(values[0]),
            resampled=geometry.r_squared(self.numbers, predicted[:, 0], self.counts),
            permuted=values[1:],
        )

    def _anisotropy(self, points: NDArray[np.floating]) -> Sampled:
        samples = geometry.anisotropy_samples(points)
        return Sampled(float(samples.mean()), samples @ self.counts / len(samples))


@dataclass(frozen=True)
class _Space:
    """The points of some terms, with distances that are computed once if they are asked for."""

    points: NDArray[np.floating]

    @cached_property
    def cosine(self) -> Floats:
        return geometry.cosine_distances(self.points)

    @cached_property
    def straight(self) -> Floats:
        return geometry.euclidean_distances(self.points)


@dataclass(frozen=True)
class _Labelled:
    """The terms of one variant that one labelling speaks of."""

    labelling: str
    variant: str
    terms: tuple[str, ...]
    places: NDArray[np.intp]
    measure: _Grouped | _Numbered
    templates: dict[str, list[str]]


_Measured = dict[tuple[str, ...], tuple[_Labelled, Sampled]]
"""By metric, labelling, kind of template, position and variant."""


def activation_profiles(
    layers: Layers,
    prompts: pa.Table,
    terms: pa.Table,
    labels: pa.Table,
    projections: pa.Table,
    *,
    seed: int = 0,
    resamples: int = 1000,
    permutations: int = 200,
    progress: Progress | None = None,
) -> pa.Table:
    """How well each layer's activations follow each labelling, for one model and one concept.

    Categorical and ordinal labellings get `silhouette_cosine` (per template, cosine distance), continuous ones
    `r2_ridge` (`geometry.ridge_predictions` over 5 folds of distinct numbers; R² of the pooled predictions) and
    `local_anisotropy`; each also as its change from the layer below, with `_step` at the end of its name. Where the
    concept was projected: `silhouette_umap` (straight distance), `r2_umap` (ordinary fit in sample, from 62 terms on:
    two for each coefficient) and `local_anisotropy_umap`, in the 30 coordinates.

    Held-out templates are left out. For asking prompts only the templates that ask for the labelling are read, or all
    asking ones where none does. A term without a label is left out of that labelling. A labelling with fewer than two
    labels of at least two terms, or fewer than 10 distinct numbers, has no rows.

    Intervals redraw terms, within labels where there are labels; a fit and its predictions, and neighbours, are kept
    while terms are redrawn. The null exchanges labels between terms; anisotropy has none, for it uses no labels.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        prompts, terms, labels: the concept's tables.
        projections: its `projections`, possibly without rows.
        seed: of the draws and folds.
        resamples: bootstrap resamples.
        permutations: permutations of the labels.
        progress: called with each layer when it is done.

    Returns:
        Rows of `profiles`, sorted by key.

    Raises:
        InputError: layers that don't ascend, or activations missing.
    """
    schema = table("profiles").schema()
    names = terms["term"].to_pylist()
    plans = list(_plans(prompts, terms, labels, _Draws(seed, resamples, permutations)))
    rows: list[dict[str, object]] = list(_coordinate_rows(plans, projections))
    below: dict[tuple[str, ...], Sampled] = {}
    for layer, measured in in_order(partial(_measured, plans), readings(layers, names)):
        above = {key: sampled for key, (_, sampled) in measured.items()}
        for key, (plan, sampled) in measured.items():
            rows.append(_row(plan, key, layer, sampled))
            if key in below:
                step = (key[0] + STEP, *key[1:])
                rows.append(_row(plan, step, layer, sampled.minus(below[key])))
        below = above
        if progress is not None:
            progress(layer)
    found = pa.Table.from_pylist(rows, schema=schema)
    return found.sort_by([(column.name, "ascending") for column in table("profiles").keys])


def _measured(
    plans: list[_Labelled], reading: Readings
) -> tuple[int, dict[tuple[str, ...], tuple[_Labelled, Sampled]]]:
    """A layer, and every metric there, averaged over templates."""
    parts: dict[tuple[str, ...], list[Sampled]] = defaultdict(list)
    owners: dict[tuple[str, ...], _Labelled] = {}
    for position, plan in product(reading.positions, plans):
        for kind, templates in plan.templates.items():
            for template in templates:
                space = _Space(reading.of(position, template, plan.places))
                for metric, sampled in plan.measure.in_vectors(space).items():
                    key = (metric, plan.labelling, kind, position, plan.variant)
                    parts[key].append(sampled)
                    owners[key] = plan
    return reading.layer, {key: (owners[key], average(sampled)) for key, sampled in parts.items()}


def _coordinate_rows(plans: list[_Labelled], projections: pa.Table) -> Iterator[dict[str, object]]:
    """The rows that are measured in UMAP's coordinates, for what was projected."""
    drawn = ["template_kind", "position", "variant", "layer"]
    for picture in projections.select(drawn).group_by(drawn).aggregate([]).to_pylist():
        chosen = pc.equal(projections["layer"], picture["layer"])
        for name in drawn[:3]:
            chosen = pc.and_(chosen, pc.equal(projections[name], picture[name]))
        points = projections.filter(chosen)
        places = {term: place for place, term in enumerate(points["term"].to_pylist())}
        flat = points["coordinates"].combine_chunks().flatten().to_numpy()
        coordinates = flat.reshape(len(points), -1)
        for plan in plans:
            if plan.variant != picture["variant"] or not places.keys() >= set(plan.terms):
                continue
            space = _Space(coordinates[[places[term] for term in plan.terms]])
            for metric, sampled in plan.measure.in_coordinates(space).items():
                key = (metric, plan.labelling, picture["template_kind"], picture["position"], plan.variant)
                yield _row(plan, key, picture["layer"], sampled)


def _row(plan: _Labelled, key: tuple[str, ...], layer: int, sampled: Sampled) -> dict[str, object]:
    metric, labelling, kind, position, variant = key
    return {
        "technique": "activations",
        "metric": metric,
        "labelling": labelling,
        "template_kind": kind,
        "position": position,
        "variant": variant,
        "layer": layer,
        **asdict(estimate(sampled)),
        "n": len(plan.terms),
    }


@dataclass(frozen=True)
class _Draws:
    """How many draws there are, and the seed that they come from."""

    seed: int
    resamples: int
    permutations: int

    def grouped(self, labels: list[str], *names: str) -> _Grouped | None:
        """The labelling with its draws, or None where fewer than two labels have two terms."""
        if (np.unique(labels, return_counts=True)[1] >= 2).sum() < 2:
            return None
        rng = generator(self.seed, *names)
        groups = geometry.group(labels)
        counts = bootstrap_counts(len(labels), self.resamples, rng, groups.codes)
        orders = permutations(len(labels), self.permutations, rng)
        return _Grouped(groups, geometry.group_draws(groups, counts), geometry.permuted_groups(groups, orders))

    def numbered(self, numbers: Floats, *names: str) -> _Numbered | None:
        """The labelling with its draws and folds, or None where there are too few distinct numbers."""
        distinct, codes = np.unique(numbers, return_inverse=True)
        if len(distinct) < _FEWEST_NUMBERS:
            return None
        rng = generator(self.seed, *names)
        # Terms of the same number share a fold: a man of 47 would tell of a woman of 47.
        folds = (rng.permutation(len(distinct)) % FOLDS)[codes]
        counts = bootstrap_counts(len(numbers), self.resamples, rng)
        return _Numbered(numbers, folds, counts, permutations(len(numbers), self.permutations, rng))


def _plans(prompts: pa.Table, terms: pa.Table, labels: pa.Table, draws: _Draws) -> Iterator[_Labelled]:
    """Every labelling and variant that can be measured, with its draws and templates."""
    variants = dict(zip(terms["term"].to_pylist(), terms["variant"].to_pylist(), strict=True))
    places = {term: place for place, term in enumerate(variants)}
    by_labelling: dict[tuple[str, str], dict[str, dict[str, object]]] = defaultdict(dict)
    for row in labels.select(["labelling", "term", "kind", "label", "number"]).to_pylist():
        value = row["number"] if row["kind"] == "continuous" else row["label"]
        if value is not None and row["term"] in variants:
            by_labelling[row["labelling"], variants[row["term"]]][row["term"]] = row
    for (labelling, variant), found in sorted(by_labelling.items()):
        known = tuple(sorted(found, key=lambda term: places[term]))
        measure: _Grouped | _Numbered | None
        if all(row["kind"] == "continuous" for row in found.values()):
            numbers = np.array([found[term]["number"] for term in known], dtype=np.float64)
            measure = draws.numbered(numbers, variant, labelling)
        else:
            measure = draws.grouped([str(found[term]["label"]) for term in known], variant, labelling)
        if measure is not None:
            templates = {kind: covering_templates(prompts, kind, known, labelling) for kind in TEMPLATE_KINDS}
            at = np.array([places[term] for term in known], dtype=np.intp)
            yield _Labelled(labelling, variant, known, at, measure, templates)
