"""Every model of the registry: a small one of its kind is saved, loaded by its entry, and measured, rightly."""

import collections
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from kin import KIN, LAYERS, make
from tiny_library import write_library
from transformers import PreTrainedModel

from dagster_project.defs.resources import PROJECT
from extract.completeness import completeness
from extract.extraction import Subject, Wanted, run_sweep, split
from extract.interventions import Lesion, Patch
from extract.library import load_library
from extract.loading import LoadedModel, describe, load_model
from extract.machine import make_machine
from extract.models import ModelEntry, load_registry
from extract.pairing import pair_tokens
from extract.prompts import library_tables
from extract.saliency import extract_saliency
from extract.stack import Stack
from warehouse.errors import ModelError
from warehouse.tables import table
from warehouse.validation import validate

REGISTRY = load_registry(PROJECT / "models.toml")
OF_HUB = {slug: entry for slug, entry in REGISTRY.items() if entry.hub_id is not None}
DECODERS = ("ForCausalLM", "ForConditionalGeneration")
KIN_OF = {slug: name for name, kin in KIN.items() for slug in kin.of}

WANTED = Wanted(
    activations=True,
    first_tokens=True,
    contributions=True,
    lesions=(Lesion("identity"), Lesion("resample", "mlp")),
    patches=(Patch("resid", "last"), Patch("delta", "token")),
)
NEAR = {"rtol": 2e-4, "atol": 2e-5}


def test_every_decoder_of_the_registry_has_small_kin_and_every_kin_a_model() -> None:
    decoders = {slug for slug, entry in OF_HUB.items() if str(entry.architecture).endswith(DECODERS)}
    assert decoders == KIN_OF.keys()
    assert sum(len(kin.of) for kin in KIN.values()) == len(KIN_OF)


def test_every_model_of_a_hub_says_what_has_to_be_known_before_it_is_there() -> None:
    for slug, entry in OF_HUB.items():
        said = (entry.architecture, entry.parameters, entry.license, entry.dtype, entry.attention, entry.revision)
        assert all(said), slug
        assert entry.is_pinned or entry.revision == "main", slug
        assert entry.placement != "none" or (entry.parameters or 0) < 2e9, f"{slug} may be too large for one device"


@pytest.mark.parametrize("name", KIN)
def test_small_kin_of_each_model_is_loaded_and_measured_as_it_is(name: str, tmp_path: Path) -> None:
    kin, folder = KIN[name], tmp_path / "kin"
    made = make(kin, folder)
    assert len(list(folder.glob("*.safetensors"))) > 1, "the weights lie in shards"
    assert completeness(folder).is_landed
    for slug in kin.of:
        loaded = load_model(replace(REGISTRY[slug], path=folder, placement="none"))
        assert type(loaded.model).__name__ == REGISTRY[slug].architecture
        assert str(loaded.model.dtype) == f"torch.{REGISTRY[slug].dtype}"
        assert loaded.attention == REGISTRY[slug].attention
    row = describe(loaded).to_pylist()[0]
    assert row["quantization"] == ("mxfp4, dequantized" if kin.is_mxfp4 else None)
    assert row["parameters"] == made.num_parameters()
    assert row["vocabulary"] == made.config.get_text_config().vocab_size
    assert (row["vocabulary"] > len(loaded.tokenizer)) == (kin.padding > 0)

    loaded = load_model(replace(loaded.entry, path=folder), dtype="float32", device_map="none")
    assert {key: value for key, value in describe(loaded).to_pylist()[0].items() if key in {"revision", "source"}} == {
        "revision": row["revision"],
        "source": loaded.entry.hub_id,
    }
    tables = library_tables(load_library(write_library(tmp_path / "concepts")).select(["colours"]).concepts[0])
    subject = _subject(loaded, tables)
    found = _measured(loaded, subject, tables)
    for prompt in _few(subject):
        _compare_with_whole_forwards(made, subject, prompt, found)


def _subject(loaded: LoadedModel, tables: dict[str, pa.Table]) -> Subject:
    prompts = tables["prompts"]
    tokenized = split(loaded, prompts)
    assert all(loaded.tokenizer.convert_ids_to_tokens(row)[-1] != "<unk>" for row in tokenized.indices)
    pairs = pair_tokens(tables["pairs"], prompts, tokenized)
    kept = pairs.filter(pc.is_null(pairs["dropped"]))
    assert kept.num_rows
    answered = prompts.filter(pc.is_valid(tokenized.table["answer_token"]))
    return Subject(prompts, tokenized, answered, kept)


def _measured(loaded: LoadedModel, subject: Subject, tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Every table that a sweep fills, and the gradients; each keeps its contract, layer by layer."""
    rows: dict[str, list[pa.Table]] = collections.defaultdict(list)
    run_sweep(loaded, make_machine(loaded.model), subject, WANTED, lambda name, data: rows[name].append(data))
    rows["saliency"] = list(extract_saliency(loaded, subject.prompts, subject.tokenized, subject.pairs))
    assert rows.keys() == {"activations", "first_tokens", "contributions", "lesions", "patches", "saliency"}
    for name, layers in rows.items():
        for data in layers:
            validate(table(name), data)
    return {name: pa.concat_tables(layers) for name, layers in rows.items()}


def _few(subject: Subject) -> list[int]:
    """A prompt of each template that asks, in the middle of the table and not the shortest."""
    asked = [row for row, kind in enumerate(subject.prompts["template_kind"].to_pylist()) if kind == "asking"]
    return [asked[2], asked[-1]]


def _compare_with_whole_forwards(made: PreTrainedModel, subject: Subject, row: int, found: dict[str, pa.Table]) -> None:
    """The model that was saved, one whole forward at a time, gives what was measured of the one that was loaded."""
    key = {name: subject.prompts[name][row].as_py() for name in ("template", "term")}
    tokens = subject.tokenized.indices[row]
    answer = subject.tokenized.table["answer_token"][row].as_py()
    layers = list(Stack.of(made).layers)
    logits, seen = naive.run(made, tokens, keep=layers)

    streams = _of(found["activations"], **key, position="last")
    for layer in range(LAYERS):
        np.testing.assert_allclose(_one(streams, layer)["vector"], seen[layer][1][0, -1].numpy(), **NEAR)

    lesions = _of(found["lesions"], **key, lesion="identity", part="layer")
    nothing = torch.zeros(len(tokens), made.config.get_text_config().hidden_size)
    for layer in range(LAYERS):
        expected = naive.lesioned(made, tokens, layer, "layer", nothing, 0)
        assert _one(lesions, layer)["logit"] == pytest.approx(float(expected[answer]), rel=1e-3, abs=1e-4)
        assert _one(lesions, layer)["intact_logit"] == pytest.approx(float(logits[answer]), rel=1e-3, abs=1e-4)

    gradients = _of(found["saliency"], **key, target="loss", module="q")
    made.zero_grad()
    whole = made(torch.tensor([tokens]), use_cache=False).logits[0, -1]
    (-whole.log_softmax(dim=-1)[answer]).backward()
    for layer in range(LAYERS):
        projection = layers[layer].self_attn.q_proj
        full = torch.cat([weights.grad.flatten() for weights in projection.parameters()])
        assert _one(gradients, layer)["mean_abs_gradient"] == pytest.approx(float(full.abs().mean()), rel=1e-3)

    pairs = subject.pairs.filter((pc.field("template") == key["template"]) & (pc.field("term") == key["term"]))
    if pairs.num_rows:
        _compare_patches(made, subject, pairs.to_pylist()[0], tokens, found["patches"])


def _compare_patches(
    made: PreTrainedModel, subject: Subject, pair: dict[str, object], clean: list[int], found: pa.Table
) -> None:
    keys = {name: pair[name] for name in ("template", "term", "corrupting_term")}
    rows = zip(*(subject.prompts[name].to_pylist() for name in ("template", "term")), strict=True)
    corrupted = subject.tokenized.indices[list(rows).index((keys["template"], keys["corrupting_term"]))]
    patches = _of(found, **keys, site="resid", position="last")
    for layer in range(LAYERS):
        expected = naive.patched(made, clean, corrupted, layer, "resid", len(corrupted) - 1)
        difference = expected[pair["answer_token"]] - expected[pair["corrupting_answer_token"]]
        assert _one(patches, layer)["ld_patched"] == pytest.approx(float(difference), rel=1e-3, abs=2e-4)


def _of(data: pa.Table, **keys: object) -> pa.Table:
    for name, value in keys.items():
        data = data.filter(pc.equal(data[name], value))
    return data


def _one(data: pa.Table, layer: int) -> dict[str, object]:
    (row,) = _of(data, layer=layer).to_pylist()
    found: dict[str, object] = row
    return found


def test_mxfp4_that_the_weights_do_not_have_is_told(tmp_path: Path) -> None:
    make(KIN["llama-2"], tmp_path / "kin")
    with pytest.raises(ModelError, match=r"says mxfp4, and the weights in .* are stored in full"):
        load_model(ModelEntry("kin", tmp_path / "kin", quantization="mxfp4"))
