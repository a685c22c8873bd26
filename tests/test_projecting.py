"""Pictures of several concepts at once are those of one after the other."""

from pathlib import Path

import pyarrow as pa
import pytest
from warehouse_fixture import build_warehouse

from dagster_project import projecting
from dagster_project.projecting import project_concepts
from extract.job.progress import LineProgress
from warehouse.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_warehouse(Path(tmp_path_factory.mktemp("warehouse")))


def test_processes_draw_what_one_process_draws(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = store.partitions("activations")
    model = drawn[0]["model"]
    concepts = sorted(keys["concept"] for keys in drawn if keys["model"] == model)
    assert len(concepts) > 1
    told: list[str] = []

    def draw() -> dict[str, pa.Table]:
        return dict(project_concepts(store, model, concepts, layers=3, seed=0, progress=LineProgress(told.append)))

    alone = draw()
    monkeypatch.setattr(projecting, "WORTH_PROCESSES", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    together = draw()
    assert list(alone) == concepts
    assert set(together) == set(concepts)
    assert all(together[concept].equals(alone[concept]) for concept in concepts)
    assert any("UMAP of 2 concepts at once" in line for line in told)


def test_a_small_model_is_drawn_in_one_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(projecting, "ProcessPoolExecutor", refuse)
    keys = store.partitions("activations")[0]
    one = [keys["concept"]]
    drawn = list(project_concepts(store, keys["model"], one, layers=3, seed=0, progress=LineProgress(lambda _: None)))
    assert [concept for concept, _ in drawn] == one
