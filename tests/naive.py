"""The slow, obvious way to lesion and patch: one prompt, one whole forward of the model with hooks, at a time."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from extract.stack import Stack

Edit = Callable[[Tensor, Tensor], Tensor]
"""From what a module took and returned, [1, token, width] each, to what it is to return."""

_BEHIND_A_NORM = {
    "Gemma2ForCausalLM": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "Gemma3ForCausalLM": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "Gemma3ForConditionalGeneration": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "Olmo2ForCausalLM": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "GPT2LMHeadModel": ("attn", "mlp"),
    "GPTNeoXForCausalLM": ("attention", "mlp"),
}


stack_of = cache(Stack.of)


def module_of(model: PreTrainedModel, layer: int, part: str) -> nn.Module:
    """The module whose output is the whole layer's, or what attention or MLP add to the stream."""
    found = stack_of(model).layers[layer]
    if part == "layer":
        return found
    names = _BEHIND_A_NORM.get(type(model).__name__, ("self_attn", "mlp"))
    return found.get_submodule(names[0 if part == "attention" else 1])


def run(
    model: PreTrainedModel,
    prompt: list[int],
    edits: dict[nn.Module, Edit] | None = None,
    keep: Sequence[nn.Module] = (),
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """The logits after a prompt, [token of the vocabulary], and what some modules took and returned."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        entered = args[0] if args else kwargs["hidden_states"]
        left = output if isinstance(output, Tensor) else output[0]
        if module in (edits or {}):
            left = edits[module](entered, left)
            output = left if isinstance(output, Tensor) else (left, *output[1:])
        seen[module] = (entered.clone(), left.clone())
        return output

    hooks = [module.register_forward_hook(hook, with_kwargs=True) for module in {*(edits or {}), *keep}]
    try:
        with torch.no_grad():
            logits = model(torch.tensor([prompt]), use_cache=False).logits[0, -1]
    finally:
        for each in hooks:
            each.remove()
    return logits, [seen[module] for module in keep]


@cache
def kept(model: PreTrainedModel, prompt: tuple[int, ...], layer: int, part: str) -> tuple[Tensor, Tensor]:
    """What a layer or a part of it took and returned for a prompt, [1, token, width] each."""
    return run(model, list(prompt), keep=[module_of(model, layer, part)])[1][0]


def added(model: PreTrainedModel, prompt: list[int], layer: int, part: str) -> Tensor:
    """What a layer or a part of it adds to the stream of a prompt, [token, width]."""
    entered, left = kept(model, tuple(prompt), layer, part)
    return (left - entered)[0] if part == "layer" else left[0]


def lesioned(model: PreTrainedModel, prompt: list[int], layer: int, part: str, instead: Tensor, first: int) -> Tensor:
    """The logits if from token `first` on a layer or part adds something else, [token, width] for the whole prompt."""

    def edit(entered: Tensor, left: Tensor) -> Tensor:
        own = left - entered if part == "layer" else left
        adds = torch.cat([own[:, :first], instead[None, first:]], dim=1)
        if part != "layer":
            return adds
        # Where the layer's own work stays, so does what it returned, to the bit.
        return torch.cat([left[:, :first], entered[:, first:] + adds[:, first:]], dim=1)

    return run(model, prompt, {module_of(model, layer, part): edit})[0]


def patched(
    model: PreTrainedModel, clean: list[int], corrupted: list[int], layer: int, site: str, token: int
) -> Tensor:
    """The logits of the corrupted prompt with the clean one's activation at one token."""
    part = {"attn_out": "attention", "mlp_out": "mlp"}.get(site, "layer")
    module = module_of(model, layer, part)
    clean_entered, clean_left = kept(model, tuple(clean), layer, part)

    def edit(entered: Tensor, left: Tensor) -> Tensor:
        changed = left.clone()
        if site == "delta":
            changed[0, token] = entered[0, token] + (clean_left - clean_entered)[0, token]
        else:
            changed[0, token] = clean_left[0, token]
        return changed

    return run(model, corrupted, {module: edit})[0]
