"""The store commits whole files that keep their contract, or nothing: on a disk and in an object store alike."""

import errno
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.atomic import replacing
from warehouse.errors import InputError, StoreError, TableError
from warehouse.places import ObjectPlace, find, listing, opened, staging
from warehouse.store import FILE_NAME, Store
from warehouse.tables import table

KEYS = {"model": "tiny", "concept": "drugs"}


def activations(layer: int, terms: tuple[str, ...] = ("aspirin", "warfarin"), width: int = 4) -> pa.Table:
    count = len(terms)
    vectors = np.arange(count * width, dtype=np.float32) + layer
    columns = [
        pa.array([layer] * count, pa.int16()),
        pa.array(["last"] * count),
        pa.array(["t"] * count),
        pa.array(terms),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors), width),
    ]
    return pa.table(columns, schema=table("activations").schema(width))


def write_layers(store: Store, layers: tuple[int, ...] = (-1, 0, 1), fingerprint: str = "a") -> None:
    with store.writer("activations", fingerprint=fingerprint, rows=2 * len(layers), width=4, **KEYS) as writer:
        for layer in layers:
            writer.add(activations(layer))


def files(root: Path | ObjectPlace) -> list[str]:
    """All that lies in a warehouse, and in the folder for uploads if it has one."""
    if isinstance(root, Path):
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    there = [name for depth in range(1, 6) for name in find(root, "/".join("*" * depth))]
    return sorted([*there, *(path.name for path in staging().glob("*"))])


@pytest.fixture
def store(anywhere: Path | ObjectPlace) -> Store:
    return Store(anywhere)


def test_a_listing_tells_one_writing_of_a_file_from_the_next(store: Store) -> None:
    assert listing(store.root) == {}
    write_layers(store)
    first = listing(store.root)
    assert list(first) == ["activations/model=tiny/concept=drugs/part-0.parquet"]
    assert listing(store.root) == first
    write_layers(store, fingerprint="b")
    second = listing(store.root)
    assert second.keys() == first.keys()
    assert second != first


def test_what_was_written_is_read_back_a_layer_at_a_time(store: Store) -> None:
    write_layers(store)
    assert [layer for layer, _ in store.layers("activations", **KEYS)] == [-1, 0, 1]
    for layer, data in store.layers("activations", **KEYS):
        assert data.equals(activations(layer))
    assert files(store.root) == ["activations/model=tiny/concept=drugs/part-0.parquet"]


def test_each_layer_is_a_row_group_and_vectors_are_split_by_byte(store: Store) -> None:
    write_layers(store)
    with opened(store.path("activations", **KEYS)) as file:
        metadata = pq.read_metadata(file)
    assert metadata.num_row_groups == 3
    vector = metadata.row_group(0).column(4)
    assert vector.path_in_schema.startswith("vector")
    assert vector.encodings == ("RLE", "BYTE_STREAM_SPLIT")
    assert vector.compression == "ZSTD"


def test_bfloat16_values_cost_less_than_two_bytes_in_a_file(store: Store) -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    rounded = (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    width, count = 100, 2000
    columns = [
        pa.array([0] * count, pa.int16()),
        pa.array(["last"] * count),
        pa.array(["t"] * count),
        pa.array([f"{i}" for i in range(count)]),
        pa.FixedSizeListArray.from_arrays(pa.array(rounded), width),
    ]
    commit = store.write(
        "activations", pa.table(columns, schema=table("activations").schema(width)), fingerprint="a", **KEYS
    )
    assert commit.bytes < 1.6 * len(values)


def test_whole_tables_are_sorted_by_layer_then_key(store: Store) -> None:
    data = pa.concat_tables([activations(1), activations(0)])
    commit = store.write("activations", data, fingerprint="a", **KEYS)
    assert commit.rows == 4
    assert [layer for layer, _ in store.layers("activations", **KEYS)] == [0, 1]


def test_the_footer_tells_what_the_file_was_made_from(store: Store) -> None:
    write_layers(store, fingerprint="abc")
    footer = store.footer("activations", **KEYS)
    assert footer is not None
    assert (footer.table, footer.fingerprint, footer.rows) == ("activations", "abc", 6)
    assert store.is_current("activations", "abc", **KEYS)
    assert not store.is_current("activations", "abd", **KEYS)
    assert not store.is_current("activations", "abc", model="tiny", concept="age")


def test_a_torn_file_is_not_current_and_reading_it_says_so(store: Store) -> None:
    write_layers(store, fingerprint="abc")
    path = store.path("activations", **KEYS)
    with replacing(path) as temporary:
        temporary.write_bytes(path.read_bytes()[:-20])
    assert not store.is_current("activations", "abc", **KEYS)
    with pytest.raises(StoreError, match="Delete it and run again"):
        store.read("activations", **KEYS)


def test_a_foreign_parquet_file_is_not_current(store: Store) -> None:
    with replacing(store.path("activations", **KEYS)) as temporary:
        pq.write_table(activations(0), temporary)
    assert store.footer("activations", **KEYS) is None


def _no_rows_of_one_layer() -> pa.Table:
    return pa.concat_tables([activations(0), activations(1)])


def _with(name: str, values: pa.Array) -> pa.Table:
    data = activations(0)
    return data.set_column(data.schema.get_field_index(name), data.schema.field(name), values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (activations(0, ("aspirin", "aspirin")), "2 times"),
        (_with("vector", pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, np.nan] * 2, pa.float32()), 4)), "NaN"),
        (
            _with("vector", pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, np.inf] * 2, pa.float32()), 4)),
            "infinite",
        ),
        (_with("vector", pa.array([None, [1, 2, 3, 4]], pa.list_(pa.float32(), 4))), "nulls"),
        (_with("position", pa.array(["last", "middle"])), "middle"),
        (_with("layer", pa.array([-2, -2], pa.int16())), "below -1"),
        (activations(0).drop_columns(["term"]), "it takes"),
        (_no_rows_of_one_layer(), "one layer"),
    ],
)
def test_rows_that_break_the_contract_leave_the_last_good_file(store: Store, data: pa.Table, message: str) -> None:
    write_layers(store, fingerprint="good")
    with (
        pytest.raises(TableError, match=message),
        store.writer("activations", fingerprint="bad", width=4, **KEYS) as writer,
    ):
        writer.add(data)
    assert store.is_current("activations", "good", **KEYS)
    assert len(files(store.root)) == 1


def test_a_wrong_type_is_refused(store: Store) -> None:
    data = activations(0)
    wrong = data.set_column(0, "layer", pa.array([0, 0], pa.int64()))
    with pytest.raises(TableError, match=r"activations\.layer has type int64"):
        store.write("activations", wrong, fingerprint="a", **KEYS)


def test_fewer_rows_than_planned_are_not_committed(store: Store) -> None:
    writing = store.writer("activations", fingerprint="a", rows=4, width=4, **KEYS)
    with pytest.raises(TableError, match="2 rows where 4 were planned"), writing as writer:
        writer.add(activations(0))
    assert files(store.root) == []


def test_layers_out_of_order_are_refused(store: Store) -> None:
    with pytest.raises(TableError, match="ascending"):
        write_layers(store, (1, 0))


def test_an_error_of_the_caller_passes_through_and_nothing_stays(store: Store) -> None:
    with pytest.raises(FileNotFoundError), store.writer("activations", fingerprint="a", width=4, **KEYS) as writer:
        writer.add(activations(int((store.root / "no-such-weights").read_text("utf-8"))))
    assert files(store.root) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_gives_one_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    write_layers(store, fingerprint="good")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", refuse)
    with pytest.raises(StoreError, match=os.strerror(code)):
        write_layers(store, fingerprint="new")
    assert store.is_current("activations", "good", **KEYS)
    assert len(files(store.root)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_by_the_operating_system_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    original = pq.ParquetWriter
    monkeypatch.setattr(pq, "ParquetWriter", lambda _, *args, **kwargs: original("/dev/full", *args, **kwargs))
    with pytest.raises(StoreError, match="No space left"):
        write_layers(store)


@pytest.mark.parametrize("slug", ["../up", "a/b", "", "A", ".hidden", "a..b", "a b", "x" * 121, "ü"])
def test_a_slug_that_could_leave_its_folder_is_refused(store: Store, slug: str) -> None:
    with pytest.raises(InputError, match="can't be a slug"):
        store.path("activations", model=slug, concept="drugs")


def test_unknown_tables_and_wrong_keys_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="The tables are"):
        store.path("vectors")
    with pytest.raises(InputError, match="partitioned by"):
        store.path("activations", model="tiny")


def test_a_partition_that_is_not_there_is_told_by_its_keys(store: Store) -> None:
    with pytest.raises(InputError, match="concept=drugs"):
        store.read("activations", **KEYS)


def test_partitions_are_listed_by_their_keys(store: Store) -> None:
    write_layers(store)
    assert store.partitions("activations") == [KEYS]
    assert store.partitions("lesions") == []


def test_partitions_are_in_the_order_of_their_keys(store: Store) -> None:
    empty = table("plants").schema().empty_table()
    for model in ("tiny", "tiny-2", "a", "tiny.untrained"):
        store.write("plants", empty, fingerprint="a", model=model)
    assert [keys["model"] for keys in store.partitions("plants")] == ["a", "tiny", "tiny-2", "tiny.untrained"]


def test_a_table_of_no_rows_is_a_table(store: Store) -> None:
    empty = table("plants").schema().empty_table()
    store.write("plants", empty, fingerprint="a", model="tiny")
    assert store.read("plants", model="tiny").equals(empty)


def test_a_table_without_keys_takes_one_row_a_partition(store: Store) -> None:
    row = {"title": ["Drugs"], "role": ["medical"], "description": ["d"], "fingerprint": ["f"]}
    store.write("concepts", pa.table(row, schema=table("concepts").schema()), fingerprint="a", concept="drugs")
    two = {name: values * 2 for name, values in row.items()}
    with pytest.raises(TableError, match="one a partition"):
        store.write("concepts", pa.table(two, schema=table("concepts").schema()), fingerprint="a", concept="drugs")


def test_a_writer_that_is_killed_leaves_nothing_that_a_reader_takes_for_a_file(store: Store) -> None:
    write_layers(store, fingerprint="good")
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_store import KEYS, Store, activations
        from warehouse.places import place
        with Store(place({str(store.root)!r})).writer("activations", fingerprint="new", width=4, **KEYS) as writer:
            writer.add(activations(0))
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert store.is_current("activations", "good", **KEYS)
    assert [path for path in files(store.root) if path.endswith(".parquet")] == files(store.root)[-1:]
    assert store.partitions("activations") == [KEYS]
    assert len(files(store.root)) == 2
    store.remove_leftovers()
    assert len(files(store.root)) == 1


def test_the_temporary_file_of_a_living_writer_stays(store: Store) -> None:
    path = store.path("activations", **KEYS)
    folder = path.parent if isinstance(path, Path) else staging()
    folder.mkdir(parents=True)
    alive = folder / f".{FILE_NAME}.{socket.gethostname()}.{os.getpid()}.0123abcd.tmp"
    alive.touch()
    store.remove_leftovers()
    assert alive.exists()


def test_two_writers_of_one_partition_leave_one_whole_file(store: Store) -> None:
    with store.writer("activations", fingerprint="first", width=4, **KEYS) as first:
        first.add(activations(0))
        with store.writer("activations", fingerprint="second", width=4, **KEYS) as second:
            second.add(activations(0))
            second.add(activations(1))
        first.add(activations(2))
    assert store.is_current("activations", "first", **KEYS)
    assert [layer for layer, _ in store.layers("activations", **KEYS)] == [0, 2]
