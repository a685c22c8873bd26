"""What the page is made from: tables by name, and files of its own.

Belongs here: what is asked before anything is built, so nothing here imports what draws.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

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
_FOLDER = Path(__file__).parent
_BESIDE = ("palette.py", "metric_words.py")
"""What the page says or wears that is not its alone."""


def page_version() -> str:
    """Hash of all that the page is built with besides tables: our code and scripts, and the libraries that draw."""
    files = sorted(path for path in _FOLDER.rglob("*") if path.is_file() and path.suffix != ".pyc")
    found = hashlib.sha256()
    for path in [*files, *(_FOLDER.with_name(name) for name in _BESIDE)]:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(_FOLDER.parent).as_posix()} {content}\n".encode())
    for name in _LIBRARIES:
        found.update(f"{name} {version(name)}\n".encode())
    return found.hexdigest()
