"""`datapackage.json`: the folder described by the Data Package standard (version 2), so that other tools can read it.

A resource a file, with its length and SHA-256; what its columns are stands in `schemas/TABLE.json`, from the registry
of tables. What we need beyond the standard is under the key `vesalius`: layout, partition, fingerprint, versions.
https://datapackage.org/standard/data-package/
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.errors import InputError
from warehouse.exchange.parts import Part, path_of
from warehouse.schema import Column, Table
from warehouse.store import Footer, check_slug
from warehouse.tables import TABLES
from warehouse.versions import CODE_VERSION

NAME = "datapackage.json"
FORMAT = 1
"""Of what is under the key `vesalius`: raised when an older version of this code could not import the folder."""

LAYOUTS = ("warehouse", "datasets")
_HASH = "sha256:"
_PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"


@dataclass(frozen=True)
class Packed:
    """A partition as it lies in a folder.

    Attributes:
        path: the file, from the folder on.
        bytes: its length.
        sha256: of its content, hexadecimal.
    """

    part: Part
    path: str
    bytes: int
    sha256: str


def described(packed: Iterable[Packed], layout: str, title: str, description: str) -> dict[str, Any]:
    """What `datapackage.json` says of a folder."""
    return {
        "$schema": _PROFILE,
        "name": "vesalius-export",
        "title": title,
        "description": description,
        "homepage": "https://arxiv.org/abs/2510.11390",
        "keywords": ["interpretability", "language models", "medical knowledge"],
        "resources": [_resource(one, layout) for one in packed],
        "vesalius": {"format": FORMAT, "layout": layout, "code_version": CODE_VERSION},
    }


def table_schema(entry: Table, layout: str) -> dict[str, Any]:
    """A table's columns as a Table Schema; in the layout `datasets` files hold the partition columns too."""
    inside = entry.columns if layout == "warehouse" else entry.all_columns
    keys = [*(() if layout == "warehouse" else entry.partitions), *entry.key_names]
    schema: dict[str, Any] = {
        "$schema": "https://datapackage.org/profiles/2.0/tableschema.json",
        "title": entry.name,
        "description": f"{entry.doc} Grain: {entry.grain}.",
        "fields": [_field(column) for column in inside],
    }
    if keys:
        schema["primaryKey"] = keys
    return schema


def read_packed(folder: Path) -> list[Packed]:
    """What `datapackage.json` says of a folder's partitions. The files themselves are not looked at.

    Raises:
        InputError: it can't be read, is of another kind or version, or what it says makes no sense.
    """
    path = folder / NAME
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        ours = said["vesalius"]
        layout, format_ = ours["layout"], int(ours["format"])
        resources = list(said["resources"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no description that `vesalius export` wrote ({type(error).__name__}: {error}). Export the "
            "folder again."
        ) from error
    if format_ > FORMAT:
        raise InputError(f"{path} was written by a newer Vesalius ({ours.get('code_version')}): upgrade this one.")
    if layout != "warehouse":
        raise InputError(
            f"{folder} has the layout {layout!r}, which is for other tools: its files hold other columns than a "
            "warehouse's. Ask for an export in the layout 'warehouse'."
        )
    packed = [_packed(path, resource) for resource in resources]
    names = [str(one.part) for one in packed]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path} names {double[0]} more than once. Export the folder again.")
    return packed


def _resource(packed: Packed, layout: str) -> dict[str, Any]:
    part = packed.part
    return {
        "name": ".".join([part.table, *part.keys.values()]),
        "path": packed.path,
        "type": "table",
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "bytes": packed.bytes,
        "hash": f"{_HASH}{packed.sha256}",
        "schema": f"schemas/{part.table}.json",
        "vesalius": {"partition": part.keys, "layout": layout, **asdict(part.footer)},
    }


def _packed(path: Path, resource: dict[str, Any]) -> Packed:
    try:
        ours = dict(resource["vesalius"])
        keys = {str(key): check_slug(str(value)) for key, value in ours.pop("partition").items()}
        ours.pop("layout", None)
        part = Part(str(ours["table"]), keys, Footer(**ours))
        found = Packed(part, str(resource["path"]), int(resource["bytes"]), _hash(resource["hash"]))
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        name = resource.get("name") if isinstance(resource, dict) else resource
        raise InputError(
            f"{path}: the resource {name!r} can't be read ({type(error).__name__}: {error}). Export the folder again."
        ) from error
    if part.table not in TABLES:
        raise InputError(
            f"{path}: there is no table {part.table!r} here. The folder was written by another version of Vesalius "
            f"({part.footer.code_version}; this is {CODE_VERSION})."
        )
    if tuple(keys) != part.entry.partitions or found.path != f"data/{path_of(part.table, keys)}":
        raise InputError(f"{path}: {found.path!r} is not where {part} lies. Export the folder again.")
    return found


def _hash(text: str) -> str:
    if not text.startswith(_HASH):
        raise ValueError(f"{text!r} is no SHA-256")
    return text.removeprefix(_HASH)


def _field(column: Column) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if not column.nullable:
        limits["required"] = True
    limits |= {
        name: _whole(value, column)
        for name, value in (("minimum", column.minimum), ("maximum", column.maximum))
        if value is not None
    }
    if column.allowed:
        limits["enum"] = list(column.allowed)
    described = {"name": column.name, "type": _type(column), "description": column.doc}
    if column.unit:
        described["unit"] = column.unit
    return described | ({"constraints": limits} if limits else {})


def _type(column: Column) -> str:
    if column.is_vector:
        return "array"
    if pa.types.is_boolean(column.type):
        return "boolean"
    if pa.types.is_integer(column.type):
        return "integer"
    if pa.types.is_floating(column.type):
        return "number"
    return "datetime" if pa.types.is_timestamp(column.type) else "string"


def _whole(value: float, column: Column) -> float:
    return int(value) if pa.types.is_integer(column.type) else value
