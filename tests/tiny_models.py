"""Small random models of many architectures, made on the spot, and a tokenizer for them."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

WIDTH, LAYERS, CONTEXT = 32, 4, 64

_LLAMA_LIKE = {
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
_SLIDING = {**_LLAMA_LIKE, "head_dim": 8, "sliding_window": 4}
_EXPERTS = {"num_experts_per_tok": 2}

_CONFIGS: dict[str, tuple[str, dict[str, object]]] = {
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


def tiny_model(architecture: str, vocabulary: int = 97, layers: int = LAYERS) -> PreTrainedModel:
    """A random model of one architecture: 4 layers of width 32, float32."""
    torch.manual_seed(0)
    if architecture == "gemma3-multimodal":
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = transformers.Gemma3TextConfig(vocab_size=vocabulary, **_SLIDING)
        config = transformers.Gemma3Config(
            text_config=text.to_dict(), vision_config={**vision, "image_size": 28, "patch_size": 14}
        )
    else:
        name, settings = _CONFIGS[architecture]
        config = getattr(transformers, name)(
            vocab_size=vocabulary, **{key: value for key, value in settings.items() if value is not None}
        )
        config.num_hidden_layers = layers
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def tiny_tokenizer(texts: list[str], vocabulary: int = 300) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on some texts; it has a beginning-of-text token and no token for padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<bos>", "<eos>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def save_tiny(folder: Path, architecture: str = "llama", texts: tuple[str, ...] = ("The drug is for pain",)) -> Path:
    """A model folder as save_pretrained writes it, with a tokenizer trained on some texts."""
    tokenizer = tiny_tokenizer(list(texts))
    tiny_model(architecture, vocabulary=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
