"""Recorded and replayed layers give to the bit what the model's own forward gives."""

import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, tiny_model
from torch import Tensor, nn

from extract.stack import Stack, forward, replay
from warehouse.errors import ModelError

PROMPTS, TOKENS = 3, 11


def masked(side: str) -> Tensor | None:
    mask = torch.ones(PROMPTS, TOKENS, dtype=torch.long)
    if side == "none":
        return None
    for prompt, padding in ((0, 4), (1, 2)):
        where = slice(TOKENS - padding, None) if side == "right" else slice(0, padding)
        mask[prompt, where] = 0
    return mask


def naive_layers(stack: Stack, tokens: Tensor, mask: Tensor | None) -> list[Tensor]:
    """What each layer returns in the model's own forward."""
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(
            lambda _, __, output: seen.append(output if isinstance(output, Tensor) else output[0])
        )
        for layer in stack.layers
    ]
    forward(stack.decoder, tokens, mask)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("side", ["none", "right", "left"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_replayed_layers_equal_the_naive_forward_to_the_bit(architecture: str, side: str) -> None:
    model = tiny_model(architecture)
    stack = Stack.of(model)
    tokens, mask = torch.randint(3, 97, (PROMPTS, TOKENS)), masked(side)
    expected = naive_layers(stack, tokens, mask)
    recording = stack.record(tokens, mask)
    hidden = recording.hidden
    for layer, call, wanted in zip(stack.layers, recording.calls, expected, strict=True):
        hidden = replay(layer, hidden, call)
        assert torch.equal(hidden, wanted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_recording_leaves_the_model_as_it_was(architecture: str) -> None:
    model = tiny_model(architecture)
    tokens = torch.randint(3, 97, (PROMPTS, TOKENS))
    before = model(tokens).logits
    stack = Stack.of(model)
    stack.record(tokens)
    assert all("forward" not in layer.__dict__ for layer in stack.layers)
    assert not any(layer._forward_hooks for layer in stack.layers)
    assert torch.equal(model(tokens).logits, before)


@torch.inference_mode()
def test_a_forward_that_offloading_put_in_place_is_put_back() -> None:
    model = tiny_model("llama")
    stack = Stack.of(model)
    layer = stack.layers[1]
    own = layer.forward

    def offloaded(*positional: object, **named: object) -> object:
        return own(*positional, **named)

    layer.forward = offloaded
    stack.record(torch.ones(1, 3, dtype=torch.long))
    assert layer.forward is offloaded


@torch.inference_mode()
def test_recording_puts_the_layers_back_when_the_forward_fails() -> None:
    stack = Stack.of(tiny_model("llama"))
    with pytest.raises(IndexError):
        stack.record(torch.full((1, 3), 10_000))
    assert all("forward" not in layer.__dict__ for layer in stack.layers)


@torch.inference_mode()
def test_recording_runs_no_layer() -> None:
    stack = Stack.of(tiny_model("llama"))
    calls: list[int] = []
    for layer in stack.layers:
        layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    stack.record(torch.ones(1, 3, dtype=torch.long))
    assert calls == []


def test_a_model_that_touches_the_hidden_state_between_layers_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers[2].register_forward_pre_hook(lambda _, given: (2 * given[0],))
    with pytest.raises(ModelError, match="between layers 1 and 2"):
        Stack.of(model)


def test_a_model_whose_layers_are_not_found_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers = nn.ModuleList(list(model.model.layers)[: LAYERS - 1])
    with pytest.raises(ModelError, match="0 lists of 4 layers"):
        Stack.of(model)


def test_a_model_that_skips_a_layer_is_refused() -> None:
    model = tiny_model("gpt-neox")
    model.gpt_neox.layers[1].forward = model.gpt_neox.layers[2].__call__
    with pytest.raises(ModelError, match="not once each and in order"):
        Stack.of(model)


@torch.inference_mode()
def test_hidden_states_of_transformers_agree_below_the_last_layer_and_differ_after_it_by_the_norm() -> None:
    model = tiny_model("llama")
    tokens = torch.randint(3, 97, (PROMPTS, TOKENS))
    theirs = model(tokens, output_hidden_states=True).hidden_states
    stack = Stack.of(model)
    recording = stack.record(tokens)
    hidden = recording.hidden
    assert torch.equal(hidden, theirs[0])
    for index, (layer, call) in enumerate(zip(stack.layers, recording.calls, strict=True)):
        hidden = replay(layer, hidden, call)
        if index < LAYERS - 1:
            assert torch.equal(hidden, theirs[index + 1])
    assert not torch.allclose(hidden, theirs[LAYERS])
    assert torch.equal(model.model.norm(hidden), theirs[LAYERS])
