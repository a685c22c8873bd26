"""How fast this machine does what an estimate counts: a probe of a second or two, and what follows from it.

Where the model's layers are small enough, two of them are made of random weights and run through the engine itself, on
a few of the run's own prompts: the time of a call and that of an operation come from two tasks of unlike size. Of
larger layers only a matrix product and a copy are measured, and time is the longer of operations and reads.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from extract.batched import saliency_of
from extract.costs import Work, sweep_work
from extract.estimation import PREPARATION, TWIN, Estimate
from extract.extraction import TOKEN_BUDGETS, make_task, run_sweep, threads
from extract.hollow import passage
from extract.library import Concept
from extract.loading import LoadedModel
from extract.machine import make_machine
from extract.models import ModelEntry
from extract.outline import Outline
from extract.planned import Choices, Plan, plans, tokenizer_of
from extract.saliency import extract_saliency
from extract.sizes import rows_in
from extract.tokenization import Tokenized
from warehouse.errors import InputError, VesaliusError

if TYPE_CHECKING:
    import pyarrow as pa

_TRIED = {"cpu": 60_000_000, "cuda": 4_000_000_000}
"""Weights of a stand-in, at most: more take too long to draw."""

_LAYERS = 2
_FEW, _MANY = 6, 36
_SPREAD = {True: 1.5, False: 3.0}
"""By what a time may be wrong either way, if the engine itself was tried, or not."""

_OVERHEAD = {"cpu": 1e-3, "cuda": 2e-3}
"""Seconds of a call of a layer in which nothing is computed, where none could be measured."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        call: seconds of a layer's call, whatever goes through.
        flops: operations a second.
        gradients: by what gradients take longer than calls and operations say.
        row_bytes: bytes of vectors a second that are turned into rows and written.
        bandwidth: bytes of weights a second; None where the engine was tried, whose calls include reading.
        tried: whether the engine itself was.
    """

    call: float
    flops: float
    gradients: float
    row_bytes: float
    bandwidth: float | None
    tried: bool

    def seconds(self, work: Work, layer_bytes: float = 0.0) -> float:
        """What some work takes, by what the engine takes for the sweep."""
        computing = work.flops / self.flops
        if self.bandwidth is not None:
            computing = max(computing, work.calls * layer_bytes / self.bandwidth)
        return work.calls * self.call + computing


def technique_seconds(made: Estimate, speed: Speed) -> dict[str, tuple[float, float]]:
    """Seconds of each technique, from the least to the most that they may be."""
    layer = made.shape.layer_bytes / len(made.shape.layers)
    spread = _SPREAD[speed.tried]
    vectors = sum(made.tables.get(name, (0, 0))[0] for name in ("activations", "contributions"))
    writing = vectors * made.shape.width * 4 / speed.row_bytes
    found = {}
    for name, work in made.work.items():
        seconds = speed.seconds(work, layer)
        if name == "saliency":
            seconds *= speed.gradients
        elif name == "activations":
            seconds += writing * made.work[name].forwards / max(1, _read(made))
        elif name == TWIN:
            seconds += writing * work.forwards / max(1, _read(made))
        elif name == PREPARATION:
            seconds += 1.0
        found[name] = seconds / spread, seconds * spread
    return found


def _read(made: Estimate) -> int:
    return sum(made.work[name].forwards for name in ("activations", TWIN) if name in made.work)


def probe(entry: ModelEntry, shape: Outline, concepts: Sequence[Concept], device: str) -> Speed:
    """Measure this machine on a model's kind of work.

    Args:
        entry: the model; only its config and tokenizer are read.
        shape: of the model.
        concepts: whose prompts are taken.
        device: where the model would run.
    """
    kind = torch.device(device).type
    few = replace(shape, layers=shape.layers[:_LAYERS])
    weights = sum(layer.weights for layer in few.layers) + 2 * shape.width * min(shape.vocabulary, 65_536)
    row_bytes = _writing(shape)
    if weights <= _TRIED.get(kind, _TRIED["cuda"]):
        try:
            return _engine(entry, few, concepts, device, row_bytes)
        except (VesaliusError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            # An architecture that can't be cut to two layers is measured by its matrices.
            pass
    return _matrices(shape, device, row_bytes)


def _engine(entry: ModelEntry, shape: Outline, concepts: Sequence[Concept], device: str, row_bytes: float) -> Speed:
    tokenizer, _ = tokenizer_of(entry, concepts)
    loaded = LoadedModel(entry, _stand_in(entry, shape, device), tokenizer)
    shape = replace(shape, vocabulary=int(loaded.model.config.get_text_config(decoder=True).vocab_size))
    machine = make_machine(loaded.model, parts=False)
    asking = [concept for concept in concepts if concept.asked]
    if not asking:
        raise InputError("No concept asks for anything: nothing can be lesioned to see how long it takes.")
    smallest = min(asking, key=lambda concept: len(concept.terms) * len(concept.templates))
    points = []
    for count in (_FEW, _MANY):
        choices = Choices(sample=count, held_out=0, answers=0)
        (plan,) = plans(tokenizer, [smallest], choices)
        plan = _within(plan, shape.vocabulary)
        wanted = replace(plan.wanted, activations=False, first_tokens=False)
        task, _ = make_task(plan.subject, wanted, seed=0)
        counted = sweep_work(
            passage(task, _LAYERS, TOKEN_BUDGETS.get(machine.stack.device.type, TOKEN_BUDGETS["cuda"])),
            shape,
            forwards=0,
            passes=1,
            tokens=0,
        )
        run = _runner(loaded, machine, plan, wanted)
        points.append((counted, _fastest(run)))
    call, flops = _solved(points)
    speed = Speed(call, flops, 1.0, row_bytes, None, tried=True)
    return replace(speed, gradients=_gradients(loaded, shape, plan, speed))


def _runner(loaded: LoadedModel, machine: Any, plan: Plan, wanted: Any) -> Callable[[], None]:
    def run() -> None:
        run_sweep(loaded, machine, plan.subject, wanted, lambda name, rows: None)

    return run


def _gradients(loaded: LoadedModel, shape: Outline, plan: Plan, speed: Speed) -> float:
    """By what gradients take longer than counted."""
    sample, tokenized = plan.subject.sample, plan.subject.tokenized.take(rows_in(plan))
    work, _ = saliency_of(plan, shape, Choices(), loaded.device.type)

    def run() -> None:
        with threads(loaded):
            for _ in extract_saliency(loaded, sample, tokenized, plan.pair_tokens):
                pass

    return _fastest(run, rounds=1) / speed.seconds(work)


def _solved(points: Sequence[tuple[Work, float]]) -> tuple[float, float]:
    """Seconds of a call, and operations a second, from two tasks; neither is allowed to be nothing."""
    (small, quick), (large, slow) = points
    steps = large.calls * small.flops - small.calls * large.flops
    call = (slow * small.flops - quick * large.flops) / steps if steps else 0.0
    most = slow / max(1.0, large.calls)
    call = min(max(call, most * 0.05), most * 0.95)
    return call, large.flops / (slow - call * large.calls)


def _fastest(run: Callable[[], None], rounds: int = 2) -> float:
    """Seconds of the fastest of some rounds, after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found[1:])


def _stand_in(entry: ModelEntry, shape: Outline, device: str) -> Any:
    """The model with as many layers as the shape has, random weights, and not more tokens than are worth drawing."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from extract.untrained import plain_config

    config = plain_config(AutoConfig.from_pretrained(entry.path, local_files_only=True, trust_remote_code=False))
    text = config.get_text_config(decoder=True)
    text.num_hidden_layers = len(shape.layers)
    text.vocab_size = min(text.vocab_size, 65_536)
    for token in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, token, None)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: len(shape.layers)]
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config,
            dtype=getattr(torch, shape.dtype),
            attn_implementation=entry.attention,
            trust_remote_code=False,
        )
    model.train(False)
    return model


def _within(plan: Plan, vocabulary: int) -> Plan:
    """The plan with tokens that a small vocabulary has."""
    tokenized = plan.subject.tokenized
    indices = [[token % vocabulary for token in tokens] for tokens in tokenized.indices]
    rows = _modulo(tokenized.table, "answer_token", vocabulary)
    pairs = _modulo(plan.subject.pairs, "answer_token", vocabulary)
    pairs = _modulo(pairs, "corrupting_answer_token", vocabulary)
    fates = _modulo(_modulo(plan.pair_tokens, "answer_token", vocabulary), "corrupting_answer_token", vocabulary)
    subject = replace(plan.subject, tokenized=Tokenized(indices, rows), pairs=pairs)
    return replace(plan, subject=subject, pair_tokens=fates)


def _modulo(rows: "pa.Table", column: str, vocabulary: int) -> "pa.Table":
    import pyarrow as pa

    values = [None if value is None else value % vocabulary for value in rows[column].to_pylist()]
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type))


def _matrices(shape: Outline, device: str, row_bytes: float) -> Speed:
    """Operations and bytes a second of one large product and one copy."""
    kind = torch.device(device).type
    type_ = getattr(torch, shape.dtype)
    tokens = TOKEN_BUDGETS.get(kind, TOKEN_BUDGETS["cuda"])
    inner = min(shape.inner_width, 4096 if kind == "cpu" else 65_536)
    entered = torch.randn(tokens, shape.width, device=device).to(type_)
    weights = torch.randn(shape.width, inner, device=device).to(type_)

    def finished(result: torch.Tensor) -> None:
        float(result.flatten()[0])

    product = _fastest(lambda: finished(entered @ weights))
    copied = _fastest(lambda: finished(weights.clone()))
    return Speed(
        call=_OVERHEAD.get(kind, _OVERHEAD["cuda"]),
        flops=2 * tokens * shape.width * inner / product,
        gradients=1.5,
        row_bytes=row_bytes,
        bandwidth=2 * weights.nbytes / copied,
        tried=False,
    )


def _writing(shape: Outline) -> float:
    """Bytes of vectors a second that are made into rows, checked and written."""
    import tempfile
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

    from warehouse.store import Store
    from warehouse.tables import table

    count = max(30, min(3000, 2_000_000 // shape.width)) // 3
    generator = np.random.default_rng(0)

    def write() -> None:
        vectors = generator.standard_normal(3 * count * shape.width, dtype=np.float32)
        terms = [str(number) for number in range(count)]
        columns: Mapping[str, Any] = {
            "layer": np.zeros(3 * count, np.int16),
            "position": np.repeat(["last", "mean", "term"], count),
            "template": ["template"] * 3 * count,
            "term": terms * 3,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), shape.width),
        }
        schema = table("activations").schema(shape.width)
        rows = pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
        with (
            tempfile.TemporaryDirectory() as folder,
            Store(Path(folder)).writer(
                "activations", fingerprint="", width=shape.width, model="probe", concept="probe"
            ) as writer,
        ):
            writer.add(rows)

    return 3 * count * shape.width * 4 / _fastest(write, rounds=1)
