"""Small kin of the registry's models: the same class and the same quirks, random weights, saved as the real ones are.

A kin has its model's transformers class, tied embeddings or not, kinds of layers, rope, a vocabulary wider than its
tokenizer where the real one's is, and a tokenizer of the same kind. Its weights lie in several shards.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import save_torch_state_dict
from tiny_library import COLOUR_TERMS
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

WIDTH, LAYERS = 32, 6
SHARD = "40KB"
TEXTS = [
    *(f"The colour of the {term} is {colour}. He painted the {term}." for term, colour in COLOUR_TERMS.items()),
    *(
        f"Yesterday she saw the {term} in town; they counted {number} of them."
        for number, term in enumerate(COLOUR_TERMS)
    ),
]
_SPECIAL = ["<unk>", "<s>", "</s>"]
_COMMON: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
_LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_GEMMA: dict[str, Any] = {
    **_COMMON,
    "sliding_window": 5,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
    "query_pre_attn_scalar": 8,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
}
_GPT_OSS: dict[str, Any] = {
    **_COMMON,
    "intermediate_size": 64,
    "sliding_window": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 150000.0},
}


def byte_level(*, begins: bool = True) -> Tokenizer:
    """A byte-level BPE, as of Llama 3, Qwen, GPT-OSS and SmolLM2; Qwen's begins with no token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _beginning(tokenizer) if begins else tokenizer


def pieces(*, prefixed: bool) -> Tokenizer:
    """A BPE with a sign for the space and bytes for unknown letters: SentencePiece's way, as of Llama 2 and Gemma.

    Args:
        prefixed: whether a text gets that sign before its first word too, as Llama 2 does and Gemma does not.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaced = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaced]) if prefixed else spaced
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    learned = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = learned["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    learned["pre_tokenizer"] = None  # Merges were learned within words; the real ones have nothing before them either.
    found = Tokenizer.from_str(json.dumps(learned))
    ends = [decoders.Strip(" ", 1, 0)] if prefixed else []
    found.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends])
    return _beginning(found)


def with_more(tokenizer: Tokenizer) -> Tokenizer:
    """The same with tokens added behind its vocabulary, as Meditron's."""
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<CLS>", "<SEP>", "<EOD>", "<MASK>")])
    return tokenizer


def _beginning(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@dataclass(frozen=True)
class Kin:
    """How a small model of the same kind is made.

    Attributes:
        config: the name of the config's class.
        settings: of the config.
        tokenizer: makes one.
        of: the models of the registry that it stands for.
        named: the class that the tokenizer's config names.
        padding: rows of the vocabulary behind the tokenizer's.
        is_multimodal: whether the decoder lies in a wrapper, beside a vision tower.
        is_mxfp4: whether the experts are stored so.
    """

    config: str
    settings: dict[str, Any]
    tokenizer: Callable[[], Tokenizer]
    of: tuple[str, ...]
    named: str = "PreTrainedTokenizerFast"
    padding: int = 0
    is_multimodal: bool = False
    is_mxfp4: bool = False


def _untied(**settings: Any) -> dict[str, Any]:
    return {**_COMMON, "tie_word_embeddings": False, **settings}


def _tied(**settings: Any) -> dict[str, Any]:
    return {**_COMMON, "tie_word_embeddings": True, **settings}


KIN = {
    "llama-3": Kin(
        "LlamaConfig",
        _untied(rope_parameters=_LLAMA_3_ROPE),
        byte_level,
        of=("llama-3.3-70b-instruct", "openbiollm-70b", "huatuogpt-o1-8b"),
    ),
    "llama-3-tied": Kin("LlamaConfig", _tied(rope_parameters=_LLAMA_3_ROPE), byte_level, of=("llama-3.2-1b",)),
    "smollm2": Kin(
        "LlamaConfig",
        _tied(num_attention_heads=3, num_key_value_heads=1, hidden_size=24),
        byte_level,
        of=("smollm2-135m", "smollm2-360m"),
        named="GPT2Tokenizer",
    ),
    "llama-2": Kin(
        "LlamaConfig",
        _untied(num_key_value_heads=4),
        lambda: pieces(prefixed=True),
        of=("pmc-llama-13b", "clinicalcamel-70b"),
        named="LlamaTokenizer",
    ),
    "meditron": Kin(
        "LlamaConfig",
        _untied(),
        lambda: with_more(pieces(prefixed=True)),
        of=("meditron-7b", "meditron-70b"),
        named="LlamaTokenizer",
        padding=13,
    ),
    "mistral": Kin(
        "MistralConfig",
        _untied(sliding_window=4),
        lambda: pieces(prefixed=True),
        of=("biomistral-7b",),
        named="LlamaTokenizer",
    ),
    "qwen2": Kin(
        "Qwen2Config",
        _untied(),
        lambda: byte_level(begins=False),
        of=("qwen2.5-32b-instruct",),
        named="Qwen2Tokenizer",
        padding=40,
    ),
    "qwen3": Kin(
        "Qwen3Config",
        _untied(),
        lambda: byte_level(begins=False),
        of=("qwen3-32b",),
        named="Qwen2Tokenizer",
        padding=40,
    ),
    "qwen3-tied": Kin(
        "Qwen3Config", _tied(), lambda: byte_level(begins=False), of=("qwen3-0.6b",), named="Qwen2Tokenizer", padding=40
    ),
    "gemma-3": Kin(
        "Gemma3TextConfig",
        _GEMMA,
        lambda: pieces(prefixed=False),
        of=("gemma-3-1b-it", "medgemma-27b-text-it"),
        named="GemmaTokenizer",
        padding=8,
    ),
    "gemma-3-multimodal": Kin(
        "Gemma3TextConfig",
        _GEMMA,
        lambda: pieces(prefixed=False),
        of=("gemma-3-27b-it", "medgemma-4b-it"),
        named="GemmaTokenizer",
        padding=8,
        is_multimodal=True,
    ),
    "gpt-oss": Kin("GptOssConfig", _GPT_OSS, byte_level, of=("gpt-oss-120b",), padding=24, is_mxfp4=True),
}
"""By name; `of` tells which models of the registry each stands for."""


def make(kin: Kin, folder: Path) -> PreTrainedModel:
    """Save a kin's model and tokenizer into a folder, as shards; the model is the one that was saved."""
    tokenizer = kin.tokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    said = folder / "tokenizer_config.json"
    said.write_text(json.dumps(json.loads(said.read_text()) | {"tokenizer_class": kin.named}))
    torch.manual_seed(0)
    config = getattr(transformers, kin.config)(
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True) + kin.padding, **kin.settings
    )
    if kin.is_multimodal:
        vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = transformers.Gemma3Config(
            text_config=config.to_dict(),
            vision_config={**vision, "image_size": 28, "patch_size": 14},
            tie_word_embeddings=True,
        )
    made: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(2.0)  # Random weights as they come make numbers so small that errors would hide in them.
    made.train(False)
    if kin.is_mxfp4:
        _save_mxfp4(made, folder)
    else:
        made.save_pretrained(folder, max_shard_size=SHARD)
    return made


_FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def _save_mxfp4(model: PreTrainedModel, folder: Path) -> None:
    """Save experts as blocks of 32 four-bit floats with a common exponent, and give the model what these stand for."""
    state = dict(model.state_dict())
    generator = torch.Generator().manual_seed(1)
    for name in [name for name in state if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, entering, leaving = state[name].shape
        shape = (experts, leaving, entering // 32)
        blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(122, 125, shape, dtype=torch.uint8, generator=generator)
        values = _decoded(blocks, scales)
        with torch.no_grad():
            model.get_parameter(name).copy_(values.mT)
        del state[name]
        state |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    full = {
        name: values.contiguous() if values.dtype == torch.uint8 else values.bfloat16().contiguous()
        for name, values in state.items()
    }
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(weights.bfloat16())
    save_torch_state_dict(full, folder, max_shard_size=SHARD, metadata={"format": "pt"})
    config = model.config.to_dict() | {"quantization_config": {"quant_method": "mxfp4"}, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))


def _decoded(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The numbers of MXFP4, [expert, leaving, entering]: low halves of bytes first, the eighth bit is the sign."""
    halves = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2).long()
    values = _FP4[halves & 7] * torch.where(halves >= 8, -1.0, 1.0)
    return (values * torch.exp2(scales.float() - 127)[..., None]).flatten(-2)
