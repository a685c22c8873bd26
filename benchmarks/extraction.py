"""What it costs to extract all layers' activations at three positions and write them to the warehouse.

The measure is a bare forward of the same batches, without head and cache: a 12-layer Llama of 134 million random
weights in float32, prompts of the concept library, one thread, processor seconds, workloads in turn. Peers get the same
batches, keep the same three rows of each layer in memory, and write nothing.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.paired import paired_seconds, ratio
from benchmarks.peers import PACKAGES, run_peer
from extract.batches import make_batches
from extract.extraction import TOKEN_BUDGETS, activation_rows, extract_activations
from extract.library import CONCEPTS, load_concept
from extract.loading import LoadedModel
from extract.models import ModelEntry
from extract.prompts import prompts_table
from extract.tokenization import tokenize
from warehouse.store import Store

EMBEDDED = Path(__file__).parents[1] / "extract" / "embedded" / "reference"
ROUNDS = 5
PROMPTS = 160


def build_model(folder: Path) -> LoadedModel:
    """A Llama of 12 layers and width 768 with random weights, saved with the embedded model's tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED)
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).train(False)
    return LoadedModel(ModelEntry("benchmark", folder), model, tokenizer)


def measure(folder: Path) -> dict[str, float]:
    """The ratios of ours, of transformers' own way and of each peer."""
    loaded = build_model(folder / "model")
    prompts = prompts_table(load_concept(CONCEPTS / "drugs"))
    chosen = torch.randperm(prompts.num_rows, generator=torch.Generator().manual_seed(0))[:PROMPTS]
    prompts = prompts.take(chosen.sort().values.numpy())
    tokenized = tokenize(loaded.tokenizer, prompts)
    batches = make_batches(tokenized.indices, budget=TOKEN_BUDGETS["cpu"])
    store = Store(folder / "warehouse")
    model = loaded.model

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
        rows = activation_rows(prompts.num_rows, loaded.layers)
        with store.writer(
            "activations", fingerprint="x", rows=rows, width=loaded.width, model="benchmark", concept="drugs"
        ) as writer:
            for layer in extract_activations(loaded, prompts):
                writer.add(layer)

    seconds = paired_seconds({"bare": bare, "ours": ours, "output_hidden_states": output_hidden_states}, ROUNDS)
    ratios = {name: ratio(seconds, name, "bare") for name in ("ours", "output_hidden_states")}
    term_last = torch.from_numpy(tokenized.table["term_last"].to_numpy().copy())
    request = {
        "model": str(folder / "model"),
        "rounds": ROUNDS,
        "batches": [
            {"tokens": batch.tokens.tolist(), "term_last": term_last[batch.rows].tolist()} for batch in batches
        ],
    }
    for name in PACKAGES:
        ratios |= run_peer(name, request)
    return ratios


def main() -> None:
    """Print a table, and the ratios as one JSON object in the last line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ratios = measure(Path(folder))
    table = Table("what", "bare forwards", title="All layers' activations at three positions")
    for name, value in ratios.items():
        table.add_row(name + (", written to Parquet" if name == "ours" else ", kept in memory"), f"{value:.3f}")
    Console(file=sys.stderr if not sys.stdout.isatty() else sys.stdout).print(table)
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
