"""Rows of `lesions` and `patches` from what a sweep found, one table a layer.

What the numbers mean is in `outcomes` and `sweep`; here they get their keys and types. A task that was cut to fit the
memory comes in parts: `Found` puts them together.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from extract.outcomes import Outcome, blank
from extract.sweep import Effects
from extract.task import Task
from warehouse.tables import table

_VALUES = ("logit", "log_probability", "rank", "kl")


class Found:
    """The effects of a task, as its parts come in.

    Attributes:
        lesions: for each lesion, values [layer, prompt] of all prompts of the task.
        intact: values [prompt].
        clean, corrupted: logit differences, [pair].
        patches: for each patch, logit differences [layer, pair, token].
    """

    def __init__(self, task: Task, layers: int) -> None:
        prompts, pairs = len(task.prompts), len(task.pairs)
        self.layers = layers
        longest = max((len(task.prompts[prompt]) for prompt in task.pairs.corrupted.tolist()), default=0)
        self.intact = blank(prompts)
        self.lesions = {lesion: blank(layers, prompts) for lesion in task.lesions}
        self.clean, self.corrupted = torch.full((pairs,), torch.nan), torch.full((pairs,), torch.nan)
        self.patches = {
            patch: torch.full((layers, pairs, longest if patch.position == "token" else 1), torch.nan)
            for patch in task.patches
        }

    def add(self, part: Task, effects: Effects) -> None:
        """Take in what a part of the task, or all of it, has given."""
        numbers = torch.arange(len(part.prompts)) if part.numbers is None else part.numbers
        if part.lesions:
            rows = numbers[part.lesioned]
            outcomes = [(self.intact, effects.intact)]
            outcomes += [(self.lesions[lesion], outcome) for lesion, outcome in effects.lesions.items()]
            for into, outcome in outcomes:
                for name in _VALUES:
                    getattr(into, name)[..., rows] = getattr(outcome, name)
        if part.patches and len(part.pairs):
            pairs = part.pairs.numbers
            self.clean[pairs], self.corrupted[pairs] = effects.clean, effects.corrupted
            for patch, restored in effects.patches.items():
                self.patches[patch][:, pairs, : restored.shape[-1]] = restored


def lesion_rows(found: Found, keys: pa.Table, rows: Tensor) -> Iterator[pa.Table]:
    """The rows of `lesions`.

    Args:
        found: what the sweep found.
        keys: template and term of the lesioned prompts.
        rows: [prompt], their numbers in the task.
    """
    schema = table("lesions").schema()
    intact = _columns(found.intact, rows, "intact_")
    del intact["intact_kl"]
    for layer in range(found.layers if found.lesions and keys.num_rows else 0):
        parts = [
            _table(
                schema,
                {"lesion": lesion.kind, "part": lesion.part, "layer": layer},
                keys,
                _columns(Outcome(*(values[layer] for values in vars(outcome).values())), rows, "") | intact,
            )
            for lesion, outcome in sorted(found.lesions.items())
        ]
        yield pa.concat_tables(parts)


def patch_rows(found: Found, keys: pa.Table, task: Task) -> Iterator[pa.Table]:
    """The rows of `patches`.

    Args:
        found: what the sweep found.
        keys: template, term and corrupting term of the pairs.
        task: what was asked for: it knows the patched tokens.
    """
    schema = table("patches").schema()
    read = task.read[task.pairs.corrupted]
    for layer in range(found.layers if found.patches and keys.num_rows else 0):
        parts = []
        for patch, values in sorted(found.patches.items()):
            pair, column = values[layer].isfinite().nonzero(as_tuple=True)
            token = {"last": read[pair], "term": task.pairs.term[pair], "token": column}[patch.position]
            named = {
                "token": token.to(torch.int32).numpy(),
                "ld_clean": found.clean[pair].double().numpy(),
                "ld_corrupted": found.corrupted[pair].double().numpy(),
                "ld_patched": values[layer][pair, column].double().numpy(),
            }
            constants: dict[str, str | int] = {"site": patch.site, "position": patch.position, "layer": layer}
            parts.append(_table(schema, constants, keys.take(pa.array(pair.numpy())), named))
        yield pa.concat_tables(parts)


def patch_count(task: Task, layers: int) -> int:
    """Rows that `patches` gets."""
    lengths = sum(len(task.prompts[prompt]) for prompt in task.pairs.corrupted.tolist())
    each = {"last": len(task.pairs), "term": int((task.pairs.term >= 0).sum()), "token": lengths}
    return layers * sum(each[patch.position] for patch in task.patches)


def _columns(outcome: Outcome, rows: Tensor, prefix: str) -> dict[str, np.ndarray]:
    rank = outcome.rank[rows].numpy()
    return {
        f"{prefix}logit": outcome.logit[rows].double().numpy(),
        # A float32 sum can end a hair above zero; no probability is above one.
        f"{prefix}log_probability": outcome.log_probability[rows].double().clamp(max=0).numpy(),
        f"{prefix}rank": rank.astype(np.int32),
        f"{prefix}kl": outcome.kl[rows].double().numpy(),
        f"{prefix}correct": rank == 0,
    }


def _table(
    schema: pa.Schema, constants: dict[str, str | int], keys: pa.Table, values: dict[str, np.ndarray]
) -> pa.Table:
    count = keys.num_rows
    arrays = []
    for field in schema:
        if field.name in constants:
            arrays.append(pa.array([constants[field.name]], field.type).take(pa.array(np.zeros(count, np.int64))))
        elif field.name in values:
            arrays.append(pa.array(values[field.name], field.type))
        else:
            arrays.append(pc.cast(keys[field.name], field.type))
    return pa.table(arrays, schema=schema)
