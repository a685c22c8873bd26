"""Where weights lie and what they are held as: what the registry and the command say reaches the loader."""

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import torch
from kin import KIN, make
from tiny_library import write_library
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import extract.quantizing
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.model_states import model_states
from dagster_project.running import check_settings, chosen_models, run_models
from extract import hashes, loading
from extract.job import measuring
from extract.job.progress import LineProgress
from extract.loading import describe, load_model
from extract.models import ModelEntry, model_fingerprint
from extract.quantizing import Quantized, bits_config, has_gradients
from warehouse.errors import InputError, ModelError
from warehouse.tables import table


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


def _options(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the loader is told from now on; nothing is loaded."""
    told: list[dict[str, Any]] = []

    def note(*_: object, **options: Any) -> None:
        told.append(options)
        raise ValueError("not loaded")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", note)
    return told


def test_eight_and_four_bits_are_asked_of_bitsandbytes_and_put_in_place_by_the_loader(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract.quantizing, "find_spec", lambda _: object())
    told = _options(monkeypatch)
    for quantization in ("8bit", "4bit"):
        with pytest.raises(ModelError, match="not loaded"):
            load_model(ModelEntry("tiny", saved, quantization=quantization), device="cuda:1")
    eight, four = (options["quantization_config"] for options in told)
    assert isinstance(eight, BitsAndBytesConfig)
    assert (eight.load_in_8bit, eight.load_in_4bit) == (True, False)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert four.bnb_4bit_compute_dtype == torch.bfloat16
    assert [options["device_map"] for options in told] == [{"": "cuda:1"}] * 2
    assert all(options["use_safetensors"] and not options["trust_remote_code"] for options in told)
    assert bits_config(4).to_dict() == four.to_dict()


def test_bits_without_their_package_or_offloaded_are_told(saved: Path) -> None:
    with pytest.raises(ModelError, match=r"8bit needs the package bitsandbytes.*`pip install bitsandbytes`"):
        load_model(ModelEntry("tiny", saved, quantization="8bit"))
    with pytest.raises(ModelError, match="can't be offloaded layer by layer"):
        load_model(ModelEntry("tiny", saved, quantization="4bit", placement="offload"))
    assert [
        has_gradients(ModelEntry("tiny", saved, quantization=kind)) for kind in (None, "mxfp4", "8bit", "4bit")
    ] == [*(True, True, False, False)]


def test_a_twin_of_a_quantized_and_placed_model_is_whole_and_in_full(saved: Path) -> None:
    twin = ModelEntry("tiny", saved, quantization="4bit", placement="offload").twin()
    assert load_model(twin).quantization is None
    assert model_fingerprint(twin) == model_fingerprint(ModelEntry("tiny", saved).twin())


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_mxfp4_is_made_full_while_its_layers_are_offloaded(where: str, tmp_path: Path) -> None:
    entry = ModelEntry("oss", tmp_path / "oss", dtype="bfloat16", quantization="mxfp4", placement="offload")
    made = make(KIN["gpt-oss"], entry.path).bfloat16()
    loaded = load_model(entry, offload_folder=tmp_path / "layers" if where == "disk" else None)
    assert describe(loaded)["quantization"].to_pylist() == ["mxfp4, dequantized"]
    outside = sum(weights.is_meta for weights in loaded.model.parameters())
    assert (outside > 0) == (where == "disk")
    tokens = torch.tensor([[1, 40, 50, 60]])
    with torch.inference_mode():
        assert torch.equal(loaded.model(tokens, use_cache=False).logits, made(tokens, use_cache=False).logits)


def _run(places: Warehouse, tables: list[str], **settings: Any) -> list[str]:
    """Fill some tables of the registry's models, over one concept; the lines that are said on the way."""
    said = Settings(concepts=["colours"], **settings)
    lines: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        models = chosen_models(places, [])
        run_models(instance, places, models, said, LineProgress(lines.append), untrained=False, only=tables)
    return lines


@pytest.fixture
def places(tmp_path: Path, saved: Path) -> Warehouse:
    write_library(tmp_path / "concepts")
    return Warehouse(
        root=str(tmp_path / "warehouse"), concepts=str(tmp_path / "concepts"), models=str(tmp_path / "models.toml")
    )


def test_what_is_said_of_placement_reaches_the_loader_and_changes_no_number(
    places: Warehouse, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(places.models).write_text(f'[models.tiny]\npath = "{saved}"\nplacement = "offload"\n')
    told: list[tuple[str | None, Path | None]] = []
    load = measuring.load_model

    def note(entry: ModelEntry, **options: Any) -> Any:
        told.append((options["device_map"] or entry.placement, options["offload_folder"]))
        return load(entry, **options)

    monkeypatch.setattr(measuring, "load_model", note)
    free = psutil.virtual_memory()
    rows = []
    for available, more in ((1 << 10, {}), (free.available, {}), (free.available, {"placement": "none"})):
        # As if the memory were too small for the layers, and then as it is.
        monkeypatch.setattr(psutil, "virtual_memory", lambda size=available: free._replace(available=size))
        settings = {"offload_folder": str(tmp_path / "layers"), "memory": "1GB", "even_if_it_may_not_fit": True, **more}
        _run(places, ["models", "tokens", "activations"], **settings)
        rows.append(places.store.read("activations", model="tiny", concept="colours"))
        shutil.rmtree(places.root)
    assert told == [("offload", tmp_path / "layers" / "tiny"), ("offload", None), ("none", None)]
    assert rows[0].equals(rows[1])
    assert rows[0].equals(rows[2])
    with pytest.raises(InputError, match="is no placement"):
        check_settings(Settings(placement="there"))


def test_the_hash_of_a_large_file_is_kept_and_taken_again_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "LARGE", 4)
    taken: list[Path] = []
    take = hashes.file_hash
    monkeypatch.setattr(hashes, "file_hash", lambda path: taken.append(path) or take(path))
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    first = hashes.hash_of(file)
    hashes._hash.cache_clear()
    assert hashes.hash_of(file) == first
    assert len(taken) == 1, "another process finds it on disk"
    os.utime(file, ns=(0, 1))
    assert hashes.hash_of(file) == first
    file.write_bytes(b"changed")
    assert hashes.hash_of(file) != first
    assert len(taken) == 3
    (tmp_path / "cache" / "vesalius" / "hashes.sqlite").write_bytes(b"no database, but some other text")
    hashes._hash.cache_clear()
    assert hashes.hash_of(file) == take(file), "a cache that is broken is gone without"


def test_weights_in_bits_are_measured_without_gradients_and_a_map_goes_stale_with_its_settings(
    places: Warehouse, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = f'[models.tiny]\npath = "{saved}"\nquantization = "8bit"\n'
    Path(places.models).write_text(entry)
    # Stands for bitsandbytes: the weights stay as they are.
    monkeypatch.setattr(loading, "quantized", lambda entry, *_: Quantized(entry.quantization))
    lines = _run(places, ["models", "tokens", "pair_tokens", "saliency"])
    assert any("tiny: no gradients, for its weights are held in 8bit" in line for line in lines)
    assert places.store.footer("saliency", model="tiny", concept="colours") is None
    assert places.store.read("models", model="tiny")["quantization"].to_pylist() == ["8bit"]

    def state() -> tuple[str, bool]:
        (found,) = model_states(places.registry().values(), places.store)
        return found.state, found.last_run is not None

    assert state() == ("landed", True)
    no_map = table("knowledge_map").schema().empty_table()
    places.store.write("knowledge_map", no_map, fingerprint="of a map", model="tiny", concept="colours")
    assert state() == ("mapped", True)
    Path(places.models).write_text(entry + 'placement = "auto"\n')
    assert state() == ("mapped", True)
    Path(places.models).write_text(entry + 'dtype = "bfloat16"\n')
    assert state() == ("stale", True)
