"""How right `vesalius estimate` is: what it says of a run, over what the run then took.

Each model goes through the real pipeline (loading, sweeps, gradients, answers, every table written) in a process of its
own, over two concepts of the library. Compared are prompts that went through, rows, bytes of each table, peak memory
of the process, and seconds of each technique: of all processors, as the probe says that this machine needs, for the
clock tells nothing where other work goes on. Even those grow where others use the machine: each run is held against a
probe just before it, and the middle of several rounds counts. Small models take next to nothing beside what the program
takes itself, so what comes on top of it is compared too. A ratio of 1.00 is a right estimate, 1.20 one that is a fifth
too high.
`reference` has learned something; the others have random weights, other layers, widths and kinds, and the same
tokenizer. `--other` takes two other kinds, depths and widths; `--large` adds one of 156 million weights,
which takes some minutes.
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.models import EMBEDDED, most_resident, rounded
from extract.library import CONCEPTS, load_library
from extract.models import ModelEntry
from extract.planned import Choices

if TYPE_CHECKING:
    from extract.estimation import Estimate

_DONE_TOGETHER = {
    "activations": ("activations", "lesions", "patches"),
    "saliency": ("saliency",),
    "responses": ("answers",),
}
"""What a run takes seconds for, by a table that comes of it, and whose the seconds are that an estimate tells."""

CONCEPTS_RUN = ("animals", "countries")
SAMPLE, HELD_OUT, ANSWERS = 40, 8, 2

SHAPES: dict[str, dict[str, Any]] = {
    "llama-deep": {"kind": "LlamaConfig", "layers": 12, "width": 96},
    "qwen3-wide": {"kind": "Qwen3Config", "layers": 4, "width": 384},
}
"""Random models beside the reference."""

OTHER: dict[str, dict[str, Any]] = {
    "neox": {"kind": "GPTNeoXConfig", "layers": 6, "width": 192},
    "gemma2-deep": {"kind": "Gemma2Config", "layers": 18, "width": 64},
}
"""Kinds, depths and widths that came after the others."""

LARGE: dict[str, dict[str, Any]] = {"llama-large": {"kind": "LlamaConfig", "layers": 12, "width": 1024}}


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


def measured(folder: Path, entry: ModelEntry, answers: int = ANSWERS) -> dict[str, Any]:
    """What a run of a model takes: prompts, bytes and rows by table, bytes of memory, seconds by table."""
    import os

    from dagster_project.defs.resources import Settings, Warehouse
    from dagster_project.instance import open_instance
    from dagster_project.running import run_models
    from dagster_project.terminal import console
    from extract.job.extracting import TABLES
    from extract.job.libraries import quiet_libraries
    from extract.job.progress import for_console

    quiet_libraries()
    # What is imported once a process, whatever the model, is no technique's.
    for name in ("answers", "extraction", "loading", "machine", "saliency"):
        importlib.import_module(f"extract.{name}")
    importlib.import_module("transformers.models.auto.modeling_auto")
    os.environ["DAGSTER_HOME"] = str(folder / "home")
    places = Warehouse(root=str(folder / "warehouse"), models=str(folder / "none.toml"))
    settings = Settings(concepts=list(CONCEPTS_RUN), sample=SAMPLE, held_out=HELD_OUT, answers=answers)
    seconds = _watched()
    with open_instance() as instance:
        done = run_models(
            instance, places, [entry], settings, for_console(console(error=True)), untrained=False, only=TABLES
        )
    peak = most_resident()
    tables = {}
    for name in TABLES:
        files = [places.store.path(name, **keys) for keys in places.store.partitions(name)]
        footers = [places.store.footer(name, **keys) for keys in places.store.partitions(name)]
        rows = sum(footer.rows for footer in footers if footer)
        tables[name] = rows, sum(file.stat().st_size for file in files)
    return {"forwards": done.forwards, "memory": peak, "tables": tables, "seconds": seconds}


def _watched() -> dict[str, float]:
    """Seconds of all processors that each technique has taken, filled as the run goes on."""
    from extract.job.measuring import Measuring

    seconds: dict[str, float] = {}

    def watched(name: str, method: Callable[..., None]) -> Callable[..., None]:
        def run(*given: Any) -> None:
            since = time.process_time()
            method(*given)
            seconds[name] = time.process_time() - since

        return run

    for method, name in {"sweep": "activations", "saliency": "saliency", "responses": "responses"}.items():
        setattr(Measuring, method, watched(name, getattr(Measuring, method)))
    return seconds


def compared(folder: Path, entry: ModelEntry, answers: int = ANSWERS, rounds: int = 1) -> dict[str, float]:
    """Estimated over measured, of one model; of seconds the middle of rounds, each probed just before its run."""
    from dagster_project.standing import standing
    from extract.estimation import estimate
    from extract.probing import probe
    from extract.speed import technique_seconds

    concepts = load_library(CONCEPTS).select(CONCEPTS_RUN).concepts
    choices = Choices(sample=SAMPLE, held_out=HELD_OUT, answers=answers)
    made = estimate(entry, concepts, choices)
    with standing(entry.path, CONCEPTS, CONCEPTS_RUN[0]) as measuring:
        program = measuring.bytes()
    paired: list[dict[str, float]] = []
    for number in range(rounds):
        told = technique_seconds(made, probe(entry, made.shape, concepts, "cpu", choices, clock=time.process_time))
        place = folder / str(number)
        place.mkdir()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(measured, place, entry, answers).result()
        paired.append(_ratios({name: _middle(each) for name, each in told.items()}, found["seconds"]))
    peak = made.memory.peak
    return {
        "forwards": made.total.forwards / found["forwards"],
        **_sizes(made, found["tables"]),
        "peak memory": (program + peak) / found["memory"],
        "peak memory over the program's": peak / (found["memory"] - program),
        **{f"processor seconds of {name}": median(each[name] for each in paired) for name in paired[0]},
    }


def _sizes(made: "Estimate", found: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    for name, (rows, _) in made.tables.items():
        if found[name][0] != rows:
            raise SystemExit(f"{made.model}: {rows} rows of {name} were foretold, {found[name][0]} came.")
    ratios = {f"bytes of {name}": size / found[name][1] for name, (_, size) in made.tables.items()}
    return ratios | {"bytes in all": made.disk / sum(found[name][1] for name in made.tables)}


def _ratios(told: Mapping[str, float], took: Mapping[str, float]) -> dict[str, float]:
    """Seconds told over seconds taken, by what a run does in one go, and of all of it."""
    told_of = {name: sum(told.get(each, 0.0) for each in techniques) for name, techniques in _DONE_TOGETHER.items()}
    ratios = {", ".join(_DONE_TOGETHER[name]): seconds / took[name] for name, seconds in told_of.items()}
    return ratios | {"all": sum(told_of.values()) / sum(took[name] for name in told_of)}


def _middle(bounds: tuple[float, float]) -> float:
    return float((bounds[0] * bounds[1]) ** 0.5)


def worst(ratios: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of each quantity the ratio that is furthest from 1, over the models."""
    names = dict.fromkeys(name for each in ratios.values() for name in each)
    return {
        name: max((each[name] for each in ratios.values() if name in each), key=lambda ratio: max(ratio, 1 / ratio))
        for name in names
    }


def main() -> None:
    """Print a table, and the worst ratios as one JSON object in the last line."""
    from extract.job.libraries import quiet_libraries

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="a model of 156 million weights too")
    parser.add_argument("--other", action="store_true", help="two other kinds, depths and widths instead")
    parser.add_argument("--answers", type=int, default=ANSWERS, help="prompts of a concept that are answered")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each model, of which the middle ratio counts")
    options = parser.parse_args()
    shapes = OTHER if options.other else SHAPES | (LARGE if options.large else {})
    quiet_libraries()
    ratios: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        entries = [] if options.other else [ModelEntry("reference", EMBEDDED)]
        entries += [ModelEntry(slug, save_random(folder / slug, **shape)) for slug, shape in shapes.items()]
        for entry in entries:
            (folder / f"of-{entry.slug}").mkdir()
            ratios[entry.slug] = compared(folder / f"of-{entry.slug}", entry, options.answers, options.rounds)
    table = Table("estimated over measured", *ratios, title="How right the estimates were")
    for name in worst(ratios):
        table.add_row(name, *(f"{each[name]:.2f}" if name in each else "" for each in ratios.values()))
    Console(file=sys.stderr if not sys.stdout.isatty() else sys.stdout).print(table)
    print(json.dumps(rounded(worst(ratios))))


if __name__ == "__main__":
    main()
