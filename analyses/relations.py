"""How concepts relate: how far two concepts' maps lie in the same layers.

Belongs here: the overlap of maps, as rows. What follows from it is a claim (`claims.maps`), how it is drawn is in
`finding_charts`.
"""

import numpy as np
import polars as pl

_SCHEMA = {"concept": pl.String, "other_concept": pl.String, "overlap": pl.Float64}


def overlap(cells: pl.DataFrame, localised: pl.DataFrame) -> pl.DataFrame:
    """The cosine of each pair of concepts' confidences over layers: 1 is the same map, 0 is no layer in common.

    Concepts that are not localised are left out: their flat maps would look alike.

    Args:
        cells: rows of `knowledge_map` of one model and mode, concepts as a whole.
        localised: the rows of `localisations` of those that are localised.

    Returns:
        Columns `concept`, `other_concept` (later in the alphabet) and `overlap`.
    """
    chosen = cells.join(localised.select("concept").unique(), on="concept", how="semi").sort("concept", "layer")
    maps = {
        str(concept): rows["confidence"].to_numpy()
        for (concept,), rows in chosen.group_by("concept", maintain_order=True)
    }
    found = [
        (one, other, float(mine @ theirs / (np.linalg.norm(mine) * np.linalg.norm(theirs))))
        for one, mine in maps.items()
        for other, theirs in maps.items()
        if one < other
    ]
    return pl.DataFrame(found, schema=_SCHEMA, orient="row")
