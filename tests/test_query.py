from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from warehouse_fixture import build_warehouse

from warehouse.catalog import CATALOG_NAME, build_catalog
from warehouse.errors import QueryError
from warehouse.places import ObjectPlace
from warehouse.query import ask, connect, run_query
from warehouse.sql_files import named_queries, read_sql_file
from warehouse.store import FILE_NAME

HEADER = "-- What it answers.\n--\n-- Grain: one row\n"


@pytest.fixture(scope="module")
def root(warehouse: Path | ObjectPlace) -> Iterator[Path | ObjectPlace]:
    """The warehouse to ask; in the end nothing was written to it."""
    before = everything(warehouse)
    yield warehouse
    assert everything(warehouse) == before


def everything(root: Path | ObjectPlace) -> list[str]:
    if isinstance(root, Path):
        return sorted(map(str, root.rglob("*")))
    found: list[str] = root.files().find(root.url)
    return found


def test_a_statement_gives_its_rows_in_its_order_with_bound_values(root: Path | ObjectPlace) -> None:
    sql = "SELECT term FROM terms WHERE concept = $concept ORDER BY term DESC"
    found = run_query(root, sql, {"concept": "countries"})
    assert found == pa.table({"term": ["Spain", "Japan", "France", "China"]})


def test_a_value_is_never_taken_for_sql(root: Path | ObjectPlace) -> None:
    assert run_query(root, "SELECT $x AS x", {"x": "'; DROP VIEW terms; --"}).to_pylist() == [
        {"x": "'; DROP VIEW terms; --"}
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "FROM terms",
        "SHOW TABLES",
        "DESCRIBE terms",
        "SUMMARIZE terms",
        "VALUES (1)",
        "TABLE terms",
        "WITH few AS (SELECT 1) FROM few",
        "EXPLAIN SELECT 1",
        "explain analyze SELECT 1",
        "EXPLAIN (FORMAT json) SELECT 1",
        "PIVOT knowledge_map ON layer IN (0, 1) USING first(confidence)",
        "-- a comment; with a semicolon\nSELECT ';' -- and another;\n;",
    ],
)
def test_statements_that_read_are_run(root: Path | ObjectPlace, sql: str) -> None:
    assert run_query(root, sql).num_columns > 0


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (i INTEGER)",
        "CREATE TEMP TABLE mine (i INTEGER)",
        "CREATE TABLE memory.main.mine (i INTEGER)",
        "INSERT INTO terms VALUES (1)",
        "DROP VIEW terms",
        "UPDATE terms SET term = 'x'",
        "COPY terms TO '{root}/out.csv'",
        "COPY (SELECT 1) TO '/tmp/out.parquet'",
        "WITH x AS (COPY (SELECT 1) TO '{root}/out.csv') SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/out.csv'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{root}/out.csv'",
        "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{root}/out.csv') SELECT 1",
        "/* so */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/out.csv'",
        "FROM json_execute_serialized_sql(json_serialize_sql("
        "'WITH x AS (COPY (SELECT 1) TO ''{root}/out.csv'') SELECT 1'))",
        "FROM query('WITH x AS (COPY (SELECT 1) TO ''{root}/out.csv'') SELECT 1')",
        "PREPARE p AS COPY (SELECT 1) TO '{root}/out.csv'",
        "EXPORT DATABASE '{root}/export'",
        "ATTACH '{root}/other.duckdb'",
        "ATTACH '/tmp/other.duckdb'",
        "ATTACH ':memory:' AS other",
        "DETACH catalog",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '1GB'",
        "RESET allowed_directories",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "FROM enable_profiling(save_location = '{root}/profile.json')",
        "CHECKPOINT",
        "BEGIN",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('{root}/../x')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
        "SELECT * FROM read_parquet('s3://vesalius/*/*/*/*/*/part-0.parquet')",
        "SELECT * FROM read_parquet('{root}/../other/part-0.parquet')",
        "SELECT * FROM read_parquet('{root}-other/part-0.parquet')",
        "SELECT * FROM read_text('{root}/../*')",
        "SELECT * FROM parquet_metadata('/tmp/x.parquet')",
    ],
)
def test_statements_that_write_or_look_elsewhere_are_refused(root: Path | ObjectPlace, sql: str) -> None:
    with pytest.raises(QueryError):
        run_query(root, sql.format(root=str(root).replace("'", "''")))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (i INTEGER)",
        "DROP VIEW terms",
        "COPY (SELECT 1) TO '/tmp/vesalius-out.csv'",
        "ATTACH '/tmp/vesalius-other.duckdb'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET lock_configuration = false",
    ],
)
def test_duckdb_itself_refuses_what_reaches_beyond_the_warehouse(root: Path | ObjectPlace, sql: str) -> None:
    with connect(root) as connection, pytest.raises(duckdb.Error):
        connection.execute(sql)


def test_a_select_that_writes_is_a_fact_of_duckdb_that_the_plan_shows(tmp_path: Path) -> None:
    """When this fails, DuckDB changed: see whether `query` still has to look at plans."""
    with duckdb.connect() as connection:
        sql = f"WITH x AS (COPY (SELECT 1) TO '{tmp_path}/out.csv') SELECT 1"
        assert connection.extract_statements(sql)[0].type.name == "SELECT"
        assert "COPY_TO_FILE" in connection.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()[0][1]


def test_python_variables_are_not_tables(root: Path | ObjectPlace) -> None:
    secret = pa.table({"x": [1]})
    with pytest.raises(QueryError, match="secret does not exist"):
        run_query(root, "FROM secret")
    assert secret.num_rows == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "There is no statement"),
        (" ; -- nothing\n", "There is no statement"),
        ("SELECT 1; SELECT 2", "There are 2 statements; give one at a time"),
        ("SELEC 1", r'^Parser Error: syntax error at or near "SELEC" \(LINE 1: SELEC 1\)$'),
        ("SELECT trem FROM terms", r'Referenced column "trem" not found .* Candidate bindings: .*"term"'),
        ("FROM term", "Table with name term does not exist"),
        ("SELECT $x", "Values were not provided for the following .*parameters: x"),
        ("SELECT 'a'::INTEGER", "Could not convert string 'a' to INT32"),
        ("DELETE FROM terms", "DELETE is not allowed: SQL only reads"),
        (
            "WITH x AS (COPY (SELECT 1) TO '/tmp/x') SELECT 1",
            "not allowed|disabled by configuration|A CTE needs a SELECT",
        ),
        ("FROM read_csv('/etc/passwd')", "SQL may read the warehouse only"),
        ("SELECT error('no' || chr(10) || 'good')", "no good"),
    ],
)
def test_errors_say_in_one_line_what_is_wrong(root: Path | ObjectPlace, sql: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        run_query(root, sql)
    assert "\n" not in str(caught.value)


def test_a_value_too_many_is_an_error(root: Path | ObjectPlace) -> None:
    with pytest.raises(QueryError, match="excess parameters: y"):
        run_query(root, "SELECT $x", {"x": 1, "y": 2})


def test_without_a_catalog_it_is_said_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"There is no catalog\.duckdb in .*`vesalius run "):
        run_query(tmp_path, "SELECT 1")


def test_a_catalog_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / CATALOG_NAME).write_text("no database")
    with pytest.raises(QueryError, match=r"can't be read .*`vesalius run` makes it anew"):
        connect(tmp_path)


def test_files_that_vanished_are_an_error(tmp_path: Path) -> None:
    build_warehouse(tmp_path)
    build_catalog(tmp_path)
    for path in tmp_path.glob(f"concepts/*/{FILE_NAME}"):
        path.unlink()
    with pytest.raises(QueryError, match="gone since the catalog was built"):
        run_query(tmp_path, "FROM concepts")


def test_two_connections_at_once_are_no_trouble(root: Path | ObjectPlace) -> None:
    with connect(root) as one, connect(root) as other:
        assert ask(one, "FROM models") == ask(other, "FROM models")


def test_a_header_is_read_into_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "some-query.sql"
    path.write_text(
        "-- First line,\n-- second line.\n--\n-- Grain: one row a thing\n-- Table: terms\n-- Parameters:\n"
        "--   what text: Needed.\n--   name text = 'a: b': A name.\n--   layer integer = NULL: A layer\n"
        "--     that goes on.\n--   limit real = 0.5: A limit.\n-- Columns:\n--   x: The x.\nSELECT $what AS x\n"
    )
    query = read_sql_file(path)
    assert (query.name, query.purpose, query.grain, query.table) == (
        "some-query",
        "First line, second line.",
        "one row a thing",
        "terms",
    )
    assert query.columns == (("x", "The x."),)
    assert [(one.name, one.type, one.default, one.required) for one in query.parameters] == [
        ("what", "text", None, True),
        ("name", "text", "a: b", False),
        ("layer", "integer", None, False),
        ("limit", "real", 0.5, False),
    ]
    assert query.parameters[2].doc == "A layer that goes on."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "lacks purpose, Grain, Columns"),
        (HEADER + "SELECT 1", "lacks Columns"),
        (HEADER + "-- Columns:\n--   no colon\nSELECT 1", "doesn't read `name: meaning`"),
        (
            HEADER + "-- Parameters:\n--   x: no type\n-- Columns:\n--   y: Y.\nSELECT 1",
            "`name type = default: meaning`",
        ),
        (HEADER + "-- Parameters:\n--   x integer = two: X.\n-- Columns:\n--   y: Y.\nSELECT 1", "takes an integer"),
        (HEADER + "-- Columns:\n--     deep: Y.\nSELECT 1", "continues nothing"),
    ],
)
def test_a_header_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.sql"
    path.write_text(text)
    with pytest.raises(QueryError, match=f"wrong.sql.*{message}|{message}"):
        read_sql_file(path)


def test_given_values_become_the_parameters_types() -> None:
    query = named_queries()["nearest-terms"]
    bound = query.bind({"term": "aspirin", "layer": "2"})
    assert bound == {
        "term": "aspirin",
        "layer": 2,
        "model": None,
        "concept": None,
        "template": None,
        "neighbours": 10,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs a value for term"),
        ({"term": "aspirin", "layr": 2}, r"has no parameter layr; its parameters: term \(text\), layer \(integer\)"),
        ({"term": "aspirin", "layer": "two"}, "Parameter layer takes an integer; got 'two'"),
        ({"term": 5}, "Parameter term takes text"),
    ],
)
def test_values_that_do_not_fit_a_query_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        named_queries()["nearest-terms"].bind(given)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="There is no folder"):
        named_queries(tmp_path / "nowhere")
