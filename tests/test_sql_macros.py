"""The macros for people, each against the slow and obvious computation on the same made-up numbers."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
import warehouse_fixture as fixture
from warehouse_fixture import LAYERS, vector

from warehouse.errors import QueryError
from warehouse.query import run_query
from warehouse.sql_files import VIEWS, named_queries
from warehouse.store import Store

MACROS = {name: file for name, file in named_queries(VIEWS).items() if "AS TABLE" in file.sql}


def rows(small: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_query(small, sql).to_pylist()
    return found


def read(small: Path, name: str, **keys: str) -> pl.DataFrame:
    frame = pl.from_arrow(Store(small).read(name, **keys))
    assert isinstance(frame, pl.DataFrame)
    return frame


def mean_cosines(model: str, layer: int, position: str, templates: list[str], term: str) -> dict[str, float]:
    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        one, other = one.astype(float), other.astype(float)
        return float(one @ other / np.sqrt(one @ one) / np.sqrt(other @ other))

    at = {
        (template, each): vector(model, "drugs", layer, position, template, each)
        for template in templates
        for each in fixture.SPECIALTY
    }
    return {
        other: float(np.mean([cosine(at[template, term], at[template, other]) for template in templates]))
        for other in fixture.SPECIALTY
        if other != term
    }


@pytest.mark.parametrize(
    ("options", "position", "templates"),
    [
        ("", "last", ["ask-mechanism", "ask-specialty"]),
        (", position := 'term'", "term", ["ask-mechanism", "ask-specialty"]),
        (", template_kind := 'neutral'", "last", ["said"]),
        (", labelling := 'specialty'", "last", ["ask-specialty"]),
        (", template := 'ask-mechanism', position := 'mean'", "mean", ["ask-mechanism"]),
        (", template_kind := 'neutral', labelling := 'specialty'", "last", ["said"]),
    ],
)
@pytest.mark.parametrize("model", LAYERS)
def test_nearest_averages_cosines_over_templates(
    small: Path, model: str, options: str, position: str, templates: list[str]
) -> None:
    for layer in range(-1, LAYERS[model]):
        found = rows(small, f"FROM nearest('{model}', 'drugs', {layer}, 'aspirin'{options})")
        expected = mean_cosines(model, layer, position, templates, "aspirin")
        assert [row["neighbour"] for row in found] == sorted(expected, key=lambda term: -expected[term])
        assert [row["cosine"] for row in found] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-6)
        assert [row["rank"] for row in found] == [1, 2, 3, 4]
        assert {row["templates"] for row in found} == {len(templates)}
        for row in found:
            known = "labelling" in options
            assert row["label"] == (fixture.SPECIALTY[row["neighbour"]] if known else None)
            assert row["same_label"] == (row["label"] == "pain" if known else None)


def test_nearest_takes_how_many_by_place_or_by_name_and_leaves_control_spellings_out(small: Path) -> None:
    assert len(rows(small, "FROM nearest('planted', 'drugs', 1, 'aspirin', 2)")) == 2
    assert len(rows(small, "FROM nearest('planted', 'drugs', 1, 'aspirin', k := 3)")) == 3
    ages = rows(small, "FROM nearest('planted', 'age', 0, '1', labelling := 'years')")
    assert {(row["neighbour"], row["label"]) for row in ages} == {("2", "2.0"), ("30", "30.0")}
    assert rows(small, "FROM nearest('planted', 'drugs', 1, 'no such drug')") == []


def test_nearest_reads_one_row_group_of_one_file(small: Path) -> None:
    plan = rows(small, "EXPLAIN ANALYZE FROM nearest('planted', 'drugs', 1, 'aspirin')")[0]["explain_value"]
    assert "Scanning Files: 1/6" in plan
    assert "Row Groups Scanned: 1 / 4" in plan


@pytest.mark.parametrize(
    ("options", "site", "position", "term"),
    [
        ("", "resid", "last", None),
        (", site := 'delta'", "delta", "last", None),
        (", position := 'term'", "resid", "term", None),
        (", term := 'insulin', labelling := 'specialty'", "resid", "last", "insulin"),
        (", template := 'ask-specialty'", "resid", "last", None),
    ],
)
@pytest.mark.parametrize("model", LAYERS)
def test_patch_effect_is_the_ratio_of_sums_over_pairs(
    small: Path, model: str, options: str, site: str, position: str, term: str | None
) -> None:
    found = rows(small, f"FROM patch_effect('{model}', 'drugs'{options})")
    pairs = read(small, "patches", model=model, concept="drugs").filter(
        (pl.col("site") == site) & (pl.col("position") == position) & (pl.col("template") == "ask-specialty")
    )
    if term is not None:
        pairs = pairs.filter(pl.col("term") == term)
    before = 0.0
    for layer in sorted(pairs["layer"].unique()):
        here = pairs.filter(pl.col("layer") == layer)
        kept = here.filter(pl.col("ld_clean") - pl.col("ld_corrupted") >= 0.5)
        whole = float((kept["ld_clean"] - kept["ld_corrupted"]).sum())
        share = float((kept["ld_patched"] - kept["ld_corrupted"]).sum()) / whole if whole else None
        row = found.pop(0)
        assert (row["labelling"], row["layer"]) == ("specialty", layer)
        assert (row["pairs"], row["pairs_left_out"]) == (len(kept), len(here) - len(kept))
        assert row["restored"] == (share if share is None else pytest.approx(share))
        assert row["depth"] == pytest.approx(layer / (LAYERS[model] - 1))
        if share is not None:
            assert row["step"] == pytest.approx(share - before)
            before = share
    assert found == []


def test_patch_effect_agrees_with_the_view(small: Path) -> None:
    of_view = rows(
        small,
        "SELECT labelling, layer, restored, pairs, pairs_left_out FROM patch_effects "
        "WHERE model = 'planted' AND concept = 'drugs' AND variant = '' AND site = 'resid' AND position = 'last' "
        "ORDER BY ALL",
    )
    of_macro = rows(
        small,
        "SELECT labelling, layer, restored, pairs, pairs_left_out FROM patch_effect('planted', 'drugs') ORDER BY ALL",
    )
    assert of_macro == of_view != []


@pytest.mark.parametrize("model", LAYERS)
def test_layer_profile_puts_a_profile_beside_all_it_is_read_against(small: Path, model: str) -> None:
    for labelling in ("specialty", "mechanism"):
        found = rows(small, f"FROM layer_profile('{model}', 'drugs', '{labelling}')")
        values = fixture.silhouettes(model, "drugs", labelling)
        control = fixture.silhouettes(model, "countries", "continent")
        assert [row["layer"] for row in found] == list(range(-1, LAYERS[model]))
        assert [row["value"] for row in found] == pytest.approx(values)
        assert [row["low"] for row in found] == pytest.approx([value - fixture.MARGIN for value in values])
        assert [row["high"] for row in found] == pytest.approx([value + fixture.MARGIN for value in values])
        assert [row["step"] for row in found][1:] == pytest.approx(np.diff(values).tolist())
        assert found[0]["step"] is None
        assert [row["control"] for row in found] == pytest.approx(control)
        assert [row["null_mean"] for row in found] == [fixture.NULL_MEAN] * len(values)
        ranks = [sorted(values[1:], reverse=True).index(value) + 1 for value in values[1:]]
        assert [row["layer_rank"] for row in found] == [None, *ranks]
        depths = [layer / (LAYERS[model] - 1) for layer in range(LAYERS[model])]
        assert [row["depth"] for row in found] == [None, *map(pytest.approx, depths)]
        is_planted = (model, labelling) == ("planted", "specialty")
        truth = [layer == fixture.PLANTED_LAYER for layer in range(-1, LAYERS[model])]
        assert [row["planted"] for row in found] == (truth if is_planted else [None] * len(values))


def test_layer_profile_takes_other_metrics_kinds_and_spellings(small: Path) -> None:
    neutral = rows(small, "FROM layer_profile('planted', 'drugs', 'specialty', template_kind := 'neutral')")
    assert {row["value"] for row in neutral} == {0.9}
    words = rows(small, "FROM layer_profile('planted', 'age', metric := 'r2_ridge', variant := 'words')")
    assert [row["value"] for row in words] == fixture.R2
    assert {row["control"] for row in words} == {None}
    both = rows(small, "FROM layer_profile('planted', 'drugs')")
    assert {row["labelling"] for row in both} == {"mechanism", "specialty"}


def maps(small: Path, model: str, mode: str) -> dict[tuple[str, int], float]:
    frame = read(small, "knowledge_map", model=model, concept="drugs").filter(pl.col("mode") == mode)
    return {(row["labelling"], row["layer"]): row["confidence"] for row in frame.to_dicts()}


@pytest.mark.parametrize("mode", ["consensus", "paper"])
@pytest.mark.parametrize("side", ["layer", "depth"])
@pytest.mark.parametrize(("a", "b"), [("planted", "0042"), ("0042", "planted"), ("planted", "planted")])
def test_compare_sets_two_maps_side_by_side(small: Path, a: str, b: str, side: str, mode: str) -> None:
    found = rows(small, f"FROM compare('{a}', '{b}', side := '{side}', mode := '{mode}')")
    of_a, of_b = maps(small, a, mode), maps(small, b, mode)
    verdicts = {
        model: {
            row["labelling"]: row["verdict"]
            for row in read(small, "localisations", model=model, concept="drugs").to_dicts()
            if row["mode"] == mode
        }
        for model in (a, b)
    }
    most = max(LAYERS[a], LAYERS[b])
    for labelling in sorted({labelling for labelling, _ in of_a.keys() | of_b.keys()}):
        for layer in range(most):
            row = found.pop(0)
            assert (row["concept"], row["labelling"], row["layer"]) == ("drugs", labelling, layer)
            assert row["depth"] == pytest.approx(layer / (most - 1))
            at = {}
            for name, model, confidences in (("a", a, of_a), ("b", b, of_b)):
                there: int | None = layer if layer < LAYERS[model] else None
                if side == "depth":
                    # Half is rounded up, as SQL does.
                    there = int(np.floor(layer / (most - 1) * (LAYERS[model] - 1) + 0.5))
                at[name] = None if there is None else confidences.get((labelling, there))
                assert row[f"{name}_layer"] == there
                assert row[f"{name}_confidence"] == at[name]
                assert row[f"{name}_verdict"] == verdicts[model].get(labelling)
            both = at["a"] is not None and at["b"] is not None
            assert row["difference"] == (pytest.approx(at["b"] - at["a"]) if both else None)
    assert found == []


def test_compare_is_narrowed_to_a_concept_and_labelling_and_empty_for_an_unknown_model(small: Path) -> None:
    found = rows(small, "FROM compare('planted', '0042', concept := 'drugs', labelling := '')")
    assert {row["labelling"] for row in found} == {""}
    assert len(found) == max(LAYERS.values())
    assert rows(small, "FROM compare('planted', '0042', concept := 'age')") == []
    assert rows(small, "FROM compare('planted', 'no-such-model')") == []


@pytest.mark.parametrize("name", MACROS)
def test_a_macro_takes_the_parameters_and_gives_the_columns_of_its_comment(small: Path, name: str) -> None:
    file = MACROS[name]
    ((parameters, comment),) = (
        tuple(row.values())
        for row in rows(small, f"SELECT parameters, comment FROM duckdb_functions() WHERE function_name = '{name}'")
    )
    assert parameters == [one.name for one in file.parameters]
    assert all(one.doc in comment for one in file.parameters)
    assert all(doc in comment for _, doc in file.columns)
    given = {"model": "'planted'", "concept": "'drugs'", "layer": "1", "term": "'aspirin'", "a": "'planted'"}
    values = [given.get(one.name, "'0042'") for one in file.parameters if one.required]
    found = run_query(small, f"FROM {name}({', '.join(values)})")
    assert found.column_names == [column for column, _ in file.columns]
    assert found.num_rows
    with pytest.raises(QueryError):
        run_query(small, f"FROM {name}({', '.join(values[:-1])})")


@pytest.mark.parametrize("name", MACROS)
def test_the_defaults_of_a_macro_are_those_of_its_comment(name: str) -> None:
    for one in MACROS[name].parameters:
        if not one.required:
            text = "NULL" if one.default is None else f"'{one.default}'" if one.type == "text" else str(one.default)
            assert f"    {one.name} := {text}" in MACROS[name].sql


def test_a_macro_for_people_is_a_fact_of_duckdb_that_columns_are_named_with_their_table() -> None:
    """When this fails, DuckDB changed: views need no longer name their columns with the table they are of."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE plain AS SELECT 'drugs' AS concept")
        connection.execute("CREATE VIEW shown AS SELECT CAST(concept AS VARCHAR) AS concept FROM plain")
        with pytest.raises(duckdb.BinderException, match="Conflicting column names"):
            connection.execute("CREATE MACRO m(concept) AS TABLE SELECT 1 AS one FROM shown")
