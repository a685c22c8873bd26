"""Times the statistics of the analyses against the obvious computation, at equal results, in one run.

Each pair computes the same numbers, which is checked, in alternating rounds; the ratio is that of the medians. Run with
`python -m benchmarks.statistics`; prints a table and, as its last line, one JSON object of the ratios.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

# As the script's own folder comes first, this module would stand in for Python's: the root takes the folder's place.
sys.path[0] = str(Path(__file__).parents[1])

import time

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from analyses import geometry
from analyses.resampling import bootstrap_counts, generator, permutations

_ROUNDS = 3
_TOLERANCE = 1e-6

Draws = NDArray[np.float64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--terms", type=int, default=300)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    rng = generator(0, "benchmark")
    labels = np.arange(options.terms) % options.labels
    vectors = rng.normal(size=(options.terms, options.width)) + rng.normal(size=(options.labels, options.width))[labels]
    groups = geometry.group(labels)
    # Resamples without repetition: with repetitions scikit-learn counts a term's copies, and results differ.
    kept = np.argsort(rng.random((options.terms, options.draws)), axis=0) < options.terms * 2 // 3
    orders = permutations(options.terms, options.draws, rng)
    counts = bootstrap_counts(options.terms, options.draws, rng)

    def ours_resampled() -> Draws:
        draws = geometry.group_draws(groups, kept.astype(np.float32))
        return geometry.resampled_silhouettes(geometry.cosine_distances(vectors), draws)

    def theirs_resampled() -> Draws:
        return np.array([silhouette_score(vectors[some], labels[some], metric="cosine") for some in kept.T])

    def ours_permuted() -> Draws:
        permuted = geometry.permuted_groups(groups, orders)
        return geometry.permuted_silhouettes(geometry.cosine_distances(vectors), permuted)

    def theirs_permuted() -> Draws:
        return np.array([silhouette_score(vectors, labels[order], metric="cosine") for order in orders.T])

    def ours_anisotropy() -> Draws:
        return np.asarray(geometry.anisotropy_samples(vectors) @ counts / options.terms)

    def naive_anisotropy() -> Draws:
        return np.array([_anisotropy(vectors, column) for column in counts.T])

    pairs: dict[str, tuple[Callable[[], Draws], Callable[[], Draws]]] = {
        "silhouette_speedup": (ours_resampled, theirs_resampled),
        "permutation_speedup": (ours_permuted, theirs_permuted),
        "anisotropy_speedup": (ours_anisotropy, naive_anisotropy),
    }
    print(f"{options.terms} terms, {options.labels} labels, width {options.width}, {options.draws} draws; seconds")
    print(f"{'':24}{'ours':>10}{'naive':>10}{'ratio':>8}{'difference':>14}")
    ratios = {}
    for name, (ours, theirs) in pairs.items():
        ours_s, theirs_s, difference = _paired(ours, theirs)
        ratios[name] = round(theirs_s / ours_s, 1)
        print(f"{name:24}{ours_s:10.4f}{theirs_s:10.3f}{ratios[name]:8.1f}{difference:14.1e}")
    print(json.dumps(ratios))


def _paired(ours: Callable[[], Draws], theirs: Callable[[], Draws]) -> tuple[float, float, float]:
    difference = float(np.abs(ours() - theirs()).max())
    if difference > _TOLERANCE:
        raise SystemExit(f"The results differ by {difference:.1e}: nothing to compare.")
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for kept, measure in zip(seconds, (ours, theirs), strict=True):
            start = time.perf_counter()
            measure()
            kept.append(time.perf_counter() - start)
    return float(np.median(seconds[0])), float(np.median(seconds[1])), difference


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


if __name__ == "__main__":
    main()
