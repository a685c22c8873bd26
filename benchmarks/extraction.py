"""What it costs to extract all layers' activations at three positions and write them to the warehouse.

The measure is a bare forward of the same batches, without head and cache: a 12-layer Llama of 134 million random
weights in float32, prompts of the concept library, one thread, processor seconds, workloads in turn. Peers get the same
batches, keep the same three rows of each layer in memory, and write nothing.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import torch

from benchmarks.models import SHAPES, Shape, build_model, show
from benchmarks.paired import paired_seconds, ratio
from benchmarks.peers import PACKAGES, run_peer
from extract.batches import make_batches
from extract.extraction import TOKEN_BUDGETS, Subject, Wanted, row_counts, run_sweep, split
from extract.library import CONCEPTS, load_concept
from extract.machine import make_machine
from extract.prompts import prompts_table
from warehouse.store import Store
from warehouse.tables import table

ROUNDS = 5
PROMPTS = 160


def measure(
    folder: Path, shape: Shape, *, prompts: int = PROMPTS, rounds: int = ROUNDS, peers: tuple[str, ...] = ()
) -> dict[str, float]:
    """The ratios of ours, of transformers' own way and of each peer."""
    loaded = build_model(folder / "model", shape)
    chosen = prompts_table(load_concept(CONCEPTS / "drugs"))
    rows = torch.randperm(chosen.num_rows, generator=torch.Generator().manual_seed(0))[:prompts]
    chosen = chosen.take(rows.sort().values.numpy())
    tokenized = split(loaded, chosen)
    nothing = table("pair_tokens").schema().empty_table()
    subject, wanted = Subject(chosen, tokenized, chosen.slice(0, 0), nothing), Wanted(activations=True)
    # Prompts of one template at a time, as the sweep runs them.
    templates = chosen["template"].to_pylist()
    kinds = [sorted(set(templates)).index(template) for template in templates]
    batches = make_batches(tokenized.indices, budget=TOKEN_BUDGETS["cpu"], kinds=kinds)
    store, machine = Store(folder / "warehouse"), make_machine(loaded.model, parts=False)
    model: Any = loaded.model

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.model(input_ids=batch.tokens, attention_mask=batch.mask, use_cache=False)

    def output_hidden_states() -> list[Any]:
        kept = []
        with torch.inference_mode():
            for batch in batches:
                hidden = model(
                    input_ids=batch.tokens,
                    attention_mask=batch.mask,
                    use_cache=False,
                    logits_to_keep=1,
                    output_hidden_states=True,
                ).hidden_states
                kept.append([(layer[:, -1], layer[:, 0], layer[:, 1:].mean(dim=1)) for layer in hidden])
        return kept

    def ours() -> None:
        count = row_counts(subject, wanted, loaded.layers)["activations"]
        with store.writer(
            "activations", fingerprint="x", rows=count, width=loaded.width, model="benchmark", concept="drugs"
        ) as writer:
            run_sweep(loaded, machine, subject, wanted, lambda _, layer: writer.add(layer))

    seconds = paired_seconds({"bare": bare, "ours": ours, "output_hidden_states": output_hidden_states}, rounds)
    ratios = {name: ratio(seconds, name, "bare") for name in ("ours", "output_hidden_states")}
    term_last = torch.from_numpy(tokenized.table["term_last"].to_numpy().copy())
    request = {
        "model": str(folder / "model"),
        "rounds": rounds,
        "bare": [batch.tokens.tolist() for batch in batches],
        "term_last": [term_last[batch.rows].tolist() for batch in batches],
    }
    for name in peers:
        ratios |= run_peer(name, "activations", request).ratios
    return ratios


def main() -> None:
    """Print a table, and the ratios as one JSON object in the last line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ratios = measure(Path(folder), SHAPES["L12"], peers=tuple(PACKAGES))
    rows = {
        name + (", written to Parquet" if name == "ours" else ", kept in memory"): value
        for name, value in ratios.items()
    }
    show("All layers' activations at three positions", "bare forwards", rows, ratios)


if __name__ == "__main__":
    main()
