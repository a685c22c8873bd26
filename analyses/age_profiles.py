"""Ages, layer by layer: linearity in and out of the fitted range and across the sexes, and how far these lie apart.

Here it is said what is measured on which terms; how each number is computed is in `ages`. What has ages is decided in
`number_grids`; other concepts have no profiles. Only where terms come under two labels is anything said of sexes. The
jumps between ages are in `jump_tables`.

Each number is taken per template over terms and then averaged over templates. What is drawn are ages, with all their
terms: a man of 47 tells of a woman of 47.
"""

from collections import defaultdict
from dataclasses import astuple, dataclass, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses import ages
from analyses.geometry import Floats, r_squared
from analyses.number_grids import Grid, grids
from analyses.parallel import in_order
from analyses.projection import Layers, Progress, Readings, readings
from analyses.resampling import Sampled, average, bootstrap_counts, generator, permutations
from analyses.series import Key, Profile, Series

FOLDS = 5
"""Folds of the fit that is judged inside its range."""


@dataclass(frozen=True)
class _Drawn:
    """A grid with its draws.

    Attributes:
        counts: how often each resample takes each number, shape (numbers, resamples).
        orders: which number each one gets under a permutation, shape (numbers, permutations).
        swaps: whether the sexes of a number are exchanged, shape (numbers, permutations).
        folds: the fold of each number.
    """

    grid: Grid
    counts: NDArray[np.float32]
    orders: NDArray[np.intp]
    swaps: NDArray[np.bool_]
    folds: NDArray[np.intp]

    @cached_property
    def inner(self) -> NDArray[np.bool_]:
        """Which terms have an inner number, stratum by stratum."""
        return np.tile(ages.is_inner(self.grid.numbers), len(self.grid.terms))

    @cached_property
    def columns(self) -> Floats:
        """The number of each term, stratum by stratum, then those under each permutation."""
        numbers = np.column_stack([self.grid.numbers, self.grid.numbers[self.orders]])
        return np.tile(numbers, (len(self.grid.terms), 1))

    def measure(self, vectors: NDArray[np.floating]) -> dict[str, Sampled]:
        """Every metric in the vectors of one template, shape (strata, numbers, width)."""
        strata, numbers, width = vectors.shape
        products = ages.centred_products(vectors.reshape(-1, width))
        folds = np.tile(self.folds, strata)
        inner, outer = np.flatnonzero(self.inner), np.flatnonzero(~self.inner)
        predicted = np.zeros_like(self.columns)
        for fold in range(FOLDS):
            train, test = (np.flatnonzero(self.inner & chosen) for chosen in (folds != fold, folds == fold))
            predicted[test] = ages.ridge_transfer(products, self.columns, train, test)
        predicted[outer] = ages.ridge_transfer(products, self.columns, inner, outer)
        measured = {"r2_inside": self._fit(predicted, inner), "r2_outside": self._fit(predicted, outer)}
        if self.grid.sexes:
            one, other = (np.arange(numbers) + sex * numbers for sex in self.grid.sexes)
            # Each sex about its own mean: how far the sexes lie apart is another question, and has its own metric.
            apart = ages.centred_within(products, strata)
            for train, test in ((one, other), (other, one)):
                predicted[test] = ages.ridge_transfer(apart, self.columns, train, test)
            measured["r2_across_sex"] = self._fit(predicted, np.concatenate([one, other]))
            gaps = ages.sex_gaps(*vectors[list(self.grid.sexes)])
            measured["sex_distance"] = Sampled(
                float(gaps.distance()), gaps.distance(self.counts), gaps.swapped(self.swaps)
            )
        return measured

    def _fit(self, predicted: Floats, judged: NDArray[np.intp]) -> Sampled:
        numbers, counts = self.columns[judged], np.tile(self.counts, (len(self.grid.terms), 1))[judged]
        values = r_squared(numbers, predicted[judged])
        return Sampled(float(values[0]), r_squared(numbers[:, 0], predicted[judged, 0], counts), values[1:])

    @property
    def terms_behind(self) -> dict[str, int]:
        """How many terms each metric is judged on."""
        inner, each = int(self.inner.sum()), len(self.grid.numbers)
        outer = len(self.inner) - inner
        return {"r2_inside": inner, "r2_outside": outer, "r2_across_sex": 2 * each, "sex_distance": 2 * each}


def age_profiles(
    layers: Layers,
    prompts: pa.Table,
    terms: pa.Table,
    labels: pa.Table,
    *,
    seed: int = 0,
    resamples: int = 1000,
    permutations: int = 200,
    progress: Progress | None = None,
) -> list[Profile]:
    """How far age is a straight line, and how the sexes lie to each other, at each layer of one model and concept.

    - `r2_inside`: R² of a ridge fit on the inner numbers (20 to 60 of 0 to 100), of predictions for inner numbers that
      the fit has not seen (5 folds of numbers).
    - `r2_outside`: R² of what that fit, on all inner numbers, predicts for those outside: 1 minus the squared error
      over the squared distance of the outside numbers from their own mean.
    - `r2_across_sex`: R² of predictions for each sex by a fit on the other, each about its own mean vector. The null
      exchanges ages, the same way for both sexes: what it reaches is reached by a list of ages without any order.
    - `sex_distance`: how many ages apart the sexes are (`ages.SexGaps.distance`). The null exchanges the sexes of ages.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        prompts, terms, labels: the concept's tables.
        seed: of the draws and folds.
        resamples: bootstrap resamples, of numbers.
        permutations: exchanges of numbers, or of sexes.
        progress: called with each layer when it is done.

    Returns:
        Profiles by key; none if the concept has no ages (see `number_grids`).

    Raises:
        InputError: layers that don't ascend, or activations missing.
    """
    drawn = [_draw(grid, seed, resamples, permutations) for grid in grids(prompts, terms, labels)]
    found: dict[Key, list[Sampled]] = defaultdict(list)
    sizes: dict[Key, int] = {}
    first: int | None = None
    for layer, measured in in_order(partial(_measured, drawn), readings(layers, terms["term"].to_pylist())):
        first = layer if first is None else first
        for key, (sampled, size) in measured.items():
            found[key].append(sampled)
            sizes[key] = size
        if progress is not None:
            progress(layer)
    return [Profile(key, _series(found[key], first or 0), sizes[key]) for key in sorted(found, key=astuple)]


def _draw(grid: Grid, seed: int, resamples: int, count: int) -> _Drawn:
    rng = generator(seed, "ages", grid.labelling, grid.variant)
    each = len(grid.numbers)
    counts = bootstrap_counts(each, resamples, rng)
    orders = permutations(each, count, rng)
    swaps = rng.integers(2, size=(each, count)).astype(bool)
    # Folds are dealt to the inner numbers alone, so that each has as many of them.
    inner = np.flatnonzero(ages.is_inner(grid.numbers))
    folds = np.full(each, -1, dtype=np.intp)
    folds[inner] = rng.permutation(len(inner)) % FOLDS
    return _Drawn(grid, counts, orders, swaps, folds)


def _measured(drawn: list[_Drawn], reading: Readings) -> tuple[int, dict[Key, tuple[Sampled, int]]]:
    """A layer, and every metric there, averaged over templates, with the number of terms behind it."""
    parts: dict[Key, list[Sampled]] = defaultdict(list)
    sizes = {}
    for each in drawn:
        for key, vectors in each.grid.cells(reading):
            for metric, sampled in each.measure(vectors).items():
                named = replace(key, metric=metric)
                parts[named].append(sampled)
                sizes[named] = each.terms_behind[metric]
    return reading.layer, {key: (average(sampled), sizes[key]) for key, sampled in parts.items()}


def _series(sampled: list[Sampled], first: int) -> Series:
    return Series(
        np.array([one.value for one in sampled]),
        np.array([one.resampled for one in sampled]),
        np.array([one.permuted for one in sampled]),
        first,
    )
