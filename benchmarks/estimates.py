"""How right `vesalius estimate` is: what it says of a run, over what the run then took.

Each model goes through the real pipeline (loading, sweeps, gradients, answers, every table written) in a process of its
own, over two concepts of the library. Compared are prompts that went through, rows, bytes of each table, peak memory
(of the process, over what it took before loading) and seconds of each technique, as the probe says that this machine
needs. A ratio of 1.00 is a right estimate, 1.20 one that is a fifth too high. `reference` has learned something; the
others have random weights, other layers, widths and kinds, and the same tokenizer.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.models import EMBEDDED, rounded
from extract.library import CONCEPTS, load_library
from extract.models import ModelEntry
from extract.planned import Choices

CONCEPTS_RUN = ("animals", "countries")
SAMPLE, HELD_OUT, ANSWERS = 40, 8, 2

SHAPES: dict[str, dict[str, Any]] = {
    "llama-deep": {"kind": "LlamaConfig", "layers": 12, "width": 96},
    "qwen3-wide": {"kind": "Qwen3Config", "layers": 4, "width": 384},
}
"""Random models beside the reference."""


def save_random(folder: Path, *, kind: str, layers: int, width: int) -> Path:
    """A model of random weights with the reference model's tokenizer, as `save_pretrained` writes it."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED)
    config = getattr(transformers, kind)(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measured(folder: Path, entry: ModelEntry) -> dict[str, Any]:
    """What a run of a model takes: prompts, bytes and rows by table, bytes of memory, seconds by table."""
    import os

    import dagster as dg

    from dagster_project.defs.resources import Settings, Warehouse
    from dagster_project.instance import open_instance
    from dagster_project.running import run_models
    from dagster_project.terminal import console
    from extract.job.extracting import TABLES
    from extract.job.libraries import quiet_libraries
    from extract.job.progress import for_console

    quiet_libraries()
    import torch
    import transformers.models.auto.modeling_auto

    assert torch.__version__
    assert transformers.models.auto.modeling_auto
    os.environ["DAGSTER_HOME"] = str(folder / "home")
    places = Warehouse(root=str(folder / "warehouse"), models=str(folder / "none.toml"))
    settings = Settings(concepts=list(CONCEPTS_RUN), sample=SAMPLE, held_out=HELD_OUT, answers=ANSWERS)
    before = psutil.Process().memory_info().rss
    seconds: dict[str, float] = {}
    with open_instance() as instance:
        started = time.perf_counter()
        done = run_models(
            instance, places, [entry], settings, for_console(console(error=True)), untrained=False, only=TABLES
        )
        whole = time.perf_counter() - started
        for name in ("activations", "saliency", "responses"):
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None
            assert event.asset_materialization is not None
            value = event.asset_materialization.metadata["seconds"].value
            assert isinstance(value, float)
            seconds[name] = value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    tables = {}
    for name in TABLES:
        files = [places.store.path(name, **keys) for keys in places.store.partitions(name)]
        footers = [places.store.footer(name, **keys) for keys in places.store.partitions(name)]
        rows = sum(footer.rows for footer in footers if footer)
        tables[name] = rows, sum(file.stat().st_size for file in files)
    return {"forwards": done.forwards, "memory": peak, "tables": tables, "seconds": seconds | {"all": whole}}


def compared(folder: Path, entry: ModelEntry) -> dict[str, float]:
    """Estimated over measured, of one model."""
    from extract.estimation import estimate
    from extract.speed import probe, technique_seconds

    concepts = load_library(CONCEPTS).select(CONCEPTS_RUN).concepts
    choices = Choices(sample=SAMPLE, held_out=HELD_OUT, answers=ANSWERS)
    made = estimate(entry, concepts, choices)
    times = technique_seconds(made, probe(entry, made.shape, concepts, "cpu"))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(measured, folder, entry).result()
    ratios: dict[str, float] = {"forwards": made.total.forwards / found["forwards"]}
    for name, (rows, size) in made.tables.items():
        if found["tables"][name][0] != rows:
            raise SystemExit(f"{entry.slug}: {rows} rows of {name} were foretold, {found['tables'][name][0]} came.")
        ratios[f"bytes of {name}"] = size / found["tables"][name][1]
    ratios["bytes in all"] = made.disk / sum(found["tables"][name][1] for name in made.tables)
    ratios["peak memory"] = made.memory.peak / found["memory"]
    told = {
        "activations": ("activations", "lesions", "patches"),
        "saliency": ("saliency",),
        "responses": ("answers",),
    }
    for name, techniques in told.items():
        middle = sum((times[each][0] * times[each][1]) ** 0.5 for each in techniques if each in times)
        ratios[f"seconds of {', '.join(techniques)}"] = middle / found["seconds"][name]
    return ratios


def worst(ratios: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of each quantity the ratio that is furthest from 1, over the models."""
    names = dict.fromkeys(name for each in ratios.values() for name in each)
    return {
        name: max((each[name] for each in ratios.values() if name in each), key=lambda ratio: max(ratio, 1 / ratio))
        for name in names
    }


def main() -> None:
    """Print a table, and the worst ratios as one JSON object in the last line."""
    ratios: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        entries = [ModelEntry("reference", EMBEDDED)]
        entries += [ModelEntry(slug, save_random(folder / slug, **shape)) for slug, shape in SHAPES.items()]
        for entry in entries:
            (folder / f"of-{entry.slug}").mkdir()
            ratios[entry.slug] = compared(folder / f"of-{entry.slug}", entry)
    table = Table("estimated over measured", *ratios, title="How right the estimates were")
    for name in worst(ratios):
        table.add_row(name, *(f"{each[name]:.2f}" if name in each else "" for each in ratios.values()))
    Console(file=sys.stderr if not sys.stdout.isatty() else sys.stdout).print(table)
    print(json.dumps(rounded(worst(ratios))))


if __name__ == "__main__":
    main()
