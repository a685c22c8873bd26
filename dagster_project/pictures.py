"""Charts as files with a stamp: drawn anew only when what they show changed, and shown in Dagster's metadata.

What a chart looks like is in `analyses.charts`, imported only to draw; which charts there are is in `defs.atlas`.
"""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from warehouse.atomic import replacing
from warehouse.places import Place

if TYPE_CHECKING:
    import altair as alt

SUFFIXES = ("json", "html", "png")

_INLINE_LIMIT = 500_000
"""Bytes of PNG that one materialization carries; what is beyond stays a path."""


def files_of(stem: Place) -> dict[str, Place]:
    """Where the files of a chart lie, by suffix."""
    return {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in SUFFIXES}


def is_current(stem: Place, fingerprint: str) -> bool:
    """Whether the chart is there with all its files, and shows what has this fingerprint."""
    return _read(_stamp(stem)) == fingerprint and all(path.is_file() for path in files_of(stem).values())


def draw(stem: Place, fingerprint: str, chart: "alt.TopLevelMixin") -> None:
    """Save a chart under a path without suffix, and note what it shows.

    Raises:
        StoreError: the disk refused.
    """
    from analyses.charts import save

    # The stamp goes first and comes last: files without it are drawn again.
    _stamp(stem).unlink(missing_ok=True)
    save(chart, stem)
    with replacing(_stamp(stem)) as temporary:
        temporary.write_text(fingerprint, encoding="utf-8")


def picture_metadata(stems: Mapping[str, Place], drawn: int, fingerprint: str, seconds: float) -> dict[str, Any]:
    """What the UI shows of some charts: each as a picture while there is room, and the paths of its files.

    Args:
        stems: by name, the paths without suffix.
        drawn: how many of them this run drew.
    """
    found: dict[str, Any] = {
        "charts": len(stems),
        "charts_drawn": drawn,
        "forwards": 0,
        "seconds": round(seconds, 3),
        "fingerprint": fingerprint,
    }
    bytes_, room = 0, _INLINE_LIMIT
    for name, stem in stems.items():
        files = files_of(stem)
        bytes_ += sum(path.stat().st_size for path in files.values())
        png = files["png"].read_bytes()
        if len(png) < room:
            room -= len(png)
            found[name] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
        for suffix, path in files.items():
            found[f"{name}_{suffix}"] = dg.MetadataValue.path(str(path))
    found["bytes"] = bytes_
    return found


def _stamp(stem: Place) -> Place:
    return stem.with_name(f".{stem.name}.fingerprint")


def _read(stamp: Place) -> str | None:
    try:
        return stamp.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
