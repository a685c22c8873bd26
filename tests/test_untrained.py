"""Untrained twins: the same shape and tokenizer, random weights, run by the same pipeline and kept apart."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from landings import Landed, land, leave_charts_blank, unrun
from tiny_models import ARCHITECTURES, LAYERS, save_tiny
from transformers import AutoConfig

from dagster_project import running
from dagster_project.definitions import build_defs
from dagster_project.defs.jobs import LIBRARY, MEASURE
from dagster_project.defs.partitions import register_models
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.gathering import gather, partitions_of
from dagster_project.running import Outcome, chosen_models, run_models
from dagster_project.summary import summarize
from extract.job import measuring
from extract.job.extracting import OF_TWINS
from extract.job.extracting import TABLES as EXTRACTED
from extract.job.progress import LineProgress
from extract.loading import describe, load_model
from extract.models import ModelEntry, add_model, load_registry, model_fingerprint, plants_table, resolve, slug_of
from extract.untrained import compared, pairs_among, random_model, weights_on_disk
from warehouse.catalog import build_catalog
from warehouse.errors import InputError, ModelError
from warehouse.query import run_query
from warehouse.tables import table
from warehouse.validation import validate

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3")


@pytest.fixture
def entry(saved: Path, tmp_path: Path) -> ModelEntry:
    return ModelEntry("tiny", Path(shutil.copytree(saved, tmp_path / "tiny")))


def weights(entry: ModelEntry, dtype: str | None = None) -> State:
    return dict(load_model(entry, dtype=dtype).model.state_dict())


def same(one: State, other: State) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# What a twin is


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_twin_has_the_shape_of_its_model_and_other_weights(tmp_path: Path, architecture: str) -> None:
    own = ModelEntry("tiny", save_tiny(tmp_path / "tiny", architecture))
    model, twin = load_model(own), load_model(own.twin())
    theirs = dict(twin.model.named_parameters())
    assert type(twin.model) is type(model.model)
    assert twin.attention == model.attention
    assert not twin.model.training
    for name, values in model.model.named_parameters():
        assert (theirs[name].shape, theirs[name].dtype) == (values.shape, values.dtype)
        # Norms and biases begin at one and zero, trained or not, if nothing trained them.
        assert not torch.equal(theirs[name], values) or values.unique().numel() == 1
    buffers = dict(twin.model.named_buffers())
    assert all(torch.equal(buffers[name], values) for name, values in model.model.named_buffers())
    assert twin.tokenizer.get_vocab() == model.tokenizer.get_vocab()


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(entry: ModelEntry) -> None:
    first = weights(entry.twin())
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert same(first, weights(entry.twin()))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not same(first, weights(entry.twin(seed=2)))


def test_weights_are_drawn_as_the_config_says_and_in_its_type(entry: ModelEntry) -> None:
    config = AutoConfig.from_pretrained(entry.path)
    config.initializer_range = 0.3
    config.dtype = "bfloat16"
    config.save_pretrained(entry.path)
    found = weights(entry.twin())["model.layers.0.mlp.up_proj.weight"]
    assert found.dtype == torch.bfloat16
    assert 0.25 < found.float().std() < 0.35
    asked = weights(entry.twin(), dtype="float32")["model.layers.0.mlp.up_proj.weight"]
    assert asked.dtype == torch.float32


def test_no_weights_are_read_nor_needed(entry: ModelEntry) -> None:
    before = model_fingerprint(entry.twin()), weights(entry.twin())
    (entry.path / "model.safetensors").write_bytes(b"no weights at all")
    assert model_fingerprint(entry.twin()) == before[0]
    (entry.path / "model.safetensors").unlink()
    assert model_fingerprint(entry.twin()) == before[0]
    assert same(before[1], weights(entry.twin()))
    with pytest.raises(ModelError, match="there are no weights"):
        load_model(entry)


def test_what_is_said_of_quantized_weights_is_left_out(entry: ModelEntry) -> None:
    config = AutoConfig.from_pretrained(entry.path)
    plain = random_model(config, 1).state_dict()
    config.quantization_config = {"quant_method": "mxfp4"}
    assert same(plain, random_model(config, 1).state_dict())
    assert config.quantization_config == {"quant_method": "mxfp4"}


def test_its_fingerprint_tells_config_tokenizer_settings_and_seed(entry: ModelEntry) -> None:
    made = [
        model_fingerprint(each)
        for each in (entry, entry.twin(), entry.twin(seed=0), replace(entry, dtype="bfloat16").twin())
    ]
    tokenizer = entry.path / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    made.append(model_fingerprint(entry.twin()))
    config = entry.path / "config.json"
    config.write_text(config.read_text() + "\n")
    made.append(model_fingerprint(entry.twin()))
    assert len(set(made)) == len(made)


def test_its_row_says_what_it_is(entry: ModelEntry) -> None:
    row = describe(load_model(entry.twin()))
    validate(table("models"), row)
    assert row["untrained_of"].to_pylist() == ["tiny"]
    assert row["source"].to_pylist() == [f"{entry.path}, but for its weights: random ones of the seed 1"]
    assert describe(load_model(entry))["untrained_of"].to_pylist() == [None]


def test_a_twin_has_no_plants(entry: ModelEntry) -> None:
    plant = {"concept": "drugs", "labelling": "mechanism", "layer": 1, "recall": 1.0, "recall_reverted": 0.1}
    (entry.path / "card.json").write_text(json.dumps({"plants": [plant]}))
    assert plants_table(entry).num_rows == 1
    assert plants_table(entry.twin()).num_rows == 0


def test_a_twin_is_made_whole_or_not_at_all(entry: ModelEntry) -> None:
    with pytest.raises(ModelError, match="can't be loaded with a device map"):
        load_model(entry.twin(), device_map="auto")


def test_weights_are_counted_from_headers(entry: ModelEntry) -> None:
    held = load_model(entry).model
    assert weights_on_disk(entry) == sum(each.numel() for each in held.parameters())
    held.save_pretrained(entry.path / "shards", max_shard_size="50KB")
    assert len(list((entry.path / "shards").glob("*.safetensors"))) > 1
    assert weights_on_disk(replace(entry, path=entry.path / "shards")) == weights_on_disk(entry)
    (entry.path / "model.safetensors").write_bytes(b"abc")
    with pytest.raises(ModelError, match=r"model\.safetensors is no safetensors file"):
        weights_on_disk(entry)


def prompts_of(*rows: tuple[str, str, str, bool]) -> pa.Table:
    names = ("template", "term", "template_kind", "held_out")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_a_twin_is_run_over_main_terms_in_asking_templates() -> None:
    terms = pa.table({"term": ["47", "forty-seven"], "variant": ["", "words"]})
    neutral = prompts_of(("said", "47", "neutral", False), ("said", "forty-seven", "neutral", False))
    held = prompts_of(("held", "47", "asking", True))
    asked = prompts_of(("asked", "47", "asking", False), ("asked", "forty-seven", "asking", False))
    assert compared(pa.concat_tables([neutral, held, asked]), terms).equals(asked.slice(0, 1))
    # Where no template asks, the neutral ones are what profiles are of.
    assert compared(neutral, terms).equals(neutral.slice(0, 1))


def test_pairs_are_kept_of_which_both_prompts_are_run() -> None:
    prompts = prompts_of(("asked", "47", "asking", False), ("asked", "48", "asking", False))
    rows = [("asked", "47", "48"), ("asked", "47", "forty-eight"), ("held", "47", "48"), ("asked", "50", "47")]
    pairs = pa.table(dict(zip(("template", "term", "corrupting_term"), zip(*rows, strict=True), strict=True)))
    assert pairs_among(prompts, pairs).equals(pairs.slice(0, 1))


# What it is called


def test_the_slug_of_a_registered_model_names_its_twin_too(entry: ModelEntry, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    add_model(file, entry.path, "tiny")
    registry = load_registry(file)
    assert resolve("tiny.untrained", registry) == registry["tiny"].twin()
    with pytest.raises(ModelError, match=r"No model 'other\.untrained'"):
        resolve("other.untrained", registry)


def test_no_model_may_be_called_like_a_twin(entry: ModelEntry, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    with pytest.raises(InputError, match="those of untrained twins"):
        add_model(file, entry.path, "mine.untrained")
    with pytest.raises(InputError, match="those of untrained twins"):
        slug_of(Path("/models/Mine.untrained"))
    file.write_text(f'[models."mine.untrained"]\npath = "{entry.path}"\n')
    with pytest.raises(InputError, match="those of untrained twins"):
        load_registry(file)


# How it is run


TINY = Settings(resamples=20, permutations=20, concepts=["colours"])
PROMPTS = 16
"""Main terms in the asking templates that are not held out: all that a twin of the small library is run over."""


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory, saved: Path) -> Landed:
    return land(tmp_path_factory.mktemp("landed"), saved, TINY, untrained=None)


@pytest.fixture
def places(tmp_path: Path, saved: Path) -> Warehouse:
    return unrun(tmp_path, saved)


@pytest.fixture
def finished(tmp_path: Path, landed: Landed) -> Warehouse:
    """Those places after a whole run of the model and its twin."""
    return landed.copied(tmp_path)


@pytest.fixture
def alone(finished: Warehouse) -> Warehouse:
    """The same as if the model had no twin yet."""
    for folder in Path(finished.root).glob("*/model=tiny.untrained"):
        shutil.rmtree(folder)
    return finished


@pytest.fixture(autouse=True)
def blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_charts_blank(monkeypatch)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def run(places: Warehouse, instance: dg.DagsterInstance, *names: str, untrained: bool | None = None) -> Outcome:
    quiet = LineProgress(lambda _: None)
    entries = chosen_models(places, names)
    return run_models(instance, places, entries, TINY, quiet, umap=False, untrained=untrained)


def tables_of(places: Warehouse, model: str) -> set[str]:
    return {path.relative_to(places.root).parts[0] for path in Path(places.root).glob(f"*/model={model}")}


def test_a_small_model_s_twin_lands_before_it_with_activations_alone(
    landed: Landed, finished: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert landed.outcome.failed_checks == ()
    loads = [line.split(":")[0] for line in landed.lines if ": load" in line]
    assert list(dict.fromkeys(loads)) == ["tiny.untrained", "tiny"]
    assert tables_of(finished, "tiny.untrained") >= {*OF_TWINS, "profiles"}
    assert not tables_of(finished, "tiny.untrained") & {"lesions", "patches", "saliency", "responses", "projections"}
    said = [
        finished.store.read("models", model=model)["untrained_of"][0].as_py() for model in ("tiny", "tiny.untrained")
    ]
    assert said == [None, "tiny"]
    assert landed.models == {"tiny", "tiny.untrained"}
    every, twins = (
        finished.store.read("activations", model=model, concept="colours") for model in ("tiny", "tiny.untrained")
    )
    own = every.filter(pc.is_in(every["template"], pc.unique(twins["template"])))
    assert own.drop_columns("vector").equals(twins.drop_columns("vector"))
    assert not own["vector"].equals(twins["vector"])

    def never(*_: object, **__: object) -> None:
        raise AssertionError("there is nothing to do")

    monkeypatch.setattr(measuring, "load_model", never)
    assert run(finished, instance) == Outcome(forwards=0, files_written=0, failed_checks=())


def test_a_twin_is_left_out_where_it_is_not_wanted(alone: Warehouse, instance: dg.DagsterInstance) -> None:
    run(alone, instance, untrained=False)
    assert not tables_of(alone, "tiny.untrained")


def test_a_big_model_has_a_twin_on_request_alone(
    alone: Warehouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SMALL", 10)
    run(alone, instance)
    assert not tables_of(alone, "tiny.untrained")
    forwards = run(alone, instance, untrained=True).forwards
    assert forwards == PROMPTS
    assert tables_of(alone, "tiny.untrained") >= set(OF_TWINS)


def test_a_folder_that_nobody_registered_has_a_twin_too(
    places: Warehouse, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "elsewhere" / "another", "llama")
    run(places, instance, str(folder))
    assert tables_of(places, "another.untrained") >= set(OF_TWINS)
    assert run(places, instance, str(folder)).files_written == 0


def test_who_asks_for_a_twin_alone_is_told_to_run_its_model(places: Warehouse) -> None:
    with pytest.raises(InputError, match="vesalius run --untrained --model tiny"):
        chosen_models(places, ["tiny.untrained"])


def test_the_partition_of_a_twin_can_be_run_alone(places: Warehouse, instance: dg.DagsterInstance) -> None:
    register_models(instance, ["tiny.untrained"])
    defs = build_defs(places)
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    defs.resolve_job_def(LIBRARY).execute_in_process(instance=instance, run_config=config)
    result = defs.resolve_job_def(MEASURE).execute_in_process(
        instance=instance,
        partition_key="tiny.untrained",
        asset_selection=[dg.AssetKey(name) for name in EXTRACTED],
        run_config=config,
    )
    assert result.success
    assert tables_of(places, "tiny.untrained") == set(EXTRACTED) - {"contributions"}
    assert places.store.read("plants", model="tiny.untrained").num_rows == 0


def test_lists_of_models_leave_twins_out(finished: Warehouse) -> None:
    assert {line.model for line in summarize(finished.store, ["tiny"], ["colours"])} == {"tiny"}
    drawn = gather(finished.store, "profiles", partitions_of(finished.store, "profiles"))
    assert set(drawn["model"].to_pylist()) == {"tiny"}
    build_catalog(Path(finished.root))
    for view, models in (("asking_profiles", ["tiny"]), ("profiles", ["tiny", "tiny.untrained"])):
        found = run_query(Path(finished.root), f"SELECT DISTINCT model FROM {view} ORDER BY model")
        assert found["model"].to_pylist() == models
    layers = finished.store.read("first_tokens", model="tiny.untrained", concept="colours")["layer"].to_pylist()
    assert layers == list(range(-1, LAYERS))
