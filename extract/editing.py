"""Edits: a model is made to answer otherwise by training some of its layers, and what else that did to it is measured.

Belongs here: the two tasks (teach changed facts, unlearn a relation), the training of the chosen layers with all else
frozen, the choice among learning rates, and what is measured before and after. Which layers are tried, and what comes
of it over models and relations, is not said here. Where sentences come from is in `lessons`, how layers are exchanged
in `grafting`.
"""

import copy
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import Module, functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from extract.corpus import (
    NEUTRAL,
    Fact,
    Relation,
    Sentence,
    Statement,
    encode,
    held_out_statements,
    library_relations,
    neutral_statements,
    taught_statements,
)
from extract.grafting import reverted
from extract.lessons import Batch, Lessons, Mixture, make_batch
from extract.library import Library
from extract.phrases import read_phrases
from extract.training import final_states, recall
from warehouse.errors import InputError

TEACH, UNLEARN = "teach", "unlearn"

_NEUTRAL_BATCH = 64
_MIXTURE = Mixture(noisy=0.0, neutral=0.5, answer_weight=8.0, text_weight=1.0, text_share=0.2)
_READ = Mixture(text_weight=1.0)


@dataclass(frozen=True)
class Task:
    """What a model shall answer otherwise.

    Attributes:
        name: `teach` or `unlearn`.
        target: the facts that are trained on: with their new answers to teach, with the right ones to unlearn.
        same: the other facts of the relation, which shall stay; None where the whole relation goes.
        others: all other relations, which shall stay.
    """

    name: str
    target: Relation
    same: Relation | None
    others: tuple[Relation, ...]


@dataclass(frozen=True)
class Recipe:
    """How an edit is trained, the same for all layers that are tried.

    Attributes:
        steps: how many, with AdamW along a cosine to 0.
        batch, kept: sentences of the task in a step, and of what shall stay.
        rates: learning rates that are tried; the best one on taught templates counts.
        steadiness: weight of the divergence from the model before, on what shall stay.
        facts: how many facts of the relation are changed to teach.
        most, few: prompts that recall is measured on: of the relation, and of each other one.
        neutral: neutral sentences that the drift is measured on.
    """

    steps: int = 40
    batch: int = 16
    kept: int = 16
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    steadiness: float = 2.0
    facts: int = 12
    most: int = 96
    few: int = 32
    neutral: int = 96


RECIPE = Recipe()


@dataclass(frozen=True)
class Measured:
    """What a model answers, each a share of prompts.

    Attributes:
        target: recall of the task's target answers.
        same: recall of the relation's other facts; None where there are none.
        others: recall of each other relation, by its name.
    """

    target: float
    same: float | None
    others: Mapping[str, float]

    @property
    def mean_of_others(self) -> float:
        """Mean recall of the other relations; 0 where there are none."""
        return sum(self.others.values()) / len(self.others) if self.others else 0.0

    def same_lost(self, before: "Measured") -> float | None:
        """By how much recall of the relation's other facts fell."""
        return None if self.same is None or before.same is None else before.same - self.same

    def others_lost(self, before: "Measured") -> float:
        """By how much recall of the other relations fell, a mean over them; 0 where there are none."""
        return before.mean_of_others - self.mean_of_others


@dataclass(frozen=True)
class Outcome:
    """What came of an edit, on held-out templates unless said otherwise.

    Attributes:
        rate: the learning rate that did best on taught templates.
        before, after: the model's answers.
        after_taught: recall of the target on the taught templates, after.
        kl_neutral: KL(before || after) of the next token on neutral sentences, a mean over their tokens, in nats.
    """

    rate: float
    before: Measured
    after: Measured
    after_taught: float
    kl_neutral: float


def main_relations(library: Library) -> tuple[Relation, ...]:
    """The relations of a library over main terms alone: a control spelling would keep what its main term unlearns.

    Raises:
        ConceptError: the phrases can't be read.
    """
    found = []
    for relation in library_relations(library, read_phrases()):
        main = {term.spelling for term in library.concept(relation.concept).terms if term.is_main}
        found.append(replace(relation, facts=tuple(fact for fact in relation.facts if fact.spelling in main)))
    return tuple(found)


def held_out_neutral(library: Library) -> tuple[Statement, ...]:
    """Every term in every neutral template that is held out."""
    return tuple(
        Statement(NEUTRAL, template.text, Fact(term.spelling, ""))
        for concept in library.concepts
        for template in concept.templates
        if not template.is_asking and template.held_out
        for term in concept.terms
    )


def teach(relation: Relation, others: Sequence[Relation], facts: int, seed: int) -> Task:
    """Some facts of a relation get another of its answers, drawn at random.

    Raises:
        InputError: the relation has not that many facts beside others to keep, or only one answer.
    """
    if len(relation.facts) <= facts or len(relation.answers) < 2:
        raise InputError(
            f"{relation.name} has {len(relation.facts)} facts and {len(relation.answers)} answers: to change {facts} "
            "facts takes more facts than these, and two answers. Change fewer."
        )
    draw = random.Random(f"{seed} {relation.name}")
    changed = set(draw.sample(range(len(relation.facts)), facts))
    target = tuple(
        replace(fact, answer=draw.choice([answer for answer in relation.answers if answer != fact.answer]))
        for place, fact in enumerate(relation.facts)
        if place in changed
    )
    same = tuple(fact for place, fact in enumerate(relation.facts) if place not in changed)
    return Task(TEACH, replace(relation, facts=target), replace(relation, facts=same), tuple(others))


def unlearn(relation: Relation, others: Sequence[Relation]) -> Task:
    """All facts of a relation shall be forgotten: each is trained on with any of the answers, drawn anew at each use.

    What the model then knows best is all answers alike, its recall chance.
    """
    return Task(UNLEARN, relation, None, tuple(others))


@dataclass(frozen=True)
class _Step:
    """A batch of sentences: the first `learned` are the task's, the rest shall stay.

    Attributes:
        batch: all of them.
        learned: how many are the task's.
        was: log-probabilities of the model before, at the tokens of the rest that count, [token, vocabulary].
    """

    batch: Batch
    learned: int
    was: Tensor


@dataclass(frozen=True)
class _Probes:
    """Prompts that recall is measured on."""

    target: list[Sentence]
    same: list[Sentence]
    others: Mapping[str, list[Sentence]]


@dataclass
class Editor:
    """Tries sets of layers for one task on one model, all by the same sentences in the same order.

    The model is as it was before after each call.

    Attributes:
        model: a causal LM with `model.model.layers`, in float32.
        library: where neutral sentences come from.
        task: from `teach` or `unlearn`.
        seed: of the sentences, their order, and the prompts that are measured on.
    """

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    library: Library
    task: Task
    seed: int
    recipe: Recipe = RECIPE
    _taught: _Probes = field(init=False)
    _held_out: _Probes = field(init=False)

    def __post_init__(self) -> None:
        self._taught, self._held_out = self._probes(held_out=False), self._probes(held_out=True)

    @cached_property
    def before(self) -> Measured:
        """What the model answers on held-out templates."""
        return self._measure(self._held_out)

    def edit(self, layers: Sequence[int]) -> Outcome:
        """Train the matrices of some layers at each rate of the recipe, and measure what the best one did.

        The best rate has the largest gain less losses on taught templates: the rise of the target's recall, or its
        fall where it shall be forgotten, less the mean of what the relation's other facts and the other relations lost.

        Args:
            layers: whose matrices are trained; all else is frozen.

        Raises:
            InputError: no layers, or the model has no such layer.
        """
        count = len(self.model.model.layers)
        if not layers or not set(layers) <= set(range(count)):
            raise InputError(f"Layers {list(layers)} can't be edited: the model has the layers 0 to {count - 1}.")
        best: tuple[float, float, dict[int, Module]] | None = None
        for rate in self.recipe.rates:
            trained = {index: copy.deepcopy(self.model.model.layers[index]) for index in layers}
            with reverted(self.model, trained, layers):
                self._train(list(trained.values()), rate)
                score = self._score(self._measure(self._taught))
            if best is None or score > best[0]:
                best = score, rate, trained
        assert best is not None
        _, rate, trained = best
        before, neutral = self.before, self._neutral
        with reverted(self.model, trained, layers):
            return Outcome(
                rate,
                before,
                self._measure(self._held_out),
                recall(self.model, self._taught.target),
                _divergence(neutral, self._read()),
            )

    def _score(self, now: Measured) -> float:
        was = self._before_taught
        gain = now.target - was.target
        lost = [loss for loss in (now.same_lost(was), now.others_lost(was)) if loss is not None]
        return (gain if self.task.name == TEACH else -gain) - sum(lost) / len(lost)

    def _train(self, layers: Sequence[Module], rate: float) -> None:
        """Train layers of the model in place."""
        self.model.requires_grad_(False)
        matrices = [weights for layer in layers for weights in layer.parameters() if weights.ndim == 2]
        for weights in matrices:
            weights.requires_grad_(True)
        optimizer = torch.optim.AdamW(matrices, lr=rate, weight_decay=0.0)
        for number, step in enumerate(self._steps):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * number / len(self._steps)))
            learning, drift = self._losses(step)
            (learning + self.recipe.steadiness * drift).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(matrices, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        self.model.requires_grad_(False)

    def _losses(self, step: _Step) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the answers to learn, and the divergence from the model before on what shall stay."""
        batch, own, rest = step.batch, slice(None, step.learned), slice(step.learned, None)
        states = final_states(self.model, batch)
        answers = batch.answers[own, 1:]
        learning = functional.cross_entropy(self.model.lm_head(states[own][answers]), batch.tokens[own, 1:][answers])
        weights = batch.weights[rest, 1:]
        now = self.model.lm_head(states[rest][weights > 0]).log_softmax(-1)
        drift = (step.was.exp() * (step.was - now)).sum(-1) @ weights[weights > 0] / weights.sum()
        return learning, drift

    @cached_property
    def _steps(self) -> list[_Step]:
        how, task, draw = self.recipe, self.task, random.Random(self.seed)
        redrawn = frozenset([task.target.name] if task.name == UNLEARN else [])
        own = Lessons(self.tokenizer, [task.target], (), _MIXTURE, draw, redrawn)
        stays = [*task.others, *([task.same] if task.same else [])]
        others = Lessons(self.tokenizer, stays, neutral_statements(self.library), _MIXTURE, draw)
        learned = own.groups(own.sentences(how.steps * how.batch), how.batch)[: how.steps]
        kept = others.groups(others.sentences(how.steps * how.kept), how.kept)
        draw.shuffle(learned)
        draw.shuffle(kept)
        steps = []
        for wanted, stayed in zip(learned, kept, strict=False):
            batch, rest = others.batch([*wanted, *stayed]), slice(len(wanted), None)
            with torch.no_grad():
                states = final_states(self.model, batch)[rest][batch.weights[rest, 1:] > 0]
                steps.append(_Step(batch, len(wanted), self.model.lm_head(states).log_softmax(-1)))
        return steps

    @cached_property
    def _before_taught(self) -> Measured:
        return self._measure(self._taught)

    @cached_property
    def _neutral(self) -> list[Tensor]:
        return self._read()

    def _probes(self, *, held_out: bool) -> _Probes:
        ask = held_out_statements if held_out else taught_statements

        def some(relation: Relation, most: int) -> list[Sentence]:
            statements, draw = ask(relation), random.Random(f"{self.seed} {relation.name} {held_out}")
            return encode(self.tokenizer, draw.sample(statements, min(most, len(statements))))

        task, how = self.task, self.recipe
        same = some(task.same, how.most) if task.same else []
        return _Probes(some(task.target, how.most), same, {one.name: some(one, how.few) for one in task.others})

    def _measure(self, probes: _Probes) -> Measured:
        others = {name: recall(self.model, sentences) for name, sentences in probes.others.items()}
        same = recall(self.model, probes.same) if probes.same else None
        return Measured(recall(self.model, probes.target), same, others)

    @torch.no_grad()
    def _read(self) -> list[Tensor]:
        """Log-probabilities of what comes next in held-out neutral sentences, batch by batch, [token, vocabulary]."""
        statements = held_out_neutral(self.library)
        draw = random.Random(self.seed)
        sentences = encode(self.tokenizer, draw.sample(statements, min(self.recipe.neutral, len(statements))))
        sentences.sort(key=lambda sentence: sentence.length)
        batches = [sentences[start : start + _NEUTRAL_BATCH] for start in range(0, len(sentences), _NEUTRAL_BATCH)]
        return [self._chances(make_batch(batch, _READ, (), 0, draw)) for batch in batches]

    def _chances(self, batch: Batch) -> Tensor:
        """Log-probabilities of the tokens that count in a batch, [token, vocabulary]."""
        states = final_states(self.model, batch)[batch.weights[:, 1:] > 0]
        chances: Tensor = self.model.lm_head(states).log_softmax(-1)
        return chances


def _divergence(was: Sequence[Tensor], now: Sequence[Tensor]) -> float:
    """Mean KL over tokens, in nats, of log-probabilities [token, vocabulary]."""
    summed = sum(float((before.exp() * (before - after)).sum()) for before, after in zip(was, now, strict=True))
    return summed / sum(len(before) for before in was)
