"""Profiles of the activations: one number a layer for each labelling, with its interval and its null.

Here it is said what is measured on what: which terms and templates enter, how templates are averaged, which metric each
sort of labelling gets. Terms, labels and their draws are in `labellings`, metrics in `silhouettes` and `geometry`,
intervals in `resampling`. Profiles of lesions, patches and saliency don't belong here, nor what the spelling of terms
or an untrained model gives (`rivals`), nor does reading a map from profiles.

Each metric is taken per template over terms and then averaged over templates, for the estimate and for every draw: put
together, prompts cluster by template. Draws are the same for all layers, templates and positions, so steps are paired.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyses import geometry
from analyses.labellings import Grouped, LabelDraws, Labelled, Numbered, labelled_terms
from analyses.parallel import in_order
from analyses.projection import DIMENSIONS, Layers, Progress, Readings, covering_templates, readings
from analyses.resampling import Floats, Sampled, average
from analyses.series import Key, Profile, Series
from warehouse.errors import InputError
from warehouse.tables import TEMPLATE_KINDS

TECHNIQUE = "activations"
SILHOUETTE, LINEARITY = "silhouette_cosine", "r2_ridge"

_FEWEST_FOR_COORDINATES = 2 * (DIMENSIONS + 1)


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
class _Plan:
    """A labelling, and the templates that it is read in, by their kind."""

    labelled: Labelled
    templates: dict[str, list[str]]


@dataclass(frozen=True)
class _Measured:
    """A metric at one layer, and how many terms are behind it."""

    sampled: Sampled
    terms: int


_Found = Mapping[Key, _Measured]


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
) -> list[Profile]:
    """How well each layer's activations follow each labelling, for one model and one concept.

    Categorical and ordinal labellings get `silhouette_cosine` (per template, cosine distance), continuous ones
    `r2_ridge` (`geometry.ridge_predictions` over 5 folds of distinct numbers; R² of the pooled predictions) and
    `local_anisotropy`; each also as its change from the layer below, with `_step` at the end of its name. Where the
    concept was projected: `silhouette_umap` (straight distance), `r2_umap` (ordinary fit in sample, from 62 terms on:
    two for each coefficient) and `local_anisotropy_umap`, in the 30 coordinates.

    Held-out templates are left out. For asking prompts only the templates that ask for the labelling are read, or all
    asking ones where none does. A term without a label is left out of that labelling. A labelling with fewer than two
    labels of at least two terms, or fewer than 10 distinct numbers, has no profile.

    Intervals redraw terms, within labels where there are labels; a fit and its predictions, and neighbours, are kept
    while terms are redrawn. The null exchanges labels between terms; anisotropy has none, for it uses no labels.

    Args:
        layers: for each layer, ascending by one, its activations (`activations` of the registry).
        prompts, terms, labels: the concept's tables.
        projections: its `projections`, possibly without rows.
        seed: of the draws and folds.
        resamples: bootstrap resamples.
        permutations: permutations of the labels.
        progress: called with each layer when it is done.

    Raises:
        InputError: layers that don't ascend one by one, or activations missing.
    """
    draws = LabelDraws(seed, resamples, permutations)
    plans = [
        _Plan(each, {kind: covering_templates(prompts, kind, each.terms, each.labelling) for kind in TEMPLATE_KINDS})
        for each in labelled_terms(terms, labels, draws)
    ]
    measured: list[tuple[int, _Found]] = []
    for layer, found in in_order(partial(_in_layer, plans), readings(layers, terms["term"].to_pylist())):
        measured.append((layer, found))
        if progress is not None:
            progress(layer)
    profiles = _profiles(measured)
    steps = [Profile(own.key.step(), own.series.steps(), own.terms) for own in profiles if len(own.series.value) > 1]
    return [*profiles, *steps, *_profiles(_in_pictures(plans, projections))]


def _profiles(measured: Sequence[tuple[int, _Found]]) -> list[Profile]:
    """What was found layer by layer, put together.

    Raises:
        InputError: a layer is left out.
    """
    by_key: dict[Key, list[tuple[int, _Measured]]] = defaultdict(list)
    for layer, found in measured:
        for key, at_layer in found.items():
            by_key[key].append((layer, at_layer))
    profiles = []
    for key, parts in by_key.items():
        at = [layer for layer, _ in parts]
        if at != list(range(at[0], at[0] + len(at))):
            raise InputError(
                f"A profile needs every layer; {key.metric} was measured at {', '.join(map(str, at))}: extract (or "
                "project) this concept again."
            )
        sampled = [each.sampled for _, each in parts]
        permuted = [each.permuted for each in sampled if each.permuted is not None]
        series = Series(
            np.array([each.value for each in sampled]),
            np.stack([each.resampled for each in sampled]),
            np.stack(permuted) if len(permuted) == len(parts) else None,
            at[0],
        )
        profiles.append(Profile(key, series, parts[0][1].terms))
    return profiles


def _in_layer(plans: Sequence[_Plan], reading: Readings) -> tuple[int, _Found]:
    """A layer, and every metric there, averaged over templates."""
    parts: dict[Key, list[Sampled]] = defaultdict(list)
    terms: dict[Key, int] = {}
    for position, plan in product(reading.positions, plans):
        each = plan.labelled
        for kind, templates in plan.templates.items():
            for template in templates:
                space = _Space(reading.of(position, template, each.places))
                for metric, sampled in _of_vectors(each.measure, space):
                    key = Key(TECHNIQUE, metric, each.labelling, each.variant, position, kind)
                    parts[key].append(sampled)
                    terms[key] = len(each.terms)
    return reading.layer, {key: _Measured(average(sampled), terms[key]) for key, sampled in parts.items()}


def _of_vectors(measure: Grouped | Numbered, space: _Space) -> Iterator[tuple[str, Sampled]]:
    if isinstance(measure, Grouped):
        yield SILHOUETTE, measure.silhouette(space.cosine)
    else:
        yield LINEARITY, measure.linearity(space.points)
        yield "local_anisotropy", measure.anisotropy(space.points)


def _in_pictures(plans: Sequence[_Plan], projections: pa.Table) -> list[tuple[int, _Found]]:
    """What is measured in UMAP's coordinates, for each picture that was drawn, by ascending layer."""
    drawn = ["template_kind", "position", "variant", "layer"]
    found: list[tuple[int, _Found]] = []
    pictures = projections.select(drawn).group_by(drawn).aggregate([]).sort_by("layer").to_pylist()
    for picture in pictures:
        chosen = pc.equal(projections["layer"], picture["layer"])
        for name in drawn[:3]:
            chosen = pc.and_(chosen, pc.equal(projections[name], picture[name]))
        points = projections.filter(chosen)
        places = {term: place for place, term in enumerate(points["term"].to_pylist())}
        flat = points["coordinates"].combine_chunks().flatten().to_numpy()
        coordinates = flat.reshape(len(points), -1)
        measured = {}
        for each in (plan.labelled for plan in plans):
            if each.variant == picture["variant"] and places.keys() >= set(each.terms):
                space = _Space(coordinates[[places[term] for term in each.terms]])
                for metric, sampled in _of_coordinates(each.measure, space):
                    key = Key(
                        TECHNIQUE, metric, each.labelling, each.variant, picture["position"], picture["template_kind"]
                    )
                    measured[key] = _Measured(sampled, len(each.terms))
        found.append((picture["layer"], measured))
    return found


def _of_coordinates(measure: Grouped | Numbered, space: _Space) -> Iterator[tuple[str, Sampled]]:
    if isinstance(measure, Grouped):
        yield "silhouette_umap", measure.silhouette(space.straight)
        return
    yield "local_anisotropy_umap", measure.anisotropy(space.points)
    if len(measure.numbers) >= _FEWEST_FOR_COORDINATES:
        yield "r2_umap", measure.linearity_in_sample(space.points)
