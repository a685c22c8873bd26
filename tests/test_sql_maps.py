"""What is asked of maps and findings in SQL, against the made-up rows and the slow computation."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import warehouse_maps as maps
from warehouse_fixture import LAYERS, PLANTED_LAYER, SILHOUETTES, build_warehouse, named, silhouettes

from analyses.published import COUNTERPARTS, beside_published
from warehouse.catalog import build_catalog
from warehouse.query import run_query


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warehouse")
    build_warehouse(root)
    build_catalog(root)
    return root


def test_the_map_tells_what_marks_a_layer_and_what_was_planted(root: Path) -> None:
    found = named(root, "map", concept="drugs")
    assert len(found) == sum(LAYERS.values()) * 3
    for row in found:
        key = row["model"], row["labelling"], row["layer"]
        assert row["confidence"] == maps.confidence(*key)
        marking = (len(maps.CONTRASTS) if maps.is_held(*key) else 0) if row["labelling"] else None
        assert row["contrasts_marking"] == marking
        planted = row["layer"] == PLANTED_LAYER if key[:2] == ("planted", "specialty") else None
        assert (row["is_planted"], row["agreement"], row["role"]) == (planted, 0.9, "medical")
    assert {row["agreement"] for row in named(root, "map", mode="paper")} == {None}
    sure = named(root, "map", least=0.5)
    assert {(row["model"], row["labelling"], row["layer"]) for row in sure} == {
        ("planted", "", 2),
        ("planted", "specialty", 2),
    }


def test_localisations_stand_beside_the_planted_layers(root: Path) -> None:
    found = {(row["model"], row["labelling"]): row for row in named(root, "localisations")}
    assert len(found) == 2 * 3
    specialty = found["planted", "specialty"]
    assert (specialty["verdict"], specialty["places"], specialty["planted_layers"]) == ("localised", "2", [2])
    assert (specialty["surest_layer"], specialty["lost_answers"], specialty["lost_low"]) == (2, 0.5, None)
    assert found["0042", "specialty"]["verdict"] == "not localised"
    assert found["0042", "specialty"]["planted_layers"] is None
    assert {row["first_half_share"] for row in found.values()} == {0.25}
    assert len(named(root, "localisations", model="planted", mode="paper")) == 3


def test_findings_can_be_narrowed_down(root: Path) -> None:
    found = named(root, "findings")
    assert [(row["model"], row["finding"]) for row in found] == [
        (model, finding) for model in sorted(LAYERS) for finding in ("first-half", "localised")
    ]
    refuted = named(root, "findings", model="planted", verdict="refuted")
    assert [(row["finding"], row["estimate"], row["sentence"]) for row in refuted] == [
        ("first-half", 0.25, "A quarter.")
    ]


def test_a_run_beside_the_paper_is_the_same_in_sql_and_in_polars(root: Path) -> None:
    found = named(root, "published-beside-run")
    tables = {name: run_query(root, f"FROM {name}") for name in ("published", "profiles", "models")}
    assert found == beside_published(*tables.values()).to_dicts()
    assert len(found) == 2 * len(LAYERS)
    specialty = next(row for row in found if (row["model"], row["metric"]) == ("planted", "silhouette, specialty"))
    assert (specialty["run_layer"], specialty["run_depth"], specialty["run_value"]) == (2, 1.0, 0.5)
    assert (specialty["layer"], specialty["depth"], specialty["value"]) == (31, 1.0, 0.2)
    assert len(named(root, "published-beside-run", model="planted")) == 2


def test_the_counterparts_in_sql_are_those_in_python(root: Path) -> None:
    text = (Path(__file__).parents[1] / "sql" / "analyses" / "published-beside-run.sql").read_text()
    for counterpart in COUNTERPARTS:
        assert repr(counterpart) in text
    assert text.count("        ('") == len(COUNTERPARTS)


def test_layers_are_ranked_in_each_profile_and_the_embeddings_are_not(root: Path) -> None:
    found = run_query(
        root,
        "FROM layer_rankings WHERE metric = 'silhouette_cosine' AND template_kind = 'asking' "
        "ORDER BY layer_rank, layer",
    ).to_pylist()
    for model in LAYERS:
        for concept, labelling in SILHOUETTES:
            values = silhouettes(model, concept, labelling)[1:]
            rows = [
                row for row in found if (row["model"], row["concept"], row["labelling"]) == (model, concept, labelling)
            ]
            assert [row["layer"] for row in rows] == sorted(
                range(len(values)), key=lambda layer: (-values[layer], layer)
            )
            assert {row["layers"] for row in rows} == {len(values)}
            for row, after in zip(rows, [*rows[1:], None], strict=True):
                assert row["layer_rank"] == 1 + sum(other > row["value"] for other in values)
                assert row["behind_first"] == pytest.approx(max(values) - row["value"])
                assert row["beats_next"] == (None if after is None else row["low"] > after["value"])


def test_layer_rankings_put_the_contrasts_of_the_map_together(root: Path) -> None:
    found = named(root, "layer-rankings", model="planted", concept="drugs", most=9)
    metrics = [metric for _, metric, _ in maps.CONTRASTS]
    sql = "FROM layer_rankings WHERE model = 'planted' AND concept = 'drugs' AND template_kind = 'asking'"
    ranks = pl.DataFrame(run_query(root, sql)).filter(pl.col("metric").is_in(metrics), labelling="specialty")
    own = [row for row in found if row["labelling"] == "specialty"]
    assert [row["overall_rank"] for row in own] == [1, 2, 3]
    for row in own:
        here = ranks.filter(layer=row["layer"])
        assert dict(row["ranks"]) == dict(here.select("metric", "layer_rank").iter_rows())
        assert row["mean_rank"] == pytest.approx(np.mean(here["layer_rank"].to_list()))
        assert (row["first_in"], row["contrasts"]) == (here.filter(layer_rank=1).height, 3)
        assert row["confidence"] == maps.confidence("planted", "specialty", row["layer"])
    assert [row["mean_rank"] for row in own] == sorted(row["mean_rank"] for row in own)
    assert len(named(root, "layer-rankings", most=1)) == 4
