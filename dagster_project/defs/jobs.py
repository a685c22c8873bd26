"""The jobs: the library, the measuring of one model, the atlas of all. `vesalius run` executes them in this order."""

from typing import Any

import dagster as dg

LIBRARY, MEASURE, ATLAS = "write_library", "measure_model", "draw_atlas"


JOBS: list[Any] = [
    dg.define_asset_job(
        LIBRARY,
        selection=dg.AssetSelection.groups("library"),
        description="Write the concept library into the warehouse.",
    ),
    dg.define_asset_job(
        MEASURE,
        selection=dg.AssetSelection.groups("extraction", "analyses", "maps")
        | dg.AssetSelection.assets("umap_pictures", "findings_chart", "stability_chart"),
        description="Run one model over the library, measure its layers, draw maps and pictures, judge every claim.",
    ),
    dg.define_asset_job(
        ATLAS,
        selection=dg.AssetSelection.assets(
            "profile_map",
            "knowledge_map_chart",
            "paper_map_chart",
            "validity_chart",
            "edits_chart",
            "published_chart",
            "catalog",
        ),
        description="Draw the map of all models, build the catalog, and check what has landed.",
    ),
]
