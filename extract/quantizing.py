"""Weights of fewer bits: what they are stored as, what they are held as, and what transformers is told for it.

Belongs here: reading a config's quantization, the options for loading, and why something can't be. Gradients are taken
of weights in full: those stored as MXFP4 are made bfloat16 while loading, and the table `models` says so.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from extract.entries import ModelEntry
from warehouse.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DEQUANTIZED = "mxfp4, dequantized"
"""What the table `models` says of weights that were stored as MXFP4 and are run in full."""

_BITS = {"8bit": 8, "4bit": 4}


@dataclass(frozen=True)
class Quantized:
    """How a model's weights are brought in.

    Attributes:
        recorded: what the table `models` says of it; None for weights that are stored and held as they are run.
        options: for `from_pretrained`.
        by_the_loader: whether the loader itself puts weights onto the device, because they can't be moved later.
    """

    recorded: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    by_the_loader: bool = False


def has_gradients(entry: ModelEntry) -> bool:
    """Whether gradients of its weights can be taken: not of weights held in 8 or 4 bits."""
    return entry.quantization not in _BITS


def quantized(entry: ModelEntry, config: "PretrainedConfig", placement: str) -> Quantized:
    """How the weights of a model are brought in, by what its entry and its config say.

    Args:
        entry: the model.
        config: from its folder.
        placement: where weights lie, one of PLACEMENTS.

    Raises:
        ModelError: what is asked for needs a package that is not there, or does not go with the weights or their place.
    """
    if entry.is_untrained:
        return Quantized()
    stored = _stored(config)
    if entry.quantization in _BITS:
        return _in_bits(entry, stored, placement)
    if entry.quantization == "mxfp4" and stored != "mxfp4":
        kind = f"as {stored}" if stored else "in full"
        raise ModelError(
            f"{entry.slug}: the registry says mxfp4, and the weights in {entry.path} are stored {kind}. Take out its "
            "line `quantization`."
        )
    if stored == "mxfp4":
        from transformers.utils.quantization_config import Mxfp4Config

        return Quantized(DEQUANTIZED, {"quantization_config": Mxfp4Config(dequantize=True)})
    return Quantized(stored)


def _in_bits(entry: ModelEntry, stored: str | None, placement: str) -> Quantized:
    if stored is not None:
        raise ModelError(
            f"{entry.slug}: its weights are stored as {stored} already: they can't be made {entry.quantization}."
        )
    if placement == "offload":
        raise ModelError(
            f"{entry.slug}: weights of {entry.quantization} can't be offloaded layer by layer. Take --placement auto, "
            "or leave `quantization` out: a model that is offloaded takes its space on disk, not on the device."
        )
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{entry.slug}: {entry.quantization} needs the package bitsandbytes, which is not installed: `pip install "
            "bitsandbytes`, on a machine with a GPU that it supports."
        )
    return Quantized(entry.quantization, {"quantization_config": bits_config(_BITS[entry.quantization or ""])}, True)


def bits_config(bits: int) -> Any:
    """What transformers is told for bitsandbytes: 8 bits; or 4, as normal floats with scales of 8, run in bfloat16."""
    import torch
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig
    if bits == 8:
        return make(load_in_8bit=True)
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _stored(config: "PretrainedConfig") -> str | None:
    """What a config says that the weights are stored as, by transformers' name for it."""
    said = getattr(config, "quantization_config", None)
    if said is None:
        return None
    method = said.get("quant_method") if isinstance(said, dict) else getattr(said, "quant_method", None)
    return str(getattr(method, "value", method))
