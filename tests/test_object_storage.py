"""A warehouse in an object store: one upload a file, and nothing lost when the store goes away in between."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import duckdb
import fsspec
import polars as pl
import pyarrow.dataset as ds
import pytest
import s3fs.core
import typer
from object_store import BUCKET, STORES, ObjectStore, missing
from test_store import KEYS, files, write_layers
from warehouse_fixture import rows

from dagster_project.cli import app
from warehouse import refusals
from warehouse.atomic import replacing
from warehouse.catalog import build_catalog, catalog_path
from warehouse.errors import InputError, QueryError, StoreError, TransientError
from warehouse.objects import Objects
from warehouse.places import ObjectPlace, find, local_folder, opened, place, staging
from warehouse.query import connect, run_query
from warehouse.store import Store

S3 = pytest.mark.parametrize("object_store", ["s3"], indirect=True)
"""For what is looked at through the client of S3, or through its server."""

FILE = "activations/model=tiny/concept=drugs/part-0.parquet"


@pytest.fixture
def root(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return object_store.place()


@pytest.fixture
def unplugged(object_store: ObjectStore) -> Iterator[Any]:
    """Pulls the server's plug; it is put back at the end."""
    stopped = []

    def stop() -> None:
        object_store.stop()
        stopped.append(True)

    yield stop
    if stopped:
        object_store.start()


def concept(store: Store, name: str, title: str = "Drugs") -> None:
    row = {"title": title, "role": "medical", "description": "Made up.", "fingerprint": "x"}
    store.write("concepts", rows("concepts", [row]), fingerprint=title, concept=name)


@S3
def test_a_file_is_one_put_and_nothing_is_copied_or_deleted(
    root: ObjectPlace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "werkzeug"):
        write_layers(Store(root))
    requests = [record.getMessage().split('"')[1].split(" ")[0] for record in caplog.records]
    assert [method for method in requests if method not in ("GET", "HEAD")] == ["PUT"]
    assert files(root) == [FILE]


def test_a_server_that_goes_away_in_a_write_leaves_the_last_good_file_and_a_rerun_goes_on(
    root: ObjectPlace, object_store: ObjectStore
) -> None:
    store = Store(root)
    write_layers(store, fingerprint="good")
    with (
        pytest.raises(
            StoreError, match=r"Can't write \w+://.*just now: .*last good file is untouched.*run again"
        ) as caught,
        store.writer("activations", fingerprint="new", width=4, **KEYS),
    ):
        object_store.stop()
    object_store.start()
    assert isinstance(caught.value, TransientError)
    assert store.is_current("activations", "good", **KEYS)
    assert files(root) == [FILE]
    write_layers(store, fingerprint="new")
    assert store.is_current("activations", "new", **KEYS)


@S3
def test_an_upload_in_parts_that_breaks_off_shows_nothing_and_leaves_no_parts(
    root: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = root / "large"
    with replacing(target) as temporary:
        temporary.write_bytes(b"good")
    send = s3fs.core.S3FileSystem._call_s3
    parts: list[int] = []

    async def breaking(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "upload_part":
            parts.append(kwargs["PartNumber"])
            if len(parts) > 1:
                raise ConnectionResetError("Connection reset by peer")
        return await send(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda *_, **__: 5 << 20)
    monkeypatch.setattr(s3fs.core.S3FileSystem, "_call_s3", breaking)
    with pytest.raises(StoreError, match="reset"), replacing(target) as temporary:
        temporary.write_bytes(bytes(11 << 20))
    assert len(parts) > 1
    assert target.read_bytes() == b"good"
    assert "Uploads" not in target.files().call_s3("list_multipart_uploads", Bucket=BUCKET)
    monkeypatch.setattr(s3fs.core.S3FileSystem, "_call_s3", send)
    with replacing(target) as temporary:
        temporary.write_bytes(bytes(11 << 20))
    assert target.stat().st_size == 11 << 20


def test_a_server_that_is_gone_is_told_by_whoever_reads(root: ObjectPlace, unplugged: Any) -> None:
    store = Store(root)
    write_layers(store)
    build_catalog(root)
    layers = store.layers("activations", **KEYS)
    next(layers)
    with connect(root) as connection:
        unplugged()
        with pytest.raises(StoreError, match=r"Can't read \w+://"):
            list(layers)
        for read in (
            lambda: store.read("activations", **KEYS),
            lambda: store.footer("activations", **KEYS),
            lambda: store.is_current("activations", "a", **KEYS),
            lambda: store.partitions("activations"),
            lambda: build_catalog(root),
            lambda: run_query(root, "FROM activations"),
        ):
            with pytest.raises(StoreError, match=r"Can't read \w+://.*just now: .*run again") as caught:
                read()
            assert isinstance(caught.value, TransientError)
        from warehouse.query import ask

        with pytest.raises(StoreError, match=r"Can't read \w+://") as caught:
            ask(connection, "FROM activations")
        assert "\n" not in str(caught.value)
    assert catalog_path(root).is_file()


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed_with_the_new_one(root: ObjectPlace) -> None:
    store = Store(root)
    write_layers(store)
    layers = store.layers("activations", **KEYS)
    next(layers)
    write_layers(store, (0, 1, 2, 3), fingerprint="new")
    with pytest.raises(StoreError, match="run again"):
        list(layers)
    assert [layer for layer, _ in store.layers("activations", **KEYS)] == [0, 1, 2, 3]


def test_a_bucket_that_is_not_there_is_for_good(object_store: ObjectStore) -> None:
    store = Store(place(f"{object_store.protocol}://no-such-bucket/x"))
    with pytest.raises(StoreError, match="See that the bucket is there") as caught:
        write_layers(store)
    assert not isinstance(caught.value, TransientError)
    assert store.footer("activations", **KEYS) is None


@S3
def test_without_the_package_it_is_said_which_extra_brings_it(
    root: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match=r"needs the package s3fs.*pip install 'vesalius\[s3\]'"):
        Store(root).footer("activations", **KEYS)


def test_addresses_become_places() -> None:
    assert place("some/folder") == Path("some/folder")
    assert str(place("s3://bucket/a/b/")) == "s3://bucket/a/b"
    assert str(place("gs://bucket")) == "gs://bucket"
    assert place(Path("s3://bucket/a")) == place("s3://bucket/a")
    for wrong in ("https://host/x", "s3://", "s3:///x", "s3://key:secret@bucket/x", "s3://bucket/a/../b", "s3://b//c"):
        with pytest.raises(InputError, match=r"place for a warehouse|can't be a warehouse"):
            place(wrong)


def test_no_command_takes_the_warehouse_for_a_path() -> None:
    """A path loses a slash of `s3://`, and would be taken for a folder by whoever resolves it."""
    command: Any = typer.main.get_command(app)
    hints = [get_type_hints(each.callback) for each in command.commands.values() if each.callback is not None]
    taken = [hint["warehouse"] for hint in hints if "warehouse" in hint]
    assert len(taken) > 5
    assert set(taken) == {str | None}


def test_another_machine_builds_its_catalog_and_sees_the_first_file_of_a_table(
    root: ObjectPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(root)
    with pytest.raises(QueryError, match=r"There is no table in \w+://.*Run a model first"):
        connect(root)
    concept(store, "drugs")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    assert run_query(root, "SELECT concept FROM concepts").to_pylist() == [{"concept": "drugs"}]
    built = catalog_path(root)
    assert built.is_relative_to(tmp_path / "elsewhere")
    first = built.stat().st_ino
    assert run_query(root, "SELECT count(*) AS n FROM plants").to_pylist() == [{"n": 0}]
    assert built.stat().st_ino == first
    store.write("plants", rows("plants", []), fingerprint="x", model="tiny")
    run_query(root, "FROM plants")
    assert built.stat().st_ino != first
    assert local_folder(place("s3://a/b-c")) != local_folder(place("s3://a-b/c"))


def test_the_file_system_that_duckdb_gets_reads_the_warehouse_and_nothing_else(root: ObjectPlace) -> None:
    concept(Store(root), "drugs")
    with replacing(root.with_name(f"{root.name}x") / "secret") as temporary:
        temporary.write_text("secret")
    with duckdb.connect() as connection:
        connection.register_filesystem(Objects(root))
        assert connection.execute(f"SELECT title FROM read_parquet('{root}/*/*/*.parquet')").fetchall() == [("Drugs",)]
        for sql in (
            f"FROM read_text('{root}x/secret')",
            f"FROM read_text('{root}x/*')",
            f"FROM read_text('{root.protocol}://{BUCKET}/*/secret')",
            f"FROM read_text('{root}/../{root.name}x/secret')",
            f"COPY (SELECT 1) TO '{root}/x.csv'",
        ):
            with pytest.raises(duckdb.Error, match=r"not in the warehouse|SQL only reads|No files found"):
                connection.execute(sql).fetchall()
    assert find(root, "*") == []


@S3
def test_polars_and_pyarrow_read_it_as_the_docs_say(root: ObjectPlace) -> None:
    store = Store(root)
    concept(store, "drugs")
    concept(store, "age", "Age")
    options = {
        "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    scanned = pl.scan_parquet(f"{root}/concepts/**/*.parquet", storage_options=options, hive_partitioning=True)
    assert scanned.select("concept", "title").sort("concept").collect().rows() == [("age", "Age"), ("drugs", "Drugs")]
    data = ds.dataset(f"{root}/concepts".removeprefix("s3://"), filesystem=fsspec.filesystem("s3"), partitioning="hive")
    assert sorted(pl.from_arrow(data.to_table(columns=["concept"]))["concept"]) == ["age", "drugs"]


def test_other_protocols_go_the_same_way() -> None:
    """`memory://` stands for Google's and Azure's where neither their clients nor emulators are installed."""
    root = place("memory://bucket/warehouse")
    assert isinstance(root, ObjectPlace)
    store = Store(root)
    write_layers(store, fingerprint="good")
    concept(store, "drugs")
    assert store.is_current("activations", "good", **KEYS)
    assert store.partitions("activations") == [KEYS]
    assert store.read("activations", **KEYS).num_rows == 6
    assert [layer for layer, _ in store.layers("activations", **KEYS)] == [-1, 0, 1]
    assert run_query(root, "SELECT title, concept FROM concepts").to_pylist() == [
        {"title": "Drugs", "concept": "drugs"}
    ]
    concept(store, "drugs", "Drugs again")
    assert run_query(root, "SELECT title FROM concepts").to_pylist() == [{"title": "Drugs again"}]
    store.path("concepts", concept="drugs").unlink(missing_ok=False)
    assert store.partitions("concepts") == []
    assert not list(staging().glob(".part-0*"))


def test_large_files_are_read_by_ranges_and_one_statement_sees_one_version(
    root: ObjectPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.objects._SMALL", 0)
    store = Store(root)
    concept(store, "drugs")
    assert run_query(root, "SELECT title, concept FROM concepts").to_pylist() == [
        {"title": "Drugs", "concept": "drugs"}
    ]
    planned = Objects(root)
    (listed,) = planned.glob(f"{root}/concepts/*/part-0.parquet")
    concept(store, "drugs", "Drugs again")
    with pytest.raises(StoreError, match=r"replaced while it was read.*run again"):
        planned.open(listed)
    planned.glob(f"{root}/concepts/*/part-0.parquet")
    with planned.open(listed) as file:
        assert file.read(4) == b"PAR1"


@pytest.mark.parametrize("protocol", STORES)
def test_a_store_of_each_protocol_runs_here(protocol: str) -> None:
    """Says which are left out: all other tests take the ones that are there."""
    if lacking := missing(protocol):
        pytest.skip(f"{protocol}:// is not tested: {' and '.join(lacking)} not installed")


def test_an_upload_tells_what_it_holds(root: ObjectPlace, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    chart.write_text("<svg/>")
    (root / "chart.svg").upload(chart)
    found = root.files().info(str(root / "chart.svg"))
    told = [found.get("ContentType"), found.get("contentType"), found.get("content_settings", {}).get("content_type")]
    assert "image/svg+xml" in told


def test_the_end_of_a_large_file_is_read_without_the_rest(root: ObjectPlace, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1024
    (tmp_path / "large").write_bytes(content)
    (root / "large").upload(tmp_path / "large")
    assert (root / "large").read_end() == content[-(128 << 10) :]
    (tmp_path / "large").write_bytes(b"small")
    (root / "small").upload(tmp_path / "large")
    assert (root / "small").read_end() == b"small"


def test_an_open_file_that_was_deleted_is_not_there_for_another_try(root: ObjectPlace, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    (root / "file").upload(tmp_path / "file")
    with pytest.raises((StoreError, FileNotFoundError)), opened(root / "file") as file:  # noqa: PT012
        assert not isinstance(file, Path)
        assert file.read(10) == bytes(10)
        (root / "file").unlink(missing_ok=False)
        file.read(10)


def test_without_an_account_it_is_said_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed(*_: object, **__: object) -> None:
        raise ValueError("Must provide either a connection_string or account_name")

    monkeypatch.setattr(fsspec, "filesystem", unnamed)
    with pytest.raises(InputError, match=r"abfs://container/x can't be reached.*account.*environment"):
        place("abfs://container/x").is_file()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("told", "passing"), [({"code": "503"}, True), ({"status_code": 429}, True), ({"code": 403}, False)]
)
def test_a_busy_or_failing_server_may_answer_the_next_time(told: dict[str, Any], passing: bool) -> None:
    error = RuntimeError("as gcsfs and Azure's client tell the status")
    vars(error).update(told)
    assert refusals.is_passing(error) is passing


@pytest.mark.parametrize("name", [*refusals._OF_CLIENTS, *refusals._PASSING_OF_CLIENTS])
def test_the_errors_of_clients_are_where_we_look_for_them(name: str) -> None:
    """When this fails, a client moved its errors: see what it raises now."""
    module, _, member = name.rpartition(".")
    assert issubclass(getattr(pytest.importorskip(module), member), Exception)
