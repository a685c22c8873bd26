"""How time and bytes of an extraction grow with prompts, layers and width: the slopes of a cost model.

Llamas with random weights, prompts and pairs of the concept `drugs`, processor seconds of one thread, written to
Parquet as a run writes it. One thing is varied at a time, the others stay at the middle. A stage is measured by itself:
all prompts read (`activations`), as many lesioned in two ways, as many pairs patched at two sites, as many
differentiated.

    python benchmarks/scaling.py            a few minutes
    python benchmarks/scaling.py --quick    two points an axis, for a try
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.models import Shape, build_model
from extract.extraction import Subject, Wanted, row_counts, run_sweep, split
from extract.interventions import Lesion, Patch
from extract.library import CONCEPTS, load_concept
from extract.loading import LoadedModel
from extract.machine import make_machine
from extract.pairing import pair_tokens
from extract.prompts import library_tables
from extract.saliency import extract_saliency, saliency_rows
from extract.sampling import sample_pairs, sample_prompts
from extract.tokenization import Tokenized
from warehouse.store import Store

STAGES = ("activations", "lesions", "patches", "saliency")
LESIONS = (Lesion("identity"), Lesion("resample"))
PATCHES = (Patch("delta"), Patch("resid"))
KEYS = {"model": "benchmark", "concept": "drugs"}


@dataclass(frozen=True)
class Point:
    """One measurement's size."""

    prompts: int
    layers: int
    width: int


@dataclass(frozen=True)
class Cost:
    """What a stage took: processor seconds, and bytes on disk."""

    seconds: float
    bytes: int


MIDDLE = Point(prompts=40, layers=8, width=256)
AXES = {"prompts": (20, 40, 80), "layers": (4, 8, 12), "width": (128, 256, 512)}
QUICK = {"prompts": (20, 40), "layers": (2, 4), "width": (64, 128)}
QUICK_MIDDLE = Point(prompts=20, layers=2, width=64)


def measure(point: Point, folder: Path, rounds: int) -> dict[str, Cost]:
    """Each stage at one size, the best of some rounds."""
    loaded = build_model(folder / "model", Shape(point.layers, point.width, vocabulary=4000))
    tables = library_tables(load_concept(CONCEPTS / "drugs"))
    tokens = split(loaded, tables["prompts"])
    drawn = sample_prompts(
        tables["prompts"], tables["labels"], tokens.table, terms=tables["terms"], count=point.prompts, seed=0
    )
    fates = pair_tokens(tables["pairs"], tables["prompts"], tokens)
    pairs = sample_pairs(fates, tables["prompts"], terms=tables["terms"], count=point.prompts, seed=0)
    subject = Subject(tables["prompts"], tokens, drawn, pairs)
    read = Subject(drawn, split(loaded, drawn), drawn.slice(0, 0), pairs.slice(0, 0))
    store = Store(folder / "warehouse")
    works: dict[str, Callable[[], int]] = {
        "activations": lambda: _sweep(loaded, store, "activations", read, Wanted(activations=True)),
        "lesions": lambda: _sweep(loaded, store, "lesions", subject, Wanted(lesions=LESIONS)),
        "patches": lambda: _sweep(loaded, store, "patches", subject, Wanted(patches=PATCHES)),
        "saliency": lambda: _gradients(loaded, store, drawn, read.tokenized, fates),
    }
    costs = {}
    for name in STAGES:
        taken = []
        for _ in range(rounds):
            before = time.process_time()
            size = works[name]()
            taken.append(time.process_time() - before)
        costs[name] = Cost(min(taken), size)
    return costs


def _sweep(loaded: LoadedModel, store: Store, name: str, subject: Subject, wanted: Wanted) -> int:
    rows = row_counts(subject, wanted, loaded.layers)[name]
    with store.writer(name, fingerprint="x", rows=rows, width=loaded.width, **KEYS) as writer:
        machine = make_machine(loaded.model, parts=False)
        run_sweep(loaded, machine, subject, wanted, lambda _, found: writer.add(found))
    return store.path(name, **KEYS).stat().st_size


def _gradients(loaded: LoadedModel, store: Store, drawn: pa.Table, tokens: Tokenized, fates: pa.Table) -> int:
    rows = saliency_rows(loaded, tokens, fates)
    with store.writer("saliency", fingerprint="x", rows=rows, width=loaded.width, **KEYS) as writer:
        for found in extract_saliency(loaded, drawn, tokens, fates):
            writer.add(found)
    return store.path("saliency", **KEYS).stat().st_size


def slopes(sizes: list[int], costs: list[Cost]) -> dict[str, float]:
    """Seconds and bytes for one more of a thing, by least squares, and the exponents of their growth."""
    units = np.array(sizes, dtype=float)
    found = {}
    for name in ("seconds", "bytes"):
        values = np.array([getattr(cost, name) for cost in costs], dtype=float)
        found[f"{name}_each"] = float(f"{np.polyfit(units, values, 1)[0]:.4g}")
        found[f"{name}_exponent"] = float(f"{np.polyfit(np.log(units), np.log(values), 1)[0]:.3f}")
    return found


def main() -> None:
    """Print a table, and the slopes as one JSON object in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small points an axis")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    axes, middle, rounds = (QUICK, QUICK_MIDDLE, 1) if quick else (AXES, MIDDLE, 2)
    measured: dict[Point, dict[str, Cost]] = {}
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in STAGES}
    shown = Table("stage", "at", "seconds", "bytes", title="Extraction by stage and size")
    with tempfile.TemporaryDirectory() as folder:
        measure(middle, Path(folder), rounds=1)  # What is done for the first time in a process takes longer.
    for axis, sizes in axes.items():
        points = [replace(middle, **{axis: size}) for size in sizes]
        for point in points:
            if point not in measured:
                with tempfile.TemporaryDirectory() as folder:
                    measured[point] = measure(point, Path(folder), rounds)
        for name in STAGES:
            costs = [measured[point][name] for point in points]
            found[name][axis] = slopes(list(sizes), costs)
            for size, cost in zip(sizes, costs, strict=True):
                shown.add_row(name, f"{axis} {size}", f"{cost.seconds:.3f}", f"{cost.bytes:,}")
    at_middle = {name: vars(cost) for name, cost in measured[middle].items()}
    Console(file=sys.stderr).print(shown)
    print(json.dumps({"middle": vars(middle), "at_middle": at_middle, "slopes": found}))


if __name__ == "__main__":
    main()
