"""Shards of a model, merged, are the rows of a run that was not split; what does not belong together is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_library import COLOUR_TERMS, write_library
from tiny_models import save_tiny

from extract.batches import make_batches
from extract.job.extracting import TABLES, extract_model, merge_model
from extract.job.material import Material
from extract.job.measuring import SHARED
from extract.job.plan import Plan
from extract.job.progress import LineProgress
from extract.job.shards import FOLDER, Merging, shard_store
from extract.library import load_library
from extract.models import ModelEntry
from extract.shards import Shard, read_shard
from extract.sharing import share
from warehouse.catalog import build_catalog
from warehouse.errors import InputError
from warehouse.store import Store
from warehouse.tables import STAGES, table

PLAN = Plan(
    lesions=("identity", "mean", "resample"),
    sites=("resid", "delta:term", "attn_out:token"),
    contributions=True,
    sample=10,
    held_out=0,
    answers=5,
    new_tokens=3,
    token_budget=40,
)
EXACT = ("activations", "first_tokens", "contributions", "saliency", "responses")
"""Tables in which a prompt's rows hang on nothing but its own batch."""

LIGHT = Plan(lesions=("identity",), sites=("resid",), sample=6, held_out=0, answers=2, new_tokens=1, token_budget=40)

Run = Callable[..., Material]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shards")
    write_library(place / "concepts")
    # A tokenizer that knows the terms, so that some prompts are of one length and there are pairs to patch.
    save_tiny(place / "tiny", "qwen3", texts=(" ".join([*COLOUR_TERMS, "red", "green"]),))
    return place


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    def run(name: str, *shards: str, plan: Plan = PLAN, tables: tuple[str, ...] = TABLES) -> Material:
        material = Material(Store(folder / name), ModelEntry("tiny", folder / "tiny"), plan)
        library = load_library(folder / "concepts")
        for shard in shards:
            extract_model(material, library, tables, LineProgress(lambda _: None), read_shard(shard))
        if not shards:
            extract_model(material, library, tables, LineProgress(lambda _: None))
        return material

    return run


@pytest.fixture(scope="module")
def whole(run: Run) -> Store:
    return run("whole").store


@pytest.fixture(scope="module")
def merged(run: Run, folder: Path) -> Material:
    """Two and a third of the work in the wrong order, each by a worker that knows nothing of the others."""
    material = run("merged", "3/3", "1/3", "2/3")
    merge_model(material, load_library(folder / "concepts"), TABLES, 3)
    return material


def rows(store: Store, name: str, concept: str) -> pa.Table:
    return store.read(name, model="tiny", concept=concept)


@pytest.mark.parametrize("concept", ["colours", "numbers"])
@pytest.mark.parametrize("name", EXACT)
def test_what_hangs_on_a_prompt_alone_is_the_same_to_the_bit(
    name: str, concept: str, whole: Store, merged: Material
) -> None:
    expected = rows(whole, name, concept)
    assert rows(merged.store, name, concept).equals(expected)
    if concept == "colours":
        assert expected.num_rows > 0


@pytest.mark.parametrize("name", ["lesions", "patches"])
def test_what_is_taken_from_other_prompts_is_the_same_to_rounding(name: str, whole: Store, merged: Material) -> None:
    expected, found = rows(whole, name, "colours"), rows(merged.store, name, "colours")
    keys = list(table(name).key_names)
    assert expected.num_rows > 0
    assert found.select(keys).equals(expected.select(keys))
    for column in expected.schema:
        if pa.types.is_floating(column.type):
            np.testing.assert_allclose(found[column.name], expected[column.name], rtol=1e-4, atol=1e-5)


def test_identity_lesions_take_nothing_from_others_and_are_the_same_to_the_bit(whole: Store, merged: Material) -> None:
    def identity(store: Store) -> pa.Table:
        found = rows(store, "lesions", "colours")
        return found.filter(pa.compute.equal(found["lesion"], "identity"))

    assert identity(whole).num_rows > 0
    assert identity(merged.store).equals(identity(whole))


def test_a_merged_partition_has_the_fingerprint_of_a_run_and_is_current_for_it(
    whole: Store, merged: Material, folder: Path
) -> None:
    for name in SHARED:
        keys = {"model": "tiny", "concept": "colours"}
        mine, other = merged.store.footer(name, **keys), whole.footer(name, **keys)
        assert mine == other
    again = extract_model(merged, load_library(folder / "concepts"), TABLES, LineProgress(lambda _: None))
    assert [tally.numbers()["files_written"] for tally in again.values()] == [0] * len(TABLES)
    assert all(tally.forwards == 0 for tally in again.values())


def test_no_worker_does_everything_and_none_is_idle(run: Run) -> None:
    store = run("each", "1/2", "2/2", plan=LIGHT).store
    each = [
        rows(shard_store(store, Shard(number, 2)), name, "colours").num_rows
        for name in ("activations", "lesions", "saliency")
        for number in (1, 2)
    ]
    assert all(count > 0 for count in each)
    assert not store.partitions("activations"), "a shard is no partition"
    assert not (store.root / "activations").exists()


def test_a_catalog_built_beside_waiting_shards_does_not_see_them(run: Run) -> None:
    import duckdb

    store = run("seen", "1/2", plan=LIGHT).store
    build_catalog(store.root)
    with duckdb.connect(str(store.root / "catalog.duckdb"), read_only=True) as catalog:
        (count,) = catalog.execute("SELECT count(*) FROM activations").fetchone() or (None,)
    assert count == 0


def test_a_shard_that_was_run_is_not_run_again(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from extract.job import measuring

    material = run("twice", "1/2", plan=LIGHT)

    def never(*_: object, **__: object) -> object:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(measuring, "load_model", never)
    library = load_library(folder / "concepts")
    tallies = extract_model(material, library, TABLES, LineProgress(lambda _: None), Shard(1, 2))
    assert tallies["activations"].numbers()["files_current"] == 2


def test_a_model_without_gradients_has_no_shards_of_saliency_to_wait_for(run: Run) -> None:
    material = run("bits", "1/2", plan=LIGHT)
    bits = replace(material, entry=replace(material.entry, quantization="4bit"))
    assert [*bits.wanted(["lesions", "saliency"], "colours")] == ["lesions"]


def test_workers_on_one_disk_offload_weights_into_folders_of_their_own(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from extract.job import measuring

    told: list[Path | None] = []

    def load(*_: object, offload_folder: Path | None, **__: object) -> object:
        told.append(offload_folder)
        raise MemoryError

    monkeypatch.setattr(measuring, "load_model", load)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 10))
    entry = ModelEntry("tiny", folder / "tiny", placement="offload")
    plan = replace(LIGHT, even_if_it_may_not_fit=True)
    material, library = (
        Material(Store(folder / "apart"), entry, plan, folder / "layers"),
        load_library(folder / "concepts"),
    )
    for shard in (None, Shard(1, 2), Shard(2, 2)):
        with pytest.raises(MemoryError):
            extract_model(material, library, TABLES, LineProgress(lambda _: None), shard)
    assert told == [folder / "layers", folder / "layers" / "1-of-2", folder / "layers" / "2-of-2"]


def test_a_missing_shard_is_named_and_nothing_is_committed(run: Run, folder: Path) -> None:
    material = run("missing", "1/3", "3/3", plan=LIGHT)
    with pytest.raises(InputError, match=r"activations of tiny, colours lacks 1 of 3 shards, 2/3 first"):
        merge_model(material, load_library(folder / "concepts"), TABLES, 3)
    assert not material.store.partitions("activations")


def test_shards_of_another_run_are_refused(run: Run, folder: Path) -> None:
    seeded = Plan(sample=4, answers=0, sites=(), seed=1)
    run("foreign", "1/2", plan=seeded)
    material = run("foreign", "2/2", plan=Plan(sample=4, answers=0, sites=(), seed=2))
    library = load_library(folder / "concepts")
    with pytest.raises(InputError, match="shard 1/2 was made from another model, library, code or other options"):
        merge_model(material, library, ("lesions",), 2)


def test_shards_that_were_cut_otherwise_are_refused(run: Run, folder: Path) -> None:
    few = Plan(sample=4, answers=0, token_budget=20)
    run("cut", "1/2", plan=few)
    material = run("cut", "2/2", plan=Plan(sample=4, answers=0, token_budget=200))
    with pytest.raises(InputError, match="shared out in 2 ways"):
        merge_model(material, load_library(folder / "concepts"), ("activations",), 2)


def test_a_merge_that_another_overtook_ends_well_with_what_the_other_committed(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material, library = run("overtaken", "1/2", "2/2", plan=LIGHT), load_library(folder / "concepts")
    found, overtaken = Merging._stores, list[str]()

    def overtaking(self: Merging, name: str, expected: str, keys: dict[str, str]) -> list[Store]:
        stores = found(self, name, expected, keys)
        if not overtaken:
            overtaken.append(name)
            merge_model(material, library, TABLES, 2)
        return stores

    monkeypatch.setattr(Merging, "_stores", overtaking)
    tallies = merge_model(material, library, TABLES, 2)
    assert overtaken
    assert {tally.numbers()["files_written"] for tally in tallies.values()} == {0}
    assert not list((material.store.root / FOLDER).rglob("*.parquet"))


def test_what_was_merged_no_longer_waits(merged: Material) -> None:
    assert not list((merged.store.root / FOLDER).rglob("*.parquet"))
    assert [each.name for each in STAGES["extraction"] if merged.store.partitions(each.name)] == list(TABLES)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    budget=st.integers(1, 40),
    count=st.integers(1, 5),
    draw=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_a_worker_alone_with_its_prompts_batches_them_as_the_whole_run_does(
    lengths: list[int], budget: int, count: int, draw: object
) -> None:
    prompts = [[7] * length for length in lengths]
    kinds = [draw.randrange(3) for _ in prompts]  # type: ignore[attr-defined]
    batches = make_batches(prompts, budget=budget, kinds=kinds)
    shares = share(batches, torch.tensor([float(length) for length in lengths]), count)
    assert bool(((shares >= 1) & (shares <= count)).all())
    whole = {tuple(batch.rows.tolist()) for batch in batches}
    alone = set()
    for number in range(1, count + 1):
        mine = (shares == number).nonzero()[:, 0].tolist()
        for batch in make_batches([prompts[row] for row in mine], budget=budget, kinds=[kinds[row] for row in mine]):
            alone.add(tuple(mine[row] for row in batch.rows.tolist()))
    assert alone == whole


@pytest.mark.parametrize("written", ["", "1", "0/2", "3/2", "1/0", "a/b", "-1/2", "1/2/3", "1/99999"])
def test_what_is_no_shard(written: str) -> None:
    with pytest.raises(InputError, match="is no shard"):
        read_shard(written)


def test_a_shard_reads_as_it_is_written() -> None:
    assert str(read_shard(" 2/8 ")) == "2/8"
