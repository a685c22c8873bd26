"""How fast this machine does what an estimate counts: a probe of some seconds.

Where the model's layers are small enough, two of them are made of random weights and run through the engine itself, on
a few of the run's own prompts: the time of a call and that of an operation come from two tasks of unlike size. Of
larger layers only a matrix product and a copy are measured, and time is the longer of operations and reads. What
follows from it is in `speed`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from extract.answers import extract_responses
from extract.batched import answers_of, saliency_of
from extract.costs import Work, sweep_work
from extract.extraction import TOKEN_BUDGETS, Wanted, make_task, run_sweep, sweep_budget, threads
from extract.hollow import passage
from extract.library import Concept
from extract.loading import LoadedModel
from extract.machine import Machine, make_machine
from extract.models import ModelEntry
from extract.outline import Outline
from extract.planned import Choices, Plan, plans, tokenizer_of
from extract.saliency import extract_saliency
from extract.sizes import rows_in
from extract.speed import Speed
from extract.tokenization import Tokenized
from warehouse.errors import InputError, VesaliusError

if TYPE_CHECKING:
    import pyarrow as pa

_TRIED = {"cpu": 60_000_000, "cuda": 4_000_000_000}
"""Weights of a stand-in, at most: more take too long to draw."""

Clock = Callable[[], float]
"""Tells seconds, from some moment on."""

_LAYERS = 2
_FEW, _MANY, _ANSWERED = 6, 36, 2
"""Prompts of the stand-in that are lesioned and patched, in two trials, and that are answered."""

_CHOICES = Choices()
_WRITTEN = 4
"""Layers of vectors by which one file that is written to try has more than another."""

_LEAST_ROUNDS, _MOST_ROUNDS, _ENOUGH_S = 2, 20, 0.5
"""Rounds of what is timed, and seconds of them after which there are no more."""

_OVERHEAD = {"cpu": 1e-3, "cuda": 2e-3}
"""Seconds of a call of a layer in which nothing is computed, where none could be measured."""


def probe(
    entry: ModelEntry,
    shape: Outline,
    concepts: Sequence[Concept],
    device: str,
    clock: Clock = time.perf_counter,
) -> Speed:
    """Measure this machine on a model's kind of work.

    Args:
        entry: the model; only its config and tokenizer are read.
        shape: of the model.
        concepts: whose prompts are taken.
        device: where the model would run.
        clock: whose seconds are told; those of processors can be compared where other work goes on.
    """
    kind = torch.device(device).type
    few = replace(shape, layers=shape.layers[:_LAYERS])
    weights = sum(layer.weights for layer in few.layers) + 2 * shape.width * min(shape.vocabulary, 65_536)
    if weights <= _TRIED.get(kind, _TRIED["cuda"]):
        try:
            return _engine(entry, few, concepts, device, clock)
        except (VesaliusError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            # An architecture that can't be cut to two layers is measured by its matrices.
            pass
    return _matrices(shape, device, clock)


def _engine(entry: ModelEntry, shape: Outline, concepts: Sequence[Concept], device: str, clock: Clock) -> Speed:
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
        (plan,) = plans(tokenizer, [smallest], Choices(sample=count, held_out=0, answers=_ANSWERED))
        plan = _within(plan, shape.vocabulary)
        wanted = replace(plan.wanted, activations=False, first_tokens=False)
        points.append(_swept(loaded, machine, plan, wanted, shape=shape, clock=clock))
    call, flops = _solved(points)
    speed = Speed(call, flops, _writing(shape, clock), None, tried=True)
    kind = loaded.device.type
    of_gradients, _ = saliency_of(plan, shape, _CHOICES, kind)
    of_answers, *_ = answers_of(plan, shape, _CHOICES, kind)
    read = _swept(loaded, machine, plan, Wanted(activations=True, first_tokens=True), shape=shape, clock=clock)
    others = {
        "activations": read,
        "saliency": (of_gradients, _fastest(partial(_gradients, loaded, plan), clock)),
        "answers": (of_answers, _fastest(partial(_answers, loaded, plan), clock)),
    }
    return replace(speed, beside={name: seconds / speed.seconds(work) for name, (work, seconds) in others.items()})


def _swept(
    loaded: LoadedModel, machine: Machine, plan: Plan, wanted: Wanted, *, shape: Outline, clock: Clock
) -> tuple[Work, float]:
    """What a sweep is counted as, and what it takes."""
    task, _ = make_task(plan.subject, wanted, seed=0)
    found = passage(task, _LAYERS, sweep_budget(machine.stack.device, None))
    counted = sweep_work(found, shape, forwards=0, passes=1, tokens=sum(map(len, task.prompts)) if task.reads else 0)

    def run() -> None:
        run_sweep(loaded, machine, plan.subject, wanted, lambda name, rows: None)

    return counted, _fastest(run, clock)


def _gradients(loaded: LoadedModel, plan: Plan) -> None:
    tokenized = plan.subject.tokenized.take(rows_in(plan))
    with threads(loaded):
        for _ in extract_saliency(loaded, plan.subject.sample, tokenized, plan.pair_tokens):
            pass


def _answers(loaded: LoadedModel, plan: Plan) -> None:
    with threads(loaded):
        for _ in extract_responses(loaded, plan.answered, new_tokens=_CHOICES.new_tokens):
            pass


def _solved(points: Sequence[tuple[Work, float]]) -> tuple[float, float]:
    """Seconds of a call, and operations a second, from two tasks; neither is allowed to be nothing."""
    (small, quick), (large, slow) = points
    steps = large.calls * small.flops - small.calls * large.flops
    call = (slow * small.flops - quick * large.flops) / steps if steps else 0.0
    most = slow / max(1.0, large.calls)
    call = min(max(call, most * 0.05), most * 0.95)
    return call, large.flops / (slow - call * large.calls)


def _fastest(run: Callable[[], None], clock: Clock) -> float:
    """Seconds of the fastest round, after one that warms up; short ones are run many times, for any can be late."""
    run()
    found: list[float] = []
    while len(found) < _LEAST_ROUNDS or (sum(found) < _ENOUGH_S and len(found) < _MOST_ROUNDS):
        started = clock()
        run()
        found.append(clock() - started)
    return min(found)


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

    product = _fastest(lambda: finished(entered @ weights), clock)
    copied = _fastest(lambda: finished(weights.clone()), clock)
    return Speed(
        call=_OVERHEAD.get(kind, _OVERHEAD["cuda"]),
        flops=2 * tokens * shape.width * inner / product,
        row_bytes=_writing(shape, clock),
        bandwidth=2 * weights.nbytes / copied,
        tried=False,
        beside={"saliency": 1.5},
    )


def _writing(shape: Outline, clock: Clock) -> float:
    """Bytes of vectors a second that are made into rows, checked and written."""
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

    def write(layers: int) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            Store(Path(folder)).writer(
                "activations", fingerprint="", width=shape.width, model="probe", concept="probe"
            ) as writer,
        ):
            for rows in tables[:layers]:
                writer.add(rows)

    # A file is begun and committed once, whatever is in it: that is not what a layer takes.
    few, many = _fastest(partial(write, 1), clock), _fastest(partial(write, 1 + _WRITTEN), clock)
    return _WRITTEN * 3 * count * shape.width * 4 / max(many - few, many / 10)
