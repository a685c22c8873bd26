"""A model and the few prompts that it is tried on, in the company of others and alone: what `parity` measures with.

Belongs here: prompts, pairs made of them, the model's own forwards of them, and how well two ways of computing a number
have to agree. In float32 that is to 1e-5 of the largest. In another type the model gives other numbers in other
company, and that is the yardstick: its own floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from extract.hooked import Edit, Forward, hooked
from extract.loading import LoadedModel
from extract.machine import Machine, trial_batch
from extract.task import Layout

EXACT = 1e-5
"""The most by which numbers in float32 may differ, relative to the largest of their kind."""

_MARGIN = 2
"""By how much more than its floor a model may seem to differ: both are the largest of a few draws of one noise."""

_COPIES = 16


class Incomparable(Exception):  # noqa: N818 - nothing went wrong
    """The slow way can't be gone with this model; the message says why."""


@dataclass(frozen=True)
class Measured:
    """What came of trying one piece.

    Attributes:
        value: how far the two ways are apart, relative to the largest value.
        allowed: the most that they may be.
        where: where they are furthest apart.
    """

    value: float
    allowed: float
    where: str


@dataclass(frozen=True)
class Trial:
    """A model, and the few prompts that it is tried on.

    Attributes:
        loaded, machine: the model.
        prompts: vocabulary indices of each.
        term_first, term_last: first and last token of the term in each.
        answers: a token for each, whose log-probability is compared.
        workers: batches that the sweep runs side by side.
        layout: where the prompts are read, if not as those of a decoder.
    """

    loaded: LoadedModel
    machine: Machine
    prompts: list[list[int]]
    term_first: list[int]
    term_last: list[int]
    answers: list[int]
    workers: int = 1
    layout: Layout | None = None

    @cached_property
    def read(self) -> list[int]:
        """The token at which each prompt is read."""
        last = [len(prompt) - 1 for prompt in self.prompts]
        return last if self.layout is None else [int(place) for place in self.layout.read]

    @cached_property
    def corrupted(self) -> list[list[int]]:
        """Each prompt with another token at the end of its term: of the same length, so that the two are a pair."""
        tokens = [prompt[last] for prompt, last in zip(self.prompts, self.term_last, strict=True)]
        return [
            [*prompt[:last], self._other(tokens, prompt[last]), *prompt[last + 1 :]]
            for prompt, last in zip(self.prompts, self.term_last, strict=True)
        ]

    @cached_property
    def rivals(self) -> list[int]:
        """For each answer another token."""
        return [self._other(self.answers, answer) for answer in self.answers]

    @cached_property
    def alone(self) -> Forward:
        """Each prompt by itself."""
        each = zip(self.prompts, self.read, strict=True)
        return _joined([self.forward([prompt], keep=True, read=[read]) for prompt, read in each])

    @cached_property
    def padded(self) -> dict[str, Forward]:
        """All prompts together, padded on the right and on the left."""
        return {side: self.forward(self.prompts, side=side, keep=True, read=self.read) for side in ("right", "left")}

    @cached_property
    def among_copies(self) -> Forward:
        """Each prompt in a batch of its own copies, where nothing is padded."""
        copies = [([prompt] * _COPIES, [read] * _COPIES) for prompt, read in zip(self.prompts, self.read, strict=True)]
        return _joined([self.forward(prompts, keep=True, read=read).first(1) for prompts, read in copies])

    def forward(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        side: str = "right",
        layer: int = -1,
        edit: Edit | None = None,
        keep: bool = False,
        read: Sequence[int] | None = None,
    ) -> Forward:
        """The model's own forward, with what one layer returns edited."""
        edits = {} if edit is None else {layer: edit}
        return hooked(self.loaded.model, self.machine.stack, prompts, side=side, edits=edits, keep=keep, read=read)

    @property
    def is_exact(self) -> bool:
        """Whether numbers are held to the exact measure, not to the model's own floor."""
        return bool(self.loaded.model.dtype == torch.float32)

    def allowed(self, floor: float = 0.0) -> float:
        """The most by which two ways may differ, relative to the largest value.

        Args:
            floor: by how much the model's own forward moves the same numbers.
        """
        return EXACT if self.is_exact else _MARGIN * max(floor, torch.finfo(self.loaded.model.dtype).eps)

    def _other(self, tokens: Sequence[int], token: int) -> int:
        return next((other for other in tokens if other != token), (token + 1) % self.machine.head.vocabulary)


def plain_trial(loaded: LoadedModel, machine: Machine, workers: int = 1) -> Trial:
    """A trial on tokens that mean nothing, for a model without a tokenizer that is of use."""
    tokens, mask = trial_batch(machine.stack)
    prompts = [row[:length] for row, length in zip(tokens.tolist(), mask.sum(dim=1).tolist(), strict=True)]
    places = [len(prompt) // 2 for prompt in prompts]
    return Trial(loaded, machine, prompts, places, places, [prompt[0] for prompt in prompts], workers)


def relative(found: Tensor, expected: Tensor) -> float:
    """The most by which values differ from what is expected, in parts of the largest of these; NaN if one is none."""
    size = float(expected.abs().max())
    apart = float((found - expected).abs().max())
    return apart / size if size else apart


def largest(values: Sequence[float]) -> int:
    """Where the largest stands; a NaN is larger than all."""
    return max(range(len(values)), key=lambda place: (values[place] != values[place], values[place]))


def most(values: Sequence[float]) -> float:
    """The largest value, which is NaN if one is."""
    return values[largest(values)]


def _joined(forwards: Sequence[Forward]) -> Forward:
    """Forwards of one prompt each as one."""
    layers = range(len(forwards[0].left))
    return Forward(
        torch.cat([each.logits for each in forwards]),
        [[each.entered[layer][0] for each in forwards] for layer in layers],
        [[each.left[layer][0] for each in forwards] for layer in layers],
    )
