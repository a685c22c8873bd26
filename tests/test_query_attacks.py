"""What somebody would try who wants SQL to write, or to read what is not the warehouse's. Each way on its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from warehouse_fixture import build_warehouse

from warehouse.catalog import build_catalog
from warehouse.errors import QueryError
from warehouse.query import connect, run_query

SECRET = "swordfish"


class Scene(NamedTuple):
    """A warehouse, and around it what SQL must not see: files, a cousin by prefix, links that lead outside."""

    root: Path
    outside: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    root = folder / "warehouse"
    build_warehouse(root)
    build_catalog(root)
    (folder / "warehouse-evil").mkdir()
    for path in (folder / "outside.csv", folder / "warehouse-evil" / "x.csv"):
        path.write_text(f"word\n{SECRET}\n")
    (folder / "warehouse-evil" / "part-0.parquet").write_bytes(
        (root / "models" / "model=0042" / "part-0.parquet").read_bytes()
    )
    with duckdb.connect(str(folder / "other.duckdb")) as connection:
        connection.execute(f"CREATE TABLE words AS SELECT '{SECRET}' AS word")
    (root / "link.csv").symlink_to(folder / "outside.csv")
    (root / "linked").symlink_to(folder / "warehouse-evil")
    before = files(folder)
    yield Scene(root, folder)
    assert files(folder) == before


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


READERS = (
    "read_csv",
    "read_csv_auto",
    "sniff_csv",
    "read_text",
    "read_blob",
    "read_json",
    "read_json_objects",
    "read_ndjson",
)
PATHS = (
    "/etc/passwd",
    "/proc/self/environ",
    "{outside}/outside.csv",
    "{outside}/warehouse-evil/x.csv",
    "{root}-evil/x.csv",
    "{root}/../outside.csv",
    "{root}/./../outside.csv",
    "{root}//../outside.csv",
    "{root}/models/../../outside.csv",
    "{root}/nowhere/../../outside.csv",
    "{root}/*/../../outside.csv",
    "{root}*/x.csv",
    "{outside}/warehous[e]-evil/x.csv",
    "{outside}/*/x.csv",
    "{root}/link.csv",
    "{root}/l*.csv",
    "{root}/linked/x.csv",
    "{root}/*/x.csv",
    "file://{outside}/outside.csv",
    "file:{outside}/outside.csv",
    "file://localhost{outside}/outside.csv",
    "file://{root}/../outside.csv",
    "outside.csv",
    "~/.bashrc",
    "/dev/fd/0",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_reads_a_file_outside_by_any_path(scene: Scene, reader: str, path: str) -> None:
    with pytest.raises(QueryError, match=r"SQL may read the warehouse only|No files found|syntax error|not exist"):
        run_query(scene.root, f"FROM {reader}($path)", {"path": path.format(root=scene.root, outside=scene.outside)})


@pytest.mark.parametrize(
    "sql",
    [
        "FROM '{outside}/outside.csv'",
        'FROM "{outside}/outside.csv"',
        "FROM '{root}/link.csv'",
        "FROM '{root}-evil/part-0.parquet'",
        "FROM read_csv(['{root}/link.csv', '{outside}/outside.csv'])",
        "FROM read_parquet('{root}-evil/part-0.parquet')",
        "FROM read_parquet(['{root}/models/model=0042/part-0.parquet', '{root}-evil/part-0.parquet'])",
        "FROM read_parquet('{root}/linked/part-0.parquet')",
        "FROM parquet_metadata('{root}-evil/part-0.parquet')",
        "FROM parquet_schema('{root}-evil/part-0.parquet')",
        "FROM parquet_file_metadata('{root}-evil/part-0.parquet')",
        "FROM parquet_kv_metadata('{root}-evil/part-0.parquet')",
        "FROM query('FROM read_csv(''{outside}/outside.csv'')')",
        "FROM query_table('{root}-evil/part-0.parquet')",
        "FROM query_table('{outside}/outside.csv')",
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_csv(''{outside}/outside.csv'')'))",
        "FROM read_duckdb('{outside}/other.duckdb', table = 'words')",
        "FROM sqlite_scan('{outside}/other.duckdb', 'words')",
        "FROM read_xlsx('{outside}/outside.csv')",
        "SELECT (SELECT content FROM read_text('{outside}/outside.csv'))",
        "DESCRIBE FROM read_csv('{outside}/outside.csv')",
        "SUMMARIZE FROM read_csv('{outside}/outside.csv')",
        "EXPLAIN FROM read_csv('{outside}/outside.csv')",
        "EXPLAIN ANALYZE FROM read_csv('{outside}/outside.csv')",
        "FROM glob('/etc/*')",
        "FROM glob('{outside}/*')",
        "FROM glob('{root}/../*')",
        "FROM glob('{root}-evil/*')",
        "FROM glob('{root}*/*')",
        "FROM glob('{root}/linked/*')",
        "FROM read_csv('https://example.org/x.csv')",
        "FROM read_parquet('s3://bucket/x.parquet')",
        "FROM read_csv('hf://datasets/a/b.csv')",
        "FROM read_csv('memory://x')",
        "SELECT getenv('SECRET_WORD')",
        "FROM duckdb_secrets()",
        "FROM duckdb_secrets(redact = false)",
        "FROM which_secret('s3://bucket', 's3')",
        "FROM load_aws_credentials()",
        "ATTACH '{outside}/other.duckdb' AS other",
        "ATTACH '{root}/catalog.duckdb' AS again",
        "EXPLAIN ANALYZE ATTACH ':memory:' AS other",
        "INSTALL httpfs",
        "LOAD '{outside}/x.duckdb_extension'",
        "IMPORT DATABASE '{root}'",
        "CREATE SECRET mine (TYPE s3)",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET lock_configuration = false",
        "SET VARIABLE word = 1",
        "RESET allowed_directories",
        "PRAGMA database_list",
        "PRAGMA import_database('{root}')",
        "USE memory",
    ],
)
def test_no_other_way_leads_outside(scene: Scene, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_WORD", SECRET)
    with pytest.raises(QueryError) as refused:
        run_query(scene.root, sql.format(root=scene.root, outside=scene.outside))
    assert SECRET not in str(refused.value)


_COPY = "COPY (SELECT 1 AS a, 2 AS b) TO '{root}/written.csv'"


@pytest.mark.parametrize(
    "sql",
    [
        _COPY,
        f"WITH x AS ({_COPY}) FROM x",
        f"WITH x AS MATERIALIZED ({_COPY}) FROM x",
        f"WITH x AS NOT MATERIALIZED ({_COPY} (RETURN_FILES)) FROM x",
        f"WITH x AS ({_COPY} (FORMAT parquet, PARTITION_BY a)) FROM x",
        f"WITH x AS ({_COPY}) VALUES (1)",
        f"WITH x AS ({_COPY}) SELECT 1 LIMIT 0",
        f"WITH x AS ({_COPY}) SELECT 1 WHERE false",
        f"WITH RECURSIVE x AS ({_COPY}) SELECT 1",
        f"WITH y AS (WITH x AS ({_COPY}) SELECT 1) FROM y",
        f"FROM (WITH x AS ({_COPY}) SELECT 1)",
        f"SELECT (WITH x AS ({_COPY}) SELECT 1)",
        f"SELECT 1 WHERE EXISTS (WITH x AS ({_COPY}) SELECT 1)",
        f"SELECT 1 UNION ALL (WITH x AS ({_COPY}) SELECT 1)",
        f"FROM (VALUES (1)) v(i), LATERAL (WITH x AS ({_COPY}) SELECT i)",
        f"DESCRIBE WITH x AS ({_COPY}) SELECT 1",
        f"SUMMARIZE WITH x AS ({_COPY}) SELECT 1",
        f"EXPLAIN ANALYZE {_COPY}",
        f"EXPLAIN (FORMAT json, ANALYZE true) {_COPY}",
        f"EXPLAIN /* so */ ANALYZE {_COPY}",
        f"EXPLAIN ANALYZE WITH x AS ({_COPY}) FROM x",
        f"SELECT 1; {_COPY}",
        "COPY (SELECT 1) TO '{outside}/written.csv'",
        "COPY FROM DATABASE catalog TO memory",
        "COPY terms FROM '/etc/passwd'",
        "EXPORT DATABASE '{root}/written'",
        "FROM enable_profiling(save_location = '{root}/written.json')",
        "FROM enable_logging(storage = 'file', storage_path = '{root}/written')",
        "CREATE TABLE mine AS SELECT 1",
        "CREATE TABLE memory.main.mine AS SELECT 1",
        "CREATE OR REPLACE TEMP VIEW terms AS SELECT 1",
        "CREATE MACRO mine() AS 1",
        "EXPLAIN ANALYZE CREATE TABLE memory.main.mine AS SELECT 1",
        "INSERT INTO terms VALUES (1)",
        "WITH x AS (INSERT INTO terms VALUES (1) RETURNING *) FROM x",
        "WITH x AS (DELETE FROM terms RETURNING *) FROM x",
        "MERGE INTO terms USING terms AS t ON true WHEN MATCHED THEN DELETE",
        "UPDATE terms SET term = 'x'",
        "DELETE FROM terms",
        "TRUNCATE terms",
        "DROP VIEW terms",
        "ALTER VIEW terms RENAME TO others",
        "COMMENT ON VIEW terms IS 'mine'",
        "VACUUM",
        "CHECKPOINT",
        "FROM force_checkpoint()",
    ],
)
def test_no_statement_writes(scene: Scene, sql: str) -> None:
    with pytest.raises(QueryError):
        run_query(scene.root, sql.format(root=scene.root, outside=scene.outside))
    assert not list(scene.outside.rglob("written*"))


def test_a_root_that_reads_like_a_pattern_opens_no_folder_that_fits_it(tmp_path: Path) -> None:
    """The root is a glob itself then: DuckDB checks a pattern by its beginning, and lists what fits it."""
    root, cousin = tmp_path / "br[ae]d" / "data", tmp_path / "brad" / "data"
    cousin.mkdir(parents=True)
    (cousin / "x.csv").write_text(f"word\n{SECRET}\n")
    build_warehouse(root)
    build_catalog(root)
    for sql in (f"FROM glob('{root}/*')", f"FROM read_csv('{root}/*')", f"FROM read_csv('{cousin}/x.csv')"):
        with pytest.raises(QueryError, match=r"not allowed|SQL may read the warehouse only"):
            run_query(root, sql)
    assert run_query(root, "SELECT count(*) AS n FROM models").to_pylist() == [{"n": 2}]


def test_a_folder_that_is_named_as_the_root_is_written_for_duckdb_is_refused(tmp_path: Path) -> None:
    root, cousin = tmp_path / "run[1]", tmp_path / "run[[]1]"
    cousin.mkdir()
    (cousin / "x.csv").write_text(f"word\n{SECRET}\n")
    build_warehouse(root)
    build_catalog(root)
    with pytest.raises(QueryError, match="Rename one of the two"):
        connect(root)
    cousin.rename(tmp_path / "elsewhere")
    assert run_query(root, "SELECT count(*) AS n FROM models").to_pylist() == [{"n": 2}]
