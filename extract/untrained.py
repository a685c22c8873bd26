"""Untrained twins: a model of the same config with random weights, to read what is found in the trained one against.

What a twin shows comes from the shape of the model, its tokenizer and the spelling of terms, not from what was learned.
Here its weights are drawn, the prompts are chosen that it is run over, and the size of a model is read off its files,
to tell whether a twin costs little. How twins are named is in `warehouse.twins`; where one is loaded, in `loading`.
"""

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from extract.kinds import DECODER, ENCODER, MASKED, kind_of
from extract.models import ModelEntry
from warehouse.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_AUTO_CLASSES = {DECODER: "AutoModelForCausalLM", MASKED: "AutoModelForMaskedLM", ENCODER: "AutoModel"}

SMALL = 1_000_000_000
"""Weights below which a model is read against its twin unless it is asked not to: seconds to draw, minutes to run."""


def random_model(
    config: "PretrainedConfig", seed: int, *, dtype: str = "auto", attention: str | None = None
) -> "PreTrainedModel":
    """A model of that config whose weights are drawn as its architecture and config say, from a seed.

    They are drawn on the processor, so that they are the same whatever device runs the model. No file is read. A config
    that says how trained weights are quantized is followed in all but that.

    Args:
        config: of the trained model; it is not changed.
        seed: of the weights.
        dtype: `float32`, `bfloat16`, or `auto` for the config's; float32 where that names none.
        attention: what attention is computed with; by default what transformers chooses.

    Raises:
        ValueError: there is no such model of that config.
    """
    import torch

    own = plain_config(config)
    named = config.dtype or config.get_text_config(decoder=True).dtype or torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = auto_class(own).from_config(
            own,
            dtype=named if dtype == "auto" else getattr(torch, dtype),
            attn_implementation=attention,
            trust_remote_code=False,
        )
    return model


def plain_config(config: "PretrainedConfig") -> "PretrainedConfig":
    """The config without what it says of how trained weights are quantized."""
    return type(config).from_dict({name: value for name, value in config.to_dict().items() if name != _QUANTIZED})


def auto_class(config: "PretrainedConfig") -> Any:
    """By what transformers makes a model of that config: a causal LM, or of an encoder a masked LM, or a headless one.

    The config decides, by the architectures that it names (`kinds`).
    """
    import transformers

    is_decoder = bool(getattr(config, "is_decoder", False))
    kind = kind_of(config.architectures or [], config.model_type, is_decoder=is_decoder)
    return getattr(transformers, _AUTO_CLASSES[kind])


def compared(prompts: pa.Table, terms: pa.Table) -> pa.Table:
    """The prompts that a twin is run over: main terms in asking templates, or in neutral ones where none asks.

    Held-out templates and control spellings are left out: no profile is read against a twin there, and all prompts
    would take three times as long.

    Args:
        prompts, terms: a concept's tables.
    """
    main = terms.filter(pc.equal(terms["variant"], ""))["term"]
    shown = prompts.filter(pc.and_(pc.is_in(prompts["term"], main), pc.invert(prompts["held_out"])))
    asking = shown.filter(pc.equal(shown["template_kind"], "asking"))
    return asking if asking.num_rows else shown


def pairs_among(prompts: pa.Table, pairs: pa.Table) -> pa.Table:
    """The pairs of which both prompts are among those."""
    known = prompts["template"], prompts["term"], prompts["term"]
    names = ("template", "term", "corrupting_term")
    template, clean, corrupted = (pc.is_in(pairs[name], of) for name, of in zip(names, known, strict=True))
    return pairs.filter(pc.and_(template, pc.and_(clean, corrupted)))


def weights_on_disk(entry: ModelEntry) -> int:
    """How many weights the model's files hold, from their headers alone.

    Raises:
        ModelError: a header can't be read.
    """
    return sum(_weights_in(entry, name) for name in sorted(file.name for file in entry.path.glob("*.safetensors")))


_QUANTIZED = "quantization_config"


def _weights_in(entry: ModelEntry, name: str) -> int:
    path = entry.path / name
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        return sum(math.prod(each["shape"]) for key, each in header.items() if key != "__metadata__")
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"{path} is no safetensors file that can be read ({error}). Copy it again.") from error
