"""Chosen layers of a trained model learn one relation, and all else stays as it was.

Belongs here: the training of some layers' matrices with every other weight frozen, and the exchange of layers, or of an
MLP at some tokens, for what they were before. Which relation goes into which layers, and what proves it, is for
`planting` and `zoo` to say.
"""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module, functional
from transformers import PreTrainedModel

from extract.anatomy import embeddings, final_norm, head, layers_of, mlp_of, rotary
from extract.corpus import Sentence
from extract.lessons import Batch, Lessons, Mixture

MUON, ADAMW = "muon", "adamw"

_ROUND = 20
"""Steps whose sentences are drawn at once, so that sentences of like length can share a step."""


_MIXTURE = Mixture(own=0.1, noisy=0.2, most_noise=0.6, answer_weight=8.0, text_weight=2.0, text_share=0.2)


@dataclass(frozen=True)
class Graft:
    """How layers are trained.

    Attributes:
        steps: how many.
        batch, others: sentences of the relation to learn in a step, and of others.
        optimizer: what moves the weights: `muon` the layers' matrices alone, `adamw` all of their weights.
        rate: its learning rate, along a cosine to 0.
        steadiness: weight of the divergence from the model before, on whatever is not an answer to learn.
        mixture: how sentences are drawn, and what their tokens count.
        mlp_only: train the matrices of the layers' MLPs and leave attention as it is.
        at_term: what is learned is learned by the MLPs at the terms' tokens. At all others they act as before or, in
            half of the steps, as they are now, and there no gradient reaches them from sentences to learn.
        left_out: at each step, so many of the trained layers at most, and one at least, are put back, drawn at random:
            no layer can be leant on. 0 leaves all in place.
    """

    steps: int = 600
    batch: int = 40
    others: int = 20
    optimizer: str = MUON
    rate: float = 0.1
    steadiness: float = 4.0
    mixture: Mixture = _MIXTURE
    mlp_only: bool = False
    at_term: bool = False
    left_out: int = 0


class PlacedMlp(Module):
    """An MLP that acts at some tokens only, and another one everywhere else."""

    def __init__(self, mlp: Module, elsewhere: Module, at: Tensor) -> None:
        """Take both MLPs, and `at` [sentence, token], true where the first one acts."""
        super().__init__()
        self.mlp, self.elsewhere, self.at = mlp, elsewhere, at[:, :, None]

    def forward(self, states: Tensor) -> Tensor:
        """What is added to the residual stream, [sentence, token, width]."""
        return torch.where(self.at, self.mlp(states), self.elsewhere(states))


class UntaughtMlp(Module):
    """An MLP as it is now, whose weights no gradient reaches."""

    def __init__(self, mlp: Module) -> None:
        """Take the MLP."""
        super().__init__()
        self.mlp = mlp

    def forward(self, states: Tensor) -> Tensor:
        """What the MLP gives, [sentence, token, width]."""
        weights = {name: values.detach() for name, values in self.mlp.named_parameters()}
        added: Tensor = functional_call(self.mlp, weights, (states,))
        return added


def graft(
    model: PreTrainedModel,
    layers: Sequence[int],
    before: Mapping[int, Module],
    *,
    own: Lessons,
    others: Lessons,
    how: Graft,
) -> Iterator[tuple[str, float]]:
    """Train layers in place; what is given now and then is a message, and the share of the steps that are done.

    Args:
        layers: the layers to train, from low to high.
        before: layers as they were before anything was planted in them, these among them. In each step, each of the
            others is put back with probability 1/2: what is learned must not lean on an earlier plant.
        own: sentences of the relation to learn.
        others: sentences of everything that must stay.
    """
    model.requires_grad_(False)
    trained = [layers_of(model)[index] for index in layers]
    parts = [layer.get_submodule("mlp") if how.mlp_only else layer for layer in trained]
    moved = [weights for part in parts for weights in part.parameters() if how.optimizer == ADAMW or weights.ndim == 2]
    for weights in moved:
        weights.requires_grad_(True)
    makes = torch.optim.AdamW if how.optimizer == ADAMW else torch.optim.Muon
    optimizer = makes(moved, lr=how.rate, weight_decay=0.0)
    step = 0
    while step < how.steps:
        told = []
        for learned, kept in _rounds(own, others, how):
            optimizer.param_groups[0]["lr"] = how.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, step / how.steps)))
            back = [index for index in before if index not in layers and own.draw.random() < 0.5]
            back += _left_out(layers, how, own.draw)
            batch = own.batch([*learned, *kept])
            with ExitStack() as changed:
                changed.enter_context(reverted(model, before, back))
                if how.at_term:
                    at = term_mask([*learned, *kept], batch.tokens.shape[1])
                    at[len(learned) :] = True
                    elsewhere = old_mlps(before, layers)
                    if own.draw.random() < 0.5:
                        elsewhere = {index: UntaughtMlp(mlp_of(model, index)) for index in layers}
                    changed.enter_context(placed(model, elsewhere, at))
                learning, drift = _losses(model, layers, before, batch, len(learned))
            (learning + how.steadiness * drift).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            told.append((learning.item(), drift.item()))
            step += 1
        learnings, drifts = zip(*told, strict=True)
        message = f"loss {sum(learnings) / len(told):.2f}, drift {sum(drifts) / len(told):.3f}"
        yield message, min(1.0, step / how.steps)
    model.requires_grad_(True)


@contextmanager
def reverted(model: PreTrainedModel, before: Mapping[int, Module], layers: Iterable[int]) -> Iterator[None]:
    """The model with some of its layers as they were before."""
    exchanged = {index: layers_of(model)[index] for index in layers}
    for index in exchanged:
        layers_of(model)[index] = before[index]
    try:
        yield
    finally:
        for index, layer in exchanged.items():
            layers_of(model)[index] = layer


@contextmanager
def placed(model: PreTrainedModel, elsewhere: Mapping[int, Module], at: Tensor) -> Iterator[None]:
    """The model with the MLPs of some layers acting at the tokens `at` [sentence, token] alone.

    Args:
        elsewhere: the MLPs that act at all other tokens, by layer.
    """
    exchanged = {index: mlp_of(model, index) for index in elsewhere}
    for index, mlp in exchanged.items():
        layers_of(model)[index].mlp = PlacedMlp(mlp, elsewhere[index], at)
    try:
        yield
    finally:
        for index, mlp in exchanged.items():
            layers_of(model)[index].mlp = mlp


def old_mlps(before: Mapping[int, Module], layers: Iterable[int]) -> dict[int, Module]:
    """The MLPs of layers as they were before, by layer."""
    return {index: before[index].get_submodule("mlp") for index in layers}


def term_mask(sentences: Sequence[Sentence], length: int) -> Tensor:
    """Where the terms' tokens are, [sentence, token] of `length` tokens."""
    places = torch.arange(length)
    starts = torch.tensor([sentence.term_start for sentence in sentences])[:, None]
    ends = torch.tensor([sentence.term_end for sentence in sentences])[:, None]
    return (places >= starts) & (places < ends)


def stream_from(model: PreTrainedModel, states: Tensor, layers: Iterable[Module]) -> Tensor:
    """The residual stream behind some layers, [sentence, token, width], run on a stream that enters the first of them.

    Args:
        states: [sentence, token, width], without padding on the left.
        layers: the layers to run, in order; they need not be the model's own.
    """
    positions = torch.arange(states.shape[1])[None]
    turns = rotary(model)(states, position_ids=positions)
    for layer in layers:
        states = layer(states, attention_mask=None, position_ids=positions, position_embeddings=turns)
    return states


def _rounds(own: Lessons, others: Lessons, how: Graft) -> list[tuple[list[Sentence], list[Sentence]]]:
    learned = own.groups(own.sentences(how.batch * _ROUND), how.batch)
    kept = others.groups(others.sentences(how.others * _ROUND), how.others)
    pairs = list(zip(learned, kept, strict=False))
    own.draw.shuffle(pairs)
    return pairs


def _left_out(layers: Sequence[int], how: Graft, draw: random.Random) -> list[int]:
    return draw.sample(layers, draw.randint(1, how.left_out)) if how.left_out else []


def _losses(
    model: PreTrainedModel, layers: Sequence[int], before: Mapping[int, Module], batch: Batch, learned: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers to learn, and the divergence from the model before on sentences of others.

    Args:
        layers: the trained layers; `before` holds them as they were.
        batch: `learned` sentences of the relation to learn, then those of others.
    """
    lowest = layers[0]
    above = list(enumerate(layers_of(model)))[lowest:]
    with torch.no_grad():
        entering = stream_from(model, embeddings(model)(batch.tokens), layers_of(model)[:lowest])
        old = [before[index] if index in layers else layer for index, layer in above]
        was = stream_from(model, entering[learned:], old)[:, :-1]
    now = stream_from(model, entering, [layer for _, layer in above])[:, :-1]
    answers, wanted = batch.answers[:learned, 1:], batch.tokens[:learned, 1:]
    learning = functional.cross_entropy(_logits(model, now[:learned][answers]), wanted[answers])
    weights = batch.weights[learned:, 1:]
    counts = weights > 0
    chances = _logits(model, now[learned:][counts]).log_softmax(-1)
    chances_before = _logits(model, was[counts]).log_softmax(-1)
    divergence = (chances_before.exp() * (chances_before - chances)).sum(-1)
    drift = (divergence * weights[counts]).sum() / weights.sum()
    return learning, drift


def _logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    logits: Tensor = head(model)(final_norm(model)(states))
    return logits
