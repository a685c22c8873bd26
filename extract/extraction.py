"""From a loaded model and prompts to the rows of `tokens` and `activations`.

The order of work is here: split the prompts, make batches, sweep, and hand out one table a layer. How a layer is run is
in `stack` and `sweep`, where the rows are stored is not this package's affair.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import torch

from extract.batches import make_batches
from extract.models import LoadedModel
from extract.stack import Stack
from extract.sweep import Reading, sweep_activations
from extract.tokenization import tokenize
from warehouse.tables import POSITIONS, table

EXTRACTION_VERSION = 1
"""Raised when the same model and prompts would give other numbers than before; part of every fingerprint."""

TOKEN_BUDGETS = {"cpu": 512, "cuda": 16_384}
"""Tokens of a batch, by the sort of device: on a processor small batches hold less padding and are as fast."""

_POSITIONS = tuple(sorted(POSITIONS))

_SMALL = 20_000_000
"""Weights below which a batch is faster on one thread than on several, which would wait more than they work."""


def tokens_table(loaded: LoadedModel, prompts: pa.Table) -> pa.Table:
    """The rows of the table `tokens` for some prompts.

    Raises:
        ModelError: the tokenizer can't tell where a term lies, or a prompt is too long for the model.
    """
    return tokenize(loaded.tokenizer, prompts, longest=loaded.longest).table


def activation_rows(prompts: int, layers: int) -> int:
    """Rows that `activations` gets: every prompt at every position, at the embedding output and after each layer."""
    return prompts * len(_POSITIONS) * (layers + 1)


def extract_activations(
    loaded: LoadedModel,
    prompts: pa.Table,
    *,
    token_budget: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[pa.Table]:
    """The rows of the table `activations`, one table a layer, from the embedding output (-1) up.

    Args:
        loaded: the model.
        prompts: rows of the table `prompts`, sorted by template and term.
        token_budget: tokens of a batch; by default what suits the device.
        progress: called with the number of prompts that went through one more layer.

    Raises:
        ModelError: as `tokens_table`, or the model's layers are no plain stack.
    """
    tokenized = tokenize(loaded.tokenizer, prompts, longest=loaded.longest)
    term_last = torch.from_numpy(tokenized.table["term_last"].to_numpy().astype(np.int64))
    budget = token_budget or TOKEN_BUDGETS.get(loaded.model.device.type, TOKEN_BUDGETS["cuda"])
    batches = make_batches(tokenized.indices, budget=budget, padding=loaded.tokenizer.pad_token_id or 0)
    readings = [Reading(batch, term_last[batch.rows]) for batch in batches]
    keys = _key_columns(prompts)
    with _threads(loaded) as workers:
        stack = Stack.of(loaded.model)
        for layer, found in sweep_activations(stack, readings, workers=workers, progress=progress):
            vectors = np.concatenate([found[position].numpy() for position in _POSITIONS])
            width = vectors.shape[1]
            columns = [
                pa.array(np.full(len(vectors), layer, dtype=np.int16)),
                *keys,
                pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width),
            ]
            yield pa.table(columns, schema=table("activations").schema(width))


@contextmanager
def _threads(loaded: LoadedModel) -> Iterator[int]:
    """Batches to run side by side: of a small model one a processor, each on one thread; of others one at a time."""
    before = torch.get_num_threads()
    small = sum(weights.numel() for weights in loaded.model.parameters()) < _SMALL
    if small:
        torch.set_num_threads(1)
    try:
        yield before if small and loaded.model.device.type == "cpu" else 1
    finally:
        torch.set_num_threads(before)


def _key_columns(prompts: pa.Table) -> list[pa.ChunkedArray]:
    """Position, template and term of each row of a layer: the same for all layers."""
    positions = pa.chunked_array([pa.array([position] * prompts.num_rows) for position in _POSITIONS])
    repeated = pa.concat_tables([prompts.select(["template", "term"])] * len(_POSITIONS))
    return [positions, repeated["template"], repeated["term"]]
