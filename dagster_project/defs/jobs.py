"""The jobs: the library, the measuring of one model, the atlas of all; and all of it, for a model that landed.

`vesalius run` executes the first three in this order; `new_models` and `nightly_atlas` request the last.
"""

from typing import Any

import dagster as dg

LIBRARY, MEASURE, ATLAS, LAND = "write_library", "measure_model", "draw_atlas", "land_model"

OF_ALL = (
    "profile_map",
    "knowledge_map_chart",
    "paper_map_chart",
    "validity_chart",
    "edits_chart",
    "published_chart",
    "catalog",
    "atlas",
)
"""What shows all models."""

LAND_JOB = dg.define_asset_job(
    LAND,
    selection=dg.AssetSelection.all(),
    description="All that follows from a model that landed: library, measuring, maps, atlas. What is current is left.",
)

JOBS: list[Any] = [
    dg.define_asset_job(
        LIBRARY,
        selection=dg.AssetSelection.groups("library"),
        description="Write the concept library into the warehouse.",
    ),
    dg.define_asset_job(
        MEASURE,
        selection=dg.AssetSelection.groups("extraction", "analyses", "maps")
        | dg.AssetSelection.assets("umap_pictures", "model_map_chart", "findings_chart", "stability_chart"),
        description="Run one model over the library, measure its layers, draw maps and pictures, judge every claim.",
    ),
    dg.define_asset_job(
        ATLAS,
        selection=dg.AssetSelection.assets(*OF_ALL),
        description="Draw the maps of all models, build the catalog and the atlas, and check what has landed.",
    ),
    LAND_JOB,
]
