"""The schedule `nightly_atlas`: every model that has landed is brought up to date, and the atlas with it.

What is current already costs no forward pass. A model of which a run has shown that all is current is left out as
long as nothing changed, for to see that once more takes a process a step; then the atlas alone is looked at. A night
catches what the sensor does not see: tables that were deleted, a newer version of the code, a twin that came late.
Stopped until someone switches it on.
"""

from pathlib import Path

import dagster as dg

from dagster_project.defs.jobs import LAND_JOB
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.requests import atlas_request, has_failed, last_settings, models_being_run, request
from dagster_project.defs.resources import Warehouse
from dagster_project.settled import STATE_TAG, Night, is_settled
from extract.completeness import completeness
from extract.models import ModelEntry, resolve
from warehouse.errors import VesaliusError
from warehouse.twins import is_twin, original_slug


@dg.schedule(
    job=LAND_JOB,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Brings every landed model and the atlas up to date: what is current costs no forward pass.",
)
def nightly_atlas(context: dg.ScheduleEvaluationContext, warehouse: Warehouse) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run of every partition whose model is there, twins first."""
    try:
        registry = warehouse.registry()
        warehouse.sound_library([])
        seen = Night(warehouse)
    except VesaliusError as error:
        return dg.SkipReason(str(error))
    instance, night = context.instance, context.scheduled_execution_time.date().isoformat()
    busy, requests, left_out, current = models_being_run(instance), [], [], []
    partitions = instance.get_dynamic_partitions(str(MODELS.name))
    for slug in sorted(partitions, key=lambda slug: (original_slug(slug), not is_twin(slug))):
        settings = last_settings(instance, slug)
        if original_slug(slug) in registry:
            settings.pop("model_folder", None)
        entry = _entry(slug, settings.get("model_folder"), registry)
        if slug in busy:
            left_out.append(f"{slug}: a run of it is under way")
        elif entry is None or not completeness(entry.path).is_landed:
            left_out.append(f"{slug}: its weights are not there")
        elif has_failed(instance, slug):
            left_out.append(f"{slug}: its last run failed, so it waits for one that a person launches")
        elif is_settled(instance, slug, state := seen.state(entry, settings)):
            current.append(slug)
            left_out.append(f"{slug}: all of it is current, and nothing changed since a run has seen that")
        else:
            requests.append(request(slug, settings, f"{slug}:{night}", {STATE_TAG: state}))
    if left_out:
        context.log.info("Left out: %s.", "; ".join(left_out))
    if current and not requests and not busy:  # Each run that is under way looks at the atlas at its end.
        requests.append(atlas_request(f"atlas:{night}"))
    return requests or dg.SkipReason(
        "; ".join(left_out) or f"There is no model yet: {Path(warehouse.models)} tells which."
    )


def _entry(slug: str, folder: str | None, registry: dict[str, ModelEntry]) -> ModelEntry | None:
    """The model of a partition: that of the folder which its last run named, or the registered one."""
    try:
        return resolve(folder or original_slug(slug), registry)
    except VesaliusError:
        return None
