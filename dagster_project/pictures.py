"""Charts as files with a stamp: drawn anew only when what they show changed, and shown in Dagster's metadata.

What a chart looks like is in `analyses.charts`, imported only to draw; which charts there are is in `chart_list`.
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
    return is_stamped(stem, fingerprint) and all(path.is_file() for path in files_of(stem).values())


def draw(stem: Place, fingerprint: str, chart: "alt.TopLevelMixin") -> None:
    """Save a chart under a path without suffix, and note what it shows.

    Raises:
        StoreError: the disk refused.
    """
    from analyses.charts import save

    unstamp(stem)
    save(chart, stem)
    stamp(stem, fingerprint)


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
        picture = inline_picture(name, stem, room)
        if picture:
            room -= files["png"].stat().st_size
            found |= picture
        for suffix, path in files.items():
            found[f"{name}_{suffix}"] = dg.MetadataValue.path(str(path))
    found["bytes"] = bytes_
    return found


def inline_picture(name: str, stem: Place, room: int = _INLINE_LIMIT) -> dict[str, Any]:
    """A chart's PNG as what the UI shows under a name; nothing where it is not there or takes too much room."""
    try:
        png = files_of(stem)["png"].read_bytes()
    except FileNotFoundError:
        return {}
    if len(png) >= room:
        return {}
    return {name: dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")}


def unstamp(place: Place) -> None:
    """Forget what is shown there: the stamp goes first and comes last, and files without one are made again."""
    _stamp(place).unlink(missing_ok=True)


def stamp(place: Place, fingerprint: str) -> None:
    """Note what the files there show, once they are written.

    Raises:
        StoreError: the disk refused.
    """
    with replacing(_stamp(place)) as temporary:
        temporary.write_text(fingerprint, encoding="utf-8")


def is_stamped(place: Place, fingerprint: str) -> bool:
    """Whether the files there were written to show what has this fingerprint."""
    try:
        return _stamp(place).read_text(encoding="utf-8") == fingerprint
    except FileNotFoundError:
        return False


def _stamp(place: Place) -> Place:
    return place.with_name(f".{place.name}.fingerprint")
