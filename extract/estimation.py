"""What a run of a model would take: forwards, operations, reads of weights, memory, disk, before a weight is read.

Belongs here: the whole of an estimate, put together from the plan that the run itself would follow (`planned`), counts
of the engine on hollow layers (`hollow`), what those cost (`costs`), memory (`holding`), tables (`sizes`). How long it
takes on a machine is in `speed`. A run from nothing is meant: what a warehouse holds already costs nothing again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from extract.holding import Load, Memory, memory, weights_on_device
from extract.library import Concept
from extract.models import ModelEntry
from extract.outline import Outline, outline
from extract.planned import Choices, Plan, plans, tokenizer_of

if TYPE_CHECKING:
    from extract.costs import Work
    from extract.hollow import Passage
    from extract.sizes import Sizes
    from extract.task import Task

PREPARATION, TWIN = "preparation", "untrained twin"
TECHNIQUES = (PREPARATION, "activations", "lesions", "patches", "saliency", "answers", TWIN)
"""What a run does with a model, in the order in which it is told."""

_COUNTED_PARTS = 3
"""Of a task that is cut, sweeps of one kind that are counted; the others are as large."""


@dataclass(frozen=True)
class Estimate:
    """What a run takes.

    Attributes:
        model: its slug.
        shape: of the model.
        concepts, prompts, tokens: how many there are.
        most_prompts: of a concept.
        assumed: what could not be known, and what is taken instead, in words.
        work: by technique.
        sweeps: times that the stack is gone up, of all concepts.
        memory: of the device.
        tables: rows and bytes of each table that extraction fills.
    """

    model: str
    shape: Outline
    concepts: int
    prompts: int
    tokens: int
    most_prompts: int
    assumed: tuple[str, ...]
    work: "dict[str, Work]"
    sweeps: int
    memory: Memory
    tables: "Sizes"

    @property
    def total(self) -> "Work":
        """All techniques together."""
        from extract.costs import Work

        return sum(self.work.values(), Work())

    @property
    def weight_bytes_read(self) -> int:
        """Bytes of layers that are read, once for each time that the stack is gone through."""
        return self.total.passes * self.shape.layer_bytes

    @property
    def disk(self) -> int:
        """Bytes of all tables."""
        return sum(size for _, size in self.tables.values())


@dataclass(frozen=True)
class _Sweeps:
    """What the sweeps of one concept come to.

    Attributes:
        reading, lesions, patches: what each technique adds.
        prompts, tokens: that go through for each of them.
        count: sweeps for each of them; what rides along with another costs none.
        held, intact: tokens of streams of the largest, all and intact ones.
    """

    passages: "tuple[Passage, Passage, Passage]"
    prompts: tuple[int, int, int]
    tokens: tuple[int, int, int]
    count: tuple[int, int, int]
    held: float
    intact: float


def estimate(
    entry: ModelEntry,
    concepts: Sequence[Concept],
    choices: Choices,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    device_memory: int | None = None,
    shared: bool = True,
    shape: Outline | None = None,
) -> Estimate:
    """Estimate a run.

    Args:
        entry: the model; its folder holds a config and, best, a tokenizer.
        concepts: the library's, or some of them.
        choices: how much is measured.
        device: the sort of device, `cpu` or `cuda`: it decides how large batches are.
        dtype: what the model is run in; by default as `load_model` would choose.
        device_memory: bytes that are free there before the model is loaded; they decide into how many sweeps a concept
            is cut. By default as many as are wanted.
        shared: whether that is main memory.
        shape: the model's, if it was read already.

    Raises:
        ModelError: there is no such model, or its config or tokenizer can't be read.
    """
    from extract.batched import answers_of, preparation_of, saliency_of
    from extract.costs import Work
    from extract.extraction import TOKEN_BUDGETS, side_by_side
    from extract.sizes import added, table_sizes

    budget = choices.token_budget or TOKEN_BUDGETS[device]
    shape = shape or outline(entry, dtype)
    tokenizer, assumption = tokenizer_of(entry, concepts)
    chat = entry.chat_template and assumption is None
    chosen = list(plans(tokenizer, concepts, choices, chat=chat))
    weights = weights_on_device(shape, entry.placement, entry.quantization)
    may_take = choices.memory
    if may_take is None and device_memory is not None:
        from extract.memory import SHARE

        may_take = int(max(0, device_memory - weights) * SHARE)
    works = dict.fromkeys(TECHNIQUES, Work())
    sizes: list[Sizes] = []
    loads: list[Load] = []
    sweeps = 0
    for plan in chosen:
        found = _sweeps(plan, shape, choices, device, may_take)
        sweeps += sum(found.count)
        for name, work in zip(("activations", "lesions", "patches"), _sweep_works(found, shape), strict=True):
            works[name] += work
        saliency, saliency_tokens = saliency_of(plan, shape, choices, device)
        answers, rows, tokens = answers_of(plan, shape, choices, device)
        works["saliency"] += saliency
        works["answers"] += answers
        sizes.append(table_sizes(plan, shape, choices))
        load = _load(plan, found, shape, budget, saliency_tokens=saliency_tokens, answers=(rows, tokens))
        loads.append(replace(load, workers=side_by_side(shape.weights, device)))
    works[PREPARATION] = preparation_of(chosen, shape)
    if choices.untrained:
        for plan in plans(tokenizer, concepts, choices, chat=chat, twin=True):
            found = _sweeps(plan, shape, choices, device, may_take)
            works[TWIN] += sum(_sweep_works(found, shape), Work())
            sizes.append(table_sizes(plan, shape, choices))
    needs = [memory(load, shape, weights=weights, may_take=may_take, shared=shared) for load in loads]
    return Estimate(
        model=entry.slug,
        shape=shape,
        concepts=len(chosen),
        prompts=sum(plan.subject.prompts.num_rows for plan in chosen),
        tokens=sum(len(tokens) for plan in chosen for tokens in plan.subject.tokenized.indices),
        most_prompts=max((plan.subject.prompts.num_rows for plan in chosen), default=0),
        assumed=tuple(_assumptions(entry, assumption, choices)),
        work={name: work for name, work in works.items() if work.calls or work.passes},
        sweeps=sweeps,
        memory=max(needs, key=lambda need: need.peak),
        tables=added(iter(sizes)),
    )


def _assumptions(entry: ModelEntry, of_tokenizer: str | None, choices: Choices) -> Iterable[str]:
    if of_tokenizer:
        yield of_tokenizer
        if entry.chat_template:
            yield "Prompts are counted without the chat template, which comes with the tokenizer."
    if choices.answers:
        yield f"Answers have all of their {choices.new_tokens} tokens; those that end early cost less."


def _sweeps(plan: Plan, shape: Outline, choices: Choices, device: str, may_take: int | None) -> _Sweeps:
    from extract.extraction import TOKEN_BUDGETS, make_task
    from extract.hollow import ATTENDED, nothing, passage
    from extract.memory import Shape, cut
    from extract.task import no_pairs

    layers = len(shape.layers)
    task, _ = make_task(plan.subject, plan.wanted, seed=choices.seed)
    budget = choices.token_budget or TOKEN_BUDGETS[device]
    parts = [task]
    if may_take is not None:
        parts = cut(task, Shape(layers, shape.width * shape.itemsize), may_take)
    if len(parts) == 1:
        with_lesions = replace(task, patches=(), pairs=no_pairs())
        alone = passage(replace(with_lesions, lesions=()), layers, budget)
        lesioned = passage(with_lesions, layers, budget) if task.lesions else alone
        everything = passage(task, layers, budget) if task.patches else lesioned
        prompts, tokens = len(task.prompts), sum(map(len, task.prompts))
        return _Sweeps(
            (alone, lesioned - alone, everything - lesioned),
            (prompts, 0, 0),
            (tokens, 0, 0),
            (1 if prompts else 0, 0, 0),
            everything.held,
            float(everything.layers[0, ATTENDED]),
        )
    kinds: list[list[Task]] = [
        [part for part in parts if not part.lesions and not part.patches],
        [part for part in parts if part.lesions],
        [part for part in parts if part.patches],
    ]
    found, held, intact = [], 0.0, 0.0
    for same in kinds:
        total = nothing(layers)
        for part in same[:_COUNTED_PARTS]:
            one = passage(part, layers, budget)
            if one.held > held:
                held, intact = one.held, float(one.layers[0, ATTENDED])
            total = total + one
        found.append(total.times(len(same) / max(1, min(len(same), _COUNTED_PARTS))))
    return _Sweeps(
        (found[0], found[1], found[2]),
        _each(kinds, lambda part: len(part.prompts)),
        _each(kinds, lambda part: sum(map(len, part.prompts))),
        _each(kinds, lambda part: 1),
        held,
        intact,
    )


def _each(kinds: "list[list[Task]]", of: "Callable[[Task], int]") -> tuple[int, int, int]:
    reading, lesions, patches = (sum(map(of, same)) for same in kinds)
    return reading, lesions, patches


def _sweep_works(found: _Sweeps, shape: Outline) -> "list[Work]":
    from extract.costs import sweep_work

    each = zip(found.passages, found.prompts, found.tokens, found.count, strict=True)
    return [
        sweep_work(one, shape, forwards=prompts, passes=count, tokens=tokens) for one, prompts, tokens, count in each
    ]


def _load(
    plan: Plan,
    found: _Sweeps,
    shape: Outline,
    budget: int,
    *,
    saliency_tokens: int,
    answers: tuple[int, int],
) -> Load:
    from extract.extraction import rows_of

    lengths = [len(tokens) for tokens in plan.subject.tokenized.indices]
    lesioned = [lengths[row] for row in rows_of(plan.subject.sample, plan.subject.prompts)]
    shelved = _distinct(plan)
    mean = sum(lengths) / max(1, len(lengths))
    return Load(
        stream_tokens=found.held,
        intact_tokens=found.intact,
        shelved_tokens=int(shelved * mean),
        tokens=sum(lengths),
        most_prompts=len(lengths),
        streams=1 + len(plan.wanted.lesions) * len(shape.layers),
        lesioned=min(len(lesioned), max(1, budget // min(lesioned))) if lesioned else 0,
        longest=max(lengths, default=0),
        budget=budget,
        saliency_tokens=saliency_tokens,
        answer_rows=answers[0],
        answer_tokens=answers[1],
        workers=1,
        contributions=plan.wanted.contributions,
    )


def _distinct(plan: Plan) -> int:
    """Prompts that others take from: those that are lesioned, if a lesion takes anything, and both of each pair."""
    names: set[tuple[str, str]] = set()
    if any(lesion.kind != "identity" for lesion in plan.wanted.lesions):
        names |= {*zip(*(plan.subject.sample[name].to_pylist() for name in ("template", "term")), strict=True)}
    if plan.wanted.patches:
        for of in ("term", "corrupting_term"):
            names |= {*zip(*(plan.subject.pairs[name].to_pylist() for name in ("template", of)), strict=True)}
    return len(names)
