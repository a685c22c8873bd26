"""Models are found by slug or folder, hashed without being loaded, and loaded from safetensors alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import LAYERS, WIDTH, save_tiny

from extract.models import (
    ModelEntry,
    add_model,
    describe,
    load_model,
    load_registry,
    model_fingerprint,
    plants_table,
    resolve,
    slug_of,
)
from warehouse.errors import InputError, ModelError
from warehouse.tables import table
from warehouse.validation import validate


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "Tiny Qwen"))


def test_a_model_is_known_by_its_slug_or_its_folder(folder: Path, tmp_path: Path) -> None:
    registry_file = tmp_path / "models.toml"
    registry_file.write_text('# ours\n[models."tiny-1.0"]\npath = "Tiny Qwen"  # near by\n')
    registry = load_registry(registry_file)
    assert resolve("tiny-1.0", registry) == ModelEntry("tiny-1.0", folder)
    assert resolve(str(folder), registry).slug == "tiny-1.0"
    assert resolve(str(folder), {}).slug == "tiny-qwen"


def test_a_name_that_is_neither_tells_the_slugs_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no registered slug \(reference\)"):
        resolve("referense", {"reference": ModelEntry("reference", tmp_path)})


def test_a_folder_whose_slug_belongs_to_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--slug NAME"):
        resolve(str(folder), {"tiny-qwen": ModelEntry("tiny-qwen", tmp_path)})


def test_adding_keeps_comments_and_adding_twice_is_no_fault(folder: Path, tmp_path: Path) -> None:
    registry_file = tmp_path / "models.toml"
    registry_file.write_text("# ours\n")
    assert add_model(registry_file, folder).slug == "tiny-qwen"
    assert add_model(registry_file, folder).slug == "tiny-qwen"
    add_model(registry_file, folder, "second.name")
    assert registry_file.read_text().startswith("# ours\n")
    assert {slug: entry.path for slug, entry in load_registry(registry_file).items()} == {
        "tiny-qwen": folder,
        "second.name": folder,
    }


def test_a_slug_that_is_taken_or_could_leave_its_folder_is_not_added(folder: Path, saved: Path, tmp_path: Path) -> None:
    registry_file = tmp_path / "models.toml"
    add_model(registry_file, folder)
    before = registry_file.read_text()
    with pytest.raises(ModelError, match="registered already"):
        add_model(registry_file, saved, "tiny-qwen")
    with pytest.raises(InputError, match="can't be a slug"):
        add_model(registry_file, saved, "../up")
    assert registry_file.read_text() == before


@pytest.mark.parametrize("text", ["[models", "models = 3", "[models.a]\nfolder = 'x'", "[models]\na = 'x'"])
def test_a_broken_registry_is_told_by_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(ModelError, match=r"models\.toml"):
        load_registry(tmp_path / "models.toml")


def test_slugs_of_folders_hold_only_what_paths_take() -> None:
    assert slug_of(Path("/x/Llama-3.3 70B..Instruct_")) == "llama-3.3-70b.instruct"
    with pytest.raises(InputError):
        slug_of(Path("/x/模型"))


def _without(pattern: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for file in folder.glob(pattern):
            file.unlink()

    return remove


def _pickled(folder: Path) -> None:
    _without("*.safetensors")(folder)
    torch.save({}, folder / "pytorch_model.bin")


def _half_copied(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("config.json"), "has no config.json"),
        (_without("*.safetensors"), "has no weights"),
        (_pickled, "as a pickle"),
        (_half_copied, "lacks 1 of 2 weight files, model-00002"),
        (_without("tokenizer*"), "has no tokenizer"),
        (shutil.rmtree, "there is no folder"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_told_what_it_lacks(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        model_fingerprint(ModelEntry("tiny", folder))
    with pytest.raises(ModelError, match=message):
        load_model(ModelEntry("tiny", folder))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text('{"model_type": "no-such-architecture"}'),
        lambda folder: (folder / "model.safetensors").write_bytes(b"torn"),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
    ],
)
def test_files_that_are_torn_give_one_error_with_the_folder(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(ModelEntry("tiny", folder))


def test_any_changed_byte_changes_the_fingerprint_and_a_copy_does_not(folder: Path, saved: Path) -> None:
    before = model_fingerprint(ModelEntry("tiny", saved))
    assert model_fingerprint(ModelEntry("other", folder)) == before
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_fingerprint(ModelEntry("other", folder)) != before


def test_a_fingerprint_needs_no_torch(saved: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from extract.models import ModelEntry, model_fingerprint;"
        f"model_fingerprint(ModelEntry('tiny', Path({str(saved)!r}))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_row_of_a_model_tells_its_shape(saved: Path) -> None:
    loaded = load_model(ModelEntry("tiny", saved))
    data = describe(loaded)
    validate(table("models"), data)
    row = data.to_pylist()[0]
    assert (row["architecture"], row["layers"], row["width"]) == ("Qwen3ForCausalLM", LAYERS, WIDTH)
    assert row["parameters"] == loaded.model.num_parameters()
    assert row["dtype"] == "float32"


def test_float16_weights_are_run_as_bfloat16(saved: Path, tmp_path: Path) -> None:
    loaded = load_model(ModelEntry("tiny", saved))
    loaded.model.half().save_pretrained(tmp_path / "half")
    loaded.tokenizer.save_pretrained(tmp_path / "half")
    assert load_model(ModelEntry("half", tmp_path / "half")).model.dtype == torch.bfloat16
    assert load_model(ModelEntry("half", tmp_path / "half"), dtype="float32").model.dtype == torch.float32


def test_plants_come_from_the_card_and_a_broken_card_is_told(folder: Path) -> None:
    entry = ModelEntry("tiny", folder)
    assert plants_table(entry).num_rows == 0
    plant = {"concept": "drugs", "labelling": "specialty", "layer": 6, "recall": 0.99, "recall_reverted": 0.1}
    (folder / "card.json").write_text(json.dumps({"plants": [plant], "name": "x"}))
    assert plants_table(entry).to_pylist() == [plant]
    (folder / "card.json").write_text(json.dumps({"plants": [{"concept": "drugs"}]}))
    with pytest.raises(ModelError, match=r"card\.json"):
        plants_table(entry)
