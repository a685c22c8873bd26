"""How many rows and bytes each table of a run gets, found by writing a little of it.

Rows are counted as the run counts them. Bytes come from the writer of the warehouse itself: one layer of each table,
with the run's own keys and random numbers in the shape of what is measured, goes into a folder that is thrown away.
Tables of which all is known beforehand (how prompts are split) are written as they are.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from extract.effect_rows import Found, lesion_rows, patch_rows
from extract.extraction import Subject, key_columns, make_task, row_counts, rows_of, vector_rows
from extract.modules import LayerModules
from extract.outline import Outline
from extract.planned import Choices, Plan
from extract.saliency import asked_of, layer_table
from warehouse.store import Store
from warehouse.tables import POSITIONS, table

_MOST = 6_000_000
"""Numbers of a layer that are written at most; a table of wide vectors is tried on some of its prompts."""

_LETTERS = 4
"""Of a token of an answer."""

_FEW_ROWS = 2000, 460
"""Bytes of a file of few rows, beside them: of the file, and of a layer. *Measured* on `first_tokens`."""

Sizes = dict[str, tuple[int, int]]
"""Rows and bytes of each table."""


def table_sizes(plan: Plan, shape: Outline, choices: Choices) -> Sizes:
    """Rows and bytes that one concept gets in each table that a run of the model fills."""
    layers = len(shape.layers)
    rows = row_counts(plan.subject, plan.wanted, layers)
    found: Sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        written = partial(_written, Store(Path(folder)), width=shape.width)
        found["tokens"] = _whole(*written("tokens", plan.subject.tokenized.table))
        if plan.pair_tokens.num_rows:
            found["pair_tokens"] = _whole(*written("pair_tokens", plan.pair_tokens))
        generator = np.random.default_rng(0)
        samples: dict[str, Callable[[], pa.Table]] = {
            "activations": lambda: _vectors("activations", plan.subject, shape, generator),
            "contributions": lambda: _vectors("contributions", plan.subject, shape, generator),
            "lesions": lambda: _lesions(plan, shape),
            "patches": lambda: _patches(plan),
        }
        for name, sample in samples.items():
            if rows[name]:
                few, base, size = written(name, sample())
                found[name] = rows[name], base + round(size * rows[name] / few)
            elif name in plan.fills:
                found[name] = _whole(*written(name, table(name).schema(shape.width).empty_table()))
        if rows["first_tokens"]:
            vectors = rows["first_tokens"] * shape.width * 4
            found["first_tokens"] = rows["first_tokens"], vectors + _FEW_ROWS[0] + _FEW_ROWS[1] * (layers + 1)
        if plan.subject.sample.num_rows:
            few, base, size = written("saliency", _gradients(plan, shape, generator))
            found["saliency"] = few * layers, base + size * layers
        elif "saliency" in plan.fills:
            found["saliency"] = _whole(*written("saliency", table("saliency").schema().empty_table()))
        if choices.answers and plan.answered.num_rows:
            few, base, size = written("responses", _responses(plan, choices, generator))
            found["responses"] = few * (layers + 1), base + size * (layers + 1)
    return found


def _whole(rows: int, base: int, size: int) -> tuple[int, int]:
    return rows, base + size


def _written(store: Store, name: str, rows: pa.Table, *, width: int) -> tuple[int, int, int]:
    """How many rows, the bytes of an empty file, and those that the rows take beside."""
    keys: dict[str, Any] = dict.fromkeys(table(name).partitions, "estimate")
    with store.writer(name, fingerprint="", width=width, **keys) as empty:
        pass
    with store.writer(name, fingerprint="", width=width, **keys) as full:
        if rows.num_rows:
            full.add(rows)
    assert empty.commit is not None
    assert full.commit is not None
    return rows.num_rows, empty.commit.bytes, full.commit.bytes - empty.commit.bytes


def _vectors(name: str, subject: Subject, shape: Outline, generator: np.random.Generator) -> pa.Table:
    """A layer of vectors, of as many prompts as are enough: as exact as the model's type, means as exact as float32."""
    prompts = subject.prompts.slice(0, max(1, min(subject.prompts.num_rows, _MOST // (3 * shape.width))))
    sites = ["resid"] if name == "activations" else ["attn_out", "mlp_out"]

    def drawn(position: str) -> Tensor:
        values = torch.from_numpy(generator.standard_normal((prompts.num_rows, shape.width), dtype=np.float32))
        exact = shape.itemsize == 4 or position == "mean"
        return values if exact else values.bfloat16().float()

    made = {site: {position: drawn(position) for position in POSITIONS} for site in sites}
    return vector_rows(name, 0, key_columns(prompts), made)


def _lesions(plan: Plan, shape: Outline) -> pa.Table:
    """A layer of what lesions did, of random numbers."""
    task, sampled = make_task(plan.subject, plan.wanted, seed=0)
    found, generator = Found(task, 1), torch.Generator().manual_seed(0)
    for outcome in (found.intact, *found.lesions.values()):
        for values in vars(outcome).values():
            values.normal_(generator=generator)
        outcome.rank.copy_(torch.randint(0, shape.vocabulary, outcome.rank.shape, generator=generator))
        outcome.log_probability.abs_().neg_()
    return _one(lesion_rows(found, plan.subject.sample, sampled), "lesions")


def _patches(plan: Plan) -> pa.Table:
    """A layer of what patches did, of random numbers; none where nothing is patched."""
    task, _ = make_task(plan.subject, plan.wanted, seed=0)
    found, generator = Found(task, 1), torch.Generator().manual_seed(0)
    for values in (found.clean, found.corrupted):
        values.normal_(generator=generator)
    for patch, values in found.patches.items():
        values.normal_(generator=generator)
        if patch.position == "token":
            for pair, prompt in enumerate(task.pairs.corrupted.tolist()):
                values[:, pair, len(task.prompts[prompt]) :] = torch.nan
        elif patch.position == "term":
            values[:, task.pairs.term < 0] = torch.nan
    keys = plan.subject.pairs.select(["template", "term", "corrupting_term"])
    return _one(patch_rows(found, keys, task), "patches")


def _gradients(plan: Plan, shape: Outline, generator: np.random.Generator) -> pa.Table:
    """A layer of gradients, of random numbers."""
    layer = shape.layers[0]
    rows = rows_in(plan)
    keys, asked = asked_of(plan.subject.tokenized.take(rows), plan.pair_tokens)
    named = LayerModules(layer.modules, layer.parts, tuple([1000] * len(layer.modules)), ())
    count = len(asked.indices)
    of = {"loss": np.arange(count), "logit_difference": np.flatnonzero(asked.rivals.numpy() >= 0)}
    sums = {
        target: torch.from_numpy(generator.gamma(2.0, size=(3, len(layer.modules), count))).float().double()
        for target in of
    }
    return layer_table(0, named, sums, keys, of)


def _responses(plan: Plan, choices: Choices, generator: np.random.Generator) -> pa.Table:
    """A layer of answers: letters of the prompts in any order, as many as there may be, and random numbers."""
    answered, count = plan.answered, plan.answered.num_rows
    letters = list("".join(answered["text"].to_pylist()))
    texts = ["".join(generator.choice(letters, _LETTERS * choices.new_tokens)) for _ in range(count)]
    columns = {
        "lesion": ["identity"] * count,
        "layer": [0] * count,
        "template": answered["template"],
        "term": answered["term"],
        "response": texts,
        "tokens": [choices.new_tokens] * count,
        "exact": [False] * count,
        "token_agreement": generator.random(count),
        "chrf": 100 * generator.random(count),
        "intact_answer_nll": 100 * generator.random(count),
    }
    schema = table("responses").schema()
    arrays = [
        values if isinstance(values := columns[field.name], pa.ChunkedArray) else pa.array(values, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def rows_in(plan: Plan) -> list[int]:
    """Where the plan's lesioned prompts stand among its prompts."""
    return [int(row) for row in rows_of(plan.subject.sample, plan.subject.prompts)]


def _one(tables: Iterator[pa.Table], name: str) -> pa.Table:
    return next(tables, table(name).schema().empty_table())


def added(sizes: Iterator[Sizes]) -> Sizes:
    """Rows and bytes of several concepts together."""
    found: Sizes = {}
    for each in sizes:
        for name, (rows, size) in each.items():
            before = found.get(name, (0, 0))
            found[name] = before[0] + rows, before[1] + size
    return found
