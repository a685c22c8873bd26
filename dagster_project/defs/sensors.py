"""The sensor `new_models`: a model that lands gets a partition and a run, once for each state of it and of the library.

What landing means is in `dagster_project.arrivals`, what a run does in `requests`. The sensor is stopped until someone
switches it on: it takes a machine's time without being asked.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import RUN_KEY_TAG, WILL_RETRY_TAG

from dagster_project.arrivals import HASHING, Memory, Seen, Sight, look, look_at_library
from dagster_project.defs.jobs import LAND, LAND_JOB
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.requests import last_settings, request
from dagster_project.defs.resources import Warehouse
from dagster_project.instance import fail_dead_runs
from extract.inbox import read_inbox
from extract.models import ModelEntry, load_registry, model_fingerprint
from extract.untrained import SMALL, weights_on_disk
from warehouse.errors import VesaliusError

_FAILURES = 200
"""Runs that failed last, of which it is told."""


@dg.sensor(
    job=LAND_JOB,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Sees models that land (their folder, the hub's cache, the inbox), and requests a run of each: once, "
    "and once more whenever its files or the concept library have changed.",
)
def new_models(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult:
    """Look at every model that is known, and request the runs that are due."""
    before = Memory.read(context.cursor)
    # A run that was killed with its process holds its place in the pool, and all that are requested would wait for it.
    if gone := fail_dead_runs(context.instance):
        context.log.info("Marked as failed, for their processes are gone: runs %s.", ", ".join(gone))
    try:
        entries, faults = _known_models(warehouse)
        library = look_at_library(Path(warehouse.concepts), before.library)
    except (VesaliusError, OSError) as error:
        return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
    tick = _Tick(context.instance, library.fingerprint, dict(before.models), _failed_keys(context.instance), faults)
    until = time.monotonic() + HASHING
    for entry in entries:
        tick.see(entry, until)
    memory = Memory(library, tick.models)
    if library.fault:
        reason = f"No run is requested while the concept library has a fault: {library.fault}"
        return dg.SensorResult(skip_reason=reason, cursor=memory.write())
    context.log.info(tick.summary)
    if not tick.requests:
        return dg.SensorResult(skip_reason=tick.summary, cursor=memory.write())
    wanted = [one.partition_key for one in tick.requests if one.partition_key is not None]
    there = set(context.instance.get_dynamic_partitions(str(MODELS.name)))
    missing = [slug for slug in wanted if slug not in there]
    return dg.SensorResult(
        run_requests=tick.requests,
        dynamic_partitions_requests=[MODELS.build_add_request(missing)] if missing else [],
        cursor=memory.write(),
    )


@dataclass
class _Tick:
    """One tick: what is remembered, requested and told."""

    instance: dg.DagsterInstance
    library: str
    models: dict[str, Seen]
    failed: set[str]
    faults: dict[str, str]
    requests: list[dg.RunRequest] = field(default_factory=list)
    landed: int = 0
    absent: int = 0

    def see(self, entry: ModelEntry, until: float) -> None:
        """Look at a model, and request what is due; its own fault stops no other."""
        try:
            sight = look(entry, self.models.get(entry.slug), until)
            self.models[entry.slug] = sight.seen
            self._judge(entry, sight)
        except (VesaliusError, OSError) as error:
            self.faults[entry.slug] = str(error)

    def _judge(self, entry: ModelEntry, sight: Sight) -> None:
        if sight.waiting:
            self.absent += not sight.is_there
            if sight.is_there:
                self.faults[entry.slug] = sight.waiting
            return
        self.landed += 1
        if self.library and sight.seen.is_due(self.library):
            # The twin first: the model is read against it.
            for each, fingerprint in _with_twin(entry, sight.seen.fingerprint):
                self._request(each, fingerprint)
        elif sight.seen.run_key(entry.slug) in self.failed:
            self.faults[entry.slug] = (
                "its run failed, and is not requested again until its files or the library change; once what was wrong "
                f"is mended, launch it from the UI (job {LAND})"
            )

    def _request(self, entry: ModelEntry, fingerprint: str) -> None:
        before = self.models.get(entry.slug, Seen())
        seen = Seen(before.listing, fingerprint, before.requested, before.times)
        if seen.is_due(self.library):
            self.models[entry.slug] = after = seen.after_request(self.library)
            settings = last_settings(self.instance, entry.slug)
            settings.pop("model_folder", None)
            self.requests.append(request(entry.slug, settings, after.run_key(entry.slug)))

    @property
    def summary(self) -> str:
        """What a person wants to know of this tick."""
        return " ".join(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self.requests:
            yield f"Requested: {', '.join(str(one.partition_key) for one in self.requests)}."
        elif self.landed:
            yield f"Nothing new: {self.landed} landed, each with its run requested."
        else:
            yield "No model has landed."
        if self.absent:
            yield f"{self.absent} known, with no weights on this machine."
        yield from (f"{name}: {reason.rstrip('.')}." for name, reason in sorted(self.faults.items()))


def _known_models(warehouse: Warehouse) -> tuple[list[ModelEntry], dict[str, str]]:
    """The models of registry and inbox, and what is wrong with folders of the inbox."""
    registered = load_registry(Path(warehouse.models))
    inbox = read_inbox(warehouse.inbox_folder, registered)
    entries = registered | inbox.entries
    faults = {f"{warehouse.inbox_folder.name}/{name}": fault for name, fault in inbox.faults.items()}
    return [entries[slug] for slug in sorted(entries)], faults


def _with_twin(entry: ModelEntry, fingerprint: str) -> list[tuple[ModelEntry, str]]:
    """A model, before it its untrained twin where that costs little, each with its fingerprint."""
    if weights_on_disk(entry) >= SMALL:
        return [(entry, fingerprint)]
    twin = entry.twin()
    return [(twin, model_fingerprint(twin)), (entry, fingerprint)]


def _failed_keys(instance: dg.DagsterInstance) -> set[str]:
    """The run keys of runs that failed and are not started again."""
    failed = instance.get_runs(dg.RunsFilter(job_name=LAND, statuses=[dg.DagsterRunStatus.FAILURE]), limit=_FAILURES)
    return {
        run.tags[RUN_KEY_TAG] for run in failed if RUN_KEY_TAG in run.tags and run.tags.get(WILL_RETRY_TAG) != "true"
    }
