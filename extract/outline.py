"""A model's shape, read off its config alone: how many weights it has, and what a token costs in each layer.

The model is made without memory (on torch's `meta` device), so every count is exact and no weight is read. What a run
does with such a model is counted in `hollow` and `estimation`.
"""

from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extract.models import ModelEntry
from warehouse.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a weight, and of a number in a stream, by the type that a model is run in."""

_BEFORE_KEYS = {"q", "k", "v", "qkv"}
"""Roles of the matrices that a layer runs through before it has keys and values."""


@dataclass(frozen=True)
class Layer:
    """One decoder layer.

    Attributes:
        weights: all of them.
        modules: what its modules are called in the table `saliency`.
        parts: the part of each.
        projecting: weights that a token is multiplied with before its keys and values are there.
        joining: those of attention after that.
        mlp: those of the MLP; of experts, as many as a token goes to.
        odd: weights whose gradients are taken prompt by prompt: experts, which are no plain matrices.
        ends: inputs and outputs of its matrices, summed up; of those before the keys, and of the others.
    """

    weights: int
    modules: tuple[str, ...]
    parts: tuple[str, ...]
    projecting: int
    joining: int
    mlp: int
    odd: int
    ends: tuple[int, int]

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with."""
        return self.projecting + self.joining + self.mlp


@dataclass(frozen=True)
class Outline:
    """A model's shape.

    Attributes:
        architecture: the class that the config names.
        dtype: what it is run in.
        weights: all of them, tied ones counted once.
        layers: from the first to the last.
        width: of the residual stream.
        vocabulary: rows of the head.
        heads_width: heads x width of one: what attention multiplies for each two tokens.
        keys_width: numbers that a layer keeps of a token as key and value.
        inner_width: the widest thing within a layer, for a token.
        heads: of attention.
        longest: tokens that the model takes at most; None if its config does not say.
    """

    architecture: str
    dtype: str
    weights: int
    layers: tuple[Layer, ...]
    width: int
    vocabulary: int
    heads_width: int
    keys_width: int
    inner_width: int
    heads: int
    longest: int | None

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return BYTES[self.dtype]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return self.weights * self.itemsize

    @property
    def layer_bytes(self) -> int:
        """Bytes of the weights of all layers."""
        return sum(layer.weights for layer in self.layers) * self.itemsize

    @property
    def largest_layer_bytes(self) -> int:
        """Bytes of the largest layer's weights."""
        return max(layer.weights for layer in self.layers) * self.itemsize


def outline(entry: ModelEntry, dtype: str | None = None) -> Outline:
    """The shape of a model, from the config in its folder; weights need not be there.

    Args:
        entry: which one.
        dtype: `float32` or `bfloat16`; by default as `load_model` would choose.

    Raises:
        ModelError: there is no config, or none of a causal language model whose layers form one stack.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from extract.kinds import DECODER, kind_in, refusal
    from extract.untrained import plain_config

    if not (entry.path / "config.json").is_file():
        raise ModelError(f"{entry.path} has no config.json: without it nothing is known of the model's shape.")
    if kind_in(entry.path) != DECODER:
        raise ModelError(
            f"{entry.slug} is an encoder, and only what decoders take can be counted beforehand: `vesalius run` "
            "measures it all the same."
        )
    try:
        config = AutoConfig.from_pretrained(entry.path, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                plain_config(config), attn_implementation=entry.attention, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, AttributeError) as error:
        raise ModelError(f"{entry.path}: no model can be made of its config.json: {refusal(error)}") from error
    text = config.get_text_config(decoder=True)
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    layers = tuple(_layer(layer, text) for layer in _layers(model))
    return Outline(
        architecture=type(model).__name__,
        dtype=dtype or entry.dtype or _dtype(config),
        weights=sum(weights.numel() for weights in model.parameters()),
        layers=layers,
        width=text.hidden_size,
        vocabulary=text.vocab_size,
        heads_width=heads * head,
        keys_width=2 * (getattr(text, "num_key_value_heads", None) or heads) * head,
        inner_width=_inner(text),
        heads=heads,
        longest=getattr(text, "max_position_embeddings", None),
    )


def _layers(model: Any) -> "list[nn.Module]":
    """The decoder's layers: the one list in it that is as long as the config says."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    count = decoder.config.get_text_config(decoder=True).num_hidden_layers
    lists: list[Any] = [child for child in decoder.children() if isinstance(child, Sized) and len(child) == count]
    if len(lists) != 1:
        raise ModelError(f"{type(model).__name__}: its decoder has {len(lists)} lists of {count} layers, not one.")
    return list(lists[0])


def _layer(layer: "nn.Module", text: Any) -> Layer:
    from extract.modules import layer_modules

    named = layer_modules(layer)
    projecting = joining = mlp = odd = 0
    ends = [0, 0]
    busy = getattr(text, "num_experts_per_tok", None) or 1
    experts = getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None) or 1
    for owner in named.owners:
        for name, weights in owner.module.named_parameters(recurse=False):
            if weights.ndim < 2:
                continue
            row = owner.rows[name][0]
            is_before = named.parts[row] == "attention" and named.names[row] in _BEFORE_KEYS
            ends[not is_before] += sum(weights.shape[-2:])
            if len(owner.rows[name]) > 1 or named.names[row].startswith("experts."):
                odd += weights.numel()
                # Biases of stacked experts have two dimensions, and are added.
                mlp += weights.numel() * busy // experts if weights.ndim == 3 or "experts." in owner.path else 0
            elif named.parts[row] != "attention":
                mlp += weights.numel()
            elif is_before:
                projecting += weights.numel()
            else:
                joining += weights.numel()
    return Layer(
        weights=sum(named.weights),
        modules=named.names,
        parts=named.parts,
        projecting=projecting,
        joining=joining,
        mlp=mlp,
        odd=odd,
        ends=(ends[0], ends[1]),
    )


def _inner(text: Any) -> int:
    """The widest MLP's inside; 4 x width where the config names none, as GPT-2's does not."""
    named = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * text.hidden_size
    return int(named)


def _dtype(config: Any) -> str:
    import torch

    named = (config.dtype, config.get_text_config(decoder=True).dtype)
    return "bfloat16" if torch.float16 in named or torch.bfloat16 in named else "float32"
