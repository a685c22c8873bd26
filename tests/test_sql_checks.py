import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import warehouse_effects as effects
import warehouse_fixture as fixture
from warehouse_fixture import FIRST_TOKEN, LAYERS, TERMS, build_warehouse

from warehouse.catalog import build_catalog
from warehouse.query import run_query
from warehouse.sql_files import CHECKS, named_queries
from warehouse.store import FILE_NAME
from warehouse.tables import TABLES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warehouse")
    build_warehouse(root)
    build_catalog(root)
    return root


def test_a_sound_warehouse_has_no_offending_rows(root: Path) -> None:
    for name, query in named_queries(CHECKS).items():
        assert run_query(root, query.sql).to_pylist() == [], name


def test_a_warehouse_in_which_nothing_ran_yet_has_no_offending_rows(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    for name, query in named_queries(CHECKS).items():
        assert run_query(tmp_path, query.sql).num_rows == 0, name


def test_steps_of_patches_may_begin_at_either_of_the_first_two_layers(tmp_path: Path) -> None:
    build_warehouse(tmp_path)
    _without(
        _file(tmp_path, "profiles", **DRUGS),
        "FROM file WHERE NOT (layer = 0 AND technique = 'patches' AND metric LIKE '%step')",
    )
    build_catalog(tmp_path)
    assert run_query(tmp_path, named_queries(CHECKS)["profiles_layers"].sql).num_rows == 0


def _file(root: Path, name: str, **keys: str) -> Path:
    return root.joinpath(name, *(f"{key}={value}" for key, value in keys.items()), FILE_NAME)


def _without(path: Path, sql: str) -> None:
    """Rewrite a file by hand, past the store's checks: `sql` selects from `file` what stays or comes."""
    file = pq.read_table(path, partitioning=None)
    with duckdb.connect() as connection:
        connection.register("file", file)
        changed = connection.sql(sql).to_arrow_table()
    pq.write_table(changed.cast(file.schema), path)


DRUGS = {"model": "planted", "concept": "drugs"}


@pytest.mark.parametrize(
    ("check", "table", "keys", "sql", "expected"),
    [
        (
            "prompts_without_terms",
            "terms",
            {"concept": "drugs"},
            "FROM file WHERE term <> 'insulin'",
            [{"concept": "drugs", "template": name, "term": "insulin"} for name, *_ in fixture.TEMPLATES["drugs"]],
        ),
        (
            "prompts_term_span",
            "prompts",
            {"concept": "drugs"},
            "SELECT * REPLACE (term_start + (template || term = 'saidinsulin')::INTEGER AS term_start) FROM file",
            [{"template": "said", "term": "insulin", "spelling": "insulin", "found": "nsulin"}],
        ),
        (
            "frequencies_missing",
            "frequencies",
            {"concept": "drugs"},
            "FROM file WHERE term <> 'insulin'",
            [{"concept": "drugs", "term": "insulin"}],
        ),
        (
            "labels_without_terms",
            "terms",
            {"concept": "countries"},
            "FROM file WHERE term <> 'Japan'",
            [{"concept": "countries", "labelling": "continent", "term": "Japan"}],
        ),
        (
            "pairs_without_prompts",
            "prompts",
            {"concept": "countries"},
            "FROM file WHERE term <> 'Japan'",
            [
                {"term": "France", "corrupting_term": "Japan", "fault": "no corrupted prompt"},
                {"term": "Japan", "corrupting_term": "France", "fault": "no clean prompt"},
                {"term": "Japan", "corrupting_term": "Spain", "fault": "no clean prompt"},
                {"term": "Spain", "corrupting_term": "Japan", "fault": "no corrupted prompt"},
            ],
        ),
        (
            "pairs_without_prompts",
            "pairs",
            {"concept": "countries"},
            "SELECT * REPLACE (if(term = 'Spain' AND corrupting_term = 'Japan', 'Asia', answer) AS answer) FROM file",
            [{"term": "Spain", "corrupting_term": "Japan", "fault": "same answer"}],
        ),
        (
            "plants_duplicated",
            "plants",
            {"model": "planted"},
            "FROM file UNION ALL FROM file",
            [{"concept": "drugs", "labelling": "specialty", "layer": 2, "times": 2, "layers": 3}],
        ),
        (
            "plants_duplicated",
            "plants",
            {"model": "planted"},
            "SELECT * REPLACE (3 AS layer) FROM file",
            [{"concept": "drugs", "labelling": "specialty", "layer": 3, "times": 1, "layers": 3}],
        ),
        (
            "tokens_missing",
            "tokens",
            DRUGS,
            "FROM file WHERE NOT (term = 'insulin' AND template = 'said')",
            [{**DRUGS, "template": "said", "term": "insulin"}],
        ),
        (
            "tokens_without_prompts",
            "prompts",
            {"concept": "drugs"},
            "FROM file WHERE NOT (term = 'insulin' AND template = 'said')",
            [{"model": model, "concept": "drugs", "template": "said", "term": "insulin"} for model in sorted(LAYERS)],
        ),
        (
            "tokens_term_span",
            "tokens",
            DRUGS,
            "SELECT * REPLACE (term_tokens + (template || term = 'saidinsulin')::INTEGER AS term_tokens) FROM file",
            [{"template": "said", "term": "insulin", "term_tokens": 3, "term_first": 2, "term_last": 3}],
        ),
        (
            "tokens_term_span",
            "tokens",
            DRUGS,
            "SELECT * REPLACE (if(term = 'insulin' AND template = 'said', 3, tokens) AS tokens) FROM file",
            [{"template": "said", "term": "insulin", "tokens": 3, "term_last": 3}],
        ),
        (
            "activations_layers",
            "activations",
            DRUGS,
            "FROM file WHERE NOT (layer = 1 AND position = 'term')",
            [{**DRUGS, "position": "term", "layers": 3, "found": [-1, 0, 2]}],
        ),
        (
            "first_tokens_layers",
            "first_tokens",
            DRUGS,
            "FROM file WHERE layer <> 1",
            [{**DRUGS, "first_token": FIRST_TOKEN, "layers": 3, "found": [-1, 0, 2]}],
        ),
        (
            "first_tokens_prompts",
            "first_tokens",
            DRUGS,
            "SELECT * REPLACE (prompts - 1 AS prompts) FROM file",
            [{**DRUGS, "first_token": FIRST_TOKEN, "expected": 20, "found": 19}],
        ),
        (
            "first_tokens_prompts",
            "tokens",
            DRUGS,
            "SELECT * REPLACE (if(template || term = 'saidinsulin', 7, first_token) AS first_token) FROM file",
            [
                {**DRUGS, "first_token": FIRST_TOKEN, "expected": 19, "found": 20},
                {**DRUGS, "first_token": 7, "expected": 1, "found": 0},
            ],
        ),
        (
            "activations_layers",
            "models",
            {"model": "planted"},
            "SELECT * REPLACE (2 AS layers) FROM file",
            [
                {"model": "planted", "concept": concept, "position": position, "layers": 2, "found": [-1, 0, 1, 2]}
                for concept in sorted(TERMS)
                for position in ("last", "mean", "term")
            ],
        ),
        (
            "activations_missing",
            "activations",
            DRUGS,
            "FROM file WHERE NOT (term = 'insulin' AND template = 'said' AND layer = 1 AND position = 'term')",
            [{**DRUGS, "template": "said", "term": "insulin", "expected": 12, "found": 11}],
        ),
        (
            "activations_missing",
            "activations",
            DRUGS,
            "FROM file WHERE NOT (term = 'insulin' AND template = 'said')",
            [{**DRUGS, "template": "said", "term": "insulin", "expected": 12, "found": 0}],
        ),
        (
            "activations_without_prompts",
            "prompts",
            {"concept": "drugs"},
            "FROM file WHERE NOT (term = 'insulin' AND template = 'said')",
            [{"model": model, "concept": "drugs", "template": "said", "term": "insulin"} for model in sorted(LAYERS)],
        ),
        (
            "projections_without_terms",
            "terms",
            {"concept": "countries"},
            "FROM file WHERE term <> 'Japan'",
            [
                {"model": "0042", "concept": "countries", "variant": "", "term": "Japan", "points": 3},
                {"model": "planted", "concept": "countries", "variant": "", "term": "Japan", "points": 4},
            ],
        ),
        (
            "projections_layers",
            "projections",
            DRUGS,
            "FROM file WHERE layer <> 0",
            [{**DRUGS, "template_kind": "asking", "position": "last", "variant": "", "layers": 3, "found": [-1, 1, 2]}],
        ),
        (
            "neighbours_without_terms",
            "terms",
            {"concept": "countries"},
            "FROM file WHERE term <> 'Japan'",
            [
                {"model": model, "concept": "countries", "term": term, "neighbour": neighbour, "layers": layers}
                for model in sorted(LAYERS)
                for (term, neighbour), layers in sorted(
                    Counter(
                        (row["term"], row["neighbour"]) for row in fixture.neighbours("countries", LAYERS[model])
                    ).items()
                )
                if "Japan" in {term, neighbour}
            ],
        ),
        (
            "neighbours_without_terms",
            "neighbours",
            DRUGS,
            """
            SELECT * REPLACE (if(layer = 1 AND term = 'insulin' AND rank = 0, term, neighbour) AS neighbour)
            FROM file
            """,
            [{**DRUGS, "term": "insulin", "neighbour": "insulin", "layers": 1}],
        ),
        (
            "neighbours_layers",
            "neighbours",
            DRUGS,
            "FROM file WHERE layer <> 1",
            [{**DRUGS, "template_kind": "asking", "position": "last", "variant": "", "layers": 3, "found": [0, 2]}],
        ),
        (
            "neighbours_layers",
            "neighbours",
            DRUGS,
            "FROM file UNION ALL SELECT * REPLACE (CAST(3 AS SMALLINT) AS layer) FROM file WHERE layer = 2",
            [{**DRUGS, "layers": 3, "found": [0, 1, 2, 3]}],
        ),
        (
            "jumps_layers",
            "jumps",
            {"model": "planted", "concept": "age"},
            "FROM file WHERE NOT (layer = 0 AND template_kind = 'asking')",
            [{"model": "planted", "labelling": "years", "template_kind": "asking", "layers": 3, "found": [-1, 1, 2]}],
        ),
        (
            "stage_circles_layers",
            "stage_circles",
            {"model": "planted", "concept": "age"},
            "FROM file WHERE NOT (layer = 0 AND staged = 'burns' AND measure = 'ring')",
            [{"model": "planted", "staged": "burns", "measure": "ring", "layers": 3, "found": [-1, 1, 2]}],
        ),
        (
            "profiles_without_interval",
            "profiles",
            DRUGS,
            """
            SELECT * REPLACE (CASE layer WHEN 0 THEN NULL WHEN 1 THEN high + 1 ELSE low END AS low)
            FROM file WHERE labelling = 'specialty' AND template_kind = 'neutral'
            """,
            [
                {**DRUGS, "metric": "silhouette_cosine", "labelling": "specialty", "layer": 0, "low": None},
                {**DRUGS, "metric": "silhouette_cosine", "labelling": "specialty", "layer": 1},
            ],
        ),
        (
            "profiles_layers",
            "profiles",
            DRUGS,
            "FROM file WHERE NOT (layer = 1 AND metric = 'silhouette_cosine_step' AND labelling = 'mechanism')",
            [{**DRUGS, "metric": "silhouette_cosine_step", "labelling": "mechanism", "layers": 3, "found": [0, 2]}],
        ),
        (
            "profiles_layers",
            "profiles",
            DRUGS,
            "FROM file WHERE NOT (layer = -1 AND metric = 'silhouette_cosine' AND labelling = 'mechanism')",
            [
                {**DRUGS, "metric": "silhouette_cosine", "template_kind": kind, "layers": 3, "found": [0, 1, 2]}
                for kind in ("asking", "neutral")
            ],
        ),
        (
            "profiles_layers",
            "profiles",
            DRUGS,
            "FROM file WHERE technique = 'activations' OR layer > 0",
            [
                {**DRUGS, "technique": technique, "metric": metric, "layers": 3, "found": [1, 2]}
                for technique, metric in sorted((of, name) for name, (of, _) in effects.PROFILES.items())
                if not metric.endswith("_step")
            ],
        ),
        (
            "lesions_layers",
            "lesions",
            DRUGS,
            "FROM file WHERE NOT (layer = 1 AND part = 'mlp')",
            [{**DRUGS, "lesion": "identity", "part": "mlp", "layers": 3, "found": [0, 2]}],
        ),
        (
            "lesions_missing",
            "lesions",
            DRUGS,
            """
            FROM file WHERE NOT (
                term = 'insulin' AND template = 'ask-mechanism' AND (layer = 1 AND part = 'mlp' OR lesion = 'resample')
            )
            """,
            [
                {**DRUGS, "lesion": lesion, "part": part, "term": "insulin", "expected": 3, "found": found}
                for lesion, part, found in (("identity", "mlp", 2), ("resample", "layer", 0))
            ],
        ),
        (
            "lesions_without_prompts",
            "prompts",
            {"concept": "countries"},
            "SELECT * REPLACE (if(term = 'Japan', NULL, answer) AS answer) FROM file WHERE term <> 'Spain'",
            [
                {"model": model, "concept": "countries", "term": term}
                for model in sorted(LAYERS)
                for term in ("Japan", "Spain")
            ],
        ),
        (
            "saliency_without_prompts",
            "prompts",
            {"concept": "countries"},
            "FROM file WHERE term <> 'Spain'",
            [{"model": model, "concept": "countries", "term": "Spain"} for model in sorted(LAYERS)],
        ),
        (
            "lesions_intact_values",
            "lesions",
            DRUGS,
            """
            SELECT * REPLACE (
                intact_logit + (term = 'insulin' AND layer = 2 AND lesion = 'resample')::INTEGER AS intact_logit,
                intact_correct <> (term = 'aspirin' AND layer = 1) AS intact_correct
            )
            FROM file WHERE template = 'ask-specialty'
            """,
            [
                {**DRUGS, "term": "aspirin", "logits": 1, "log_probabilities": 1, "ranks": 2},
                {**DRUGS, "term": "insulin", "logits": 2, "log_probabilities": 1, "ranks": 1},
            ],
        ),
        (
            "patches_layers",
            "patches",
            DRUGS,
            "FROM file WHERE NOT (layer = 0 AND position = 'term')",
            [{**DRUGS, "site": "resid", "position": "term", "layers": 3, "found": [1, 2]}],
        ),
        (
            "patches_missing",
            "patches",
            DRUGS,
            "FROM file WHERE NOT (layer = 0 AND position = 'last' AND site = 'delta' AND term = 'ibuprofen')",
            [{**DRUGS, "site": "delta", "term": "ibuprofen", "token": 11, "expected": 3, "found": 2}],
        ),
        (
            "patches_unpatched_runs",
            "patches",
            DRUGS,
            "SELECT * REPLACE (ld_clean + (layer = 2 AND term = 'ibuprofen')::INTEGER AS ld_clean) FROM file",
            [{**DRUGS, "term": "ibuprofen", "corrupting_term": "metformin", "clean": 2, "corrupted": 1}],
        ),
        (
            "patches_of_dropped_pairs",
            "pair_tokens",
            DRUGS,
            """
            SELECT * REPLACE (if(term = 'ibuprofen', 'answers begin alike', dropped) AS dropped)
            FROM file WHERE term <> 'oxycodone'
            """,
            [
                {**DRUGS, "term": "ibuprofen", "fault": "answers begin alike", "patches": 9},
                {**DRUGS, "term": "oxycodone", "fault": "unknown pair", "patches": 9},
            ],
        ),
        (
            "pair_tokens_missing",
            "pair_tokens",
            DRUGS,
            "FROM file WHERE NOT (template = 'ask-specialty' AND term = 'insulin' AND corrupting_term = 'aspirin')",
            [{**DRUGS, "template": "ask-specialty", "term": "insulin", "corrupting_term": "aspirin"}],
        ),
        (
            "saliency_layers",
            "saliency",
            DRUGS,
            "FROM file WHERE layer < 2 OR target = 'loss'",
            [{**DRUGS, "target": "logit_difference", "layers": 3, "found": [0, 1]}],
        ),
        (
            "responses_layers",
            "responses",
            DRUGS,
            "FROM file WHERE layer <> 1",
            [{**DRUGS, "lesion": "identity", "layers": 3, "found": [0, 2]}],
        ),
        (
            "responses_without_intact",
            "responses",
            DRUGS,
            "FROM file WHERE NOT (lesion = 'none' AND term = 'insulin')",
            [{**DRUGS, "template": "ask-specialty", "term": "insulin", "fault": "no intact answer"}],
        ),
        (
            "responses_without_intact",
            "prompts",
            {"concept": "drugs"},
            "FROM file WHERE NOT (term = 'insulin' AND template = 'ask-specialty')",
            [{"model": model, "term": "insulin", "fault": "no prompt"} for model in sorted(LAYERS)],
        ),
        (
            "judgements_without_responses",
            "responses",
            DRUGS,
            "FROM file WHERE NOT (layer = 0 AND term = 'aspirin')",
            [{**DRUGS, "lesion": "identity", "layer": 0, "term": "aspirin", "repeat": repeat} for repeat in (0, 1)],
        ),
        (
            "profiles_without_labels",
            "labels",
            {"concept": "drugs"},
            "FROM file WHERE labelling <> 'mechanism'",
            [{"model": model, "concept": "drugs", "labelling": "mechanism"} for model in sorted(LAYERS)],
        ),
    ],
)
def test_a_check_returns_the_rows_that_offend(
    root: Path, check: str, table: str, keys: dict[str, str], sql: str, expected: list[dict[str, Any]]
) -> None:
    path = _file(root, table, **keys)
    sound = path.read_bytes()
    _without(path, sql)
    try:
        found = run_query(root, named_queries(CHECKS)[check].sql).to_pylist()
    finally:
        path.write_bytes(sound)
    assert len(found) == len(expected)
    for row, part in zip(found, expected, strict=True):
        assert part.items() <= row.items()


def test_every_check_has_a_test_with_rows_that_offend() -> None:
    cases = test_a_check_returns_the_rows_that_offend.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {case[0] for case in cases} == set(named_queries(CHECKS))


def test_every_check_names_a_table_of_the_registry() -> None:
    assert {query.table for query in named_queries(CHECKS).values()} <= set(TABLES)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in named_queries(CHECKS))
