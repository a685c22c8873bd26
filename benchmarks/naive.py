"""Lesions and patches as anyone would do them with transformers alone: a forward each, with a hook on one layer.

The obvious computation that ours is compared with, in time and in numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def bare(model: Any, tokens: Tensor) -> None:
    """What all is measured by: a forward without head and cache."""
    model.model(input_ids=tokens, use_cache=False)


@torch.inference_mode()
def lesions(model: Any, tokens: Tensor, answers: Tensor) -> Tensor:
    """The answers' logits [layer, prompt] where each layer in turn gives back what it takes."""
    found = []
    for layer in model.model.layers:
        with _hooked(layer, lambda _, given, __: given[0]):
            found.append(_last_logits(model, tokens).gather(1, answers[:, None])[:, 0])
    return torch.stack(found)


@torch.inference_mode()
def remember(model: Any, tokens: Tensor) -> tuple[Tensor, ...]:
    """The residual stream after every layer, each [prompt, token, width]; that of the last one is not normed."""
    kept: list[Tensor] = []

    def keep(_: Any, __: Any, output: Tensor) -> None:
        kept.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in model.model.layers]
    try:
        bare(model, tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(kept)


@torch.inference_mode()
def patches(
    model: Any, tokens: Tensor, remembered: Sequence[Tensor], answers: Tensor, cells: Sequence[tuple[int, int]]
) -> Tensor:
    """Logit differences [cell, pair] of corrupted prompts, each with the clean stream at one layer and token.

    Args:
        model: a Llama.
        tokens: [pair, token], the corrupted prompts.
        remembered: of the clean prompts.
        answers: [pair, 2]
        cells: layer and token of each patch.
    """
    found = []
    for layer, token in cells:

        def patched(_: Any, __: Any, output: Tensor, layer: int = layer, token: int = token) -> Tensor:
            output[:, token] = remembered[layer][:, token]
            return output

        with _hooked(model.model.layers[layer], patched):
            chosen = _last_logits(model, tokens).gather(1, answers)
        found.append(chosen[:, 0] - chosen[:, 1])
    return torch.stack(found)


def _last_logits(model: Any, tokens: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits


@contextmanager
def _hooked(layer: Any, hook: Callable[..., Any]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
