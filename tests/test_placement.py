"""Where weights lie and what they are held as: what the registry and the command say reaches the loader."""

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from kin import KIN, make
from tiny_library import write_library
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from typer.testing import CliRunner

import extract.quantizing
from dagster_project import measuring
from dagster_project.cli import app
from extract import hashes
from extract.loading import describe, load_model
from extract.models import ModelEntry, model_fingerprint
from extract.quantizing import bits_config, has_gradients
from warehouse.errors import ModelError
from warehouse.store import Store


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


def test_what_is_said_of_placement_reaches_the_loader_and_changes_no_number(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_library(tmp_path / "concepts")
    for name, folder in (
        ("DAGSTER_HOME", "home"),
        ("VESALIUS_CONCEPTS", "concepts"),
        ("VESALIUS_MODELS", "models.toml"),
    ):
        monkeypatch.setenv(name, str(tmp_path / folder))
    registered = f'[models.tiny]\npath = "{saved}"\nplacement = "offload"\n'
    (tmp_path / "models.toml").write_text(registered)
    told: list[tuple[str | None, Path | None]] = []
    load = measuring.load_model

    def note(entry: ModelEntry, **options: Any) -> Any:
        told.append((options["device_map"] or entry.placement, options["offload_folder"]))
        return load(entry, **options)

    monkeypatch.setattr(measuring, "load_model", note)
    few = ["--only", "numbers", "--no-umap", "--no-untrained", "--resamples", "20", "--permutations", "20"]
    free = psutil.virtual_memory()
    for place, more in (("offloaded", ["--offload", str(tmp_path / "layers")]), ("whole", ["--placement", "none"])):
        # As if the memory were too small for the layers.
        monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=1 << 10))
        done = CliRunner().invoke(app, ["run", "--warehouse", str(tmp_path / place), "--memory", "1GB", *more, *few])
        assert done.exit_code == 0, done.output
    assert told == [("offload", tmp_path / "layers" / "tiny"), ("none", None)]
    rows = [
        Store(tmp_path / place).read("activations", model="tiny", concept="numbers") for place in ("offloaded", "whole")
    ]
    assert rows[0].equals(rows[1])
    refused = CliRunner().invoke(app, ["run", "--placement", "there"])
    assert (refused.exit_code, "is no placement" in refused.stderr) == (2, True)


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
