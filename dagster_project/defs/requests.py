"""Runs that no person asked for: what the sensor and the schedule request for a model.

Belongs here: which assets, with which settings, and how often a run whose process died is started again. When a run is
requested is said in `sensors` and `schedules`.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
)

from dagster_project.defs.analyses import PROFILED
from dagster_project.defs.jobs import OF_ALL
from dagster_project.defs.library import TABLES as LIBRARY
from dagster_project.defs.resources import Settings
from extract.job.extracting import OF_TWINS
from warehouse.twins import is_twin

RESTARTS = {MAX_RETRIES_TAG: "2", RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "false"}
"""A run is started again, twice at most, if its process died. A failed step was tried again as its error deserves."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def request(slug: str, settings: dict[str, Any], run_key: str, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """The run that makes all that is not current of a model and of what shows it; of a twin what it is read for."""
    made = [*LIBRARY, *OF_TWINS, *PROFILED] if is_twin(slug) else None
    return dg.RunRequest(
        run_key=run_key,
        partition_key=slug,
        run_config={"resources": {"settings": {"config": settings}}},
        asset_selection=[dg.AssetKey(name) for name in made] if made else None,
        tags={**RESTARTS, **(tags or {})},
    )


def atlas_request(run_key: str) -> dg.RunRequest:
    """The run that makes what is not current of what shows all models, and checks what has landed."""
    return dg.RunRequest(run_key=run_key, asset_selection=[dg.AssetKey(name) for name in OF_ALL], tags=RESTARTS)


def last_settings(instance: dg.DagsterInstance, slug: str) -> dict[str, Any]:
    """The settings of a model's last run that succeeded, as far as there still are such; none means the defaults.

    A partition holds what its last run asked for: with other settings a run would replace what someone chose.
    """
    run = _last_run(instance, slug, [dg.DagsterRunStatus.SUCCESS])
    config: dict[str, Any] = dict(run.run_config) if run else {}
    chosen = config.get("resources", {}).get("settings", {}).get("config", {})
    return {name: value for name, value in chosen.items() if name in Settings.model_fields}


def has_failed(instance: dg.DagsterInstance, slug: str) -> bool:
    """Whether a model's last run failed."""
    over = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    run = _last_run(instance, slug, over)
    return run is not None and run.status == dg.DagsterRunStatus.FAILURE


def models_being_run(instance: dg.DagsterInstance) -> set[str]:
    """The models that a run waits for or works on."""
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def _last_run(instance: dg.DagsterInstance, slug: str, statuses: list[dg.DagsterRunStatus]) -> dg.DagsterRun | None:
    runs = instance.get_runs(dg.RunsFilter(tags={PARTITION_NAME_TAG: slug}, statuses=statuses), limit=1)
    return next(iter(runs), None)
