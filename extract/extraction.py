"""From a loaded model and one concept's prompts to the rows of the tables that a sweep fills.

The order of work is here: which prompts and pairs become the sweep's task, with how much memory and how many threads it
runs, and in which order rows are handed out. How a layer is run is in `stack` and `sweep`; where the rows are stored is
not this package's affair. Gradients and written answers are measured elsewhere, in `saliency` and `answers`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import torch

from extract.effect_rows import Found, lesion_rows, patch_count, patch_rows
from extract.interventions import Lesion, Patch, needs_parts
from extract.loading import LoadedModel
from extract.machine import Machine
from extract.memory import Shape, free_memory, halving
from extract.pairing import pair_rows, term_token
from extract.sharing import Mine, beginners, portion, share_sweep
from extract.sweep import FIRST, SITES, Vectors, sweep
from extract.task import Pairs, Task, no_pairs
from extract.tokenization import Tokenized, tokenize
from warehouse.errors import ModelError
from warehouse.tables import POSITIONS, table

EXTRACTION_VERSION = 2
"""Raised when the same model and prompts would give other numbers than before; part of every fingerprint."""

TOKEN_BUDGETS = {"cpu": 512, "cuda": 16_384}
"""Tokens of a batch, by the sort of device: on a processor small batches hold less padding and are as fast."""

_POSITIONS = tuple(sorted(POSITIONS))

_SMALL = 20_000_000
"""Weights below which a batch is faster on one thread than on several, which would wait more than they work."""

Write = Callable[[str, pa.Table], None]
"""Takes rows of a table, one layer at a time."""


@dataclass(frozen=True)
class Wanted:
    """Which tables a sweep fills, and with what.

    Attributes:
        activations, first_tokens, contributions: whether these tables are wanted.
        lesions: which lesions, of `Subject.sample`.
        patches: which patches, of `Subject.pairs`.
    """

    activations: bool = False
    first_tokens: bool = False
    contributions: bool = False
    lesions: tuple[Lesion, ...] = ()
    patches: tuple[Patch, ...] = ()

    @property
    def needs_parts(self) -> bool:
        """Whether attention and MLP have to be told apart."""
        return self.contributions or needs_parts(self.lesions, self.patches)

    @property
    def needs_all(self) -> bool:
        """Whether all prompts are swept, and not only those that are sampled."""
        return self.activations or self.contributions

    @property
    def reads(self) -> bool:
        """Whether anything of the residual stream is kept."""
        return self.activations or self.first_tokens or self.contributions


@dataclass(frozen=True)
class Subject:
    """One concept's prompts under one model's tokenizer.

    Attributes:
        prompts: rows of the table `prompts`.
        tokenized: the same as tokens.
        sample: those that are lesioned.
        pairs: rows of `pair_tokens` that are patched, none of them dropped.
    """

    prompts: pa.Table
    tokenized: Tokenized
    sample: pa.Table
    pairs: pa.Table


def split(loaded: LoadedModel, prompts: pa.Table) -> Tokenized:
    """Prompts as the model's tokens; its table holds the rows of `tokens`.

    Raises:
        ModelError: the tokenizer can't tell where a term lies, or a prompt is too long for the model.
    """
    chat = loaded.entry.chat_template
    return tokenize(loaded.tokenizer, prompts, longest=loaded.longest, chat=chat, kind=loaded.kind)


def prompts_swept(subject: Subject, wanted: Wanted, own: torch.Tensor | None = None) -> int:
    """Prompts that go through the model; of a shard, those that its own take from included."""
    task, _ = make_task(subject, wanted, seed=0)
    return len((task if own is None else portion(task, own)).prompts)


def share_out(
    subject: Subject, wanted: Wanted, machine: Machine, count: int, *, token_budget: int | None = None
) -> torch.Tensor:
    """The number of each swept prompt's worker, from 1 to `count`: [prompt], in the order of the sweep's task.

    Args:
        subject, wanted: all that is to be done.
        machine, token_budget: as the sweep's: what is shared out are its batches.
        count: workers.
    """
    task, _ = make_task(subject, wanted, seed=0)
    stack = machine.stack
    budget, whole = sweep_budget(stack.device, token_budget), stack.cache is None
    return share_sweep(task, layers=len(stack.layers), whole=whole, budget=budget, count=count)


def sweep_budget(device: torch.device, token_budget: int | None) -> int:
    """Tokens of a batch: as many as are asked for, or as suit the device."""
    return token_budget or TOKEN_BUDGETS.get(device.type, TOKEN_BUDGETS["cuda"])


def row_counts(subject: Subject, wanted: Wanted, layers: int, own: torch.Tensor | None = None) -> dict[str, int]:
    """Rows that each table gets; of a shard, from its own prompts."""
    task, sampled = make_task(subject, wanted, seed=0)
    if own is None:
        own = torch.ones(len(task.prompts), dtype=torch.bool)
    everywhere = int(own.sum()) * len(_POSITIONS)
    return {
        "activations": everywhere * (layers + 1) if wanted.activations else 0,
        "first_tokens": int(own[beginners(task)].sum()) * (layers + 1) if wanted.first_tokens else 0,
        "contributions": everywhere * layers * (len(SITES) - 1) if wanted.contributions else 0,
        "lesions": int(own[sampled].sum()) * len(wanted.lesions) * layers,
        "patches": patch_count(portion(task, own), layers),
    }


def run_sweep(
    loaded: LoadedModel,
    machine: Machine,
    subject: Subject,
    wanted: Wanted,
    write: Write,
    *,
    own: torch.Tensor | None = None,
    seed: int = 0,
    token_budget: int | None = None,
    memory: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Fill the tables that are wanted, in one sweep if its streams fit the memory.

    Args:
        loaded: the model.
        machine: the same, ready to be swept.
        subject: prompts and pairs.
        wanted: which tables.
        write: called with each table's rows, a layer at a time in ascending order.
        own: [prompt], which prompts of the sweep's task rows are handed out for, from `share_out`; by default all.
        seed: of the donors of resample lesions.
        token_budget: tokens of a batch; by default what suits the device.
        memory: bytes that streams may take; by default half of what is free.
        progress: called with the share of the work that was done since the last call.

    Raises:
        ModelError: numbers are not finite, parts are wanted that can't be told apart, or one prompt alone is too much
            for the memory.
    """
    task, sampled = make_task(subject, wanted, seed=seed)
    mine = Mine(task, own)
    if not mine.task.prompts:
        return
    whole = machine.stack.cache is None
    shape = Shape(loaded.layers, loaded.width * loaded.model.dtype.itemsize, whole=whole)
    device = machine.stack.device
    found = Found(task, loaded.layers)
    keys = key_columns(subject.prompts.filter(pa.array(mine.own.numpy()))) if wanted.needs_all else []
    read = -2

    def reading(layer: int, vectors: Vectors) -> None:
        nonlocal read
        # A sweep that starts again after it ran out of memory comes by layers that are written already.
        if layer <= read:
            return
        if wanted.activations and mine.count:
            write("activations", vector_rows("activations", layer, keys, mine.vectors(vectors, SITES[:1])))
        if wanted.first_tokens and len(mine.beginners):
            first = vectors["resid"][FIRST][mine.beginners]
            write("first_tokens", _first_token_rows(layer, subject, mine.first_tokens, first))
        if wanted.contributions and layer >= 0 and mine.count:
            write("contributions", vector_rows("contributions", layer, keys, mine.vectors(vectors, SITES[1:])))
        read = layer

    with threads(loaded) as workers:

        def run(part: Task, budget: int, share: float) -> None:
            done = partial(_scaled, progress, share)
            found.add(part, sweep(machine, part, budget=budget, workers=workers, reading=reading, progress=done))

        budget = sweep_budget(device, token_budget)
        halving(mine.task, shape, free_memory(device) if memory is None else memory, budget, run)
    kept = mine.own[sampled].numpy()
    for rows in lesion_rows(
        found, subject.sample.filter(pa.array(kept)) if len(kept) else subject.sample, sampled[kept]
    ):
        write("lesions", rows)
    if len(mine.task.pairs):
        for rows in patch_rows(found, subject.pairs.select(["template", "term", "corrupting_term"]), task):
            write("patches", rows)


def make_task(subject: Subject, wanted: Wanted, *, seed: int) -> tuple[Task, torch.Tensor]:
    """What the sweep is asked: each prompt once, whatever it is wanted for.

    Returns:
        The task, and the numbers in it of the prompts of `subject.sample`.

    Raises:
        ModelError: one of these has no answer token.
    """
    tokens = subject.tokenized.table
    sampled = rows_of(subject.sample, subject.prompts) if wanted.lesions else np.zeros(0, np.int64)
    clean, corrupted = pair_rows(subject.pairs, subject.prompts) if wanted.patches else (sampled[:0], sampled[:0])
    if wanted.needs_all:
        chosen = np.arange(subject.prompts.num_rows)
    else:
        beginners = _first_tokens(subject)[1] if wanted.first_tokens else sampled[:0]
        chosen = np.unique(np.concatenate([sampled, clean, corrupted, beginners]))
    number = np.full(subject.prompts.num_rows, -1)
    number[chosen] = np.arange(len(chosen))
    lesioned = torch.zeros(len(chosen), dtype=torch.bool)
    lesioned[torch.from_numpy(number[sampled])] = True
    _, templates = np.unique(subject.prompts["template"].to_numpy(), return_inverse=True)
    answers = tokens["answer_token"].fill_null(-1).to_numpy()
    if (answers[sampled] < 0).any():
        raise ModelError("A prompt without an answer token can't be lesioned: leave it out of the sample.")
    task = Task(
        prompts=[subject.tokenized.indices[row] for row in chosen],
        term_first=_tensor(tokens["term_first"].to_numpy()[chosen]),
        term_last=_tensor(tokens["term_last"].to_numpy()[chosen]),
        templates=_tensor(templates[chosen]),
        answers=_tensor(answers[chosen]),
        reads=wanted.reads,
        contributions=wanted.contributions,
        lesions=wanted.lesions,
        lesioned=lesioned,
        patches=wanted.patches,
        pairs=_pairs(subject, number[clean], number[corrupted]) if wanted.patches else no_pairs(),
        seed=seed,
        layout=None if subject.tokenized.layout is None else subject.tokenized.layout.rows(_tensor(chosen)),
    )
    return task, _tensor(number[sampled])


@contextmanager
def threads(loaded: LoadedModel) -> Iterator[int]:
    """Batches to run side by side: of a small model one a processor, each on one thread; of others one at a time."""
    before = torch.get_num_threads()
    weights = loaded.stands_for or sum(weights.numel() for weights in loaded.model.parameters())
    workers = side_by_side(weights, loaded.device.type)
    if weights < _SMALL:
        torch.set_num_threads(1)
    try:
        yield workers
    finally:
        torch.set_num_threads(before)


def side_by_side(weights: int, device: str) -> int:
    """Batches that go through a layer at once, of a model with so many weights on a sort of device."""
    return torch.get_num_threads() if weights < _SMALL and device == "cpu" else 1


def _scaled(progress: Callable[[float], None], share: float, done: float) -> None:
    progress(share * done)


def _pairs(subject: Subject, clean: np.ndarray, corrupted: np.ndarray) -> Pairs:
    pairs = subject.pairs
    term = term_token(pairs, subject.tokenized.table).fill_null(-1)
    answers = np.column_stack([pairs["answer_token"].to_numpy(), pairs["corrupting_answer_token"].to_numpy()])
    return Pairs(
        clean=_tensor(clean),
        corrupted=_tensor(corrupted),
        answers=_tensor(answers),
        first_difference=_tensor(pairs["first_difference"].to_numpy()),
        term=_tensor(term.to_numpy(zero_copy_only=False)),
        numbers=torch.arange(pairs.num_rows),
    )


def rows_of(some: pa.Table, prompts: pa.Table) -> np.ndarray:
    """Where some prompts stand among all, both with the columns `template` and `term`: [prompt]."""
    keys = zip(prompts["template"].to_pylist(), prompts["term"].to_pylist(), strict=True)
    places = {key: place for place, key in enumerate(keys)}
    wanted = zip(some["template"].to_pylist(), some["term"].to_pylist(), strict=True)
    return np.array([places[key] for key in wanted], dtype=np.int64)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.int64))


def _first_tokens(subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tokens that prompts begin with, ascending; the first prompt that begins so; how many do: each [token]."""
    first = subject.tokenized.table["first_token"].to_numpy()
    tokens, prompts, counts = np.unique(first, return_index=True, return_counts=True)
    return tokens, prompts, counts


def _first_token_rows(layer: int, subject: Subject, some: np.ndarray, vectors: torch.Tensor) -> pa.Table:
    """A layer's rows of `first_tokens` for some [token] of the tokens, from vectors [some token, width]."""
    tokens, _, counts = _first_tokens(subject)
    tokens, counts = tokens[some], counts[some]
    schema = table("first_tokens").schema(vectors.shape[1])
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.numpy().reshape(-1)), vectors.shape[1])
    columns = [np.full(len(tokens), layer), tokens, vector, counts]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def vector_rows(
    name: str, layer: int, keys: list[pa.ChunkedArray], sites: dict[str, dict[str, torch.Tensor]]
) -> pa.Table:
    """A layer's rows of a table of vectors: sites one after the other, in each the positions, in each the prompts."""
    vectors = np.concatenate([found[position].numpy() for found in sites.values() for position in _POSITIONS])
    count, width = vectors.shape
    columns = [pa.array(np.full(count, layer, dtype=np.int16))]
    if name == "contributions":
        columns.append(pa.array(np.repeat(list(sites), count // len(sites))))
    repeated = [pa.chunked_array(column.chunks * len(sites)) for column in keys]
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width)
    return pa.table([*columns, *repeated, vector], schema=table(name).schema(width))


def key_columns(prompts: pa.Table) -> list[pa.ChunkedArray]:
    """Position, template and term of each row of a layer: the same for all layers."""
    positions = pa.chunked_array([pa.array([position] * prompts.num_rows) for position in _POSITIONS])
    repeated = pa.concat_tables([prompts.select(["template", "term"])] * len(_POSITIONS))
    return [positions, repeated["template"], repeated["term"]]
