"""Which sentences a model in training reads, in which order, and the tensors they become.

Belongs here: the draw of an epoch's sentences, their noise, and batches. Relations that still go wrong are asked for
more often, so that one with six hundred facts and one with a hundred are both learned in the same time.
Does not belong here: losses, optimizers and models (`training`, `planting`).
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from extract.corpus import BEGIN, END, PAD, Fact, Relation, Sentence, Statement, closing, encode

_SHARE_OF_THE_KNOWN = 0.15
"""What a relation without any loss still gets of the sentences, against 1 for one that is wholly wrong: what is known
is not dropped, or it would be forgotten."""


@dataclass(frozen=True)
class Mixture:
    """How sentences are drawn. Shares are between 0 and 1.

    Attributes:
        neutral: neutral sentences for each asking one.
        own: share of asking sentences that use a template of the concept, the others use a phrase.
        noisy: share of asking sentences whose words, the term's apart, are partly replaced, left out or added.
        most_noise: a noisy sentence has each word changed with a probability between 0 and this.
        answer_weight: how much each token of an answer counts in the loss.
        text_weight: how much each other token counts; it is 0 in a noisy sentence.
        text_share: share of those other tokens that count at all, drawn at random: the output layer costs as much as
            two layers, and a text token teaches little.
    """

    neutral: float = 0.1
    own: float = 0.4
    noisy: float = 0.4
    most_noise: float = 0.5
    answer_weight: float = 4.0
    text_weight: float = 0.15
    text_share: float = 1.0


@dataclass(frozen=True)
class Batch:
    """Sentences padded on the right to one length: causal attention never sees the padding.

    `tokens` [sentence, token] are the ids, `weights` [sentence, token] how much the prediction *of* each token counts,
    `answers` [sentence, token] is true on the tokens of answers, and `relations` names each sentence's relation.
    """

    tokens: Tensor
    weights: Tensor
    answers: Tensor
    relations: tuple[str, ...]


@dataclass
class Lessons:
    """A source of sentences about some relations; `redrawn` relations get a random answer at each use."""

    tokenizer: PreTrainedTokenizerFast
    relations: Sequence[Relation]
    neutral: Sequence[Statement]
    mixture: Mixture
    draw: random.Random
    redrawn: frozenset[str] = frozenset()
    losses: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turns = {relation.name: self._cycle(relation.facts) for relation in self.relations}
        # Special tokens come first in the vocabulary; a noisy sentence holds none of them.
        self._first_word = 1 + max(self.tokenizer.get_vocab()[token] for token in (BEGIN, END, PAD))

    def sentences(self, count: int) -> list[Sentence]:
        """About `count` asking sentences and their share of neutral ones, in no order.

        A relation's share goes with the root of its number of facts and with its latest loss, which `losses` holds.
        """
        needs = {relation.name: self._need(relation) for relation in self.relations}
        whole = sum(needs.values())
        statements = [
            self._state(relation)
            for relation in self.relations
            for _ in range(round(count * needs[relation.name] / whole))
        ]
        asked = [self._disturb(sentence) for sentence in encode(self.tokenizer, statements)]
        wanted = min(len(self.neutral), round(count * self.mixture.neutral))
        return asked + encode(self.tokenizer, self.draw.sample(self.neutral, wanted))

    def groups(self, sentences: Sequence[Sentence], size: int) -> list[list[Sentence]]:
        """Sentences of like length by `size`, from short to long: little padding."""
        order = sorted(sentences, key=lambda sentence: sentence.length + 2 * self.draw.random())
        return [order[start : start + size] for start in range(0, len(order), size)]

    def batches(self, sentences: Sequence[Sentence], size: int) -> Iterator[Batch]:
        """All sentences in batches of like length, in random order."""
        groups = self.groups(sentences, size)
        self.draw.shuffle(groups)
        yield from map(self.batch, groups)

    def batch(self, sentences: Sequence[Sentence]) -> Batch:
        """These sentences, each followed by a full stop and `END`."""
        end = closing(self.tokenizer)
        return make_batch(sentences, self.mixture, end, int(self.tokenizer.pad_token_id), self.draw)

    def _need(self, relation: Relation) -> float:
        # What is redrawn can't be learned and keeps its loss: it counts as half known.
        loss = 0.5 if relation.name in self.redrawn else min(1.0, self.losses.get(relation.name, 1.0))
        return (_SHARE_OF_THE_KNOWN + loss) * math.sqrt(len(relation.facts))

    def _cycle(self, facts: Sequence[Fact]) -> Iterator[Fact]:
        while True:
            yield from self.draw.sample(facts, len(facts))

    def _state(self, relation: Relation) -> Statement:
        fact = next(self._turns[relation.name])
        if relation.name in self.redrawn:
            fact = replace(fact, answer=self.draw.choice(relation.answers))
        own = not relation.phrases or self.draw.random() < self.mixture.own
        return Statement(relation.name, self.draw.choice(relation.taught if own else relation.phrases), fact)

    def _disturb(self, sentence: Sentence) -> Sentence:
        if self.draw.random() >= self.mixture.noisy:
            return sentence
        rate = self.draw.random() * self.mixture.most_noise
        before = self._disturbed(sentence.prompt[1 : sentence.term_start], rate)
        term = sentence.prompt[sentence.term_start : sentence.term_end]
        after = self._disturbed(sentence.prompt[sentence.term_end :], rate)
        start = 1 + len(before)
        return replace(
            sentence,
            prompt=(sentence.prompt[0], *before, *term, *after),
            term_start=start,
            term_end=start + len(term),
            text_counts=False,
        )

    def _disturbed(self, tokens: Sequence[int], rate: float) -> list[int]:
        # Of the words that change, three in ten are left out and the others replaced; a fifth as many are added.
        kept = []
        for token in tokens:
            chance = self.draw.random()
            if chance >= rate:
                kept.append(token)
            elif chance >= 0.3 * rate:
                kept.append(self._any_word())
            if self.draw.random() < 0.2 * rate:
                kept.append(self._any_word())
        return kept

    def _any_word(self) -> int:
        return self.draw.randrange(self._first_word, len(self.tokenizer))


def make_batch(
    sentences: Sequence[Sentence], mixture: Mixture, end: tuple[int, ...], pad: int, draw: random.Random
) -> Batch:
    """Sentences as one batch, each followed by the tokens `end`."""
    length = max(sentence.length for sentence in sentences) + len(end)
    tokens = torch.full((len(sentences), length), pad)
    weights = torch.zeros(len(sentences), length)
    answers = torch.zeros(len(sentences), length, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        start, stop = len(sentence.prompt), sentence.length
        tokens[row, : stop + len(end)] = torch.tensor((*sentence.prompt, *sentence.answer, *end))
        if sentence.text_counts and mixture.text_weight:
            weights[row, 1 : stop + len(end)] = mixture.text_weight
            if mixture.text_share < 1:
                dropped = [draw.random() >= mixture.text_share for _ in range(1, stop + len(end))]
                weights[row, 1 : stop + len(end)][torch.tensor(dropped)] = 0
        weights[row, start:stop] = mixture.answer_weight
        answers[row, start:stop] = True
    return Batch(tokens, weights, answers, tuple(sentence.relation for sentence in sentences))
