"""The chart of rivals says of how many labellings a layer knows more than the spelling does."""

import json

import polars as pl
import pytest

from analyses.rival_charts import rivals_chart
from warehouse.errors import InputError


def profile(labelling: str, metric: str, values: list[float]) -> pl.DataFrame:
    rows = [
        {"layer": layer, "value": value, "low": value - 0.05, "high": value + 0.05}
        for layer, value in enumerate(values, -1)
    ]
    return pl.DataFrame(rows).with_columns(
        concept=pl.lit("drugs"),
        technique=pl.lit("activations"),
        metric=pl.lit(metric),
        labelling=pl.lit(labelling),
        template_kind=pl.lit("asking"),
        position=pl.lit("last"),
        variant=pl.lit(""),
    )


PROFILES = pl.concat(
    [
        profile("mechanism", "silhouette_cosine", [0.0, 0.1, 0.2]),
        profile("mechanism", "silhouette_cosine_over_rivals", [-0.2, -0.1, 0.04]),
        profile("specialty", "silhouette_cosine", [0.0, 0.3, 0.2]),
        profile("specialty", "silhouette_cosine_over_rivals", [-0.2, 0.1, -0.2]),
    ]
)
RIVALS = pl.DataFrame(
    {
        "concept": ["drugs"] * 2,
        "rival": ["spelling", "embeddings"],
        "metric": ["silhouette_cosine"] * 2,
        "labelling": ["mechanism"] * 2,
        "template_kind": ["asking"] * 2,
        "variant": ["", ""],
        "value": [0.25, 0.05],
    }
)


def test_the_title_counts_labellings_whose_interval_over_the_rivals_lies_above_nothing() -> None:
    drawn = rivals_chart(PROFILES, RIVALS, "tiny").to_dict()
    assert drawn["title"]["text"].startswith("In 1 of 2 labellings, tiny sorts terms better")
    titles = [panel["title"]["text"] for panel in drawn["concat"]]
    assert titles == ["drugs: mechanism · not more than the rivals", "drugs: specialty · more than the rivals"]
    assert json.dumps(drawn).count("spelling (trigrams)") > 0
    assert len(drawn["concat"][0]["layer"]) == 4
    assert len(drawn["concat"][1]["layer"]) == 2


def test_a_model_without_such_profiles_is_refused() -> None:
    with pytest.raises(InputError, match="run it first"):
        rivals_chart(PROFILES, RIVALS, "tiny", template_kind="neutral")
