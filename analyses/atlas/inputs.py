"""What the page is made from: tables by name, and files of its own.

Belongs here: what is asked before anything is built, so nothing here imports what draws.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from warehouse.versions import file_hash

SHARED_TABLES = ("concepts", "terms", "frequencies", "labels", "prompts", "published", "validation", "edits")
"""What is read of the library, and of all models together."""

MODEL_TABLES = (
    "models",
    "plants",
    "unmeasured",
    "tokens",
    "lesions",
    "patches",
    "responses",
    "judgements",
    "projections",
    "neighbours",
    "profiles",
    "regions",
    "knowledge_map",
    "localisations",
    "stability",
    "findings",
)
"""What is read of each model."""


@dataclass(frozen=True)
class MadeWith:
    """What files say of how a model's tables came about, beside their rows.

    Attributes:
        resamples: how many draws are behind an interval; several where runs had several.
        versions: of Vesalius, those that wrote the model's profiles.
    """

    resamples: tuple[int, ...] = ()
    versions: tuple[str, ...] = ()


_LIBRARIES = ("altair", "vl-convert-python")
_PACKAGE = Path(__file__).parents[1]
"""All of it: the page speaks in words, numbers and colours of many modules, and it takes seconds to build anew."""


def page_version() -> str:
    """Hash of all that the page is built with besides tables: code, scripts, files, and the libraries that draw."""
    files = sorted(path for path in _PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.relative_to(_PACKAGE).as_posix()} {file_hash(path)}\n".encode())
    for name in _LIBRARIES:
        found.update(f"{name} {version(name)}\n".encode())
    return found.hexdigest()
