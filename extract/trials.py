"""Trials of the engine itself: two stand-ins of unlike depth take a few of a run's own prompts up their layers.

What a batch takes before and after the layers (it is made, embedded, read, its answers are told) is the same whatever
the depth, and would be counted as many layers' if one shallow stand-in told it. So each technique is tried at two
depths. Of lesions and patches there is a third trial whose batches are as full as those of a long run: it tells apart
what a call takes and what an operation takes. The other trials have batches as full as the run's. What follows from the
seconds is in `speed`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from extract.answers import TOKEN_BUDGETS as OF_ANSWERS
from extract.answers import extract_responses
from extract.batched import answers_of, saliency_of
from extract.costs import Work, sweep_work
from extract.extraction import Wanted, make_task, run_sweep, sweep_budget, threads
from extract.hollow import passage
from extract.library import Concept
from extract.loading import LoadedModel
from extract.machine import Machine, make_machine
from extract.models import ModelEntry
from extract.outline import Outline
from extract.planned import Choices, Plan, plans, tokenizer_of
from extract.saliency import extract_saliency
from extract.sizes import rows_in
from extract.speed import EFFECTS, Tried
from extract.standin import LARGEST_VOCABULARY, of_first_templates, of_one_template, stand_in, within
from warehouse.errors import InputError

SHALLOW, DEEP = 2, 8
"""Layers of the two stand-ins; of the deeper one fewer where the model has fewer, or they are too large."""

_FEW, _MANY, _READ = 6, 36, 150
"""Prompts that are lesioned and patched, in two trials; that are read, at least."""

_LEAST_ROUNDS, _MOST_ROUNDS, _ENOUGH_S = 2, 20, 6.0
"""Rounds of all trials, and seconds of them after which there are no more."""

_EVERY = 1_000_000
"""Prompts of a sample that takes all there are."""

Clock = Callable[[], float]
"""Tells seconds, from some moment on."""


@dataclass(frozen=True)
class Trial:
    """Something to be timed.

    Attributes:
        technique: whose.
        work: what it is counted as.
        run: does it once.
    """

    technique: str
    work: Work
    run: Callable[[], None]


@dataclass(frozen=True)
class _StandIn:
    loaded: LoadedModel
    machine: Machine
    shape: Outline
    choices: Choices


def tried(
    entry: ModelEntry,
    shape: Outline,
    concepts: Sequence[Concept],
    device: str,
    *,
    choices: Choices,
    clock: Clock,
    largest: int,
) -> list[Tried]:
    """Try the engine.

    Args:
        entry: the model; only its config and tokenizer are read.
        shape: of the model.
        concepts: whose prompts are taken.
        device: where the model would run.
        choices: how much the run measures; its batches are made so, and hold as many answers as the run's.
        clock: whose seconds are told.
        largest: weights of a stand-in, at most; the shallow one is not asked.

    Raises:
        InputError: no concept has a prompt that asks, or the tokenizer is none of ours.
    """
    asking = [concept for concept in concepts if concept.asked]
    if not asking:
        raise InputError("No concept asks for anything: nothing can be lesioned to see how long it takes.")
    concept = min(asking, key=lambda each: len(each.terms) * len(each.templates))
    depths = sorted({min(SHALLOW, len(shape.layers)), deepest(shape, largest)})
    plain = Choices()
    choices = replace(choices, lesions=plain.lesions, patches=plain.patches, contributions=False, held_out=0)
    trials = list(_trials(entry, shape, concept, depths, device=device, choices=choices))
    seconds = in_turns([trial.run for trial in trials], clock)
    return [Tried(trial.technique, trial.work, each) for trial, each in zip(trials, seconds, strict=True)]


def standing_weights(shape: Outline, layers: int) -> int:
    """Weights of a stand-in of so many layers."""
    return sum(layer.weights for layer in shape.layers[:layers]) + 2 * shape.width * min(
        shape.vocabulary, LARGEST_VOCABULARY
    )


def deepest(shape: Outline, largest: int) -> int:
    """Layers of the deeper stand-in: as many as may be, up to `DEEP`, with no more than so many weights."""
    depths = range(min(SHALLOW, len(shape.layers)), min(DEEP, len(shape.layers)) + 1)
    return max((each for each in depths if standing_weights(shape, each) <= largest), default=depths[0])


def in_turns(runs: Sequence[Callable[[], None]], clock: Clock) -> list[float]:
    """Seconds of each, the median of rounds in which all take their turn, after one that warms up.

    In turns, so that what else the machine does, which can double a short trial, spoils some rounds of each and not all
    rounds of one. The median, since a run is not made of the faster rounds.
    """
    for run in runs:
        run()
    found: list[list[float]] = [[] for _ in runs]
    began = clock()
    for rounds in range(_MOST_ROUNDS):
        if rounds >= _LEAST_ROUNDS and clock() - began >= _ENOUGH_S:
            break
        for run, seconds in zip(runs, found, strict=True):
            started = clock()
            run()
            seconds.append(clock() - started)
    return [median(seconds) for seconds in found]


def _trials(
    entry: ModelEntry, shape: Outline, concept: Concept, depths: Sequence[int], *, device: str, choices: Choices
) -> Iterable[Trial]:
    tokenizer, _ = tokenizer_of(entry, [concept])
    weights = shape.weights
    (every,) = plans(tokenizer, [concept], replace(choices, sample=_EVERY))
    for depth in depths:
        few = replace(shape, layers=shape.layers[:depth])
        model = stand_in(entry, few, device)
        few = replace(few, vocabulary=int(model.config.get_text_config(decoder=True).vocab_size))
        standing = _StandIn(
            LoadedModel(entry, model, tokenizer, stands_for=weights), make_machine(model, parts=False), few, choices
        )
        kind = standing.loaded.device.type

        def plan_of(sample: int, answers: int = 0, vocabulary: int = few.vocabulary) -> Plan:
            (plan,) = plans(tokenizer, [concept], replace(choices, sample=sample, answers=answers))
            return within(plan, vocabulary)

        few_prompts, many = plan_of(_FEW), plan_of(_MANY)
        yield _swept(EFFECTS, standing, few_prompts, _effects(few_prompts))
        if depth == depths[-1]:
            full = of_one_template(within(every, few.vocabulary), _MANY)
            yield _swept(EFFECTS, standing, full, _effects(full))
        read = of_first_templates(many, _READ)
        yield _swept("activations", standing, read, Wanted(activations=True, first_tokens=True))
        gradients, _ = saliency_of(many, few, choices, kind)
        yield Trial("saliency", gradients, partial(_gradients, standing, many))
        if choices.answers:
            asked = plan_of(_FEW, _answered(every, len(shape.layers), depth, choices, kind))
            answers, *_ = answers_of(asked, few, choices, kind)
            yield Trial("answers", answers, partial(_answers, standing, asked))


def _answered(plan: Plan, layers: int, depth: int, choices: Choices, kind: str) -> int:
    """Prompts that make as many streams of a stand-in as the run makes of a concept, up to a full batch."""
    streams = choices.answers * (1 + layers) / (1 + depth)
    longest = median(map(len, plan.subject.tokenized.indices)) + choices.new_tokens
    full = (choices.token_budget or OF_ANSWERS[kind]) // (1 + depth) // longest
    return max(1, int(min(round(streams), full)))


def _effects(plan: Plan) -> Wanted:
    return replace(plan.wanted, activations=False, first_tokens=False)


def _swept(technique: str, standing: _StandIn, plan: Plan, wanted: Wanted) -> Trial:
    """A sweep, and what it is counted as."""
    machine, shape, budget = standing.machine, standing.shape, standing.choices.token_budget
    task, _ = make_task(plan.subject, wanted, seed=0)
    found = passage(task, len(shape.layers), sweep_budget(machine.stack.device, budget))
    tokens = sum(map(len, task.prompts)) if task.reads else 0
    work = sweep_work(found, shape, forwards=0, passes=1, tokens=tokens)

    def run() -> None:
        run_sweep(standing.loaded, machine, plan.subject, wanted, lambda name, rows: None, token_budget=budget)

    return Trial(technique, work, run)


def _gradients(standing: _StandIn, plan: Plan) -> None:
    tokenized, budget = plan.subject.tokenized.take(rows_in(plan)), standing.choices.token_budget
    with threads(standing.loaded):
        for _ in extract_saliency(
            standing.loaded, plan.subject.sample, tokenized, plan.pair_tokens, token_budget=budget
        ):
            pass


def _answers(standing: _StandIn, plan: Plan) -> None:
    choices = standing.choices
    with threads(standing.loaded):
        for _ in extract_responses(
            standing.loaded, plan.answered, new_tokens=choices.new_tokens, token_budget=choices.token_budget
        ):
            pass
