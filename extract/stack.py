"""A model's stack of layers: recorded from its own forward, replayed one layer at a time.

`Stack.record` runs the model's forward with every layer by-passed and keeps the arguments that each layer would have
been given: masks, rotary embeddings and layer kinds come out as the model makes them, for any architecture, with no
code of ours for one. `replay` then calls a layer with them. What to do between two layers is `sweep`'s affair; loading
models is that of `loading`. The model is never edited: what is replaced for the recording is put back.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from extract.kinds import DECODER, kind_of
from warehouse.errors import ModelError

_CACHES = ("past_key_values", "past_key_value", "layer_past")
"""What architectures call the parameter of a layer that takes a cache of keys and values."""


@dataclass(frozen=True)
class Call:
    """The arguments of one layer, but for the hidden state that it takes; by name, as far as they have one."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """What the model would have given to each layer for one batch.

    Attributes:
        hidden: [prompt, token, width], what enters the first layer: the embedding output.
        calls: the other arguments, one entry a layer.
    """

    hidden: Tensor
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Stack:
    """The layers of a language model, in the order in which its forward calls them.

    Attributes:
        decoder: the model without its head; an encoder goes by that name here too.
        layers: its layers.
        returns_tuple: whether a layer returns its hidden state as the first of several things.
        cache: the parameter by which all layers take a cache of keys and values; None if they don't have the same, or
            if what is kept would not hold, because tokens look ahead.
        causal: whether a token depends on none that comes after it; tried on a real forward, and never so of encoders.
        first_position: what the model counts tokens from: RoBERTa begins behind the index of its padding.
    """

    decoder: nn.Module
    layers: tuple[nn.Module, ...]
    returns_tuple: bool
    cache: str | None
    causal: bool = True
    first_position: int = 0

    @property
    def device(self) -> torch.device:
        """Where the decoder's inputs go; weights that are offloaded are fetched there."""
        return execution_device(self.decoder)

    @classmethod
    def of(cls, model: Any) -> "Stack":
        """Find the stack and check on a real forward that it behaves as one.

        The layers are the list of modules in the decoder that is as long as its config says. A forward over two tokens
        then has to call each of them once, in order, each with what the one before it returned. Where the second token
        changes what becomes of the first, the stack is not causal.

        Raises:
            ModelError: the layers can't be told apart from other modules, or they are not a plain stack.
        """
        name = type(model).__name__
        decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
        count = decoder.config.get_text_config(decoder=True).num_hidden_layers
        found = layer_lists(decoder, count)
        if len(found) != 1:
            raise ModelError(
                f"{name}: its decoder has {len(found)} lists of {count} layers where one was expected. "
                "Models whose layers do not form one stack can't be mapped."
            )
        layers = tuple(found[0])
        first = first_position(decoder)
        outputs = _trial(name, decoder, layers, first)
        causal = kind_of_model(model) == DECODER and not _looks_ahead(outputs)
        caches = {next((name for name in _CACHES if name in _parameters(layer)), None) for layer in layers}
        cache = caches.pop() if len(caches) == 1 and causal else None
        is_tuple = not isinstance(outputs[0], Tensor)
        return cls(decoder, layers, returns_tuple=is_tuple, cache=cache, causal=causal, first_position=first)

    def record(self, tokens: Tensor, mask: Tensor | None = None) -> Recording:
        """Run the decoder with every layer by-passed and keep what each was given.

        Args:
            tokens: [prompt, token], vocabulary indices.
            mask: [prompt, token], 1 for a token of the prompt and 0 for padding; None where nothing is padded.
        """
        entering: list[Tensor] = []
        calls: list[Call] = []

        def keep(*positional: Any, **named: Any) -> Any:
            hidden, call = _split(self.layers[len(calls)], positional, named)
            entering.append(hidden)
            calls.append(call)
            return (hidden,) if self.returns_tuple else hidden

        with by_passed(self.layers, keep):
            forward(self.decoder, tokens, mask, self.first_position)
        return Recording(entering[0], tuple(calls))


def kind_of_model(model: Any) -> str:
    """Which kind a model in memory is of: its class tells what was really loaded."""
    config = model.config.get_text_config(decoder=True)
    is_decoder = bool(getattr(config, "is_decoder", False))
    return kind_of([type(model).__name__], getattr(config, "model_type", ""), is_decoder=is_decoder)


def layer_lists(decoder: nn.Module, count: int) -> list[nn.ModuleList]:
    """The lists of so many modules in a model without its head: among its children, or deeper where they have none."""
    near = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == count]
    return near or [each for each in decoder.modules() if isinstance(each, nn.ModuleList) and len(each) == count]


def execution_device(model: Any) -> torch.device:
    """Where a model's inputs go. The weights of an offloaded model are nowhere: its hooks know where it computes."""
    embedding = model.get_input_embeddings()
    hook = getattr(embedding, "_hf_hook", None)
    for each in getattr(hook, "hooks", [hook]):
        if getattr(each, "execution_device", None) is not None:
            return torch.device(each.execution_device)
    found: torch.device = embedding.weight.device
    return found


def replay(layer: nn.Module, hidden: Tensor, call: Call) -> Tensor:
    """What the layer makes of a hidden state [prompt, token, width], as the model's own forward would compute it."""
    return _hidden(layer(hidden, *call.positional, **call.named))


def check_finite(layer: int, hidden: Tensor) -> None:
    """See that what a layer gives are numbers.

    Raises:
        ModelError: some of them are not.
    """
    if not bool(hidden.isfinite().all()):
        raise ModelError(
            f"Layer {layer} gives numbers that are not finite: its weights hold NaN, or the numbers leave the range of "
            "their type. Check the weights, or run with --dtype float32."
        )


def forward(decoder: nn.Module, tokens: Tensor, mask: Tensor | None = None, first_position: int = 0) -> Tensor:
    """The decoder's own forward, without cache and head: [prompt, token, width], after the final norm.

    Positions are always given: GPT-2 would count padding on the left as text.
    """
    places = positions(tokens, mask, first_position)
    output = decoder(input_ids=tokens, attention_mask=mask, position_ids=places, use_cache=False)
    hidden: Tensor = output.last_hidden_state
    return hidden


def positions(tokens: Tensor, mask: Tensor | None, first: int = 0) -> Tensor:
    """Each token's place in its prompt, [prompt, token], from `first` on; padding on either side does not count."""
    if mask is None:
        return torch.arange(first, first + tokens.shape[1], device=tokens.device).expand(tokens.shape)
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0) + first


def first_position(decoder: nn.Module) -> int:
    """What a model itself counts tokens from: behind the padding's index, where its positions have such an index."""
    for name, module in decoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def _looks_ahead(outputs: Sequence[Any]) -> bool:
    """Whether the two prompts of the trial differ at their first token, in which they are the same."""
    states = [_hidden(output).float() for output in outputs]
    rounding = 16 * torch.finfo(_hidden(outputs[0]).dtype).eps
    return any(bool((each[0, 0] - each[1, 0]).abs().max() > rounding * each.abs().max()) for each in states)


def _trial(name: str, decoder: nn.Module, layers: Sequence[nn.Module], first_position: int) -> list[Any]:
    """What each layer returns in a forward over two tokens, after a check that they are called as a plain stack.

    Two prompts begin alike and end otherwise: [prompt, token, width].
    """
    order: list[int] = []
    entering: list[Tensor] = []
    outputs: list[Any] = []

    def watch(layer: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        order.append(layers.index(layer))
        entering.append(_split(layer, positional, named)[0])
        outputs.append(output)

    # Not the index 0: where it is the padding, its embedding is zero, and zero tells nothing.
    tokens = torch.tensor([[1, 2], [1, 3]], device=execution_device(decoder))
    hooks = [layer.register_forward_hook(watch, with_kwargs=True) for layer in layers]
    try:
        with torch.inference_mode():
            forward(decoder, tokens, None, first_position)
    finally:
        for hook in hooks:
            hook.remove()
    if order != list(range(len(layers))):
        raise ModelError(f"{name} calls its layers as {order}, not once each and in order; it can't be mapped.")
    for below, (output, hidden) in enumerate(zip(outputs, entering[1:], strict=False)):
        if _hidden(output) is not hidden and not torch.equal(_hidden(output), hidden):
            raise ModelError(
                f"{name} changes the hidden state between layers {below} and {below + 1}; it can't be mapped."
            )
    return outputs


def _split(layer: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Call]:
    """A layer's hidden state, given by position or by name, and its other arguments."""
    names = _parameters(layer)
    by_name = dict(zip(names, positional, strict=False)) | named
    return by_name.pop(names[0]), Call(positional[len(names) :], by_name)


def _parameters(layer: nn.Module) -> list[str]:
    """The names of a layer's parameters that can be given by position, in their order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(type(layer).forward).parameters.values()
    return [parameter.name for parameter in found if parameter.kind in kinds][1:]


def _hidden(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found


@contextmanager
def by_passed(modules: Sequence[nn.Module], *substitutes: Any) -> Iterator[None]:
    """Put other forwards in the modules' place; then back what was there, on the instance (offloading) or the class.

    Args:
        modules: whose forward is replaced.
        substitutes: one for all, or one for each.
    """
    each = substitutes * len(modules) if len(substitutes) == 1 else substitutes
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module, substitute in zip(modules, each, strict=True):
            module.forward = substitute
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                module.__dict__.pop("forward", None)
            else:
                module.forward = own
