"""Saliency: how much the answer would change with each module's weights, by the gradients of all layers.

Belongs here: which prompts are asked, what is differentiated, and the rows of the table `saliency`. The pass over the
layers is in `descent`, the names of modules are in `modules`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from extract.batches import Batch, make_batches
from extract.descent import Asked, Descent
from extract.gradients import ABSOLUTE, EFFECT, SQUARED
from extract.loading import LoadedModel
from extract.modules import LayerModules, layer_modules
from extract.stack import Stack
from extract.tokenization import Tokenized
from warehouse.errors import ModelError
from warehouse.tables import table

TOKEN_BUDGETS = {"cpu": 256, "cuda": 4096}
"""Tokens of a batch, by the sort of device: fewer than without gradients, since a layer's graph is kept for all."""


def saliency_rows(loaded: LoadedModel, tokenized: Tokenized, pairs: pa.Table | None) -> int:
    """Rows that `saliency` gets: every module of every layer, for each prompt with an answer, and again with a pair."""
    _, asked = asked_of(tokenized, pairs)
    modules = sum(len(layer_modules(layer).names) for layer in Stack.of(loaded.model).layers)
    return modules * (len(asked.indices) + int((asked.rivals >= 0).sum()))


def extract_saliency(
    loaded: LoadedModel,
    prompts: pa.Table,
    tokenized: Tokenized,
    pairs: pa.Table | None,
    *,
    token_budget: int | None = None,
    stored_bytes: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[pa.Table]:
    """The rows of the table `saliency`, one table a layer, from layer 0 up.

    The model is left as it was: weights, `requires_grad`, `grad` and forwards, whatever happens.

    Args:
        loaded: the model.
        prompts: rows of the table `prompts`; those without an answer have no saliency.
        tokenized: the same prompts as tokens, in the same order.
        pairs: rows of the table `pair_tokens`; a prompt that is the clean one of a pair which is kept is measured for
            the logit difference too, against the first corrupting term.
        token_budget: tokens of a batch; by default what suits the device.
        stored_bytes: layer inputs that are kept at a time; by default those of one batch, or, where weights are
            offloaded, of as many as make fetching them worth its while.
        progress: called with the number of prompts that went up or down one more layer: each counts 2 x layers times.

    Raises:
        ModelError: prompts and tokens don't belong together, the model's layers are no plain stack, or a layer's
            output or gradient is not finite.
    """
    if not prompts.select(["template", "term"]).equals(tokenized.table.select(["template", "term"])):
        raise ModelError("The tokens are not those of the prompts: tokenize the same rows, in the same order.")
    keys, asked = asked_of(tokenized, pairs)
    if not asked.indices:
        return
    # Everything is computed before the first row is handed out: the layers are done from the last to the first.
    modules, sums = _measured(loaded, asked, token_budget, stored_bytes, progress=progress)
    prompts_of = {"loss": np.arange(len(asked.indices)), "logit_difference": np.flatnonzero(asked.rivals.numpy() >= 0)}
    for layer, (named, found) in enumerate(zip(modules, sums, strict=True)):
        yield layer_table(layer, named, found, keys, prompts_of)


def saliency_batches(
    loaded: LoadedModel,
    indices: Sequence[Sequence[int]],
    token_budget: int | None = None,
    *,
    read: Sequence[int] | None = None,
) -> list[Batch]:
    """The batches in which prompts with an answer are run; tokens of a batch by default as suit the device."""
    budget = token_budget or TOKEN_BUDGETS.get(loaded.device.type, TOKEN_BUDGETS["cuda"])
    # Not with the tokenizer's padding: some bring a token for it that the model's embedding has no row for.
    return make_batches(indices, budget=budget, read=read)


@torch.inference_mode(mode=False)
def _measured(
    loaded: LoadedModel,
    asked: Asked,
    token_budget: int | None,
    stored_bytes: int | None,
    *,
    progress: Callable[[int], None],
) -> tuple[list[LayerModules], list[dict[str, Tensor]]]:
    """Every layer's modules and their sums; out of inference mode, whose tensors no graph takes."""
    stack = Stack.of(loaded.model)
    batches = saliency_batches(loaded, asked.indices, token_budget, read=asked.read)
    modules = [layer_modules(layer) for layer in stack.layers]
    return modules, Descent(loaded, stack, modules, asked, progress).run(batches, stored_bytes)


@torch.inference_mode(mode=False)
def asked_of(tokenized: Tokenized, pairs: pa.Table | None) -> tuple[pa.Table, Asked]:
    """The prompts that have an answer: their keys, and what is asked of them."""
    rivals: dict[tuple[str, str], tuple[str, int]] = {}
    for pair in pairs.to_pylist() if pairs is not None else ():
        if pair["dropped"] is None:
            key, found = (pair["template"], pair["term"]), (pair["corrupting_term"], pair["corrupting_answer_token"])
            rivals[key] = min(rivals.get(key, found), found)
    kept = tokenized.table.select(["template", "term", "answer_token"])
    answers = kept["answer_token"].to_pylist()
    rows = [row for row, answer in enumerate(answers) if answer is not None]
    keys = kept.select(["template", "term"]).take(pa.array(rows, pa.int64()))
    against = [rivals.get((key["template"], key["term"]), ("", -1))[1] for key in keys.to_pylist()]
    return keys, Asked(
        [tokenized.indices[row] for row in rows],
        torch.tensor([answers[row] for row in rows], dtype=torch.long),
        torch.tensor(against, dtype=torch.long),
        None if tokenized.layout is None else tokenized.layout.read[rows].tolist(),
    )


def layer_table(
    layer: int, named: LayerModules, sums: dict[str, Tensor], keys: pa.Table, prompts_of: dict[str, NDArray[np.int64]]
) -> pa.Table:
    """The rows of one layer: by target, module and prompt, for the prompts that each target was measured on."""
    schema = table("saliency").schema()
    weights = np.array(named.weights)
    tables = []
    for target, prompts in prompts_of.items():
        found = sums[target].numpy()[:, :, prompts]
        repeated = keys.take(pa.array(np.tile(prompts, len(weights)), pa.int64()))
        columns = {
            "layer": np.full(found[0].size, layer),
            "module": np.repeat(named.names, len(prompts)),
            "target": [target] * found[0].size,
            "template": repeated["template"],
            "term": repeated["term"],
            "mean_abs_gradient": (found[ABSOLUTE] / weights[:, None]).ravel(),
            "rms_gradient": np.sqrt(found[SQUARED] / weights[:, None]).ravel(),
            "first_order_effect": found[EFFECT].ravel(),
            "weights": np.repeat(weights, len(prompts)),
            "part": np.repeat(named.parts, len(prompts)),
        }
        arrays = [
            values if isinstance(values := columns[field.name], pa.ChunkedArray) else pa.array(values, field.type)
            for field in schema
        ]
        tables.append(pa.table(arrays, schema=schema))
    return pa.concat_tables(tables)
