"""Whether a model's folder is complete: nothing there, a part of it, or all of it and each file whole.

Belongs here: what can be told from names, sizes and the headers of weight files, cheaply enough to be asked every half
minute while a model is copied in. Not here: what the files say of the model, which is `models` and `loading`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["known", "partly", "landed"]

INDEX = "model.safetensors.index.json"
"""The file that says which shard holds which tensor."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Weights that run code when they are opened, and never are."""

_UNFINISHED = ("*.incomplete", "*.part", "*.partial", "*.crdownload", "*.aria2", "*.filepart")
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
)
_JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", INDEX)
_PICKLED = (
    "its weights are pickles, which run code when they are opened: save them as safetensors, with "
    "model.save_pretrained(folder)"
)
_LONGEST_HEADER = 100_000_000
"""Bytes of a header that safetensors itself takes at most."""


@dataclass(frozen=True)
class Completeness:
    """How much of a model is in its folder.

    Attributes:
        state: `known`, nothing of it is there; `partly`; or `landed`: config, tokenizer and weights, each whole.
        reason: for people: what is missing or torn first, or how much is there.
        bytes_found: of weights, in the folder now.
        bytes_expected: of weights, once all is there; None where nothing there says so.
    """

    state: State
    reason: str
    bytes_found: int = 0
    bytes_expected: int | None = None

    @property
    def is_landed(self) -> bool:
        """Whether the model can be run."""
        return self.state == "landed"


@dataclass(frozen=True)
class _Header:
    """What the first bytes of a safetensors file say: how long the file is, which tensors it holds."""

    bytes: int
    tensors: frozenset[str]


def completeness(folder: Path, *, weights: bool = True) -> Completeness:
    """How much of a model is in a folder, told without loading anything.

    A folder has landed if there are a config, a tokenizer and weights; if all shards that the index names are there; if
    each weight file is as long as its own header says (8 bytes, the header, the largest offset in it), so that one that
    is still being copied does not count; and if its JSON files parse. Files are not hashed, and a SentencePiece model
    can't be told from half of one.

    Args:
        weights: whether they have to be there; an untrained twin needs none.

    Raises:
        OSError: the folder is there and can't be read.
    """
    try:
        return _seen(folder, weights=weights)
    except FileNotFoundError as error:
        return Completeness("partly", f"{error.filename} went away while it was looked at")


def _seen(folder: Path, *, weights: bool) -> Completeness:
    found = sorted(file for file in folder.glob("*.safetensors") if file.is_file())
    config = folder / "config.json"
    if not found and not config.is_file() and not _matching(folder, PICKLES):
        if folder.is_dir():
            return Completeness("known", f"nothing of a model is in {folder}")
        return Completeness("known", f"{folder} is no folder" if folder.exists() else f"there is no folder {folder}")
    index = _index(folder)
    headers = {file.name: _header(file) for file in found}
    size = sum(file.stat().st_size for file in found)
    fault = next(_faults(folder, index, headers, weights=weights), None)
    if fault is not None:
        return Completeness("partly", fault, size, _expected(index, headers))
    count = "1 weight file" if len(found) == 1 else f"{len(found)} weight files"
    return Completeness("landed", f"{count}, all whole", size, size)


def _faults(
    folder: Path, index: dict[str, Any] | None, headers: Mapping[str, _Header | None], *, weights: bool
) -> Iterator[str]:
    """What is missing or torn, the plainest first."""
    if not (folder / "config.json").is_file():
        yield "config.json is missing"
    unfinished = _matching(folder, _UNFINISHED)
    if unfinished:
        yield f"{unfinished[0].name} is a download that has not ended"
    yield from (f"{name} does not parse: half of it, or none" for name in _JSON_FILES if not _parses(folder / name))
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        yield "there is no tokenizer (tokenizer.json, tokenizer.model, or vocab.json and merges.txt)"
    if weights:
        yield from _torn_weights(folder, index, headers)


def _torn_weights(folder: Path, index: dict[str, Any] | None, headers: Mapping[str, _Header | None]) -> Iterator[str]:
    if not headers:
        yield _PICKLED if _matching(folder, PICKLES) else "there are no weights"
    if (folder / INDEX).is_file() and index is None:
        yield f"{INDEX} names no shards"
    yield from _missing_shards(index, headers)
    yield from (f"{name} is not whole: {_size(folder / name)}" for name, header in headers.items() if header is None)
    for name, header in headers.items():
        found = (folder / name).stat().st_size
        if header is not None and header.bytes != found:
            yield f"{name} is not whole: {found:,} of {header.bytes:,} bytes"
    if index is not None:
        yield from _missing_tensors(index, headers)


def _missing_shards(index: dict[str, Any] | None, headers: Mapping[str, _Header | None]) -> Iterator[str]:
    if index is not None:
        named = set(index["weight_map"].values())
        missing = sorted(named - headers.keys())
        if missing:
            yield f"{len(missing)} of {len(named)} weight files are missing, {missing[0]} first"
    elif any(re.search(r"-of-\d{5}\.safetensors$", name) for name in headers):
        yield f"{INDEX} is missing"


def _missing_tensors(index: dict[str, Any], headers: Mapping[str, _Header | None]) -> Iterator[str]:
    """An index of another revision than its shards."""
    for tensor, name in index["weight_map"].items():
        header = headers.get(name)
        if header is not None and tensor not in header.tensors:
            yield f"{name} lacks {tensor}, which {INDEX} has there: are they of one revision?"


def _expected(index: dict[str, Any] | None, headers: Mapping[str, _Header | None]) -> int | None:
    """Bytes of all weights: as headers say where all are there, else as the index says, which counts no headers."""
    whole = {name: header.bytes for name, header in headers.items() if header is not None}
    named = set(headers) if index is None else set(index["weight_map"].values())
    if named and named <= whole.keys():
        return sum(whole[name] for name in named)
    total = (index or {}).get("metadata", {}).get("total_size")
    return int(total) if isinstance(total, int | float) else None


def _header(file: Path) -> _Header | None:
    """What a safetensors file says of itself, or None if it is too short to say it."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        written = stream.read(length) if length <= _LONGEST_HEADER else b""
    try:
        entries: dict[str, Any] = json.loads(written) if len(written) == length else {}
        tensors = {name: int(entry["data_offsets"][1]) for name, entry in entries.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    if not tensors:
        return None
    return _Header(8 + length + max(tensors.values()), frozenset(tensors))


def _index(folder: Path) -> dict[str, Any] | None:
    """The index of shards, if there is one that names some."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return index if index["weight_map"].values() and isinstance(index.get("metadata", {}), dict) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _parses(file: Path) -> bool:
    if not file.is_file():
        return True
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _size(file: Path) -> str:
    with file.open("rb") as stream:
        if stream.read(8) == b"version ":
            return "a Git LFS pointer stands for it (`git lfs pull` brings the file)"
    return f"{file.stat().st_size:,} bytes, and its header is torn"


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted(file for pattern in patterns for file in folder.glob(pattern))
