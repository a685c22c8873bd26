"""What a shell offers after Tab: slugs of models, concepts, charts, named queries.

It is asked while somebody waits, so it reads file names and TOML alone and imports nothing heavy. What can't be read
offers nothing: a completion is no place for an error.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from dagster_project.chart_list import CHARTS
from warehouse.twins import is_twin

PROJECT = Path(__file__).resolve().parents[2]


def model_slugs(incomplete: str) -> list[str]:
    """Models of models.toml, of the inbox, and of the warehouse."""
    import tomllib

    file = Path(os.environ.get("VESALIUS_MODELS") or PROJECT / "models.toml").expanduser()
    try:
        registered: Iterable[str] = tomllib.loads(file.read_text(encoding="utf-8")).get("models", {})
    except (OSError, ValueError):
        registered = ()
    inbox = Path(os.environ.get("VESALIUS_INBOX") or file.parent / "inbox").expanduser()
    measured = (name.removeprefix("model=") for name in _folders(_warehouse() / "models"))
    known = {*registered, *_folders(inbox), *measured}
    return _matching((name for name in known if not is_twin(name)), incomplete)


def concept_names(incomplete: str) -> list[str]:
    """Concepts of the library."""
    library = Path(os.environ.get("VESALIUS_CONCEPTS") or PROJECT / "extract" / "concepts").expanduser()
    return _matching((name for name in _folders(library) if (library / name / "concept.toml").is_file()), incomplete)


def chart_names(incomplete: str) -> list[str]:
    """Charts that `vesalius chart` draws."""
    return _matching(CHARTS, incomplete)


def query_names(incomplete: str) -> list[str]:
    """Named queries."""
    return _matching((path.stem for path in (PROJECT / "sql" / "analyses").glob("*.sql")), incomplete)


def _warehouse() -> Path:
    return Path(os.environ.get("VESALIUS_WAREHOUSE") or PROJECT / "warehouse" / "data").expanduser()


def _folders(place: Path) -> list[str]:
    try:
        return [path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))]
    except OSError:
        return []


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
