"""The model's own forward, whole, with hooks on its layers: the slow and obvious way that the engine is held against.

One forward for each thing that is wanted, and nothing of the engine in it but the list of layers: no recording, no
replay, no cache. What is compared with what is said in `parity`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from extract.batches import Batch, make_batches
from extract.stack import Stack, positions

Edit = Callable[[Batch, Tensor, Tensor], Tensor]
"""From a batch, and what a layer took and returned, [row, token, width] each, to what it is to return."""


@dataclass(frozen=True)
class Forward:
    """What a forward gave, in the order of the prompts and without padding; float32, on the CPU.

    Attributes:
        logits: [prompt, token of the vocabulary], where each prompt is read: after its last token, or at its blank. Of
            a model without a head the hidden state there, [prompt, width].
        entered, left: by layer and prompt what the layer took and returned, [token, width].
    """

    logits: Tensor
    entered: list[list[Tensor]]
    left: list[list[Tensor]]

    def first(self, count: int) -> "Forward":
        """The same of the first prompts alone."""
        entered, left = ([layer[:count] for layer in states] for states in (self.entered, self.left))
        return Forward(self.logits[:count], entered, left)


@torch.inference_mode()
def hooked(
    model: Any,
    stack: Stack,
    prompts: Sequence[Sequence[int]],
    *,
    side: str = "right",
    edits: Mapping[int, Edit] | None = None,
    keep: bool = False,
    read: Sequence[int] | None = None,
) -> Forward:
    """Run the model once over all prompts together.

    Args:
        model: the language model.
        stack: its layers.
        prompts: vocabulary indices of each prompt; shorter ones are padded.
        side: where the padding goes.
        edits: by layer, what is done to what it returns.
        keep: whether what the layers took and returned is kept.
        read: the token at which each prompt is read; by default its last.
    """
    batch = one_batch(prompts, side, read).to(stack.device)
    entered: list[list[Tensor]] = []
    left: list[list[Tensor]] = []

    def watch(number: int, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        taken = positional[0] if positional else named["hidden_states"]
        found = output if isinstance(output, Tensor) else output[0]
        if edits and number in edits:
            found = edits[number](batch, taken, found)
        if keep:
            entered.append(unpadded(batch, taken))
            left.append(unpadded(batch, found))
        return found if isinstance(output, Tensor) else (found, *output[1:])

    with ExitStack() as hooks:
        for number, layer in enumerate(stack.layers):
            if keep or (edits and number in edits):
                hook = layer.register_forward_hook(partial(watch, number), with_kwargs=True)
                hooks.callback(hook.remove)
        output = model(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            position_ids=positions(batch.tokens, batch.mask, stack.first_position),
            use_cache=False,
        )
    logits = output.logits if hasattr(output, "logits") else output.last_hidden_state
    rows = torch.arange(len(logits), device=logits.device)
    return Forward(logits[rows, batch.read][batch.rows.argsort()].float().cpu(), entered, left)


def one_batch(prompts: Sequence[Sequence[int]], side: str, read: Sequence[int] | None = None) -> Batch:
    """Prompts as one batch, shorter ones padded on a side."""
    (batch,) = make_batches(prompts, budget=2**40, side=side, read=read)
    return batch


def unpadded(batch: Batch, hidden: Tensor) -> list[Tensor]:
    """What is no padding of [row, token, width]: by prompt, as they are given, [token, width] in float32 on the CPU."""
    starts, ends = batch.starts.tolist(), (batch.last + 1).tolist()
    return [hidden[row, starts[row] : ends[row]].float().cpu() for row in batch.rows.argsort().tolist()]
