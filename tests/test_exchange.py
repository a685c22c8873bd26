"""A warehouse goes out as a folder and comes in again: whole, proved, and only where nobody disagrees."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from frictionless import Package
from typer.testing import CliRunner
from warehouse_fixture import LAYERS, ROLES, build_warehouse, rows

from dagster_project.cli import app
from warehouse.catalog import build_catalog
from warehouse.errors import InputError, StoreError
from warehouse.exchange import exporting
from warehouse.exchange.descriptor import NAME
from warehouse.exchange.exporting import SUMS, export
from warehouse.exchange.importing import import_into
from warehouse.exchange.parts import Choice
from warehouse.places import ObjectPlace
from warehouse.query import run_query
from warehouse.store import Store
from warehouse.tables import TABLES


@pytest.fixture(scope="module")
def store(warehouse: Path | ObjectPlace) -> Store:
    return Store(warehouse)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small warehouse as a folder; for tests that only read it."""
    folder = tmp_path_factory.mktemp("exported")
    export(build_warehouse(folder / "warehouse"), folder / "folder")
    return folder / "folder"


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(exported, tmp_path / "folder"))


def parts(store: Store) -> list[tuple[str, dict[str, str]]]:
    return [(name, keys) for name in TABLES for keys in store.partitions(name)]


def everything(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(root.rglob("*"))
        if path.name != "catalog.duckdb"
    }


def concept(store: Store, name: str, fingerprint: str) -> None:
    row = {"title": name, "role": "medical", "description": "Other.", "fingerprint": fingerprint}
    store.write("concepts", rows("concepts", [row]), fingerprint=fingerprint, concept=name)


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads((folder / NAME).read_text())
    change(said)
    (folder / NAME).write_text(json.dumps(said))


# Out


def test_an_export_holds_the_partitions_byte_for_byte_with_their_hashes(store: Store, tmp_path: Path) -> None:
    done = export(store, tmp_path / "out")
    assert done.files == len(parts(store)) == len(list((tmp_path / "out").rglob("*.parquet")))
    for name, keys in parts(store):
        place = store.path(name, **keys)
        below = "/".join([name, *(f"{key}={value}" for key, value in keys.items())])
        assert (tmp_path / "out/data" / below / place.name).read_bytes() == place.read_bytes()
    listed = [line.split("  ") for line in (tmp_path / "out" / SUMS).read_text().splitlines()]
    for digest, below in listed:
        assert hashlib.sha256((tmp_path / "out" / below).read_bytes()).hexdigest() == digest
    there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {below for _, below in listed} == there - {SUMS}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_description_is_a_data_package_and_names_each_column_of_each_file(exported: Path) -> None:
    said = json.loads((exported / NAME).read_text())
    package = Package.from_descriptor(said, basepath=str(exported))
    assert len(package.resources) == len(list(exported.rglob("*.parquet")))
    for resource in package.resources:
        schema = pq.read_schema(exported / str(resource.path))
        assert [field.name for field in resource.schema.fields] == schema.names
        assert all(field.description for field in resource.schema.fields)
        entry = TABLES[resource.custom["vesalius"]["table"]]
        assert tuple(resource.schema.primary_key) == entry.key_names
        assert (exported / str(resource.path)).stat().st_size == resource.bytes


def test_a_description_that_breaks_the_standard_would_be_noticed(exported: Path) -> None:
    said = json.loads((exported / NAME).read_text())
    del said["resources"][0]["path"]
    with pytest.raises(Exception, match="descriptor is not valid"):
        Package.from_descriptor(said, basepath=str(exported))


def test_readme_and_dictionary_tell_of_what_is_there_and_of_nothing_else(tmp_path: Path, exported: Path) -> None:
    text = (exported / "README.md").read_text()
    assert all(f"| `{name}` |" in text for name in (*LAYERS, *ROLES, "profiles", "activations"))
    assert "### `judgements`" in (exported / "tables.md").read_text()
    few = tmp_path / "few"
    export(build_warehouse(tmp_path / "warehouse"), few, Choice(["terms"], ["planted"], ["drugs"]))
    assert "`0042`" not in (few / "README.md").read_text()
    assert "### `profiles`" not in (few / "tables.md").read_text()


def test_two_exports_of_a_warehouse_are_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    export(build_warehouse(tmp_path / "warehouse"), tmp_path / "again")
    assert everything(tmp_path / "again") == everything(exported)


def test_an_export_is_narrowed_to_tables_models_and_concepts(tmp_path: Path) -> None:
    store = build_warehouse(tmp_path / "warehouse")
    export(store, tmp_path / "out", Choice(["profiles", "findings"], ["planted"], ["drugs"]))
    there = {path.parent.relative_to(tmp_path / "out/data").as_posix() for path in tmp_path.glob("out/**/*.parquet")}
    assert there == {
        "concepts/concept=drugs",
        "models/model=planted",
        "profiles/model=planted/concept=drugs",
        "findings/model=planted",
    }


def test_an_untrained_twin_goes_with_its_model_and_can_go_alone() -> None:
    twin, model = {"model": "planted.untrained"}, {"model": "planted"}
    assert Choice(models=["planted"]).takes("models", twin)
    assert Choice(models=["planted.untrained"]).takes("models", twin)
    assert not Choice(models=["planted.untrained"]).takes("models", model)
    assert not Choice(models=["plant"]).takes("models", twin)
    assert Choice(models=["planted"]).takes("concepts", {"concept": "drugs"})


@pytest.mark.parametrize(
    ("choice", "layout", "message"),
    [
        (Choice(tables=["termz"]), "warehouse", "There is no table 'termz'"),
        (Choice(models=["gpt"]), "warehouse", "has no model gpt; it has 0042, planted"),
        (Choice(concepts=["Drugs"]), "warehouse", "has no concept Drugs; it has age, countries, drugs"),
        (Choice(), "zip", "There is no layout 'zip'; the layouts are warehouse and datasets"),
    ],
)
def test_what_is_not_there_is_told(exported: Path, tmp_path: Path, choice: Choice, layout: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(Store(exported / "data"), tmp_path / "out", choice, layout)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_or_lies_in_the_warehouse_is_refused(exported: Path, tmp_path: Path) -> None:
    store = Store(exported / "data")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is there already"):
        export(store, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match="lies in the warehouse itself"):
        export(store, exported / "data" / "out")
    (tmp_path / "empty").mkdir()
    assert export(store, tmp_path / "empty").files


def test_an_export_that_fails_midway_leaves_nothing(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = exporting.copied, iter(range(5))

    def full(source: Any, target: Path) -> tuple[int, str]:
        if next(calls) == 4:
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(exporting, "copied", full)
    with pytest.raises(StoreError, match="No space left"):
        export(Store(exported / "data"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_partition_of_another_version_or_that_is_a_link_is_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build_warehouse(tmp_path / "warehouse")
    with monkeypatch.context() as patch:
        patch.setattr("warehouse.tables.TABLES", TABLES)
        patch.setitem(TABLES, "terms", with_version("terms", 99))
        with pytest.raises(StoreError, match=r"another version of their table \(first terms/age: version 1, now 99"):
            export(store, tmp_path / "out")
    file = store.path("terms", concept="age")
    assert isinstance(file, Path)
    file.rename(tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(StoreError, match="is a link"):
        export(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_version(name: str, version: int) -> Any:
    from dataclasses import replace

    return replace(TABLES[name], version=version)


def test_the_layout_for_datasets_has_a_configuration_a_table_and_keys_as_columns(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out", layout="datasets")
    text = (tmp_path / "out/README.md").read_text()
    card = yaml.safe_load(text.split("---")[1])
    filled = {name for name, keys in parts(store) if store.read(name, **keys).num_rows}
    assert {one["config_name"] for one in card["configs"]} == filled
    assert [one["config_name"] for one in card["configs"] if one.get("default")] == ["profiles"]
    for one in card["configs"]:
        entry = TABLES[one["config_name"]]
        files = sorted((tmp_path / "out").glob(one["data_files"][0]["path"]))
        assert len(files) == len(store.partitions(entry.name)) > 0
        read = ds.dataset([str(file) for file in files]).to_table()
        assert read.column_names == [column.name for column in entry.all_columns]
        assert read.num_rows == sum(store.read(entry.name, **keys).num_rows for keys in store.partitions(entry.name))
        for key in entry.partitions:
            assert set(read[key].to_pylist()) <= {keys[key] for keys in store.partitions(entry.name)}
    said = json.loads((tmp_path / "out" / NAME).read_text())
    for resource in Package.from_descriptor(said, basepath=str(tmp_path / "out")).resources:
        schema = pq.read_schema(tmp_path / "out" / str(resource.path))
        assert [field.name for field in resource.schema.fields] == schema.names
    with pytest.raises(InputError, match="layout 'datasets', which is for other tools"):
        import_into(Store(tmp_path / "other"), tmp_path / "out")


def test_vectors_of_models_of_several_widths_are_in_one_configuration(store: Store, tmp_path: Path) -> None:
    export(store, tmp_path / "out", Choice(["activations"]), "datasets")
    read = ds.dataset(tmp_path / "out/data/activations", format="parquet").to_table()
    assert {(row["model"], len(row["vector"])) for row in read.to_pylist()} == {("planted", 4), ("0042", 2)}


# In


def test_what_went_out_comes_in_as_it_was_and_a_second_time_changes_nothing(
    exported: Path, anywhere: Path | ObjectPlace
) -> None:
    store, source = Store(anywhere), Store(exported / "data")
    first = import_into(store, exported)
    assert len(first.new) == len(parts(source))
    for name, keys in parts(source):
        assert store.path(name, **keys).read_bytes() == source.path(name, **keys).read_bytes()
        assert store.footer(name, **keys) == source.footer(name, **keys)
    counted = "SELECT count(*) AS n FROM activations"
    assert run_query(anywhere, counted) == run_query_of(exported, counted)
    again = import_into(store, exported)
    assert (len(again.new), len(again.same), again.coming) == (0, len(first.new), ())


def run_query_of(exported: Path, sql: str) -> pa.Table:
    build_catalog(exported / "data")
    try:
        return run_query(exported / "data", sql)
    finally:
        (exported / "data/catalog.duckdb").unlink()


def test_two_warehouses_become_one(tmp_path: Path) -> None:
    whole = build_warehouse(tmp_path / "whole")
    for model in LAYERS:
        export(whole, tmp_path / model, Choice(models=[model]))
        import_into(Store(tmp_path / "of" / model), tmp_path / model)
    one, other = (Store(tmp_path / "of" / model) for model in LAYERS)
    decision = import_into(one, other.root)
    assert {arrival.part.table for arrival in decision.same} >= {"concepts", "terms", "published"}
    assert all("0042" in arrival.part.keys.values() for arrival in decision.new)
    assert everything(tmp_path / "of" / "planted") == everything(tmp_path / "whole")
    found = run_query(one.root, "SELECT DISTINCT model FROM activations ORDER BY model")
    assert found["model"].to_pylist() == ["0042", "planted"]


def test_a_warehouse_in_an_object_store_is_merged_too(store: Store, tmp_path: Path) -> None:
    concept(Store(tmp_path), "animals", "x")
    decision = import_into(Store(tmp_path), store.root)
    assert len(decision.new) == len(parts(store))
    assert run_query(tmp_path, "SELECT count(*) AS n FROM concepts").to_pylist() == [{"n": 4}]


def test_other_contents_of_a_partition_are_refused_by_name(exported: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("published", Store(exported / "data").read("published"), fingerprint="mine")
    before = everything(tmp_path)
    with pytest.raises(
        InputError, match=r"^1 partitions are here with other contents: published\. --keep .* --replace"
    ):
        import_into(store, exported)
    assert everything(tmp_path) == before


def test_keep_and_replace_decide_conflicts(exported: Path, tmp_path: Path) -> None:
    for prefer, expected in (("keep", "mine"), ("replace", "published")):
        store = Store(tmp_path / prefer)
        store.write("published", Store(exported / "data").read("published"), fingerprint="mine")
        decision = import_into(store, exported, prefer)
        footer = store.footer("published")
        assert footer is not None
        assert footer.fingerprint == expected
        assert [len(decision.kept), len(decision.replaced)] == ([1, 0] if prefer == "keep" else [0, 1])
        assert len(decision.new) == len(parts(Store(exported / "data"))) - 1


def test_measurements_of_another_version_of_a_concept_are_not_mixed_in(exported: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "mine")
    concept(store, "drugs", "my own library")
    with pytest.raises(InputError, match="different versions of a concept"):
        import_into(store, exported)
    decision = import_into(store, exported, "keep")
    assert [str(arrival.part) for arrival in decision.kept] == ["concepts/drugs"]
    assert {arrival.part.keys["concept"] for arrival in decision.left_out} == {"drugs"}
    assert not any("drugs" in arrival.part.keys.values() for arrival in decision.new)
    assert store.partitions("activations") == [
        {"model": model, "concept": name} for model in sorted(LAYERS) for name in ("age", "countries")
    ]


def test_what_was_measured_with_a_concept_that_is_replaced_is_told(exported: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "mine")
    concept(store, "drugs", "my own library")
    values = Store(exported / "data").read("profiles", model="planted", concept="drugs")
    store.write("profiles", values, fingerprint="mine", model="mine", concept="drugs")
    decision = import_into(store, exported, "replace")
    assert [str(arrival.part) for arrival in decision.replaced] == ["concepts/drugs"]
    assert decision.outdated == ("profiles/mine/drugs",)


def test_the_same_weights_from_another_folder_are_the_same_model(exported: Path, tmp_path: Path) -> None:
    store, theirs = Store(tmp_path), Store(exported / "data").read("models", model="planted")
    row = theirs.to_pylist()[0]
    mine = pa.Table.from_pylist([row | {"source": "/home/me/planted"}], schema=theirs.schema)
    store.write("models", mine, fingerprint="mine", model="planted")
    import_into(store, exported)
    assert store.read("models", model="planted")["source"].to_pylist() == ["/home/me/planted"]
    other = pa.Table.from_pylist([row | {"fingerprint": "other weights"}], schema=theirs.schema)
    store.write("models", other, fingerprint="mine", model="planted")
    with pytest.raises(InputError, match=r"models/planted\. Two different models go by one slug"):
        import_into(store, exported)


def change_hash(said: dict[str, Any]) -> None:
    said["resources"][0]["hash"] = "sha256:" + "0" * 64


def change_fingerprint(said: dict[str, Any]) -> None:
    said["resources"][0]["vesalius"]["fingerprint"] = "0" * 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_hash, "is not what was exported: its SHA-256 is"),
        (change_fingerprint, "its footer says concepts, fingerprint library"),
        (lambda said: said["resources"][0].update(bytes=1), "is not what was exported"),
        (lambda said: said["resources"][0]["vesalius"].update(rows=7), "its footer says"),
        (lambda said: said["resources"][0]["vesalius"].update(schema_version=99), "newer versions .* Upgrade this"),
        (lambda said: said["resources"][0]["vesalius"].update(schema_version=0), "older versions .* export anew"),
        (lambda said: said["resources"][0]["vesalius"].update(table="secrets"), "there is no table 'secrets' here"),
        (lambda said: said["resources"][0]["vesalius"].update(partition={}), "is not where concepts lies"),
        (lambda said: said["resources"][0]["vesalius"]["partition"].update(concept="../x"), "can't be a slug"),
        (lambda said: said["resources"][0].update(path="data/../../x.parquet"), "is not where concepts/age lies"),
        (lambda said: said["resources"][0].update(path="/etc/passwd"), "is not where concepts/age lies"),
        (lambda said: said["resources"][0].update(hash="md5:0"), "is no SHA-256"),
        (lambda said: said["resources"].append("x"), "the resource 'x' can't be read"),
        (lambda said: said["resources"].append(said["resources"][0]), "names concepts/age more than once"),
        (lambda said: said.pop("vesalius"), "is no description that `vesalius export` wrote"),
        (lambda said: said["vesalius"].update(format=2), "written by a newer Vesalius"),
    ],
)
def test_a_description_that_is_not_true_is_refused_and_nothing_comes_in(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edited(folder, change)
    with pytest.raises(InputError, match=message):
        import_into(Store(tmp_path / "mine"), folder)
    assert not (tmp_path / "mine").exists() or everything(tmp_path / "mine") == {}


@pytest.mark.parametrize("damage", ["one byte", "cut off", "missing", "no json"])
def test_a_damaged_folder_is_refused_and_nothing_comes_in(folder: Path, tmp_path: Path, damage: str) -> None:
    file = folder / "data/terms/concept=drugs/part-0.parquet"
    content = file.read_bytes()
    if damage == "one byte":
        file.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    elif damage == "cut off":
        file.write_bytes(content[:-10])
    elif damage == "missing":
        file.unlink()
    else:
        (folder / NAME).write_text("{")
    for store in (Store(tmp_path / "mine"), import_whole(folder, tmp_path / "full")):
        before = everything(store.root) if Path(str(store.root)).exists() else {}
        with pytest.raises(InputError, match=r"not what was exported|are missing|no description"):
            import_into(store, folder)
        assert (everything(store.root) if Path(str(store.root)).exists() else {}) == before


def import_whole(folder: Path, root: Path) -> Store:
    """A warehouse that has all of the folder already: damage is told all the same."""
    return build_warehouse(root)


def test_rows_that_break_their_table_are_refused_even_with_true_hashes(folder: Path, tmp_path: Path) -> None:
    below = "data/concepts/concept=age/part-0.parquet"
    content = pq.read_table(folder / below)
    broken = content.set_column(1, content.schema.field("role"), pa.array(["villain"]))
    footer = pq.read_metadata(folder / below).metadata
    pq.write_table(broken.replace_schema_metadata({b"vesalius": footer[b"vesalius"]}), folder / below)
    digest = hashlib.sha256((folder / below).read_bytes()).hexdigest()
    size = (folder / below).stat().st_size
    edited(folder, lambda said: said["resources"][0].update(hash=f"sha256:{digest}", bytes=size))
    with pytest.raises(InputError, match=r"breaks the table's contract: concepts\.role has \['villain'"):
        import_into(Store(tmp_path / "mine"), folder)
    assert not (tmp_path / "mine").exists() or everything(tmp_path / "mine") == {}


def test_a_commit_that_fails_midway_gives_everything_back(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.write("published", Store(exported / "data").read("published"), fingerprint="mine")
    concept(store, "animals", "x")
    before = everything(tmp_path)
    real, renamed = Path.replace, []

    def refuse(self: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) == 12:
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match="Input/output error"):
        import_into(store, exported, "replace")
    monkeypatch.undo()
    assert len(renamed) >= 12
    assert everything(tmp_path) == before
    assert import_into(store, exported, "replace").replaced


def test_neither_a_folder_nor_a_warehouse_nor_the_warehouse_itself_can_be_imported(
    exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for source, message in (
        (tmp_path / "nowhere", "There is no folder"),
        (tmp_path / "empty", "There is no table in"),
        (tmp_path / "mine" / "..", "is the warehouse itself"),
    ):
        with pytest.raises(InputError, match=message):
            import_into(Store(tmp_path), source)


# The commands


def test_the_commands_export_and_import(exported: Path, tmp_path: Path) -> None:
    def vesalius(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.stdout

    out = vesalius("export", tmp_path / "out", "--model", "planted", "--warehouse", exported / "data")
    assert f": {tmp_path}/out" in out
    root = tmp_path / "mine"
    assert " are new, 0 were replaced, 0 were here already" in vesalius("import", tmp_path / "out", "--warehouse", root)
    assert "0 partitions are new" in vesalius("import", tmp_path / "out", "--warehouse", root)
    Store(root).write("published", Store(root).read("published"), fingerprint="mine")
    refused = CliRunner().invoke(app, ["import", str(exported), "--warehouse", str(root)])
    assert refused.exit_code == 2
    assert "error: 1 partitions are here with other contents: published." in refused.stderr
    assert "1 were kept as they are" in vesalius("import", exported, "--keep", "--warehouse", root)
    assert "1 were replaced" in vesalius("import", exported, "--replace", "--warehouse", root)
    both = CliRunner().invoke(app, ["import", str(exported), "--keep", "--replace", "--warehouse", str(root)])
    assert (both.exit_code, "contradict each other" in both.stderr) == (2, True)


def test_a_killed_import_leaves_only_what_the_next_one_removes(exported: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "terms/concept=age" / f".part-0.parquet.{os.uname().nodename}.999999999.0123abcd.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    import_into(Store(tmp_path), exported)
    assert not leftover.exists()
