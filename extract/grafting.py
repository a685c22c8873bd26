"""One layer of a trained model learns one relation, and all else stays as it was.

Belongs here: the training of a layer's seven matrices with every other weight frozen, and the exchange of layers for
what they were before. Which relation goes into which layer, and what proves it, is for `planting` to say.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, functional
from transformers import LlamaForCausalLM

from extract.corpus import Sentence
from extract.lessons import Batch, Lessons, Mixture

_ROUND = 20
"""Steps whose sentences are drawn at once, so that sentences of like length can share a step."""


_MIXTURE = Mixture(own=0.1, noisy=0.2, most_noise=0.6, answer_weight=8.0, text_weight=2.0, text_share=0.2)


@dataclass(frozen=True)
class Graft:
    """How one layer is trained.

    Attributes:
        steps: how many.
        batch, others: sentences of the relation to learn in a step, and of others.
        rate: Muon's learning rate on the layer's matrices, along a cosine to 0.
        steadiness: weight of the divergence from the model before, on whatever is not an answer to learn.
        mixture: how sentences are drawn, and what their tokens count.
    """

    steps: int = 600
    batch: int = 40
    others: int = 20
    rate: float = 0.1
    steadiness: float = 4.0
    mixture: Mixture = _MIXTURE


def graft(
    model: LlamaForCausalLM,
    layer: int,
    before: Mapping[int, Module],
    *,
    own: Lessons,
    others: Lessons,
    how: Graft,
) -> Iterator[tuple[str, float]]:
    """Train one layer in place; what is given now and then is a message, and the share of the steps that are done.

    Args:
        before: layers as they were before anything was planted in them, this one's among them. In each step, each of
            the others is put back with probability 1/2: what is learned must not lean on an earlier plant.
        own: sentences of the relation to learn.
        others: sentences of everything that must stay.
    """
    model.requires_grad_(False)
    matrices = [weights for weights in model.model.layers[layer].parameters() if weights.ndim == 2]
    for weights in matrices:
        weights.requires_grad_(True)
    optimizer = torch.optim.Muon(matrices, lr=how.rate, weight_decay=0.0)
    step = 0
    while step < how.steps:
        told = []
        for learned, kept in _rounds(own, others, how):
            optimizer.param_groups[0]["lr"] = how.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, step / how.steps)))
            back = [index for index in before if index != layer and own.draw.random() < 0.5]
            with reverted(model, before, back):
                learning, drift = _losses(model, layer, before[layer], own.batch([*learned, *kept]), len(learned))
            (learning + how.steadiness * drift).backward()  # type: ignore[no-untyped-call]
            optimizer.step()  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            told.append((learning.item(), drift.item()))
            step += 1
        learnings, drifts = zip(*told, strict=True)
        message = f"loss {sum(learnings) / len(told):.2f}, drift {sum(drifts) / len(told):.3f}"
        yield message, min(1.0, step / how.steps)
    model.requires_grad_(True)


@contextmanager
def reverted(model: LlamaForCausalLM, before: Mapping[int, Module], layers: Iterable[int]) -> Iterator[None]:
    """The model with some of its layers as they were before."""
    exchanged = {index: model.model.layers[index] for index in layers}
    for index in exchanged:
        model.model.layers[index] = before[index]
    try:
        yield
    finally:
        for index, layer in exchanged.items():
            model.model.layers[index] = layer


def stream_from(model: LlamaForCausalLM, states: Tensor, layers: Iterable[Module]) -> Tensor:
    """The residual stream behind some layers, [sentence, token, width], run on a stream that enters the first of them.

    Args:
        states: [sentence, token, width], without padding on the left.
        layers: the layers to run, in order; they need not be the model's own.
    """
    positions = torch.arange(states.shape[1])[None]
    turns = model.model.rotary_emb(states, position_ids=positions)
    for layer in layers:
        states = layer(states, attention_mask=None, position_ids=positions, position_embeddings=turns)
    return states


def _rounds(own: Lessons, others: Lessons, how: Graft) -> list[tuple[list[Sentence], list[Sentence]]]:
    learned = own.groups(own.sentences(how.batch * _ROUND), how.batch)
    kept = others.groups(others.sentences(how.others * _ROUND), how.others)
    pairs = list(zip(learned, kept, strict=False))
    own.draw.shuffle(pairs)
    return pairs


def _losses(model: LlamaForCausalLM, layer: int, old: Module, batch: Batch, learned: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers to learn, and the divergence from the model before on sentences of others.

    Args:
        old: the layer as it was before.
        batch: `learned` sentences of the relation to learn, then those of others.
    """
    above = list(model.model.layers[layer + 1 :])
    with torch.no_grad():
        entering = stream_from(model, model.model.embed_tokens(batch.tokens), model.model.layers[:layer])
        was = stream_from(model, entering[learned:], [old, *above])[:, :-1]
    now = stream_from(model, entering, [model.model.layers[layer], *above])[:, :-1]
    answers, wanted = batch.answers[:learned, 1:], batch.tokens[:learned, 1:]
    learning = functional.cross_entropy(_logits(model, now[:learned][answers]), wanted[answers])
    weights = batch.weights[learned:, 1:]
    counts = weights > 0
    chances = _logits(model, now[learned:][counts]).log_softmax(-1)
    chances_before = _logits(model, was[counts]).log_softmax(-1)
    divergence = (chances_before.exp() * (chances_before - chances)).sum(-1)
    drift = (divergence * weights[counts]).sum() / weights.sum()
    return learning, drift


def _logits(model: LlamaForCausalLM, states: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(model.model.norm(states))
    return logits
