"""The code location: puts assets, checks, jobs, sensors, schedules and resources together.

`build_defs` is the one way to do so, for Dagster, for the commands and for tests. What it puts together is in `defs`.
"""

from collections.abc import Mapping

import dagster as dg

from dagster_project.defs import (
    analyses,
    answers,
    atlas,
    charts,
    checks,
    extraction,
    jobs,
    library,
    maps,
    page,
    references,
    schedules,
    sensors,
    upkeep,
)
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.progress import LogProgress
from extract.job.progress import Progress


def build_defs(
    warehouse: Warehouse | None = None,
    progress: Progress | None = None,
    extracted: dg.AssetsDefinition = extraction.extraction,
    resources: Mapping[str, object] | None = None,
) -> dg.Definitions:
    """The definitions for one warehouse.

    Args:
        warehouse: where things lie; by default where the environment says.
        progress: who is told how far work is; by default the run's log.
        extracted: what runs the models; by default this process. `deploy/` has others.
        resources: what that needs besides.
    """
    return dg.Definitions(
        assets=upkeep.maintained(
            [
                library.library,
                references.references,
                extracted,
                answers.judgements,
                analyses.projections,
                analyses.neighbours,
                analyses.profiled,
                maps.mapped,
                maps.findings,
                atlas.umap_pictures,
                atlas.catalog,
                *charts.OF_ALL,
                *charts.OF_MODEL,
                page.atlas,
            ]
        ),
        asset_checks=checks.sql_checks(),
        jobs=jobs.JOBS,
        sensors=[sensors.new_models],
        schedules=[schedules.nightly_atlas],
        resources={
            "warehouse": warehouse or Warehouse.from_environment(),
            "settings": Settings.configure_at_launch(),
            "progress": progress or LogProgress(),
            **(resources or {}),
        },
        # Not fork: threads of torch and of numba don't survive it.
        executor=dg.multiprocess_executor.configured({"start_method": {"spawn": {}}}),
    )


defs = build_defs()
