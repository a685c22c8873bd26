"""How long questions take as models are added: a warehouse of many models, made of one by links.

The small tables of one measured model (everything but vectors, draws and pictures) are linked under other slugs. DuckDB
opens each file by itself, so that links cost it what copies would, apart from reading them off the disk. Four questions
are asked through the catalog as `vesalius sql` asks them, once to warm up and then a few times: one model's layers, one
concept of all models, all concepts of all models, and the prompts' lesions of all models. Wall time and processor time
of the fastest round are printed, and as the last line one JSON object with the slopes for one more model.

    python benchmarks/querying.py --warehouse warehouse/data --model reference
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
from rich.console import Console
from rich.table import Table

from warehouse.catalog import build_catalog
from warehouse.query import ask, connect
from warehouse.store import FILE_NAME, Store
from warehouse.tables import TABLES

LEFT_OUT = {"activations", "contributions", "profile_draws", "charts"}
"""Tables that are large: a question about scalars opens none of their files."""

MODELS = (1, 10, 40, 120)
QUESTIONS = {
    "one model, its layers": "SELECT concept, labelling, arg_max(layer, value) AS layer FROM asking_profiles "
    "WHERE model = 'copy-0' AND metric = 'silhouette_cosine' GROUP BY ALL",
    "one concept, all models": "SELECT model, labelling, arg_max(layer, value) AS layer FROM asking_profiles "
    "WHERE concept = 'drugs' AND metric = 'silhouette_cosine' GROUP BY ALL",
    "all concepts, all models": "SELECT model, concept, labelling, arg_max(layer, value) AS layer "
    "FROM asking_profiles GROUP BY ALL",
    "lesions of all prompts": "SELECT model, layer, avg(log_probability) AS answered FROM lesions GROUP BY ALL",
}


def link_models(source: Store, model: str, root: Path, first: int, last: int) -> int:
    """Link the small tables of a model under the slugs `copy-first` to `copy-(last - 1)`; returns how many links."""
    made = 0
    for name, entry in TABLES.items():
        if name in LEFT_OUT or "model" not in entry.partitions:
            continue
        for keys in source.partitions(name):
            if keys["model"] != model:
                continue
            file = source.path(name, **keys)
            for number in range(first, last):
                named = keys | {"model": f"copy-{number}"}
                folder = root.joinpath(name, *(f"{key}={named[key]}" for key in entry.partitions))
                folder.mkdir(parents=True)
                os.link(str(file), folder / FILE_NAME)
                made += 1
    return made


def link_library(source: Store, root: Path) -> None:
    """Link the tables that belong to no model, once."""
    for name, entry in TABLES.items():
        if "model" in entry.partitions:
            continue
        for keys in source.partitions(name):
            folder = root.joinpath(name, *(f"{key}={keys[key]}" for key in entry.partitions))
            folder.mkdir(parents=True)
            os.link(str(source.path(name, **keys)), folder / FILE_NAME)


def asked(root: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Of each question the wall and processor seconds of its fastest round, a new connection each time."""
    found = {}
    for name, sql in QUESTIONS.items():
        taken = []
        for _ in range(rounds + 1):
            before = time.perf_counter(), time.process_time()
            with connect(root) as connection:
                rows = ask(connection, sql).num_rows
            taken.append((time.perf_counter() - before[0], time.process_time() - before[1]))
        if not rows:
            raise SystemExit(f"The question '{name}' found nothing: is the model measured whole?")
        found[name] = min(taken[1:])[0], min(processor for _, processor in taken[1:])
    return found


def main() -> None:
    """Print a table, and the slopes as one JSON object in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warehouse", type=Path, default=Path("warehouse/data"))
    parser.add_argument("--model", default="reference")
    parser.add_argument("--models", type=int, nargs="+", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    source = Store(options.warehouse)
    names = ["build the catalog", *QUESTIONS]
    shown = Table("question", *(f"{count:,} models" for count in options.models), title="Seconds: wall / processor")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    # Links do not cross file systems, so the copies lie beside what they are made of.
    with tempfile.TemporaryDirectory(dir=options.warehouse.resolve().parent) as place:
        root = Path(place)
        link_library(source, root)
        files, there = 0, 0
        for count in options.models:
            files += link_models(source, options.model, root, there, count)
            there = count
            before = time.perf_counter(), time.process_time()
            build_catalog(root)
            built = time.perf_counter() - before[0], time.process_time() - before[1]
            for name, pair in {"build the catalog": built, **asked(root, options.rounds)}.items():
                seconds[name].append(pair)
    for name in names:
        shown.add_row(name, *(f"{wall:.3f} / {processor:.3f}" for wall, processor in seconds[name]))
    Console(file=sys.stderr).print(shown)
    each = {
        name: round(float(np.polyfit(options.models, [processor for _, processor in pairs], 1)[0]), 6)
        for name, pairs in seconds.items()
    }
    print(json.dumps({"files_a_model": files // there, "processor_seconds_a_model": each, "seconds": seconds}))


if __name__ == "__main__":
    main()
