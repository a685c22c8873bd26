"""What tests share: which files begin, and a real S3 server on this machine, which starts with the first that asks."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import BUCKET, ObjectStore
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
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with pytest.MonkeyPatch.context() as patch, ObjectStore() as store:
        patch.setenv("AWS_ENDPOINT_URL", store.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        store.make_bucket()
        yield store


@pytest.fixture(scope="module", params=["disk", "s3"])
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path | ObjectPlace:
    """The small warehouse of `warehouse_fixture` with its catalog, on a disk and in an object store: for reading."""
    if request.param == "disk":
        root: Path | ObjectPlace = tmp_path_factory.mktemp("it's a [ware] house") / "data"
    else:
        store: ObjectStore = request.getfixturevalue("object_store")
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


@pytest.fixture(params=["disk", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | ObjectPlace:
    """An empty place for a warehouse: a folder, then a prefix in a bucket."""
    if request.param == "disk":
        return tmp_path
    store: ObjectStore = request.getfixturevalue("object_store")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return store.place(f"{BUCKET}/{tmp_path.name}")
