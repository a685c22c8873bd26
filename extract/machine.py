"""A loaded model made ready for the sweep: its stack, its head and its parts, each tried out before it is trusted.

What can't be done with a model is found here, at load time, with the reason in words: the sweep then does without
(`cache`), or refuses what needs it (`parts`). Loading itself is in `loading`, the trials are in `windows` and `parts`.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from extract.head import Head
from extract.memory import ran_out
from extract.parts import Parts
from extract.stack import Stack
from extract.windows import why_unsupported
from warehouse.errors import ModelError

_TRIAL = (7, 5)
"""Tokens of the prompts of the trial batch; unequal, so that one is padded."""

_TOLERANCE = 16
"""Rounding errors, in the model's type, by which a layer run at chosen places may differ from the same run whole."""


@dataclass(frozen=True)
class Machine:
    """A model, ready to be swept.

    Attributes:
        stack: its layers; with `cache` None they are run whole, which is slower and gives the same.
        head: its end.
        parts: attention and MLP of each layer, where they can be told apart.
        without: what can't be done, and why: by `windows` and `parts`.
    """

    stack: Stack
    head: Head
    parts: Parts | None
    without: dict[str, str]


def make_machine(model: Any, *, parts: bool = True) -> Machine:
    """Try out what the sweep will do with a model.

    Args:
        model: a language model.
        parts: whether attention and MLP are to be told apart, which costs one more pass through the weights.

    Raises:
        ModelError: its layers are no plain stack, give numbers that are not finite, or memory doesn't do for a trial.
    """
    try:
        return _tried(model, parts=parts)
    except Exception as error:
        if not ran_out(error):
            raise
        raise ModelError(
            f"Memory runs out with a few tokens ({error}). Use a device with more memory or a smaller type."
        ) from error


def _tried(model: Any, *, parts: bool) -> Machine:
    stack = Stack.of(model)
    tokens, mask = trial_batch(stack)
    without = {}
    if stack.causal:
        reason = why_unsupported(stack, tokens, mask, _TOLERANCE * torch.finfo(model.dtype).eps)
    else:
        reason = "its tokens look ahead"
    if reason is not None:
        without["windows"] = reason
        stack = replace(stack, cache=None)
    found = None
    if parts:
        try:
            with torch.inference_mode():
                found = Parts.of(type(model).__name__, stack, stack.record(tokens, mask))
        except ModelError as error:
            without["parts"] = str(error)
    return Machine(stack, Head(model, stack), found, without)


def trial_batch(stack: Stack) -> tuple[torch.Tensor, torch.Tensor]:
    """A few tokens to try a model with, and their mask; not the index 0, whose embedding may be zero."""
    longest = max(_TRIAL)
    vocabulary = int(stack.decoder.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    tokens = (torch.arange(longest * len(_TRIAL)) % max(1, min(vocabulary, 97) - 1) + 1).view(len(_TRIAL), longest)
    mask = (torch.arange(longest) < torch.tensor(_TRIAL)[:, None]).long()
    return tokens.to(stack.device), mask.to(stack.device)
