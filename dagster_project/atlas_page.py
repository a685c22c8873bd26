"""The page of all maps as a file of the warehouse: which models are on it, what it is made from, how it is committed.

How it is built and what it shows is in `analyses.atlas`; the asset is in `defs.page`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyses.atlas.inputs import MODEL_TABLES, SHARED_TABLES, MadeWith, page_version
from dagster_project.chart_list import Subject
from dagster_project.defs.charts import ON_PAGE
from dagster_project.gathering import Keys, fingerprints_of, gather, partitions_of
from dagster_project.pictures import files_of, is_current, is_stamped, stamp, unstamp
from warehouse import fingerprints
from warehouse.atomic import disk_errors, replacing
from warehouse.errors import InputError
from warehouse.places import Place
from warehouse.store import Store

if TYPE_CHECKING:
    import polars as pl

    from analyses.atlas.building import Chart

PAGE = "atlas.html"
"""The page's file name, in the folder of charts."""

_MAPPED = "localisations"
"""The table without which there is no map of a model."""

Partitions = Mapping[str, list[Keys]]


@dataclass(frozen=True)
class Plan:
    """What a page would show of a warehouse as it is.

    Attributes:
        models: those that have a map, by name.
        left_out: those that were run and have none yet.
        fingerprint: of all that the page depends on, its own files among it.
        made_with: of each model what its files say beside their rows.
    """

    models: tuple[str, ...]
    left_out: tuple[str, ...]
    fingerprint: str
    made_with: Mapping[str, MadeWith]


def plan_page(store: Store) -> Plan:
    """Which models a page would show, and the fingerprint of what it would be made from."""
    known = [keys["model"] for keys in partitions_of(store, "models")]
    models = [model for model in known if partitions_of(store, _MAPPED, model)]
    inputs = fingerprints_of(store, _shared(store))
    for model in models:
        inputs |= fingerprints_of(store, _of_model(store, model))
    drawn = {name: partitions_of(store, name) for chart in ON_PAGE.values() for name in chart.reads}
    inputs |= fingerprints_of(store, drawn)
    left_out = tuple(model for model in known if model not in models)
    made_with = {model: _made_with(store, model) for model in models}
    told = {f"files of {model}": repr(found) for model, found in made_with.items()}
    return Plan(tuple(models), left_out, fingerprints.chart({**inputs, **told, "page": page_version()}), made_with)


def build_page(store: Store, plan: Plan, charts: Place) -> bytes:
    """The page that was planned.

    Args:
        charts: the folder of charts: those of them that are current are not drawn again.

    Raises:
        InputError: no model has a map yet.
    """
    from analyses.atlas.building import build_atlas

    shared = _frames(store, _shared(store))
    return build_atlas(
        shared,
        plan.models,
        lambda model: _frames(store, _of_model(store, model)),
        _charts(store, charts),
        plan.made_with,
    )


def is_page_current(path: Place, plan: Plan) -> bool:
    """Whether the page is there and shows what was planned."""
    return is_stamped(path, plan.fingerprint) and path.is_file()


def save_page(path: Place, plan: Plan, content: bytes) -> None:
    """Put the page in its place, whole or not at all, and note what it shows.

    Raises:
        StoreError: the disk refused.
    """
    unstamp(path)
    with replacing(path) as temporary, disk_errors(path):
        temporary.write_bytes(content)
    stamp(path, plan.fingerprint)


def _shared(store: Store) -> Partitions:
    return {name: partitions_of(store, name) for name in SHARED_TABLES}


def _of_model(store: Store, model: str) -> Partitions:
    return {name: partitions_of(store, name, model) for name in MODEL_TABLES}


def _made_with(store: Store, model: str) -> MadeWith:
    """Draws and versions, from the files' schemas and footers alone."""
    widths = {store.width("profile_draws", **keys) for keys in partitions_of(store, "profile_draws", model)}
    footers = [store.footer("profiles", **keys) for keys in partitions_of(store, "profiles", model)]
    versions = {footer.code_version for footer in footers if footer is not None}
    return MadeWith(tuple(sorted(width for width in widths if width)), tuple(sorted(versions)))


def _frames(store: Store, partitions: Partitions) -> "dict[str, pl.DataFrame]":
    from analyses.rows import frame

    return {name: frame(gather(store, name, found)) for name, found in partitions.items()}


def _charts(store: Store, folder: Place) -> "list[Chart]":
    """The charts that say the same for all models, as they lie there or drawn anew; none of what shows nothing."""
    found: list[Chart] = []
    for name, kept in ON_PAGE.items():
        partitions = {table: partitions_of(store, table) for table in kept.reads}
        stem = folder / kept.name
        if is_current(stem, fingerprints.chart(fingerprints_of(store, partitions))):
            found.append((name, kept.shows, json.loads(files_of(stem)["json"].read_text(encoding="utf-8"))))
            continue
        try:
            tables = {table: gather(store, table, rows) for table, rows in partitions.items()}
            chart = kept.draw(tables, Subject())
        except InputError:
            continue
        found.append((name, kept.shows, chart.to_dict(validate=False)))
    return found
