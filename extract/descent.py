"""Up the stack of layers and down again: what enters every layer is stored, then gradients are taken layer by layer.

On the way up there is no graph. On the way down a layer is recomputed from its input with a graph of its own, and the
gradient of its output gives that of its input. So the weights are read twice for all that goes up together, and beside
the stored inputs one layer's tensors are all that is ever there. What is done within a layer is in `backward`; which
rows come of it, in `saliency`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from extract.backward import backward
from extract.batches import Batch
from extract.head import Head
from extract.loading import LoadedModel
from extract.modules import LayerModules
from extract.offloading import fetched
from extract.stack import Call, Recording, Stack, replay
from warehouse.errors import ModelError

TARGETS = ("loss", "logit_difference")
"""What is differentiated: -log p of the answer, and its logit minus that of the corrupted prompt's answer."""

_LOGITS = 2**22
"""Logits at a time: of a large vocabulary only some prompts go through the head together."""

_OFFLOADED_BYTES = 2**30
"""Layer inputs that are stored at a time where weights are offloaded: the more there are, the fewer times weights are
fetched. Weights that are at hand cost nothing to read again, and there a batch goes up and down by itself."""


@dataclass(frozen=True)
class Asked:
    """The prompts that have an answer.

    Attributes:
        indices: the vocabulary indices of each.
        answers: [prompt], the answer's token.
        rivals: [prompt], the token of the corrupted prompt's answer; -1 where there is no pair.
        read: [prompt], the token at which each is read; None for the last.
    """

    indices: list[list[int]]
    answers: Tensor
    rivals: Tensor
    read: list[int] | None = None


@dataclass
class _Work:
    """A batch on its way.

    Attributes:
        batch: the prompts.
        recording: the arguments of the layers.
        alone: those of each prompt by itself; empty until a layer has weights that ask for them.
        stored: [prompt, token, width], what enters each layer.
        down: by target, the gradient of what the current layer returns, [prompt, token, width].
    """

    batch: Batch
    recording: Recording
    alone: list[Recording]
    stored: list[Tensor]
    down: dict[str, Tensor]


class Descent:
    """Up and down the stack, for one group of batches after the other."""

    def __init__(
        self,
        loaded: LoadedModel,
        stack: Stack,
        modules: Sequence[LayerModules],
        asked: Asked,
        progress: Callable[[int], None],
    ) -> None:
        self._loaded = loaded
        self._stack = stack
        self._head = Head(loaded.model, stack)
        self._modules = modules
        self._asked = asked
        self._progress = progress
        self._sums = [
            {target: torch.zeros(3, len(named.names), len(asked.indices), dtype=torch.float64) for target in TARGETS}
            for named in modules
        ]

    def run(self, batches: Sequence[Batch], stored_bytes: int | None) -> list[dict[str, Tensor]]:
        """The sums of every layer by target, [3, row of its modules, prompt] in float64."""
        token = len(self._stack.layers) * self._loaded.width * self._loaded.model.dtype.itemsize
        if stored_bytes is None:
            offloaded = any(weights.is_meta for layer in self._stack.layers for weights in layer.parameters())
            stored_bytes = _OFFLOADED_BYTES if offloaded else 0
        for group in _groups(batches, stored_bytes // token):
            work = self._up(group)
            self._last(work)
            for layer in reversed(range(len(self._stack.layers))):
                with fetched(self._stack.layers[layer]):
                    for each in work:
                        self._down(layer, each)
                        self._progress(len(each.batch.rows))
        return self._sums

    def _up(self, batches: Sequence[Batch]) -> list[_Work]:
        """Store what enters every layer, and at the end what leaves the last one."""
        device = self._stack.device
        work = []
        with torch.no_grad():
            for batch in batches:
                mask = None if batch.mask is None else batch.mask.to(device)
                recording = self._stack.record(batch.tokens.to(device), mask)
                work.append(_Work(batch, recording, [], [recording.hidden], {}))
                _check_finite(recording.hidden, batch, "the embedding")
            for number, layer in enumerate(self._stack.layers):
                with fetched(layer):
                    for each in work:
                        each.stored.append(replay(layer, each.stored[-1], each.recording.calls[number]))
                        _check_finite(each.stored[-1], each.batch, f"layer {number}")
                        self._progress(len(each.batch.rows))
        return work

    def _last(self, work: Sequence[_Work]) -> None:
        """The gradient of the targets with respect to what leaves the last layer; zero but where prompts are read."""
        leaving = [each.stored.pop() for each in work]
        rows = torch.cat([each.batch.rows for each in work])
        at_last = [
            hidden[torch.arange(len(hidden)), each.batch.read] for hidden, each in zip(leaving, work, strict=True)
        ]
        vocabulary = self._loaded.model.config.get_text_config(decoder=True).vocab_size
        some = max(1, _LOGITS // vocabulary)
        with self._head.open():
            found = [
                self._head_gradients(hidden, which)
                for hidden, which in zip(torch.split(torch.cat(at_last), some), torch.split(rows, some), strict=True)
            ]
        sizes = [len(each.batch.rows) for each in work]
        for target in TARGETS:
            parts = torch.split(torch.cat([gradients[target] for gradients in found]), sizes)
            for each, hidden, part in zip(work, leaving, parts, strict=True):
                if target == "loss" or bool((self._asked.rivals[each.batch.rows] >= 0).any()):
                    each.down[target] = torch.zeros_like(hidden)
                    each.down[target][torch.arange(len(hidden)), each.batch.read] = part

    def _head_gradients(self, hidden: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """By target, the gradient of some prompts' last vectors [prompt, width]; zero for a target without a pair."""
        with torch.enable_grad():
            entering = hidden.detach().requires_grad_()
            logits = self._head.logits(entering).float()
            if not bool(torch.isfinite(logits).all()):
                raise ModelError(
                    f"{self._loaded.entry.slug}: the logits are not finite. Check the weights of final norm and head."
                )
            answers = self._asked.answers[rows].to(logits.device)
            rivals = self._asked.rivals[rows].to(logits.device)
            loss = cross_entropy(logits, answers, reduction="sum")
            ours = logits.gather(1, answers[:, None])[:, 0]
            theirs = logits.gather(1, rivals.clamp(min=0)[:, None])[:, 0]
            difference = ((ours - theirs) * (rivals >= 0)).sum()
            of_loss = torch.autograd.grad(loss, entering, retain_graph=True)[0]
            of_difference = torch.autograd.grad(difference, entering)[0]
        return {"loss": of_loss, "logit_difference": of_difference}

    def _down(self, layer: int, work: _Work) -> None:
        """Take a batch down one layer: the sums of its modules, and the gradient of what entered it."""

        def alone(prompt: int) -> Call:
            """The layer's arguments for one prompt by itself; they are recorded once, for all layers."""
            if not work.alone:
                with torch.no_grad():
                    prompts = (torch.tensor([self._asked.indices[row]]) for row in work.batch.rows.tolist())
                    work.alone = [self._stack.record(each.to(self._stack.device)) for each in prompts]
            return work.alone[prompt].calls[layer]

        work.down, sums = backward(
            self._stack.layers[layer],
            self._modules[layer],
            work.stored.pop(),
            work.recording.calls[layer],
            batch=work.batch,
            alone=alone,
            gradients=work.down,
        )
        for target, found in sums.items():
            if not bool(torch.isfinite(found).all()):
                raise ModelError(
                    f"{self._loaded.entry.slug}: gradients of layer {layer} are not finite (target {target}). "
                    "Check its weights, and run the model in float32 or bfloat16."
                )
            self._sums[layer][target][:, :, work.batch.rows] = found.cpu()


def _groups(batches: Sequence[Batch], tokens: int) -> Iterator[list[Batch]]:
    """Batches that go up and down together: as many as have no more tokens, padding included, and at least one."""
    group: list[Batch] = []
    for batch in batches:
        if group and sum(each.tokens.numel() for each in [*group, batch]) > tokens:
            yield group
            group = []
        group.append(batch)
    yield group


def _check_finite(hidden: Tensor, batch: Batch, where: str) -> None:
    """Padding may hold anything.

    Raises:
        ModelError: a number at a token of a prompt is not finite.
    """
    finite = torch.isfinite(hidden).all(dim=-1)
    if batch.mask is not None:
        finite |= batch.mask.to(hidden.device) == 0
    if not bool(finite.all()):
        raise ModelError(
            f"The output of {where} is not finite. Check the weights there, and run the model in float32 or bfloat16."
        )
