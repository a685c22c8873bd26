"""How often 95% intervals hold the truth and nulls cry wolf, on simulated sets of terms.

Used by `benchmarks.statistics`, which prints it. A world is fixed (labels and their centres, or a distribution), sets
of terms are drawn from it, and each gets an interval as the analyses make it. The truth is what the statistic is on
average over sets of terms of that size and with those labels: the mean over thousands of other sets. So a silhouette's
own dependence on the number of terms is part of the truth, and no fault of the interval.

Nulls are judged on sets in which labels mean nothing: the share of them with a p-value of 0.05 or less.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from analyses import geometry, silhouettes
from analyses.effects import Draws, TermEffects, profile_over_controls
from analyses.multiplicity import family_wise_p
from analyses.resampling import (
    Sampled,
    bootstrap_counts,
    calibrated,
    calibrated_pairs,
    estimate,
    generator,
    permutations,
)

Floats = NDArray[np.float64]

_RESAMPLES, _PERMUTATIONS = 1000, 200
_POOLS = 20
"""Draws are made this often and shared by the simulated sets of a world: they have nothing to do with the terms."""

_SETS_OF_TRUTH = 4000

_LEVEL, _LAYERS = 0.05, 6
"""The p-value that calls something found, and the layers of a simulated model in which it may be."""


@dataclass(frozen=True)
class Labels:
    """A world of labelled vectors: clouds of one width around centres that lie `apart` from the origin.

    Their numbers are normal or, where `is_heavy`, from t with 4 degrees of freedom.
    """

    sizes: tuple[int, ...]
    width: int
    apart: float
    is_heavy: bool = False

    def places(self, rng: np.random.Generator) -> Floats:
        """Where terms lie around their centres, shape (terms, width)."""
        shape = (sum(self.sizes), self.width)
        return rng.standard_t(4, size=shape) if self.is_heavy else rng.normal(size=shape)


LABELS = (
    Labels((11,) * 8, 64, 0.0),
    Labels((11,) * 8, 64, 0.5),
    Labels((11,) * 8, 64, 1.0),
    Labels((8,) * 14, 128, 0.0),
    Labels((8,) * 14, 128, 0.3),
    Labels((8,) * 14, 128, 0.7),
    Labels((25,) * 5, 32, 0.0),
    Labels((25,) * 5, 32, 0.5),
    Labels((10,) * 12, 32, 2.0),
    Labels((3, 4, 5, 6, 8, 10, 12, 14, 20), 96, 0.5),
    Labels((2, 3, 3, 4, 5, 7, 11, 15), 48, 0.0),
    Labels((2, 3, 3, 4, 5, 7, 11, 15), 48, 0.6),
    Labels((9,) * 6, 200, 0.4, is_heavy=True),
    Labels((6,) * 10, 256, 0.5),
    Labels((30,) * 2, 24, 0.8),
)
"""The first ten were there when the share in `resampling.calibrated` was chosen; the others were added after it."""


def coverage(sets: int = 1000, worlds: tuple[Labels, ...] = LABELS) -> dict[str, float]:
    """The share of intervals that hold the truth, in percent, by statistic and world."""
    work: list[Callable[[], dict[str, float]]] = [partial(_silhouettes, world, sets) for world in worlds]
    work += [partial(_repeated, name, sets) for name in _WORLDS]
    return _together(work)


def known_to_fall_short(sets: int = 1000) -> dict[str, float]:
    """The share of intervals that hold the truth where too few terms say too little of it, in percent."""
    return _together([partial(_repeated, name, sets) for name in _BEYOND])


def false_positives(sets: int = 1000) -> dict[str, float]:
    """The share of sets without a truth to find whose p-value is 0.05 or less, in percent, by null and world."""
    nulls = [partial(_false_silhouettes, world, sets) for world in LABELS if not world.apart]
    return _together([*nulls, partial(_false_contrasts, sets)])


def _together(work: list[Callable[[], dict[str, float]]]) -> dict[str, float]:
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(piece) for piece in work]
        return {name: share for future in futures for name, share in future.result().items()}


def _silhouettes(world: Labels, sets: int) -> dict[str, float]:
    """Of the silhouette, and of its step to a next layer that shares most of the terms' places."""
    sizes = "/".join(map(str, sorted(set(world.sizes))))
    name = f"{len(world.sizes)} labels of {sizes}, {world.apart:g} apart" + ", t(4)" * world.is_heavy
    rng = generator(1, name)
    labels = np.repeat(np.arange(len(world.sizes)), world.sizes)
    groups = silhouettes.group(labels)
    pools = [
        silhouettes.group_draws(groups, bootstrap_counts(len(labels), _RESAMPLES, rng, labels)) for _ in range(_POOLS)
    ]
    left_out = silhouettes.left_out_groups(groups)
    draw = partial(_two_layers, world, rng.normal(size=(2, len(world.sizes), world.width)), rng, labels)
    truth = np.mean(
        [[silhouettes.silhouette(layer, groups) for layer in draw()] for _ in range(_SETS_OF_TRUTH)], axis=0
    )
    held = np.zeros(2)
    for number in range(sets):
        layers = []
        for distances in draw():
            value = silhouettes.silhouette(distances, groups)
            resampled = silhouettes.drawn_silhouettes(distances, pools[number % _POOLS])
            without = silhouettes.drawn_silhouettes(distances, left_out)
            drawn = calibrated(value, resampled, without, groups.codes)
            layers.append(Sampled(value, drawn, terms=len(labels)))
        held += [_holds(layers[0], truth[0]), _holds(layers[1].minus(layers[0]), truth[1] - truth[0])]
    shares = 100 * held / sets
    return {f"silhouette, {name}": float(shares[0]), f"silhouette step, {name}": float(shares[1])}


def _two_layers(world: Labels, centres: Floats, rng: np.random.Generator, labels: NDArray[np.intp]) -> Iterator[Floats]:
    """Distances at two layers, between which three quarters of each term's place, and half of its label's, are kept."""
    places = world.places(rng)
    moved = 0.75 * places + np.sqrt(1 - 0.75**2) * world.places(rng)
    yield geometry.cosine_distances(world.apart * centres[0][labels] + places)
    yield geometry.cosine_distances(world.apart * (0.5 * centres[0] + 0.7 * centres[1])[labels] + moved)


def _normal_mean(rng: np.random.Generator, resamples: int, terms: int) -> Sampled:
    values = rng.normal(size=terms)
    counts = bootstrap_counts(terms, resamples, rng)
    return Sampled(float(values.mean()), values @ counts / terms, terms=terms)


def _skewed_mean(rng: np.random.Generator, resamples: int, shape: float = 1.0, terms: int = 60) -> Sampled:
    """Drops of the log-probability: many small ones, few large ones."""
    values = rng.gamma(shape, size=terms)
    counts = bootstrap_counts(terms, resamples, rng)
    return Sampled(float(values.mean()), values @ counts / terms, terms=terms)


def _heavy_mean(rng: np.random.Generator, resamples: int, terms: int = 60) -> Sampled:
    """Symmetric, with single terms far out."""
    values = rng.standard_t(4, size=terms)
    return Sampled(float(values.mean()), values @ bootstrap_counts(terms, resamples, rng) / terms, terms=terms)


def _mean_step(rng: np.random.Generator, resamples: int, terms: int = 60) -> Sampled:
    """The change of a mean effect from one layer to the next."""
    known = rng.gamma(1.0, size=terms)
    values = known * rng.normal(1.2, 0.5, size=terms) - known
    counts = bootstrap_counts(terms, resamples, rng)
    return Sampled(float(values.mean()), values @ counts / terms, terms=terms)


def _restored_share(
    rng: np.random.Generator, resamples: int, noise: float, terms: int = 60, donors: int = 2
) -> Sampled:
    """The ratio of sums over pairs, drawn by their vertices as `patch_profiles` does; `noise` is the pair's own."""
    clean = np.repeat(np.arange(terms), donors)
    corrupting = (clean + rng.integers(1, terms, size=len(clean))) % terms
    strength, share = rng.gamma(4.0, size=terms), rng.normal(0.5, 0.15, size=terms)
    whole = strength[clean] + strength[corrupting]
    restored = whole * (share[clean] + share[corrupting]) / 2 + rng.normal(0, noise, size=len(clean))
    counts = bootstrap_counts(terms, resamples, rng)
    weights = counts[clean] * counts[corrupting]
    weights = weights[:, weights.any(axis=0)]
    value = restored.sum() / whole.sum()
    resampled = restored @ weights / (whole @ weights)
    influence = (restored - value * whole) / whole.sum()
    found = calibrated_pairs(np.array([value]), resampled[None], influence[None], clean, corrupting)
    return Sampled(float(value), found[0], terms=terms)


def _explained(rng: np.random.Generator, resamples: int, terms: int = 100) -> Sampled:
    """R² of predictions that are kept while terms are redrawn."""
    numbers = rng.uniform(1, 100, size=terms)
    predicted = numbers + rng.normal(0, 12, size=terms)
    counts = bootstrap_counts(terms, resamples, rng)
    value = float(geometry.r_squared(numbers, predicted))
    return Sampled(value, geometry.r_squared(numbers, predicted, counts), terms=terms)


_WORLDS: dict[str, Callable[[np.random.Generator, int], Sampled]] = {
    "mean of 60 normal effects": partial(_normal_mean, terms=60),
    "mean of 24 normal effects": partial(_normal_mean, terms=24),
    "mean of 60 effects from gamma(1)": _skewed_mean,
    "mean of 60 effects from t(4)": _heavy_mean,
    "step of a mean of 60": _mean_step,
    "ratio of sums over pairs of 60 terms, terms count": partial(_restored_share, noise=0.1),
    "ratio of sums over pairs of 60 terms, both count": partial(_restored_share, noise=1.0),
    "ratio of sums over pairs of 60 terms, pairs count": partial(_restored_share, noise=10.0),
    "ratio of sums over pairs of 30 terms, both count": partial(_restored_share, noise=1.0, terms=30),
    "R² of kept predictions": _explained,
    "mean of 12 effects from gamma(1)": partial(_skewed_mean, terms=12),
    "mean of 20 effects from gamma(1)": partial(_skewed_mean, terms=20),
    "step of a mean of 20": partial(_mean_step, terms=20),
    "ratio of sums over pairs of 20 terms, both count": partial(_restored_share, noise=1.0, terms=20),
}

_BEYOND: dict[str, Callable[[np.random.Generator, int], Sampled]] = {
    "mean of 60 effects from gamma(0.3)": partial(_skewed_mean, shape=0.3),
    "mean of 20 effects from gamma(0.3)": partial(_skewed_mean, shape=0.3, terms=20),
}
"""What intervals from resamples are known to hold too seldom: printed, so that the limit is told, and not judged."""


def _repeated(name: str, sets: int) -> dict[str, float]:
    rng, world = generator(2, name), (_WORLDS | _BEYOND)[name]
    found = [world(rng, _RESAMPLES) for _ in range(sets)]
    truth = float(np.mean([world(rng, 0).value for _ in range(5 * _SETS_OF_TRUTH)]))
    return {name: 100 * float(np.mean([_holds(each, truth) for each in found]))}


def _holds(sampled: Sampled, truth: float) -> bool:
    found = estimate(sampled)
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


def _false_silhouettes(world: Labels, sets: int) -> dict[str, float]:
    """Of labels that mean nothing: at one layer, and anywhere in six layers that hang together."""
    name = f"{len(world.sizes)} labels of {'/'.join(map(str, sorted(set(world.sizes))))}"
    rng = generator(3, name)
    groups = silhouettes.group(np.repeat(np.arange(len(world.sizes)), world.sizes))
    terms = len(groups.codes)
    called = np.zeros(2)
    for _ in range(sets):
        permuted = silhouettes.permuted_groups(groups, permutations(terms, _PERMUTATIONS, rng))
        shared = rng.normal(size=(terms, world.width))
        layers = [geometry.cosine_distances(shared + rng.normal(0, 0.5, size=shared.shape)) for _ in range(_LAYERS)]
        values = np.array([silhouettes.silhouette(distances, groups) for distances in layers])
        nulls = np.array([silhouettes.drawn_silhouettes(distances, permuted) for distances in layers])
        alone = estimate(Sampled(float(values[0]), np.zeros(0), nulls[0])).null_p
        called += [alone is not None and alone <= _LEVEL, family_wise_p(values, nulls).min() <= _LEVEL]
    shares = 100 * called / sets
    return {f"silhouette, {name}": float(shares[0]), f"any of {_LAYERS} layers, {name}": float(shares[1])}


def _false_contrasts(sets: int) -> dict[str, float]:
    """Of a concept over its controls, when all are hit in the same layers: at one layer, and at any."""
    rng = generator(4, "contrasts")
    called = np.zeros(2)
    for number in range(sets):
        effects = [_effects(rng, name, terms) for name, terms in (("concept", 60), ("control", 40), ("other", 30))]
        found = profile_over_controls(effects[0], effects[1:], Draws(number, 0, _PERMUTATIONS))
        if found is None or found.permuted is None:
            raise SystemExit("The simulated effects gave no contrast: nothing to calibrate.")
        alone = estimate(Sampled(float(found.value[-1]), np.zeros(0), found.permuted[-1])).null_p
        called += [
            alone is not None and alone <= _LEVEL,
            family_wise_p(found.value, found.permuted).min() <= _LEVEL,
        ]
    shares = 100 * called / sets
    return {"effect over controls": float(shares[0]), f"effect over controls, any of {_LAYERS}": float(shares[1])}


def _effects(rng: np.random.Generator, concept: str, terms: int) -> TermEffects:
    of_layer = np.linspace(1.0, 0.3, _LAYERS)[:, None]
    values = of_layer * rng.gamma(2.0, size=terms) + rng.normal(0, 0.3, size=(_LAYERS, terms))
    return TermEffects(concept, tuple(map(str, range(terms))), values)
