"""Models: the registry of their names, what is in their folders, and how they are loaded.

A model is a folder as `save_pretrained` writes it: config, tokenizer and safetensors. Nothing here asks a network, runs
code that came with weights, or opens a pickle. Torch is imported only where a model is really loaded, so that asking
whether there is anything to do stays cheap.
"""

import json
import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import tomlkit
from tomlkit.exceptions import TOMLKitError

from warehouse.errors import ModelError
from warehouse.store import check_slug
from warehouse.tables import table
from warehouse.versions import file_hash, fingerprint

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
_TEMPLATE_FILES = ("chat_template*",)

DTYPES = ("float32", "bfloat16")
"""What models are run in. Not float16: residual streams leave its range."""

ATTENTIONS = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
"""What attention can be computed with. Transformers takes the names of kernels on a hub too, and would fetch them."""

DEVICE_MAPS = ("auto", "offload")

_SETTINGS = {"path": str, "description": str, "chat_template": bool, "dtype": str, "attention": str}
_KINDS = {str: "text in quotes", bool: "true or false"}


@dataclass(frozen=True)
class ModelEntry:
    """A model that the project knows by name.

    Attributes:
        slug: its name in paths, SQL and charts.
        path: the folder with config, tokenizer and weights.
        description: a line for people.
        chat_template: whether prompts go into the tokenizer's chat template, as a user's message.
        dtype: what it is run in, one of DTYPES; by default what its config says.
        attention: what attention is computed with, one of ATTENTIONS; by default what transformers chooses.
    """

    slug: str
    path: Path
    description: str = ""
    chat_template: bool = False
    dtype: str | None = None
    attention: str | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    entry: ModelEntry
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"

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
        longest: int | None = getattr(_text_config(self.model), "max_position_embeddings", None)
        return longest

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return int(_text_config(self.model).num_hidden_layers)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return int(_text_config(self.model).hidden_size)


def _text_config(model: "PreTrainedModel") -> Any:
    """The part of the config that tells of the decoder, within a multimodal wrapper too."""
    return model.config.get_text_config(decoder=True)


def load_registry(file: Path) -> dict[str, ModelEntry]:
    """The models of a registry file, by slug; paths in it count from its own folder. No file means no models.

    Raises:
        ModelError: the file is not what a registry looks like.
        InputError: a slug can't be one.
    """
    if not file.exists():
        return {}
    try:
        tables = tomlkit.parse(file.read_text(encoding="utf-8")).unwrap().get("models", {})
        for slug, values in tables.items():
            _check_settings(f"{file}: [models.{slug}]", values)
        return {
            check_slug(slug): ModelEntry(slug, **{**values, "path": (file.parent / values["path"]).resolve()})
            for slug, values in tables.items()
        }
    except (TOMLKitError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: {error}. Each model is a table [models.SLUG] with a `path`.") from error


def _check_settings(where: str, values: Mapping[str, object]) -> None:
    strangers = sorted(values.keys() - _SETTINGS)
    if strangers:
        raise ModelError(f"{where} has {strangers[0]!r}, which is no setting. There are {', '.join(_SETTINGS)}.")
    for name, kind in _SETTINGS.items():
        if name in values and not isinstance(values[name], kind):
            raise ModelError(f"{where} has {name} = {values[name]!r}; it takes {_KINDS[kind]}.")
    for name, allowed in (("dtype", DTYPES), ("attention", ATTENTIONS)):
        if values.get(name, allowed[0]) not in allowed:
            raise ModelError(f"{where} has {name} = {values[name]!r}; it takes one of {', '.join(allowed)}.")


def add_model(file: Path, path: Path, slug: str | None = None) -> ModelEntry:
    """Write a model into the registry file, comments and order kept; the same model twice is no fault.

    Raises:
        ModelError: the folder is no model, or the slug belongs to another folder.
        InputError: the slug can't be one.
    """
    path = path.resolve()
    registry = load_registry(file)
    entry = ModelEntry(check_slug(slug) if slug else slug_of(path), path)
    model_files(entry)
    known = registry.get(entry.slug)
    if known is not None:
        if known.path != path:
            raise ModelError(f"{entry.slug!r} is registered already, for {known.path}. Give another name with --slug.")
        return known
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    document = tomlkit.parse(text)
    models = document.setdefault("models", tomlkit.table(is_super_table=True))
    values = tomlkit.table()
    values["path"] = str(path)
    models[entry.slug] = values
    temporary = file.with_name(f".{file.name}.tmp")
    temporary.write_text(tomlkit.dumps(document), encoding="utf-8")
    temporary.replace(file)
    return entry


def slug_of(path: Path) -> str:
    """A slug made from a folder's name.

    Raises:
        InputError: nothing of the name can stay.
    """
    return check_slug(re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", path.name.lower())).strip("-._"))


def resolve(name: str, registry: dict[str, ModelEntry]) -> ModelEntry:
    """The model meant by a slug or by the path of a folder.

    Raises:
        ModelError: neither is there, or the folder's name belongs to another model.
    """
    if name in registry:
        return registry[name]
    path = Path(name).expanduser().resolve()
    if not path.is_dir():
        known = ", ".join(registry) or "none"
        raise ModelError(f"No model {name!r}: it is no registered slug ({known}) and no folder.")
    for entry in registry.values():
        if entry.path == path:
            return entry
    slug = slug_of(path)
    if slug in registry:
        raise ModelError(
            f"{path} would be called {slug!r}, and so is {registry[slug].path}. "
            f"Name it with `vesalius add {path} --slug NAME`."
        )
    return ModelEntry(slug, path)


def model_files(entry: ModelEntry) -> list[Path]:
    """The files that make the model what it is: config, tokenizer and weights, sorted by name.

    Raises:
        ModelError: no folder, no config, no tokenizer, no weights, only pickles, or a shard that is not there.
    """
    folder = entry.path
    if not folder.is_dir():
        raise ModelError(f"{entry.slug}: there is no folder {folder}.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: it is no model folder as save_pretrained writes it.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        if any(file for pattern in _PICKLES for file in folder.glob(pattern)):
            raise ModelError(
                f"{folder} holds its weights as a pickle, which runs code when it is opened. Save them as safetensors: "
                "model.save_pretrained(folder, safe_serialization=True)."
            )
        raise ModelError(f"{folder} has no weights: put its *.safetensors files there.")
    _check_shards(folder)
    tokenizer = {file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)}
    if not tokenizer:
        raise ModelError(f"{folder} has no tokenizer: put its tokenizer.json and tokenizer_config.json there.")
    templates = (file for pattern in _TEMPLATE_FILES for file in folder.glob(pattern) if file.is_file())
    return sorted({folder / "config.json", *weights, *tokenizer, *templates}, key=lambda file: file.name)


def _check_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{index} can't be read ({error}). Copy it again.") from error
    missing = sorted(shard for shard in shards if not (folder / shard).is_file())
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of {len(shards)} weight files, {missing[0]} first. Copy them too."
        )


def model_fingerprint(entry: ModelEntry) -> str:
    """Hash of config, tokenizer and weights: another byte in one of them, another fingerprint.

    What the registry says of how the model is run comes in as well, where it says anything: all that is measured of the
    model depends on it.

    Raises:
        ModelError: as `model_files`.
    """
    files = {file.name: _hash(file, *_state(file)) for file in model_files(entry)}
    settings = {"chat_template": entry.chat_template, "dtype": entry.dtype, "attention": entry.attention}
    return fingerprint(**files, **{name: value for name, value in settings.items() if value})


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@cache
def _hash(file: Path, _size: int, _modified: int) -> str:
    """The file's hash, taken again in this process only where its size or time changed."""
    return file_hash(file)


def load_model(
    entry: ModelEntry,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    device_map: str | None = None,
    offload_folder: Path | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
) -> LoadedModel:
    """Load a model and its tokenizer from its folder.

    Args:
        entry: which one.
        device: where it runs.
        dtype: `float32` or `bfloat16`; by default the one that its entry names, or else its config, but float16 becomes
            bfloat16: residual streams leave its range.
        device_map: for a model that is bigger than the device. `offload` leaves the layers in memory, or on disk if a
            folder is given, to be fetched when they are called; all else is on the device. `auto` fills accelerators
            with what they hold, then the memory, then the disk. By default the whole model is on the device.
        offload_folder: for weights on disk that can't be read from the model's own files, because loading changes them.
        max_memory: for `auto`, the most that a device may take, by its number or `cpu`, as accelerate writes it.

    Raises:
        ModelError: the files are no model that can be loaded; the message holds the loader's own words.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if device_map not in (None, *DEVICE_MAPS):
        raise ModelError(f"{device_map!r} is no device map. Take one of {', '.join(DEVICE_MAPS)}, or none.")
    model_files(entry)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(entry.path, **options)
        tokenizer = AutoTokenizer.from_pretrained(entry.path, **options)
        if device_map is not None:
            options |= {"device_map": "auto", "offload_folder": offload_folder, "max_memory": max_memory}
        if device_map == "offload":
            options |= {"device_map": _layers_apart(config, device, "disk" if offload_folder else "cpu")}
        options |= {"attn_implementation": entry.attention, "use_safetensors": True}
        load = partial(AutoModelForCausalLM.from_pretrained, entry.path, **options)
        model = load(dtype=dtype or entry.dtype or ("bfloat16" if _is_half(config) else "auto"))
        if model.dtype == torch.float16:
            # Only the weights said so. They are loaded again: a cast would round rotary frequencies too.
            model = load(dtype="bfloat16")
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{entry.path} can't be loaded: {error}") from error
    if device_map is None:
        torch.nn.Module.to(model, device=device)
    model.train(False)
    return LoadedModel(entry, model, tokenizer)


def _is_half(config: "PretrainedConfig") -> bool:
    import torch

    return torch.float16 in (config.dtype, config.get_text_config(decoder=True).dtype)


def _layers_apart(config: "PretrainedConfig", device: str, apart: str) -> dict[str, str]:
    """A device map that has the decoder's layers at one place and everything else on the device."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights():
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    count = _text_config(model).num_hidden_layers
    lists = [child for child in model.get_decoder().children() if isinstance(child, Sized) and len(child) == count]
    names = [name for name, module in model.named_modules() if any(module is each for each in lists)]

    def holds(name: str) -> bool:
        """Whether the layers lie within a module: it has no place itself, or accelerate would give it to them too."""
        return not name or any(f"{layers}.".startswith(f"{name}.") for layers in names)

    modules = [name for name, _ in model.named_modules()]
    beside = {name: device for name in modules if not holds(name) and holds(name.rpartition(".")[0])}
    return beside | {f"{name}.{layer}": apart for name in names for layer in range(count)}


def describe(loaded: LoadedModel) -> pa.Table:
    """The row of the table `models`; it landed now."""
    found = model_fingerprint(loaded.entry)
    row = {
        "source": str(loaded.entry.path),
        "revision": _revision(loaded.entry.path) or found,
        "architecture": type(loaded.model).__name__,
        "layers": loaded.layers,
        "width": loaded.width,
        "vocabulary": _text_config(loaded.model).vocab_size,
        "parameters": _parameters(loaded.model),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "landed_at": datetime.now(UTC),
        "fingerprint": found,
    }
    return pa.Table.from_pylist([row], schema=table("models").schema())


def _parameters(model: "PreTrainedModel") -> int:
    """Weights, tied ones counted once: by name, for two that are offloaded are no longer one object."""
    weights = model.named_parameters(remove_duplicate=False)
    return sum(each.numel() for name, each in weights if name not in model.all_tied_weights_keys)


def _revision(path: Path) -> str | None:
    """The commit, if the folder is a snapshot in a hub cache: …/snapshots/<commit>."""
    return path.name if path.parent.name == "snapshots" else None


def plants_table(entry: ModelEntry) -> pa.Table:
    """The rows of the table `plants` that the model's card tells; none for a model without plants.

    Raises:
        ModelError: the card can't be read.
    """
    card = entry.path / "card.json"
    schema = table("plants").schema()
    if not card.exists():
        return schema.empty_table()
    try:
        plants = json.loads(card.read_text(encoding="utf-8")).get("plants", [])
        return pa.Table.from_pylist([{name: plant[name] for name in schema.names} for plant in plants], schema=schema)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{card} does not tell its plants as expected ({error}).") from error
