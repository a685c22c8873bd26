"""Labellings with their draws: which terms each speaks of, how they are resampled, permuted and folded.

Here labels of a concept become something that can be measured in any space: a silhouette for labels, a fit for numbers.
Which space that is (a layer, UMAP's coordinates, the spelling of terms) is said by `profiles` and `rivals`; how a
metric is computed is in `silhouettes` and `geometry`.

Draws are named after the variant and the labelling alone: they are the same for all layers, templates, positions,
models and rivals, so whatever is measured of one labelling is paired.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses import geometry, silhouettes
from analyses.resampling import Floats, Sampled, bootstrap_counts, calibrated, generator, permutations

FOLDS = 5
"""Folds of the cross-validated fit."""

_FEWEST_NUMBERS = 2 * FOLDS


@dataclass(frozen=True)
class Grouped:
    """A categorical or ordinal labelling with its draws."""

    groups: silhouettes.Groups
    draws: silhouettes.GroupDraws
    permuted: silhouettes.GroupDraws
    left_out: silhouettes.GroupDraws

    def silhouette(self, distances: Floats) -> Sampled:
        """How much nearer terms are to their own label than to the nearest other one.

        Args:
            distances: shape (terms, terms).
        """
        value = silhouettes.silhouette(distances, self.groups)
        resampled = silhouettes.drawn_silhouettes(distances, self.draws)
        left_out = silhouettes.drawn_silhouettes(distances, self.left_out)
        return Sampled(
            value=value,
            resampled=calibrated(value, resampled, left_out, self.groups.codes),
            permuted=silhouettes.drawn_silhouettes(distances, self.permuted),
        )


@dataclass(frozen=True)
class Numbered:
    """A continuous labelling with its draws; terms of the same number share a fold."""

    numbers: Floats
    folds: NDArray[np.intp]
    counts: NDArray[np.float32]
    orders: NDArray[np.intp]

    def linearity(self, points: NDArray[np.floating]) -> Sampled:
        """R² of a ridge fit on terms that it was not made from (`geometry.ridge_predictions`).

        Args:
            points: shape (terms, width).
        """
        return self._explained(geometry.ridge_predictions(points, self._columns, self.folds))

    def linearity_in_sample(self, points: NDArray[np.floating]) -> Sampled:
        """R² of an ordinary fit on the terms that it was made from; arguments as `linearity`."""
        return self._explained(geometry.linear_fit(points, self._columns))

    def anisotropy(self, points: NDArray[np.floating]) -> Sampled:
        """The mean local anisotropy; no number plays a part, so it has no null. Arguments as `linearity`."""
        samples = geometry.anisotropy_samples(points)
        return Sampled(float(samples.mean()), samples @ self.counts / len(samples))

    @cached_property
    def _columns(self) -> Floats:
        """The numbers as they are, then under each permutation."""
        return np.column_stack([self.numbers, self.numbers[self.orders]])

    def _explained(self, predicted: Floats) -> Sampled:
        values = geometry.r_squared(self._columns, predicted)
        return Sampled(
            value=float(values[0]),
            resampled=geometry.r_squared(self.numbers, predicted[:, 0], self.counts),
            permuted=values[1:],
        )


@dataclass(frozen=True)
class Labelled:
    """The terms of one variant that one labelling speaks of.

    Attributes:
        terms: the terms, in the order of their table.
        places: where each stands there, shape (terms,).
        measure: what can be measured of them.
    """

    labelling: str
    variant: str
    terms: tuple[str, ...]
    places: NDArray[np.intp]
    measure: Grouped | Numbered


@dataclass(frozen=True)
class LabelDraws:
    """How many draws there are, and the seed that they come from."""

    seed: int
    resamples: int
    permutations: int

    def grouped(self, labels: list[str], *names: str) -> Grouped | None:
        """The labelling with its draws, or None where fewer than two labels have two terms."""
        if (np.unique(labels, return_counts=True)[1] >= 2).sum() < 2:
            return None
        rng = generator(self.seed, *names)
        groups = silhouettes.group(labels)
        counts = bootstrap_counts(len(labels), self.resamples, rng, groups.codes)
        orders = permutations(len(labels), self.permutations, rng)
        return Grouped(
            groups=groups,
            draws=silhouettes.group_draws(groups, counts),
            permuted=silhouettes.permuted_groups(groups, orders),
            left_out=silhouettes.left_out_groups(groups),
        )

    def numbered(self, numbers: Floats, *names: str) -> Numbered | None:
        """The labelling with its draws and folds, or None where there are too few distinct numbers."""
        distinct, codes = np.unique(numbers, return_inverse=True)
        if len(distinct) < _FEWEST_NUMBERS:
            return None
        rng = generator(self.seed, *names)
        # Terms of the same number share a fold: a man of 47 would tell of a woman of 47.
        folds = (rng.permutation(len(distinct)) % FOLDS)[codes]
        counts = bootstrap_counts(len(numbers), self.resamples, rng)
        return Numbered(numbers, folds, counts, permutations(len(numbers), self.permutations, rng))


def labelled_terms(terms: pa.Table, labels: pa.Table, draws: LabelDraws) -> Iterator[Labelled]:
    """Every labelling and variant that can be measured, with its draws; terms without a label are left out.

    Args:
        terms, labels: the concept's tables.
        draws: how many of each.
    """
    variants = dict(zip(terms["term"].to_pylist(), terms["variant"].to_pylist(), strict=True))
    places = {term: place for place, term in enumerate(variants)}
    by_labelling: dict[tuple[str, str], dict[str, dict[str, object]]] = defaultdict(dict)
    for row in labels.select(["labelling", "term", "kind", "label", "number"]).to_pylist():
        value = row["number"] if row["kind"] == "continuous" else row["label"]
        if value is not None and row["term"] in variants:
            by_labelling[row["labelling"], variants[row["term"]]][row["term"]] = row
    for (labelling, variant), found in sorted(by_labelling.items()):
        known = tuple(sorted(found, key=lambda term: places[term]))
        measure: Grouped | Numbered | None
        if all(row["kind"] == "continuous" for row in found.values()):
            numbers = np.array([found[term]["number"] for term in known], dtype=np.float64)
            measure = draws.numbered(numbers, variant, labelling)
        else:
            measure = draws.grouped([str(found[term]["label"]) for term in known], variant, labelling)
        if measure is not None:
            at = np.array([places[term] for term in known], dtype=np.intp)
            yield Labelled(labelling, variant, known, at, measure)
