"""What tests share: which files begin, and object stores on this machine, which start with the first that asks."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from object_store import BUCKET, PROTOCOLS, STORES, ObjectStore
from warehouse_fixture import build_warehouse

from warehouse.catalog import build_catalog
from warehouse.places import ObjectPlace

LONGEST = (
    "test_dagster.py",
    "test_untrained.py",
    "test_validating.py",
    "test_planted.py",
    "test_cli.py",
    "test_browser.py",
    "test_object_run.py",
    "test_encoders.py",
    "test_landing.py",
    "test_registry_runs.py",
    "test_plain_command.py",
    "test_sweep.py",
    "test_reference.py",
    "test_editing.py",
    "test_shards.py",
    "test_zoo.py",
)
"""A process takes a file at a time: those that take longest go first, or one of them is waited for at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; all else keeps its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ObjectStore]]:
    """The store of a protocol, which runs until the session ends."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))

        @cache
        def running(protocol: str) -> ObjectStore:
            store = stack.enter_context(STORES[protocol](tmp_path_factory.mktemp(protocol), patch))
            store.make_bucket()
            return store

        yield running


@pytest.fixture(scope="session", params=PROTOCOLS)
def object_store(request: pytest.FixtureRequest, stores: Callable[[str], ObjectStore]) -> ObjectStore:
    """A store of each protocol that can run here."""
    return stores(request.param)


@pytest.fixture(scope="module", params=["disk", *PROTOCOLS])
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path | ObjectPlace:
    """The small warehouse of `warehouse_fixture` with its catalog, on a disk and in object stores: for reading."""
    if request.param == "disk":
        root: Path | ObjectPlace = tmp_path_factory.mktemp("it's a [ware] house") / "data"
    else:
        store: ObjectStore = request.getfixturevalue("stores")(request.param)
        root = store.place(f"{BUCKET}/it's a [ware] house/data")
    build_warehouse(root)
    build_catalog(root)
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on a disk alone, for what has nothing to do with where a warehouse lies."""
    root = tmp_path_factory.mktemp("small")
    build_warehouse(root)
    build_catalog(root)
    return root


@pytest.fixture(params=["disk", *PROTOCOLS])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | ObjectPlace:
    """An empty place for a warehouse: a folder, then a prefix in a bucket of each store."""
    if request.param == "disk":
        return tmp_path
    store: ObjectStore = request.getfixturevalue("stores")(request.param)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return store.place(f"{BUCKET}/{tmp_path.name}")
