"""How fast this machine does what an estimate counts: a probe of some seconds.

Where the model's layers are small enough, the engine itself is tried, on stand-ins of a few layers (`trials`). Of
larger layers only a matrix product and a copy are measured, and time is the longer of operations and reads. Writing is
tried apart, for all. What follows from it is in `speed`.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from extract.extraction import TOKEN_BUDGETS
from extract.library import Concept
from extract.models import ModelEntry
from extract.outline import Outline
from extract.planned import Choices
from extract.speed import EFFECTS, Pace, Speed, paces
from extract.trials import SHALLOW, Clock, in_turns, standing_weights, tried
from warehouse.errors import VesaliusError

_TRIED = {"cpu": 60_000_000, "cuda": 4_000_000_000}
"""Weights of a stand-in, at most: more take too long to draw."""

_WRITTEN = 4
"""Layers of vectors by which one file that is written to try has more than another."""

_OVERHEAD = {"cpu": 1e-3, "cuda": 2e-3}
"""Seconds of a call of a layer in which nothing is computed, where none could be measured."""

_GRADIENTS = 1.5
"""By what gradients take longer than their operations say, where they are not tried."""


def probe(
    entry: ModelEntry,
    shape: Outline,
    concepts: Sequence[Concept],
    device: str,
    choices: Choices,
    *,
    clock: Clock = time.perf_counter,
) -> Speed:
    """Measure this machine on a model's kind of work.

    Args:
        entry: the model; only its config and tokenizer are read.
        shape: of the model.
        concepts: whose prompts are taken.
        device: where the model would run.
        choices: how much the run measures.
        clock: whose seconds are told; those of processors can be compared where other work goes on.
    """
    kind = torch.device(device).type
    largest = _TRIED.get(kind, _TRIED["cuda"])
    if standing_weights(shape, SHALLOW) <= largest:
        try:
            found = tried(entry, shape, concepts, device, choices=choices, clock=clock, largest=largest)
        except (VesaliusError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            # An architecture that can't be cut to two layers is measured by its matrices.
            pass
        else:
            return Speed(paces(found), *_writing(shape, clock), None, tried=True)
    return _matrices(shape, device, clock)


def _matrices(shape: Outline, device: str, clock: Clock) -> Speed:
    """Operations and bytes a second of one large product and one copy."""
    kind = torch.device(device).type
    type_ = getattr(torch, shape.dtype)
    tokens = TOKEN_BUDGETS.get(kind, TOKEN_BUDGETS["cuda"])
    inner = min(shape.inner_width, 4096 if kind == "cpu" else 65_536)
    entered = torch.randn(tokens, shape.width, device=device).to(type_)
    weights = torch.randn(shape.width, inner, device=device).to(type_)

    def finished(result: torch.Tensor) -> None:
        float(result.flatten()[0])

    product, copied = in_turns([lambda: finished(entered @ weights), lambda: finished(weights.clone())], clock)
    swept = Pace(
        batch=0.0, call=_OVERHEAD.get(kind, _OVERHEAD["cuda"]), flops=2 * tokens * shape.width * inner / product
    )
    row_bytes, group = _writing(shape, clock)
    return Speed(
        paces={EFFECTS: swept, "saliency": swept.times(_GRADIENTS)},
        row_bytes=row_bytes,
        group=group,
        bandwidth=2 * weights.nbytes / copied,
        tried=False,
    )


def _writing(shape: Outline, clock: Clock) -> tuple[float, float]:
    """Bytes of vectors a second that are made into rows, checked and written; seconds of a layer with next to none."""
    import tempfile
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from warehouse.store import Store
    from warehouse.tables import table

    count = max(30, min(3000, 2_000_000 // shape.width)) // 3
    generator = np.random.default_rng(0)
    terms = [str(number) for number in range(count)]
    schema = table("activations").schema(shape.width)

    def layer(number: int) -> pa.Table:
        vectors = generator.standard_normal(3 * count * shape.width, dtype=np.float32)
        columns: Mapping[str, Any] = {
            "layer": np.full(3 * count, number, np.int16),
            "position": np.repeat(["last", "mean", "term"], count),
            "template": ["template"] * 3 * count,
            "term": terms * 3,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), shape.width),
        }
        return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)

    tables = [layer(number) for number in range(1 + _WRITTEN)]
    nearly_empty = [rows.slice(0, 1) for rows in tables]

    def write(layers: Sequence[pa.Table]) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            Store(Path(folder)).writer(
                "activations", fingerprint="", width=shape.width, model="probe", concept="probe"
            ) as writer,
        ):
            for rows in layers:
                writer.add(rows)

    # A file is begun and committed once, whatever is in it: that is not what a layer takes.
    began, groups, whole = in_turns([partial(write, each) for each in (tables[:0], nearly_empty, tables)], clock)
    row_bytes = len(tables) * 3 * count * shape.width * 4 / max(whole - groups, whole / 10)
    return row_bytes, max(groups - began, 0.0) / len(tables)
