"""Times the statistics of the analyses against the obvious computation, at equal results, and calibrates intervals.

Ours computes all layers and draws: distances, draws made ready, silhouettes, layers side by side on all processors.
scikit-learn is called as users call it, `silhouette_score(vectors, labels, metric="cosine")`, once for each draw, on a
part of the draws spread over all layers; its time is scaled to all of them, and its results must be ours. Draws are of
two thirds of the terms without repetition (with repetition scikit-learn counts a term's copies, and results differ),
and permutations of the labels. Models of 80 layers are several thousand wide; the default of 1,024 is kind to
scikit-learn, which computes distances anew in each call. The compiled loop is called once before the clock starts.

Run with `python -m benchmarks.statistics`; prints tables and, as its last line, one JSON object: ratios, and the worst
coverage and false positives over all statistics of `benchmarks.calibration`, in percent. Of 1,000 simulated sets a
share is known to 0.7 points, and the worst of forty is 1.5 to 2 off by chance alone: hence four times as many.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

# As the script's own folder comes first, this module would stand in for Python's: the root takes the folder's place.
sys.path[0] = str(Path(__file__).parents[1])

import time

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from analyses import geometry, silhouettes
from analyses.parallel import in_order
from analyses.resampling import bootstrap_counts, generator, permutations
from benchmarks.calibration import coverage, false_positives, known_to_fall_short

_TOLERANCE = 1e-6
_CALLS = 400
_NOMINAL = 95.0

Draws = NDArray[np.float64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--terms", type=int, default=300)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument(
        "--sets", type=int, default=4000, help="simulated data sets of the calibration; 0 leaves it out"
    )
    options = parser.parse_args()
    rng = generator(0, "benchmark")
    labels = np.arange(options.terms) % options.labels
    centres = rng.normal(size=(options.labels, options.width))
    layers = [rng.normal(size=(options.terms, options.width)) + centres[labels] for _ in range(options.layers)]
    groups = silhouettes.group(labels)
    kept = np.argsort(rng.random((options.terms, options.draws)), axis=0) < options.terms * 2 // 3
    orders = permutations(options.terms, options.draws, rng)
    counts = bootstrap_counts(options.terms, options.draws, rng, labels)

    def all_layers(make: Callable[[], silhouettes.GroupDraws]) -> Draws:
        return np.stack(list(in_order(partial(_ours, make()), layers)))

    def kept_alone(layer: int, draw: int) -> float:
        some = kept[:, draw]
        return float(silhouette_score(layers[layer][some], labels[some], metric="cosine"))

    def exchanged(layer: int, draw: int) -> float:
        return float(silhouette_score(layers[layer], labels[orders[:, draw]], metric="cosine"))

    resample = partial(silhouettes.group_draws, groups, kept.astype(np.float32))
    permute = partial(silhouettes.permuted_groups, groups, orders)
    calls = rng.integers((options.layers, options.draws), size=(_CALLS, 2))
    silhouettes.drawn_silhouettes(
        geometry.cosine_distances(layers[0][:30]), silhouettes.left_out_groups(_small_groups())
    )
    ratios: dict[str, float] = {}
    print(f"{options.layers} layers, {options.terms} terms, {options.labels} labels, width {options.width}; seconds")
    print(f"{'':24}{'ours':>10}{'naive':>10}{'ratio':>8}{'difference':>14}")
    for name, ours, theirs in (
        ("silhouette_speedup", partial(all_layers, resample), kept_alone),
        ("permutation_speedup", partial(all_layers, permute), exchanged),
    ):
        ratios[name] = _compare(name, ours, theirs, calls)
    bootstrap_s, _ = _timed(partial(all_layers, partial(silhouettes.group_draws, groups, counts)))
    print(f"{'bootstrap, repeated':24}{bootstrap_s:10.3f}")
    ratios["anisotropy_speedup"] = _anisotropy_speedup(layers[0], counts[:, :50])
    if options.sets:
        ratios |= _calibrate(options.sets)
    print(json.dumps(ratios))


def _small_groups() -> silhouettes.Groups:
    """Labels of a small set, to compile what will be timed."""
    return silhouettes.group(np.arange(30) % 3)


def _ours(draws: silhouettes.GroupDraws, vectors: Draws) -> Draws:
    return silhouettes.drawn_silhouettes(geometry.cosine_distances(vectors), draws)


def _compare(
    name: str, ours: Callable[[], Draws], theirs: Callable[[int, int], float], calls: NDArray[np.int64]
) -> float:
    """The ratio, from the median of three times ours, before, between and after halves of their calls."""
    halves = np.array_split(calls, 2)
    seconds, found, expected, theirs_s = [], np.zeros(0), [], 0.0
    for half in (*halves, None):
        taken, found = _timed(ours)
        seconds.append(taken)
        if half is not None:
            start = time.perf_counter()
            expected += [theirs(int(layer), int(draw)) for layer, draw in half]
            theirs_s += time.perf_counter() - start
    difference = float(np.abs(found[calls[:, 0], calls[:, 1]] - expected).max())
    if difference > _TOLERANCE:
        raise SystemExit(f"The results differ by {difference:.1e}: nothing to compare.")
    ours_s, theirs_s = float(np.median(seconds)), theirs_s / len(calls) * found.size
    ratio = round(theirs_s / ours_s, 1)
    print(f"{name:24}{ours_s:10.3f}{theirs_s:10.1f}{ratio:8.1f}{difference:14.1e}")
    return ratio


def _timed(work: Callable[[], Draws]) -> tuple[float, Draws]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def _anisotropy_speedup(vectors: Draws, counts: NDArray[np.float32]) -> float:
    ours_s, ours = _timed(lambda: np.asarray(geometry.anisotropy_samples(vectors) @ counts / len(vectors)))
    theirs_s, theirs = _timed(lambda: np.array([_anisotropy(vectors, column) for column in counts.T]))
    difference = float(np.abs(ours - theirs).max())
    if difference > _TOLERANCE:
        raise SystemExit(f"The anisotropies differ by {difference:.1e}: nothing to compare.")
    print(f"{'anisotropy, one layer':24}{ours_s:10.3f}{theirs_s:10.1f}{theirs_s / ours_s:8.1f}{difference:14.1e}")
    return round(theirs_s / ours_s, 1)


def _anisotropy(vectors: Draws, counts: NDArray[np.float32]) -> float:
    """The mean over a resample's terms, each term's neighbours searched anew."""
    total = 0.0
    for term in np.flatnonzero(counts):
        apart = np.linalg.norm(vectors - vectors[term], axis=1)
        apart[term] = np.inf
        near = vectors[np.argsort(apart, kind="stable")[: geometry.NEIGHBOURS]]
        spectrum = np.linalg.svd(near - near.mean(axis=0), compute_uv=False) ** 2
        total += float(counts[term]) * (1.0 - spectrum[1] / spectrum[0])
    return total / float(counts.sum())


def _calibrate(sets: int) -> dict[str, float]:
    start = time.perf_counter()
    held, _, called = (
        _told(f"95% intervals that hold the truth, of {sets} simulated sets, %", coverage(sets)),
        _told("the same where they are known to fall short", known_to_fall_short(sets)),
        _told(f"p <= 0.05 where there is nothing to find, of {sets} simulated sets, %", false_positives(sets)),
    )
    print(f"{time.perf_counter() - start:.0f} s")
    worst = max(held.values(), key=lambda share: abs(share - _NOMINAL))
    return {"coverage": round(worst, 1), "false_positives": round(max(called.values()), 1)}


def _told(title: str, shares: dict[str, float]) -> dict[str, float]:
    print(f"\n{title}")
    for name, share in shares.items():
        print(f"  {name:64}{share:6.1f}", flush=True)
    return shares


if __name__ == "__main__":
    main()
