"""What passes through a model cost: multiplications, reads of weights, calls; for the sweep, gradients and answers.

Pure arithmetic on counts. The sweep's counts come from `hollow`; those of gradients and answers are made here from the
batches that `saliency` and `answers` would make.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extract.hollow import ATTENDED, CALLS, MLP, PAIRS, PROJECTED, Passage
from extract.outline import Layer, Outline

FORWARD = 2
"""Operations for a weight that a token is multiplied with: a multiplication and an addition."""


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        forwards: prompts that go through the model, as a run's metadata count them.
        flops: additions and multiplications of all matrices.
        calls: of layers.
        passes: times that the weights of all layers are read.
        equivalents: the same work in plain forwards of the prompts.
        batches: that begin at the bottom of the stack; of answers each token of one is one.
    """

    forwards: int = 0
    flops: float = 0.0
    calls: float = 0.0
    passes: int = 0
    equivalents: float = 0.0
    batches: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


def sweep_work(found: Passage, shape: Outline, *, forwards: int, passes: int, tokens: int) -> Work:
    """The cost of a sweep's passage, or of what one has more than another.

    Args:
        found: counts.
        shape: the model.
        forwards: prompts that went through.
        passes: sweeps.
        tokens: of those prompts; what is read of them is added to the cost.
    """
    layers = sum(_layer_flops(counts, layer, shape) for counts, layer in zip(found.layers, shape.layers, strict=True))
    head = FORWARD * shape.width * (shape.vocabulary * found.logits + 2 * found.chosen)
    means = FORWARD * shape.width * tokens * (len(shape.layers) + 1)
    return Work(
        forwards,
        layers + head + means,
        float(found.layers[:, CALLS].sum()),
        passes,
        float(found.layers[:, ATTENDED].sum()) / max(1, tokens * len(shape.layers)) * forwards,
        float(found.layers[0, CALLS]),
    )


def saliency_work(batches: Sequence[tuple[int, int, bool]], shape: Outline, *, groups: int) -> Work:
    """The cost of gradients.

    Args:
        batches: of each, its prompts, its tokens a prompt, and whether any of them has a pair.
        shape: the model.
        groups: batches that go up and down together count as one.
    """
    flops = calls = 0.0
    prompts = 0
    last = len(shape.layers) - 1
    for rows, tokens, has_pair in batches:
        prompts += rows
        targets = 2 if has_pair else 1
        every = np.array([1, *[rows * tokens] * 2, rows * tokens**2, rows * tokens], dtype=float)
        attention = 8 * shape.heads_width * every[PAIRS]
        for number, layer in enumerate(shape.layers):
            up = _layer_flops(every, layer, shape)
            through = FORWARD * layer.multiplied * every[MLP] + attention
            # In the last layer all but keys and values have a gradient at one token, whose sums need no matrix.
            matrices = layer.projecting if number == last else layer.multiplied
            ends = layer.ends[0] if number == last else sum(layer.ends)
            sums = FORWARD * matrices * every[MLP] + FORWARD * rows * tokens**2 * ends
            odd = 3 * up if layer.odd else 0.0
            flops += 2 * up + targets * (through + sums + odd)
        flops += 3 * FORWARD * shape.vocabulary * shape.width * rows
        calls += (2 + targets) * len(shape.layers)
    equivalents = float(flops / _bare(batches, shape) * prompts) if prompts else 0.0
    return Work(prompts, float(flops), calls, 2 * groups, equivalents, len(batches))


def answers_work(batches: Sequence[tuple[int, int]], shape: Outline, new_tokens: int) -> Work:
    """The cost of answers of so many tokens, intact and under the lesion of each layer.

    Args:
        batches: of each, its prompts and its tokens a prompt.
        shape: the model.
        new_tokens: of each answer; one that ends early costs less.
    """
    flops = calls = 0.0
    prompts = 0
    for count, tokens in batches:
        prompts += count
        rows = count * (len(shape.layers) + 1)
        steps = new_tokens - 1
        written = rows * (2 * tokens + steps + new_tokens)
        pairs = rows * (tokens**2 + sum(tokens + step for step in range(1, new_tokens)) + (tokens + new_tokens) ** 2)
        every = np.array([0, written, written, pairs, written], dtype=float)
        flops += sum(_layer_flops(every, layer, shape) for layer in shape.layers)
        flops += FORWARD * shape.vocabulary * shape.width * rows * (2 * new_tokens + 1)
        calls += len(shape.layers) * (new_tokens + 1)
    bare = _bare([(rows, tokens, False) for rows, tokens in batches], shape)
    return Work(
        prompts * (len(shape.layers) + 1),
        flops,
        calls,
        len(batches) * (new_tokens + 1),
        flops / bare * prompts if prompts else 0.0,
        len(batches) * (new_tokens + 1),
    )


def _layer_flops(counts: NDArray[np.float64], layer: Layer, shape: Outline) -> float:
    weights = layer.projecting * counts[PROJECTED] + layer.joining * counts[ATTENDED] + layer.mlp * counts[MLP]
    return float(FORWARD * weights + 2 * FORWARD * shape.heads_width * counts[PAIRS])


def _bare(batches: Sequence[tuple[int, int, bool]], shape: Outline) -> float:
    """What plain forwards of the prompts cost, without the head."""
    tokens = sum(rows * each for rows, each, _ in batches)
    pairs = sum(rows * each**2 for rows, each, _ in batches)
    every = np.array([0, tokens, tokens, pairs, tokens], dtype=float)
    return sum(_layer_flops(every, layer, shape) for layer in shape.layers)
