"""Loading: a model, or its untrained twin, and its tokenizer in memory, and its row of the table `models`.

What a model's folder holds, and the registry that names it, are in `models`, which needs no torch; nor does this module
before a model is really loaded. Nothing here asks a network, runs code that came with weights, or opens a pickle.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from extract.completeness import completeness
from extract.entries import PLACEMENTS
from extract.heap import give_back_large_blocks
from extract.kinds import refusal
from extract.models import ModelEntry, model_files, model_fingerprint
from extract.quantizing import quantized
from extract.untrained import auto_class, random_model
from warehouse.errors import ModelError
from warehouse.tables import table
from warehouse.twins import original_slug

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        entry: which one.
        model, tokenizer: as transformers has them.
        quantization: what its weights are stored or held as, where that is not their type.
        stands_for: weights of the model whose stand-in this is, in a trial; they decide how many threads it gets.
    """

    entry: ModelEntry
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    quantization: str | None = None
    stands_for: int | None = None

    @property
    def device(self) -> "torch.device":
        """Where inputs go, and where offloaded weights are fetched."""
        from extract.stack import execution_device

        return execution_device(self.model)

    @property
    def attention(self) -> str:
        """What the decoder's attention is really computed with, by transformers' name for it."""
        return str(_text_config(self.model)._attn_implementation)

    @property
    def longest(self) -> int | None:
        """Tokens that the model takes at most, if its config says."""
        from extract.stack import first_position

        longest: int | None = getattr(_text_config(self.model), "max_position_embeddings", None)
        return longest if longest is None else longest - first_position(self.model)

    @property
    def kind(self) -> str:
        """Which kind of model it is, one of those in `kinds`: its own class tells."""
        from extract.stack import kind_of_model

        return kind_of_model(self.model)

    @property
    def layers(self) -> int:
        """Its layers."""
        return int(_text_config(self.model).num_hidden_layers)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return int(_text_config(self.model).hidden_size)


def _text_config(model: "PreTrainedModel") -> Any:
    """The part of the config that tells of the decoder, within a multimodal wrapper too."""
    return model.config.get_text_config(decoder=True)


def load_model(
    entry: ModelEntry,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    device_map: str | None = None,
    offload_folder: Path | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
) -> LoadedModel:
    """Load a model and its tokenizer from its folder; of an untrained twin, make the model.

    Args:
        entry: which one.
        device: where it runs.
        dtype: `float32` or `bfloat16`; by default the one that its entry names, or else its config, but float16 becomes
            bfloat16: residual streams leave its range.
        device_map: for a model that is bigger than the device; by default its entry's placement. `none` has it all on
            the device. `offload` leaves the layers in memory, or on disk if a folder is given, to be fetched when they
            are called; all else is on the device. `auto` fills accelerators with what they hold, then the memory, then
            the disk.
        offload_folder: for weights on disk that can't be read from the model's own files, because loading changes them.
        max_memory: for `auto`, the most that a device may take, by its number or `cpu`, as accelerate writes it.

    Raises:
        ModelError: the files are no model that can be loaded, or the device can't take it; the message holds the
            loader's own words. Also: a device map for an untrained twin, which is made whole in memory.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer

    where = device_map or ("none" if entry.is_untrained else entry.placement)
    if where not in PLACEMENTS:
        raise ModelError(f"{where!r} is no device map. Take one of {', '.join(PLACEMENTS)}.")
    if entry.is_untrained and where != "none":
        raise ModelError(f"{entry.slug} is made whole in memory: it can't be loaded with a device map.")
    model_files(entry)
    if where != "none":
        give_back_large_blocks()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(entry.path, **options)
        tokenizer = AutoTokenizer.from_pretrained(entry.path, **options)
        weights = quantized(entry, config, where)
        options |= _placed(config, where, device, offload_folder, max_memory) | weights.options
        if weights.by_the_loader:
            options.setdefault("device_map", {"": device})
        options |= {"attn_implementation": entry.attention, "use_safetensors": True}
        load: Callable[..., PreTrainedModel]
        if entry.untrained_seed is not None:
            load = partial(random_model, config, entry.untrained_seed, attention=entry.attention)
        else:
            load = partial(auto_class(config).from_pretrained, entry.path, **options)
        model = load(dtype=dtype or entry.dtype or ("bfloat16" if _is_half(config) else "auto"))
        if model.dtype == torch.float16:
            # Only the weights said so. They are loaded again: a cast would round rotary frequencies too.
            model = load(dtype="bfloat16")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{entry.path} can't be loaded: {refusal(error)}") from error
    if "device_map" not in options:
        _bring_to(model, device, entry.slug)
    model.train(False)
    return LoadedModel(entry, model, tokenizer, weights.recorded)


def _placed(
    config: "PretrainedConfig",
    placement: str,
    device: str,
    offload_folder: Path | None,
    max_memory: Mapping[int | str, int | str] | None,
) -> dict[str, Any]:
    """Options of `from_pretrained` that say where weights lie; none if they are all on the device."""
    if placement == "none":
        return {}
    apart = "disk" if offload_folder else "cpu"
    places = "auto" if placement == "auto" else _layers_apart(config, device, apart)
    return {"device_map": places, "offload_folder": offload_folder, "max_memory": max_memory}


def _bring_to(model: "PreTrainedModel", device: str, slug: str) -> None:
    import torch

    try:
        torch.nn.Module.to(model, device=device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{slug} does not fit on {device}: {error}. With --placement auto or offload layers are fetched in turn."
        ) from error
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"{slug} can't be brought to the device {device!r}: {error}") from error


def offload_folder(registry: Path, slug: str, asked: str | None = None) -> Path:
    """Where the weights of a model may lie that neither a device nor the memory holds: as asked, or by the registry."""
    return (Path(asked).expanduser() if asked else registry.parent / "build" / "offload") / slug


def offload_place(entry: ModelEntry, placement: str | None, folder: Path) -> Path | None:
    """The folder that weights may be offloaded to; None where they stay on the device, or in memory.

    Layers of `offload` go to disk only where four fifths of the memory that is free now don't hold the model, about.

    Args:
        entry: the model.
        placement: what is asked for; None for what its entry says.
        folder: the one to take.
    """
    import psutil

    where = placement or entry.placement
    if where == "none" or entry.is_untrained:
        return None
    grows = 4 if entry.quantization == "mxfp4" else 1
    fits = completeness(entry.path).bytes_found * grows < 0.8 * psutil.virtual_memory().available
    return None if where == "offload" and fits else folder


def _is_half(config: "PretrainedConfig") -> bool:
    import torch

    return torch.float16 in (config.dtype, config.get_text_config(decoder=True).dtype)


def _layers_apart(config: "PretrainedConfig", device: str, apart: str) -> dict[str, str]:
    """A device map that has the decoder's layers at one place and everything else on the device."""
    from accelerate import init_empty_weights

    from extract.stack import layer_lists

    with init_empty_weights():
        model: Any = auto_class(config).from_config(config)
    count = _text_config(model).num_hidden_layers
    lists = layer_lists(model.get_decoder(), count)
    names = [name for name, module in model.named_modules() if any(module is each for each in lists)]

    def holds(name: str) -> bool:
        """Whether the layers lie within a module: it has no place itself, or accelerate would give it to them too."""
        return not name or any(f"{layers}.".startswith(f"{name}.") for layers in names)

    modules = [name for name, _ in model.named_modules()]
    beside = {name: device for name in modules if not holds(name) and holds(name.rpartition(".")[0])}
    return beside | {f"{name}.{layer}": apart for name in names for layer in range(count)}


def describe(loaded: LoadedModel) -> pa.Table:
    """The row of the table `models`; it landed now."""
    entry = loaded.entry
    found = model_fingerprint(entry)
    made = f", but for its weights: random ones of the seed {entry.untrained_seed}" if entry.is_untrained else ""
    row = {
        "source": f"{entry.source}{made}",
        "revision": _revision(entry) or found,
        "architecture": type(loaded.model).__name__,
        "layers": loaded.layers,
        "width": loaded.width,
        "vocabulary": _text_config(loaded.model).vocab_size,
        "parameters": _parameters(loaded.model),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "quantization": loaded.quantization,
        "landed_at": datetime.now(UTC),
        "fingerprint": found,
        "untrained_of": original_slug(entry.slug) if entry.is_untrained else None,
    }
    return pa.Table.from_pylist([row], schema=table("models").schema())


def _parameters(model: "PreTrainedModel") -> int:
    """Weights, tied ones counted once: by name, for two that are offloaded are no longer one object."""
    weights = model.named_parameters(remove_duplicate=False)
    return sum(each.numel() for name, each in weights if name not in model.all_tied_weights_keys)


def _revision(entry: ModelEntry) -> str | None:
    """The commit that it is pinned to, or that of its folder in a hub's cache: …/snapshots/<commit>."""
    if entry.is_untrained:
        return None
    if entry.is_pinned:
        return entry.revision
    return entry.path.name if entry.path.parent.name == "snapshots" else None
