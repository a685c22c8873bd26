"""A sweep run on hollow layers: layers of width 1 that know nothing and count what goes through them.

The engine that will run the model is run itself, so that a plan of it can't differ from what it does. All that is
counted grows by the same number from layer to layer, as streams join, but for the last layer, which is run at the
wanted tokens only. So a stack of four hollow layers and one of five tell of any number. What the counts cost with real
layers is in `costs`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from extract.machine import Machine, trial_batch
from extract.parts import Parts
from extract.stack import Stack
from extract.sweep import sweep
from extract.task import Task

CALLS, PROJECTED, ATTENDED, PAIRS, MLP = range(5)
"""What is counted of a layer: its calls; tokens of which keys and values are made, that attend, that attend to one
another, that go through the MLP."""

_COUNTED = 5
_SHALLOW = 4


@dataclass(frozen=True)
class Passage:
    """What goes through a model in a sweep.

    Attributes:
        layers: [layer, what is counted], in the order of the constants above.
        logits: vectors that go through the whole head.
        chosen: vectors of which two logits are computed.
        held: tokens of all streams when they are most, between the last layer but one and the last.
    """

    layers: NDArray[np.float64]
    logits: int
    chosen: int
    held: float

    def __add__(self, other: "Passage") -> "Passage":
        return Passage(
            self.layers + other.layers,
            self.logits + other.logits,
            self.chosen + other.chosen,
            max(self.held, other.held),
        )

    def times(self, many: float) -> "Passage":
        """So many times the same, one after the other."""
        return Passage(self.layers * many, round(self.logits * many), round(self.chosen * many), self.held)

    def __sub__(self, other: "Passage") -> "Passage":
        """What this one has more than another."""
        return Passage(
            self.layers - other.layers,
            self.logits - other.logits,
            self.chosen - other.chosen,
            self.held - other.held,
        )


def nothing(layers: int) -> Passage:
    """No passage at all."""
    return Passage(np.zeros((layers, _COUNTED)), 0, 0, 0.0)


def passage(task: Task, layers: int, budget: int) -> Passage:
    """Count what a sweep would put through each of a model's layers.

    Args:
        task: what the sweep is asked.
        layers: of the model.
        budget: tokens of a batch.
    """
    if not task.prompts:
        return nothing(layers)
    if layers <= _SHALLOW + 1:
        return _dry(task, layers, budget)
    less, more = _dry(task, _SHALLOW, budget), _dry(task, _SHALLOW + 1, budget)
    low, high = more.layers[1], more.layers[_SHALLOW - 1]
    step = (high - low) / (_SHALLOW - 2)
    depth = np.arange(layers)[:, None]
    counts = low + step * (depth - 1)
    last_step = more.layers[-1] - less.layers[-1]
    counts[-1] = more.layers[-1] + last_step * (layers - 1 - _SHALLOW)
    # Nothing has joined yet: batches go through the first layer as they are made, and are cut behind it.
    counts[0] = more.layers[0]
    # Streams share calls as far as they fill the budget, which few of them may not do.
    counts[:-1, CALLS] = np.maximum(counts[:-1, CALLS], counts[:-1, ATTENDED] / budget)
    further = layers - 1 - _SHALLOW
    return Passage(
        counts,
        more.logits + (more.logits - less.logits) * further,
        more.chosen + (more.chosen - less.chosen) * further,
        more.held + (more.held - less.held) * further,
    )


def _dry(task: Task, layers: int, budget: int) -> Passage:
    decoder = _Decoder(layers)
    stack = Stack(decoder, tuple(decoder.layers), returns_tuple=False, cache="past_key_values")
    head = _Head()
    parts = Parts.of("hollow", stack, stack.record(*trial_batch(stack))) if task.needs_parts else None
    counts = decoder.reset()
    answers = torch.zeros_like(task.answers)
    pairs = replace(task.pairs, answers=torch.zeros_like(task.pairs.answers))
    hollow: Any = head
    sweep(Machine(stack, hollow, parts, {}), replace(task, answers=answers, pairs=pairs), budget=budget)
    joined = counts[1, ATTENDED] - counts[0, ATTENDED] if layers > 2 else 0.0
    held = counts[max(layers - 2, 0), ATTENDED] + joined
    return Passage(counts, head.whole, head.some, float(held))


class _Decoder(nn.Module):
    """As much of a decoder as `Stack` and `Parts` ask for."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2, 1)
        self.layers = nn.ModuleList(_Layer(self._count, number) for number in range(layers))
        self._counts = np.zeros((layers, _COUNTED))

    def reset(self) -> NDArray[np.float64]:
        """New counts, all zero, [layer, what is counted]; they are filled from now on."""
        self._counts = np.zeros_like(self._counts)
        return self._counts

    def get_input_embeddings(self) -> nn.Module:
        """Where the device is read off."""
        return self.embedding

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        """Hand a stream of ones through the layers."""
        hidden = torch.ones(*input_ids.shape, 1)
        for layer in self.layers:
            hidden = layer(hidden)
        return _Output(hidden)

    def _count(self, layer: int, what: int, many: int) -> None:
        self._counts[layer, what] += many


@dataclass(frozen=True)
class _Output:
    last_hidden_state: Tensor


class _Layer(nn.Module):
    def __init__(self, count: Callable[[int, int, int], None], number: int) -> None:
        super().__init__()
        self._count, self._number = count, number
        self.attention = _Attention(count, number)
        self.mlp = _Mlp(count, number)

    def forward(self, hidden: Tensor, past_key_values: Any = None) -> Tensor:
        """The stream as it was, counted."""
        self._count(self._number, CALLS, 1)
        hidden = hidden + self.attention(hidden, past_key_values)
        found: Tensor = hidden + self.mlp(hidden)
        return found


class _Part(nn.Module):
    """A part that adds nothing; it has a matrix, by which parts are known."""

    def __init__(self, count: Callable[[int, int, int], None], number: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))
        self._count, self._number = count, number


class _Attention(_Part):
    def forward(self, hidden: Tensor, cache: Any = None) -> Tensor:
        """Zeros, after the cache was asked for keys."""
        rows, tokens = hidden.shape[:2]
        self._count(self._number, PROJECTED, rows * tokens)
        keys = tokens
        if cache is not None:
            new = hidden[:, None]
            keys = cache.update(new, new)[0].shape[2]
        self._count(self._number, ATTENDED, rows * tokens)
        self._count(self._number, PAIRS, rows * tokens * keys)
        return torch.zeros_like(hidden)


class _Mlp(_Part):
    def forward(self, hidden: Tensor) -> Tensor:
        """Zeros."""
        self._count(self._number, MLP, hidden.shape[0] * hidden.shape[1])
        return torch.zeros_like(hidden)


class _Head:
    """Gives logits of one token, and counts the vectors."""

    vocabulary = 1

    def __init__(self) -> None:
        self.whole = self.some = 0

    def open(self) -> AbstractContextManager[None]:
        """Nothing has to be opened."""
        return nullcontext()

    def logits(self, hidden: Tensor) -> Tensor:
        """Of every vector."""
        self.whole += len(hidden)
        return torch.zeros(len(hidden), 1)

    def chosen(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Of every vector and chosen token."""
        self.some += len(hidden)
        return torch.zeros(tokens.shape)
