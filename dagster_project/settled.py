"""Whether a night would find all of a model current: told by what a run of it found before, without another run.

A run that was requested in a certain state, succeeded and wrote nothing has shown that in this state there is nothing
to do. As long as everything that a run reads is as it was then, the next one would find the same. So the state is a
hash of all that: the model's files, the library's, the settings, our code, and which files of the warehouse there are.
Only listings are read, for a schedule has a minute.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from dagster_project.arrivals import files_in
from dagster_project.defs.resources import DATA, PROJECT, Warehouse
from extract.endpoint import MODEL, URL
from extract.models import ModelEntry
from warehouse.places import listing
from warehouse.tables import TABLES
from warehouse.twins import twin_slug
from warehouse.versions import fingerprint

STATE_TAG = "vesalius/state"
"""On runs that a night requested: the state of all that they read."""

_CODE = ("analyses", "dagster_project", "extract", "sql", "warehouse")
_READ_OF_ALL = ("models", "profiles")
"""Of `analyses.findings.READ_OF_ALL` what is a model's: said again, for that module takes seconds to import."""
_WRITTEN = ("files_written", "charts_drawn", "pages_built")
"""Where materializations say how much a run wrote."""
_RUNS = 20
"""Runs of one state that are looked at."""


class Night:
    """What all models of a night have in common, listed once."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._charts = warehouse.charts.name
        self._stored = listing(warehouse.place)
        self._shared = fingerprint(
            code=[files_in(_own_files(name)) for name in _CODE],
            library=files_in(Path(warehouse.concepts).rglob("*")),
            judge=[os.environ.get(name) for name in (URL, MODEL)],
        )

    def state(self, entry: ModelEntry, settings: Mapping[str, Any]) -> str:
        """The state of all that a run of a model reads: another file, or another time of one, another state."""
        return fingerprint(
            shared=self._shared,
            entry=repr(entry),
            files=files_in(entry.path.glob("*")),
            settings=settings,
            tables=self._tables({entry.slug, twin_slug(entry.slug)}),
            charts=self._drawn(entry.slug),
        )

    def _tables(self, slugs: set[str]) -> dict[str, str]:
        """Files of the library, of a model and of its twin; of other models those that findings read of all."""
        found = {}
        for path, written in self._stored.items():
            table, *folders = path.split("/")
            model = next((part.partition("=")[2] for part in folders if part.startswith("model=")), None)
            if table in TABLES and (model is None or model in slugs or table in _READ_OF_ALL):
                found[path] = written
        return found

    def _drawn(self, slug: str) -> list[str]:
        """Names of charts; those of all models are drawn anew by runs of others too, so their times say nothing."""
        found = (path.split("/") for path in self._stored)
        return [
            "/".join(parts) for parts in found if parts[0] == self._charts and (len(parts) == 2 or parts[1] == slug)
        ]


def is_settled(instance: dg.DagsterInstance, slug: str, state: str) -> bool:
    """Whether a run of the model that was requested in this very state has succeeded and written nothing."""
    filters = dg.RunsFilter(tags={PARTITION_NAME_TAG: slug, STATE_TAG: state}, statuses=[dg.DagsterRunStatus.SUCCESS])
    return any(_wrote_nothing(instance, run.run_id) for run in instance.get_runs(filters, limit=_RUNS))


def _wrote_nothing(instance: dg.DagsterInstance, run_id: str) -> bool:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    made = [record.asset_materialization for record in records]
    return bool(made) and not any(
        one.metadata[name].value for one in made if one for name in _WRITTEN if name in one.metadata
    )


def _own_files(package: str) -> Iterable[Path]:
    """A package's files; what runs have written among them is none of it."""
    found = (path for path in (PROJECT / package).glob("*") if path != PROJECT / DATA)
    every = (below for path in found for below in (path.rglob("*") if path.is_dir() else [path]))
    return (path for path in every if "__pycache__" not in path.parts)
