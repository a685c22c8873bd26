import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warehouse_fixture import WIDTHS, rows

from warehouse.atomic import replacing
from warehouse.catalog import CATALOG_NAME, build_catalog, catalog_path, sql_type
from warehouse.errors import InputError, QueryError, StoreError
from warehouse.objects import Objects
from warehouse.places import ObjectPlace
from warehouse.query import ask, connect, run_query
from warehouse.sql_files import VIEWS, named_queries
from warehouse.store import Store
from warehouse.tables import TABLES

MACRO_CALLS = {
    "nearest": "'planted', 'drugs', 1, 'aspirin'",
    "patch_effect": "'planted', 'drugs'",
    "layer_profile": "'planted', 'drugs'",
    "compare": "'planted', '0042', side := 'depth'",
}


@pytest.fixture(scope="module")
def root(warehouse: Path | ObjectPlace) -> Path | ObjectPlace:
    return warehouse


def query(root: Path | ObjectPlace, sql: str, **parameters: object) -> list[tuple[object, ...]]:
    found = run_query(root, sql, parameters)  # type: ignore[arg-type]
    return [tuple(row.values()) for row in found.to_pylist()]


def rows_by(root: Path | ObjectPlace, sql: str) -> dict[object, list[tuple[object, ...]]]:
    """The rows of a statement by their first column."""
    found: dict[object, list[tuple[object, ...]]] = {}
    for first, *rest in query(root, sql):
        found.setdefault(first, []).append(tuple(rest))
    return found


def write_concept(store: Store, concept: str) -> None:
    row = {"title": concept, "role": "control", "description": "Made up.", "fingerprint": "x"}
    store.write("concepts", rows("concepts", [row]), fingerprint="x", concept=concept)


def views_folder(tmp_path: Path, **files: str) -> Path:
    folder = tmp_path / "views"
    folder.mkdir()
    for name, sql in files.items():
        header = "-- Made up.\n--\n-- Grain: one row\n-- Columns:\n--   number: A number.\n"
        (folder / f"{name}.sql").write_text(header + sql)
    return folder


def test_every_table_of_the_registry_is_a_view_with_its_columns_types_and_comments(root: Path | ObjectPlace) -> None:
    columns = rows_by(
        root, "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() ORDER BY column_index"
    )
    comments = rows_by(root, "SELECT view_name, comment FROM duckdb_views()")
    for entry in TABLES.values():
        assert columns[entry.name] == [
            (column.name, sql_type(column), column.description) for column in entry.all_columns
        ]
        assert comments[entry.name] == [(f"{entry.doc} Grain: {entry.grain}.",)]


def test_views_of_sql_views_are_there_with_comments_on_every_column(root: Path | ObjectPlace) -> None:
    found = rows_by(root, "SELECT table_name, column_name, comment FROM duckdb_columns() ORDER BY column_index")
    for file in named_queries(VIEWS).values():
        if "CREATE MACRO" not in file.sql:
            assert found[file.name] == list(file.columns)


def test_no_view_macro_or_column_lacks_a_comment(root: Path | ObjectPlace) -> None:
    described = {
        "views": "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
        "macros": "SELECT function_name, comment FROM duckdb_functions() WHERE NOT internal",
        "columns": "SELECT table_name || '.' || column_name, comment FROM duckdb_columns() WHERE NOT internal",
    }
    for kind, sql in described.items():
        found = query(root, sql)
        assert len(found) >= 9, kind
        assert [name for name, comment in found if not comment] == [], kind
    macros = {name for name, _ in query(root, described["macros"])}
    assert macros == {
        *(file.name for file in named_queries(VIEWS).values() if "CREATE MACRO" in file.sql),
        "warehouse_root",
        "warehouse_files",
        "warehouse_tables",
    }


def test_a_table_without_files_is_an_empty_view_of_the_right_types(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    for entry in TABLES.values():
        assert query(tmp_path, f"SELECT count(*) FROM {entry.name}") == [(0,)]


def test_a_slug_that_looks_like_a_number_stays_text(root: Path | ObjectPlace) -> None:
    found = query(root, "SELECT DISTINCT typeof(model), model FROM activations ORDER BY model")
    assert found == [("VARCHAR", "0042"), ("VARCHAR", "planted")]


def test_vectors_of_models_of_several_widths_are_read_together(root: Path | ObjectPlace) -> None:
    found = query(root, "SELECT DISTINCT model, len(vector) FROM activations ORDER BY model")
    assert dict(found) == WIDTHS


def test_a_partition_that_lands_later_is_seen_without_building_anew(anywhere: Path | ObjectPlace) -> None:
    store = Store(anywhere)
    write_concept(store, "drugs")
    build_catalog(anywhere)
    with connect(anywhere) as connection:
        counted = "SELECT list(concept ORDER BY concept) AS concepts FROM concepts"
        assert ask(connection, counted).to_pylist() == [{"concepts": ["drugs"]}]
        write_concept(store, "animals")
        assert ask(connection, counted).to_pylist() == [{"concepts": ["animals", "drugs"]}]


def test_a_partition_that_was_written_again_is_read_anew(anywhere: Path | ObjectPlace) -> None:
    store = Store(anywhere)
    write_concept(store, "drugs")
    build_catalog(anywhere)
    with connect(anywhere) as connection:
        assert ask(connection, "SELECT title FROM concepts").to_pylist() == [{"title": "drugs"}]
        row = {"title": "Drugs again", "role": "medical", "description": "Other.", "fingerprint": "y"}
        store.write("concepts", rows("concepts", [row]), fingerprint="y", concept="drugs")
        assert ask(connection, "SELECT title FROM concepts").to_pylist() == [{"title": "Drugs again"}]


def test_the_first_file_of_a_table_shows_after_building_anew(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    write_concept(Store(tmp_path), "drugs")
    assert query(tmp_path, "SELECT count(*) FROM concepts") == [(0,)]
    build_catalog(tmp_path)
    assert query(tmp_path, "SELECT count(*) FROM concepts") == [(1,)]


def test_a_reader_keeps_the_old_catalog_and_the_next_reader_gets_the_new_one(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    with connect(tmp_path) as old:
        write_concept(Store(tmp_path), "drugs")
        build_catalog(tmp_path)
        assert ask(old, "SELECT count(*) AS n FROM concepts").to_pylist() == [{"n": 0}]
        assert query(tmp_path, "SELECT count(*) FROM concepts") == [(1,)]
        assert ask(old, "SELECT count(*) AS n FROM concepts").to_pylist() == [{"n": 0}]


def test_another_process_reads_the_catalog_while_it_is_built_anew(root: Path | ObjectPlace) -> None:
    reader = f"""
import duckdb, sys
from warehouse.objects import Objects
from warehouse.places import ObjectPlace, place
connection = duckdb.connect({str(catalog_path(root))!r}, read_only=True)
if isinstance(root := place({str(root)!r}), ObjectPlace):
    connection.register_filesystem(Objects(root))
print(connection.sql("SELECT count(*) FROM models").fetchall()[0][0], flush=True)
sys.stdin.readline()
print(connection.sql("SELECT count(*) FROM models").fetchall()[0][0], flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", reader], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        build_catalog(root)
        assert process.communicate("\n")[0] == "2\n"
        assert process.returncode == 0


def test_nothing_but_the_catalog_is_left_behind(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    build_catalog(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CATALOG_NAME]


def test_what_a_killed_build_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    dead = [tmp_path / f".{CATALOG_NAME}.{here}.{ended.pid}.0123abcd.tmp{end}" for end in ("", ".wal")]
    alive = tmp_path / f".{CATALOG_NAME}.{here}.{os.getpid()}.0123abcd.tmp"
    elsewhere = tmp_path / f".{CATALOG_NAME}.other-host.{ended.pid}.0123abcd.tmp"
    old = tmp_path / f".{CATALOG_NAME}.other-host.{ended.pid}.4567abcd.tmp"
    for path in (*dead, alive, elsewhere, old):
        path.touch()
    os.utime(old, (0, 0))
    build_catalog(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {CATALOG_NAME, alive.name, elsewhere.name}


def test_a_broken_view_is_named_and_the_old_catalog_stays(tmp_path: Path) -> None:
    build_catalog(tmp_path)
    before = (tmp_path / CATALOG_NAME).read_bytes()
    broken = views_folder(tmp_path, nonsense="CREATE VIEW nonsense AS SELECT number FROM nowhere")
    with pytest.raises(QueryError, match=r"nonsense\.sql fails: .*nowhere"):
        build_catalog(tmp_path, broken)
    assert (tmp_path / CATALOG_NAME).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {CATALOG_NAME, "views"}


def test_views_may_build_on_each_other_in_any_order(tmp_path: Path) -> None:
    folder = views_folder(
        tmp_path,
        a="CREATE VIEW a AS SELECT doubled(number) AS number FROM b",
        b="CREATE VIEW b AS SELECT 21 AS number",
        doubled="CREATE MACRO doubled(number) AS 2 * number",
    )
    build_catalog(tmp_path, folder)
    assert query(tmp_path, "SELECT number FROM a") == [(42,)]


def test_a_view_without_the_columns_of_its_comment_is_refused(tmp_path: Path) -> None:
    folder = views_folder(tmp_path, a="CREATE VIEW a AS SELECT 1 AS other")
    with pytest.raises(QueryError, match=r"a\.sql must create .* columns that its comment names"):
        build_catalog(tmp_path, folder)


def test_a_column_that_older_files_lack_is_null_there(anywhere: Path | ObjectPlace) -> None:
    with replacing(anywhere / "concepts" / "concept=old" / "part-0.parquet") as temporary:
        pq.write_table(pa.table({"title": ["Old"], "dropped": [1]}), temporary)
    build_catalog(anywhere)
    assert query(anywhere, "SELECT concept, title, role FROM concepts") == [("old", "Old", None)]
    write_concept(Store(anywhere), "new")
    build_catalog(anywhere)
    assert query(anywhere, "SELECT concept, role FROM concepts ORDER BY ALL") == [("new", "control"), ("old", None)]


def test_a_moved_warehouse_is_noticed_and_built_anew(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_concept(Store(first), "drugs")
    build_catalog(first)
    shutil.move(first, second)
    with pytest.raises(QueryError, match=r"was built for .*first: the warehouse was moved"):
        connect(second)
    build_catalog(second)
    assert query(second, "SELECT concept FROM concepts") == [("drugs",)]


@pytest.mark.parametrize("name", ["with space", "it's", 'dou"ble', "br[ack]et", "star*", "run=3", "ünïcode"])
def test_a_warehouse_lies_under_any_name(tmp_path: Path, name: str) -> None:
    write_concept(Store(tmp_path / name), "drugs")
    write_concept(Store(tmp_path / "star5"), "decoy")
    build_catalog(tmp_path / name)
    assert query(tmp_path / name, "SELECT concept FROM concepts") == [("drugs",)]


def test_a_folder_on_the_way_that_reads_like_a_partition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'model=llama' reads like a partition"):
        build_catalog(tmp_path / "model=llama" / "data")


def test_a_question_mark_on_the_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no '\\?' in a path"):
        build_catalog(tmp_path / "what?")


def test_a_relative_root_is_the_same_warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_concept(Store(tmp_path / "data"), "drugs")
    monkeypatch.chdir(tmp_path)
    assert build_catalog(Path("data")) == (tmp_path / "data" / CATALOG_NAME).resolve()
    monkeypatch.chdir("/")
    assert query(tmp_path / "data", "SELECT concept FROM concepts") == [("drugs",)]


def test_a_torn_file_is_reported_with_its_table(anywhere: Path | ObjectPlace) -> None:
    with replacing(anywhere / "concepts" / "concept=torn" / "part-0.parquet") as temporary:
        temporary.write_bytes(b"PAR1 but no more")
    with pytest.raises(StoreError, match=r"Table concepts can't be read .*torn"):
        build_catalog(anywhere)


def test_a_root_that_is_a_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        build_catalog(tmp_path / "file")


def test_python_and_polars_open_the_catalog_as_the_docs_say(root: Path | ObjectPlace) -> None:
    with duckdb.connect(str(catalog_path(root)), read_only=True) as connection:
        if isinstance(root, ObjectPlace):
            connection.register_filesystem(Objects(root))
        found = connection.sql("SELECT concept, role FROM concepts ORDER BY concept").fetchall()
    assert found == [("age", "medical"), ("countries", "control"), ("drugs", "medical")]
    frame = pl.from_arrow(run_query(root, "SELECT concept FROM concepts ORDER BY concept"))
    assert isinstance(frame, pl.DataFrame)
    assert frame["concept"].to_list() == ["age", "countries", "drugs"]


SHELL = shutil.which("duckdb", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(SHELL is None, reason="needs the duckdb shell: pip install duckdb-cli")
def test_the_duckdb_shell_opens_the_catalog_from_any_folder(root: Path | ObjectPlace, tmp_path: Path) -> None:
    """The shell on the package index is older than the library: it reads what the catalog is stored as."""
    if isinstance(root, ObjectPlace):
        pytest.skip("a shell has no file system of ours")
    assert SHELL is not None

    def ask_shell(sql: str) -> list[dict[str, object]]:
        command = [SHELL, "-readonly", "-json", str(catalog_path(root)), sql]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        found: list[dict[str, object]] = json.loads(done.stdout or "[]")
        return found

    assert ask_shell("SELECT concept, role FROM concepts ORDER BY concept")[0] == {"concept": "age", "role": "medical"}
    for name, given in MACRO_CALLS.items():
        sql = f"FROM {name}({given})"
        assert len(ask_shell(sql)) == run_query(root, sql).num_rows > 0, name
    views = [name for (name,) in query(root, "SELECT view_name FROM duckdb_views() WHERE NOT internal")]
    counted = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in views)
    assert len(views) > len(TABLES)
    assert ask_shell(counted) == run_query(root, counted).to_pylist()
    comments = "SELECT count(*) AS n FROM duckdb_columns() WHERE NOT internal AND comment IS NOT NULL"
    assert ask_shell(comments) == run_query(root, comments).to_pylist()


def test_polars_reads_a_statement_from_another_folder(
    root: Path | ObjectPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(catalog_path(root)), read_only=True) as connection:
        if isinstance(root, ObjectPlace):
            connection.register_filesystem(Objects(root))
        sql = "FROM layer_profile('planted', 'drugs', 'specialty')"
        frame = pl.read_database(sql, connection)
        assert frame["layer"].to_list() == [-1, 0, 1, 2]
        assert frame.schema["value"] == pl.Float64
        vectors = pl.read_database("SELECT vector FROM activations WHERE model = 'planted' LIMIT 1", connection)
        assert vectors["vector"].list.len().to_list() == [WIDTHS["planted"]]


def test_a_layer_of_a_model_is_read_without_the_rest(root: Path | ObjectPlace) -> None:
    """Filters must reach the Parquet reader through the view; a cast to another type there would stop them."""
    sql = (
        "EXPLAIN ANALYZE SELECT sum(len(vector)) FROM activations "
        "WHERE model = 'planted' AND concept = 'drugs' AND layer = 1"
    )
    plan = run_query(root, sql).to_pylist()[0]["explain_value"]
    assert "Scanning Files: 1/6" in plan
    assert "Row Groups Scanned: 1 / 4" in plan
