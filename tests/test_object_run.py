"""`vesalius run` into an object store whose plug is pulled in between, from the model to the rows of a query."""

import json
from pathlib import Path
from threading import Timer

import pytest
from landings import leave_charts_blank
from object_store import ObjectStore
from tiny_library import write_library
from tiny_models import save_tiny
from typer.testing import CliRunner, Result

from dagster_project.cli import app
from warehouse.places import ObjectPlace, find, local_folder, staging
from warehouse.store import Store

FEW = ["--only", "colours", "--no-umap", "--no-untrained", "--sample", "4", "--held-out", "0", "--answers", "0"]
FEW += ["--resamples", "20", "--permutations", "20", "--lesions", "identity", "--sites", "resid"]


@pytest.fixture
def root(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectPlace:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VESALIUS_CONCEPTS", str(write_library(tmp_path / "concepts")))
    monkeypatch.setenv("VESALIUS_MODELS", str(tmp_path / "models.toml"))
    leave_charts_blank(monkeypatch)
    return object_store.place()


def vesalius(*words: object) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.slow
def test_a_run_outlives_its_object_store_and_the_next_one_has_nothing_to_do(
    root: ObjectPlace, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny(tmp_path / "tiny", "qwen3")
    upload, pulled = ObjectPlace.upload, []

    def pulling(self: ObjectPlace, file: Path) -> None:
        if "/activations/" in self.url and not pulled:
            pulled.append(self)
            object_store.stop()
            Timer(0.2, object_store.start).start()
        upload(self, file)

    monkeypatch.setattr(ObjectPlace, "upload", pulling)
    first = vesalius("run", "--model", model, "--warehouse", root, *FEW)
    assert pulled
    assert "files were written" in first.stdout
    assert f"{root}/charts/knowledge-map.html" in first.stdout
    assert Store(root).partitions("activations") == [{"model": "tiny", "concept": "colours"}]
    assert "knowledge-map.png" in find(root / "charts", "*.png")
    assert {path.name for path in local_folder(root).iterdir()} == {"catalog.duckdb"}
    assert not list(staging().iterdir())

    second = vesalius("run", "--model", model, "--warehouse", root, *FEW)
    assert "Everything was current: no forward pass, no file written." in second.stdout

    asked = "SELECT count(*) AS n, max(layer) AS last FROM activations WHERE model = 'tiny'"
    (found,) = json.loads(vesalius("sql", asked, "--json", "--warehouse", root).stdout)
    assert found["n"] > 0
    assert found["last"] == Store(root).read("models", model="tiny")["layers"][0].as_py() - 1
