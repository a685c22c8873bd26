"""The atlas as an asset: one self-contained page of all models that have a map.

What is on it and how it is committed is in `atlas_page`; how it is built, in `analyses.atlas`.
"""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from analyses.atlas.inputs import MODEL_TABLES, SHARED_TABLES
from dagster_project.atlas_page import PAGE, build_page, is_page_current, plan_page, save_page
from dagster_project.defs.charts import KNOWLEDGE_MAP, ON_PAGE
from dagster_project.defs.resources import Warehouse
from dagster_project.landing import RETRIES, failing_clearly
from dagster_project.pictures import inline_picture


@dg.asset(
    description="atlas.html: maps, profiles, pictures, terms and findings of all models in one file that needs no "
    "network.",
    group_name="atlas",
    kinds={"altair", "html"},
    deps=[*SHARED_TABLES, *MODEL_TABLES, "knowledge_map_chart", *ON_PAGE],
    retry_policy=RETRIES,
)
def atlas(warehouse: Warehouse) -> Iterator[dg.MaterializeResult[object]]:
    """Build the page if what it shows or what it is built with changed; models without a map are left out."""
    with failing_clearly():
        started, path = time.monotonic(), warehouse.charts / PAGE
        plan = plan_page(warehouse.store)
        found: dict[str, Any] = {"models": len(plan.models), "forwards": 0, "fingerprint": plan.fingerprint}
        if plan.left_out:
            found["models_without_map"] = ", ".join(plan.left_out)
        if not plan.models:
            found["nothing_to_show"] = "No model has a map yet: run one (`vesalius run --model reference`)."
            yield dg.MaterializeResult(metadata={**found, "pages_built": 0})
            return
        stale = not is_page_current(path, plan)
        if stale:
            save_page(path, plan, build_page(warehouse.store, plan, warehouse.charts))
        found |= {
            "pages_built": int(stale),
            "path": dg.MetadataValue.path(str(path)),
            "bytes": path.stat().st_size,
            "seconds": round(time.monotonic() - started, 3),
            **inline_picture("knowledge_map", warehouse.charts / KNOWLEDGE_MAP),
        }
        yield dg.MaterializeResult(metadata=found, data_version=dg.DataVersion(plan.fingerprint))
