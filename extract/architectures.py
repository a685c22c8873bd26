"""Small random models of every architecture that the engine is held to: their configs, and one made on the spot.

Those of encoders stand apart: what a page or a test says of all decoders is not true of them.

Data, and the one function that makes a model of it. What the engine can do with each is tried in `capabilities`, and by
the tests. Models that know something are made in `reference` and `planting`.
"""

from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

WIDTH, LAYERS, CONTEXT = 32, 4, 64

_LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SLIDING: dict[str, Any] = {**_LLAMA_LIKE, "head_dim": 8, "sliding_window": 4}
_EXPERTS = {"num_experts_per_tok": 2}

_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _LLAMA_LIKE),
    "qwen2": ("Qwen2Config", _LLAMA_LIKE),
    "qwen3": ("Qwen3Config", {**_LLAMA_LIKE, "head_dim": 8}),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        {**_LLAMA_LIKE, **_EXPERTS, "head_dim": 8, "num_experts": 4, "moe_intermediate_size": 16},
    ),
    "mistral": ("MistralConfig", {**_LLAMA_LIKE, "sliding_window": 4}),
    "gemma2": ("Gemma2Config", _SLIDING),
    "gemma3": ("Gemma3TextConfig", _SLIDING),
    "gpt-oss": (
        "GptOssConfig",
        {
            **_SLIDING,
            **_EXPERTS,
            "num_local_experts": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
    "phi3": ("Phi3Config", _LLAMA_LIKE),
    "olmo2": ("Olmo2Config", _LLAMA_LIKE),
    "gpt2": (
        "GPT2Config",
        {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": CONTEXT, "bos_token_id": 1, "eos_token_id": 2},
    ),
    "gpt-neox": ("GPTNeoXConfig", {**_LLAMA_LIKE, "num_key_value_heads": None}),
}
ARCHITECTURES = (*_CONFIGS, "gemma3-multimodal")

_BERT_LIKE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}
_MASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _BERT_LIKE),
    "roberta": ("RobertaConfig", {**_BERT_LIKE, "pad_token_id": 1}),
    "distilbert": (
        "DistilBertConfig",
        {"dim": WIDTH, "hidden_dim": 48, "n_layers": LAYERS, "n_heads": 4, "max_position_embeddings": CONTEXT},
    ),
    "mpnet": ("MPNetConfig", {**_BERT_LIKE, "pad_token_id": 1}),
}
ENCODERS = (*_MASKED,)
"""Masked language models; without their heads they are encoders."""


def tiny_model(architecture: str, vocabulary: int = 97, layers: int = LAYERS) -> PreTrainedModel:
    """A random model of one architecture, with its language-model head: 4 layers of width 32, float32."""
    torch.manual_seed(0)
    if architecture == "gemma3-multimodal":
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = transformers.Gemma3TextConfig(vocab_size=vocabulary, **_SLIDING)
        config = transformers.Gemma3Config(
            text_config=text.to_dict(), vision_config={**vision, "image_size": 28, "patch_size": 14}
        )
    else:
        name, settings = (_CONFIGS | _MASKED)[architecture]
        config = getattr(transformers, name)(
            vocab_size=vocabulary, **{key: value for key, value in settings.items() if value is not None}
        )
        config.num_hidden_layers = layers
    head = transformers.AutoModelForMaskedLM if architecture in _MASKED else transformers.AutoModelForCausalLM
    made: PreTrainedModel = head.from_config(config)  # type: ignore[no-untyped-call]
    made.train(False)
    return made
