"""The small models that are trained here: their shape, and where their parts lie, whatever the architecture.

Belongs here: making one with random weights, and its layers, embeddings, final norm, rotary angles and output layer by
one name each. Models that come from elsewhere are read by `stack`, which needs no names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.nn import Module, ModuleList
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from warehouse.errors import ModelError

LLAMA, QWEN3, GPT_NEOX = "llama", "qwen3", "gpt_neox"


@dataclass(frozen=True)
class Shape:
    """The size of a model: `inner` is the width of the MLP, `deviation` that of the initial weights.

    Attributes:
        architecture: Llama; Qwen 3, which norms queries and keys; or GPT-NeoX, whose attention and MLP read the same
            stream side by side, with biases and LayerNorm.
        key_heads: heads of keys and values; 0 for as many as there are heads. GPT-NeoX has no other number.
    """

    layers: int = 8
    width: int = 128
    inner: int = 344
    heads: int = 4
    vocabulary: int = 2500
    longest: int = 256
    deviation: float = 0.05
    architecture: str = LLAMA
    key_heads: int = 0


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """An untrained model in float32 whose embeddings are also its output layer.

    Raises:
        ModelError: no such architecture is trained here.
    """
    if shape.architecture not in _MAKES:
        raise ModelError(f"No {shape.architecture} is trained here. Take one of {', '.join(_MAKES)}.")
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.longest,
        "initializer_range": shape.deviation,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return _MAKES[shape.architecture](shape, common)


def layers_of(model: PreTrainedModel) -> ModuleList:
    """The decoder layers."""
    layers = model.base_model.get_submodule("layers")
    assert isinstance(layers, ModuleList)
    return layers


def mlp_of(model: PreTrainedModel, layer: int) -> Module:
    """The MLP of a layer."""
    return layers_of(model)[layer].get_submodule("mlp")


def embeddings(model: PreTrainedModel) -> Module:
    """What turns tokens into the stream that enters the first layer."""
    return model.get_input_embeddings()


def rotary(model: PreTrainedModel) -> Module:
    """What gives the angles by which queries and keys are turned."""
    return model.base_model.get_submodule("rotary_emb")


def final_norm(model: PreTrainedModel) -> Module:
    """The norm between the last layer and the output layer."""
    children = dict(model.base_model.named_children())
    return children["final_layer_norm" if "final_layer_norm" in children else "norm"]


def head(model: PreTrainedModel) -> Module:
    """The output layer."""
    output: Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return output


def _llama(shape: Shape, common: Mapping[str, Any]) -> PreTrainedModel:
    config = LlamaConfig(**common, num_key_value_heads=shape.key_heads or shape.heads, rms_norm_eps=1e-5)
    return LlamaForCausalLM(config)


def _qwen3(shape: Shape, common: Mapping[str, Any]) -> PreTrainedModel:
    key_heads, of_head = shape.key_heads or shape.heads, shape.width // shape.heads
    return Qwen3ForCausalLM(Qwen3Config(**common, num_key_value_heads=key_heads, head_dim=of_head))


def _gpt_neox(shape: Shape, common: Mapping[str, Any]) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**common))


_MAKES: Mapping[str, Callable[[Shape, Mapping[str, Any]], PreTrainedModel]] = {
    LLAMA: _llama,
    QWEN3: _qwen3,
    GPT_NEOX: _gpt_neox,
}
