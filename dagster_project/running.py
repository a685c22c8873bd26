"""`vesalius run`: the jobs of the code location in this process, on the instance that the UI reads.

Belongs here: the order of jobs, the configuration of a run, and how an error of ours gets out of Dagster's wrapping.
What the jobs do is in `defs`; what is printed about them, in `cli` and `summary`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterMaxRetriesExceededError

from dagster_project.definitions import build_defs
from dagster_project.defs.analyses import PROFILED
from dagster_project.defs.jobs import ATLAS, LIBRARY, MEASURE
from dagster_project.defs.maps import TABLES as MAPPED
from dagster_project.defs.partitions import register_models
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.instance import PROCESS_TAG, fail_dead_runs, this_process
from extract.job.extracting import OF_TWINS, refuse_taken_slug
from extract.job.extracting import TABLES as EXTRACTED
from extract.job.progress import Progress
from extract.models import ModelEntry, local_models, model_fingerprint, resolve
from extract.untrained import SMALL, weights_on_disk
from warehouse.errors import InputError, VesaliusError
from warehouse.twins import original_slug

_WITHOUT_UMAP = [
    *EXTRACTED,
    "judgements",
    "neighbours",
    *PROFILED,
    *MAPPED,
    "findings",
    "findings_chart",
    "stability_chart",
]
_FINDINGS = ["findings", "findings_chart"]
_OF_TWINS = [*OF_TWINS, *PROFILED]


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        forwards: prompts that went through a model.
        files_written: partitions that were written.
        failed_checks: name and description of each check that failed.
    """

    forwards: int
    files_written: int
    failed_checks: tuple[tuple[str, str], ...]


def chosen_models(warehouse: Warehouse, names: Sequence[str]) -> list[ModelEntry]:
    """The models meant by slugs and folders, or all registered ones that are on this machine; each is whole on disk.

    Raises:
        ModelError: there is no such model, or its folder is none.
        InputError: no model at all, an untrained twin, or two folders of one slug, here or in the warehouse.
    """
    registry = warehouse.registry()
    chosen = [resolve(name, registry) for name in names] if names else local_models(registry).values()
    entries = dict.fromkeys(chosen)
    if not entries:
        raise InputError(
            f"{warehouse.models} registers no model that is on this machine: add one with `vesalius add PATH`, or give "
            "--model PATH."
        )
    for entry in entries:
        if entry.is_untrained:
            own = original_slug(entry.slug)
            raise InputError(f"{entry.slug!r} is measured with its model: `vesalius run --untrained --model {own}`.")
        model_fingerprint(entry)
        double = next((other for other in entries if other.slug == entry.slug and other != entry), None)
        if double is not None:
            raise InputError(
                f"{entry.path} and {double.path} would both be called {entry.slug!r}. Name one of them with "
                f"`vesalius add {double.path} --slug NAME`."
            )
        if entry.slug not in registry:
            refuse_taken_slug(warehouse.store, entry)
    return list(entries)


def check_settings(settings: Settings) -> None:
    """See that lesions, patches, memory, type and placement are written as they can be read, before anything is run.

    Raises:
        InputError: one of them is not.
    """
    settings.plan.check()


def run_models(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    entries: Sequence[ModelEntry],
    settings: Settings,
    progress: Progress,
    *,
    umap: bool = True,
    untrained: bool | None = None,
    only: Sequence[str] | None = None,
) -> Outcome:
    """Write the library, measure each model, draw the atlas: what is current already costs nothing.

    A model's untrained twin is measured before it, its activations alone, so that they are there to be read against.

    Args:
        instance: where the runs are recorded.
        entries: the models; from `chosen_models`.
        umap: whether projections and their pictures are made.
        untrained: whether untrained twins are measured too; by default those of small models.
        only: these tables of each model alone, and nothing that shows all models; by default everything.

    Raises:
        VesaliusError: what went wrong first; what was committed before stays.
    """
    warehouse.sound_library(settings.concepts)
    fail_dead_runs(instance)
    warehouse.store.remove_leftovers()
    registry = warehouse.registry()
    measured = [each for entry in entries for each in _with_twin(entry, untrained)]
    register_models(instance, dict.fromkeys([*local_models(registry), *(entry.slug for entry in measured)]))
    defs = build_defs(warehouse, progress)

    def measure(entry: ModelEntry, made: Sequence[str] | None) -> dg.ExecuteInProcessResult:
        folder = None if original_slug(entry.slug) in registry else str(entry.path)
        own = settings.model_copy(update={"model_folder": folder})
        return _execute(defs, instance, MEASURE, own, partition=entry.slug, only=made)

    results = [_execute(defs, instance, LIBRARY, settings)]
    for entry in measured:
        results.append(measure(entry, only or (_OF_TWINS if entry.is_untrained else None if umap else _WITHOUT_UMAP)))
    if only is None:
        # What is found in a model is held against all others: those that were measured after it, too.
        results += [measure(entry, _FINDINGS) for entry in entries[:-1]]
        results.append(_execute(defs, instance, ATLAS, settings))
    return _outcome(results)


def _with_twin(entry: ModelEntry, wanted: bool | None) -> list[ModelEntry]:
    """A model, its untrained twin before it if that is wanted or costs little."""
    has_twin = weights_on_disk(entry) < SMALL if wanted is None else wanted
    return [entry.twin(), entry] if has_twin else [entry]


def write_library(instance: dg.DagsterInstance, warehouse: Warehouse, settings: Settings) -> None:
    """Write the concept library alone.

    Raises:
        VesaliusError: it is unsound, or can't be written.
    """
    warehouse.sound_library(settings.concepts)
    _execute(build_defs(warehouse), instance, LIBRARY, settings)


def own_error(error: BaseException) -> VesaliusError | None:
    """The error of ours that an exception wraps, if it wraps one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, VesaliusError):
            return seen
        # Once all tries are over, Dagster names the last error in its text alone, and raises it from nothing.
        last = seen.__context__ if isinstance(seen, DagsterMaxRetriesExceededError) else None
        seen = getattr(seen, "user_exception", None) or seen.__cause__ or last
    return None


def _execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    settings: Settings,
    *,
    partition: str | None = None,
    only: Sequence[str] | None = None,
) -> dg.ExecuteInProcessResult:
    try:
        return defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=partition,
            asset_selection=[dg.AssetKey(name) for name in only] if only else None,
            tags={PROCESS_TAG: this_process()},
            run_config=_run_config(job, settings),
        )
    except Exception as error:
        found = own_error(error)
        if found is None:
            raise
        raise found from error


def _run_config(job: str, settings: Settings) -> dict[str, Any]:
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if job != ATLAS:
        chosen = settings.model_dump(exclude_none=True)
        config["resources"] = {"settings": {"config": chosen}}
    return config


def _outcome(results: Sequence[dg.ExecuteInProcessResult]) -> Outcome:
    forwards = written = 0
    failed = []
    for result in results:
        for event in result.get_asset_materialization_events():
            metadata = event.materialization.metadata
            forwards += _number(metadata.get("forwards"))
            written += _number(metadata.get("files_written"))
        for evaluation in result.get_asset_check_evaluations():
            if not evaluation.passed:
                failed.append((evaluation.check_name, evaluation.description or ""))
    return Outcome(forwards, written, tuple(failed))


def _number(value: object) -> int:
    found = getattr(value, "value", 0)
    return int(found) if isinstance(found, int | float) else 0
