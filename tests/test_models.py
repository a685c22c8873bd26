"""Models are found by slug or folder, hashed without being loaded, and loaded from safetensors alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import accelerate
import pyarrow as pa
import pytest
import torch
from tiny_models import LAYERS, WIDTH, save_tiny
from transformers import AutoModelForCausalLM, BertConfig, T5Config

from extract.loading import LoadedModel, describe, load_model
from extract.models import (
    ModelEntry,
    add_model,
    load_registry,
    model_fingerprint,
    plants_table,
    resolve,
    slug_of,
)
from extract.outline import outline
from extract.tokenization import tokenize
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


SETTINGS = 'chat_template = true\ndtype = "bfloat16"\nattention = "eager"\ndescription = "A model."'


def test_the_registry_says_how_a_model_is_run(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(f'[models.a]\npath = "here"\n{SETTINGS}\n[models.b]\npath = "there"\n')
    assert load_registry(tmp_path / "models.toml") == {
        "a": ModelEntry("a", tmp_path / "here", "A model.", chat_template=True, dtype="bfloat16", attention="eager"),
        "b": ModelEntry("b", tmp_path / "there", chat_template=False, dtype=None, attention=None),
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('chat_template = "yes"', "chat_template = 'yes'; it takes true or false"),
        ("dtype = 32", "dtype = 32; it takes text in quotes"),
        ('dtype = "float16"', "dtype = 'float16'; it takes one of float32, bfloat16"),
        ('attention = "someone/kernel"', "attention = 'someone/kernel'; it takes one of eager, sdpa"),
        (
            "chat-template = true",
            "'chat-template', which is no setting. There are path, package, hub_id, revision, description",
        ),
        ('path = ["a"]', "it takes text in quotes"),
    ],
)
def test_a_setting_that_is_none_is_told_with_file_and_model(tmp_path: Path, setting: str, message: str) -> None:
    path = "" if setting.startswith("path") else 'path = "here"\n'
    (tmp_path / "models.toml").write_text(f"[models.a]\n{path}{setting}\n")
    with pytest.raises(ModelError) as raised:
        load_registry(tmp_path / "models.toml")
    assert f"{tmp_path / 'models.toml'}: [models.a] has" in str(raised.value)
    assert message in str(raised.value)


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
        (_without("config.json"), "config.json is missing"),
        (_without("*.safetensors"), "there are no weights"),
        (_pickled, "its weights are pickles"),
        (_half_copied, "1 of 2 weight files are missing, model-00002"),
        (_without("tokenizer*"), "there is no tokenizer"),
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
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json does not parse"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "model.safetensors is not whole"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "no-such"}'), "can't be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "can't be loaded"),
    ],
)
def test_files_that_are_torn_give_one_error_with_the_folder(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)
    with pytest.raises(ModelError) as raised:
        load_model(ModelEntry("tiny", folder))
    assert message in str(raised.value)
    assert str(folder) in str(raised.value)


def test_a_model_of_another_make_is_refused_in_a_sentence_and_not_with_a_list_of_classes(folder: Path) -> None:
    (folder / "config.json").write_text(T5Config(num_layers=2).to_json_string())
    for ask in (load_model, outline):
        with pytest.raises(ModelError, match="no language model with one stack of layers for a T5Config") as raised:
            ask(ModelEntry("tiny", folder))
        assert len(str(raised.value)) < 400


def test_an_encoder_is_told_that_nothing_is_counted_beforehand(folder: Path) -> None:
    (folder / "config.json").write_text(BertConfig(architectures=["BertForMaskedLM"]).to_json_string())
    with pytest.raises(ModelError, match="tiny is an encoder"):
        outline(ModelEntry("tiny", folder))


def test_a_path_that_is_no_folder_is_named_once_and_a_name_without_letters_too(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no folder") as raised:
        add_model(tmp_path / "models.toml", folder / "config.json")
    assert str(raised.value).count(str(folder)) == 1
    with pytest.raises(InputError, match=r"No slug can be made of the name '\?\?\?'"):
        add_model(tmp_path / "models.toml", folder.rename(tmp_path / "???"))
    assert not (tmp_path / "models.toml").exists()


def test_any_changed_byte_changes_the_fingerprint_and_a_copy_does_not(folder: Path, saved: Path) -> None:
    before = model_fingerprint(ModelEntry("tiny", saved))
    assert model_fingerprint(ModelEntry("other", folder)) == before
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_fingerprint(ModelEntry("other", folder)) != before


def test_what_the_registry_says_of_a_model_and_its_chat_template_are_in_the_fingerprint(folder: Path) -> None:
    entry = ModelEntry("tiny", folder)
    entries = [
        entry,
        replace(entry, chat_template=True),
        replace(entry, dtype="bfloat16"),
        replace(entry, dtype="float32"),
        replace(entry, attention="eager"),
    ]
    found = [model_fingerprint(each) for each in entries]
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    found += [model_fingerprint(each) for each in entries]
    assert len(set(found)) == len(found)
    assert model_fingerprint(replace(entry, slug="other", description="Another line.")) == found[len(entries)]


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


def test_a_model_is_run_in_the_type_that_its_entry_names_unless_another_is_asked_for(saved: Path) -> None:
    entry = ModelEntry("tiny", saved, dtype="bfloat16")
    assert load_model(entry).model.dtype == torch.bfloat16
    assert load_model(entry, dtype="float32").model.dtype == torch.float32


@pytest.mark.parametrize(("told", "times"), [(True, 1), (False, 2)])
def test_float16_weights_are_read_twice_only_if_the_config_hides_what_they_are(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool, times: int
) -> None:
    loaded = load_model(ModelEntry("tiny", saved))
    loaded.model.half().save_pretrained(tmp_path / "half")
    loaded.tokenizer.save_pretrained(tmp_path / "half")
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config.pop("dtype") == "float16"
    if not told:
        (tmp_path / "half" / "config.json").write_text(json.dumps(config))
    calls: list[object] = []
    load = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *a, **b: calls.append(b) or load(*a, **b))
    found = load_model(ModelEntry("half", tmp_path / "half")).model
    assert found.dtype == torch.bfloat16
    assert {buffer.dtype for buffer in found.buffers()} == {torch.float32}
    assert len(calls) == times


def test_a_model_in_bfloat16_keeps_what_transformers_keeps_in_float32(saved: Path) -> None:
    ours = load_model(ModelEntry("tiny", saved), dtype="bfloat16").model
    theirs = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.bfloat16)
    kept = {name: buffer.dtype for name, buffer in theirs.named_buffers()}
    assert torch.float32 in kept.values(), "rotary frequencies"
    assert {name: buffer.dtype for name, buffer in ours.named_buffers()} == kept
    tokens = torch.tensor([[1, 5, 7, 3]])
    with torch.inference_mode():
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)


def test_attention_is_the_one_that_the_entry_names_and_a_model_tells_which(saved: Path, tmp_path: Path) -> None:
    assert load_model(ModelEntry("tiny", saved)).attention == "sdpa"
    assert load_model(ModelEntry("tiny", saved, attention="eager")).attention == "eager"
    gpt_oss = save_tiny(tmp_path / "oss", "gpt-oss")
    assert load_model(ModelEntry("oss", gpt_oss)).attention == "eager"
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(ModelEntry("oss", gpt_oss, attention="sdpa"))


def test_a_chat_template_that_was_saved_beside_the_tokenizer_is_used(saved: Path, tmp_path: Path) -> None:
    loaded = load_model(ModelEntry("tiny", saved))
    loaded.model.save_pretrained(tmp_path / "chat")
    loaded.tokenizer.chat_template = "{{ bos_token }}Q: {{ messages[0]['content'] }}?{{ 'A:' }}"
    loaded.tokenizer.save_pretrained(tmp_path / "chat")
    assert (tmp_path / "chat" / "chat_template.jinja").exists()
    tokenizer = load_model(ModelEntry("chat", tmp_path / "chat", chat_template=True)).tokenizer
    row = {
        "template": "t",
        "term": "drug",
        "template_kind": "neutral",
        "labelling": None,
        "held_out": False,
        "text": "The drug is",
        "answer": None,
        "term_start": 4,
        "term_end": 8,
    }
    found = tokenize(tokenizer, pa.Table.from_pylist([row], schema=table("prompts").schema()), chat=True)
    assert tokenizer.decode(found.indices[0]) == "<bos>Q: The drug is?A:"


def _logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = loaded.model(torch.tensor([[1, 5, 7, 3]], device=loaded.device), use_cache=False).logits
    return found


def _outside(loaded: LoadedModel) -> int:
    return sum(weights.is_meta for weights in loaded.model.parameters())


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt-oss", "qwen3-moe", "gemma3-multimodal"])
def test_a_model_whose_weights_stay_on_disk_computes_the_same(architecture: str, tmp_path: Path) -> None:
    entry = ModelEntry("tiny", save_tiny(tmp_path / "tiny", architecture))
    plain = load_model(entry)
    layers = load_model(entry, device_map="offload", offload_folder=tmp_path / "layers")
    everything = load_model(
        entry, device_map="auto", offload_folder=tmp_path / "everything", max_memory={"cpu": "50KB"}
    )
    decoder = layers.model.get_decoder()
    blocks = decoder.h if architecture == "gpt2" else decoder.layers
    assert _outside(layers) == sum(1 for block in blocks for _ in block.parameters())
    assert _outside(everything) > _outside(layers)
    for offloaded in (layers, everything):
        assert offloaded.device == torch.device("cpu")
        assert torch.equal(_logits(offloaded), _logits(plain))
        shape, expected = describe(offloaded).drop_columns("landed_at"), describe(plain).drop_columns("landed_at")
        assert shape.equals(expected)
        assert expected["parameters"][0].as_py() == plain.model.num_parameters()


def test_a_model_whose_weights_stay_in_memory_tells_where_its_inputs_go(saved: Path) -> None:
    plain, offloaded = load_model(ModelEntry("tiny", saved)), load_model(ModelEntry("tiny", saved))
    accelerate.cpu_offload(offloaded.model, execution_device=torch.device("cpu"))
    assert offloaded.model.device == torch.device("meta")
    assert offloaded.device == torch.device("cpu")
    assert torch.equal(_logits(offloaded), _logits(plain))


@pytest.mark.parametrize("device_map", ["offload", "auto"])
def test_where_no_device_is_too_small_nothing_is_fetched(saved: Path, device_map: str) -> None:
    found = load_model(ModelEntry("tiny", saved), device_map=device_map)
    assert _outside(found) == 0
    assert torch.equal(_logits(found), _logits(load_model(ModelEntry("tiny", saved))))


def test_float16_weights_on_disk_are_run_as_bfloat16(saved: Path, tmp_path: Path) -> None:
    loaded = load_model(ModelEntry("tiny", saved))
    loaded.model.half().save_pretrained(tmp_path / "half")
    loaded.tokenizer.save_pretrained(tmp_path / "half")
    entry = ModelEntry("half", tmp_path / "half")
    offloaded = load_model(entry, device_map="offload", offload_folder=tmp_path / "layers")
    assert offloaded.model.dtype == torch.bfloat16
    assert torch.equal(_logits(offloaded), _logits(load_model(entry)))


def test_a_device_map_that_is_none_is_told(saved: Path) -> None:
    with pytest.raises(ModelError, match="'somewhere' is no device map"):
        load_model(ModelEntry("tiny", saved), device_map="somewhere")


def test_plants_come_from_the_card_and_a_broken_card_is_told(folder: Path) -> None:
    entry = ModelEntry("tiny", folder)
    assert plants_table(entry).num_rows == 0
    plant = {"concept": "drugs", "labelling": "specialty", "layer": 6, "recall": 0.99, "recall_reverted": 0.1}
    (folder / "card.json").write_text(json.dumps({"plants": [plant], "name": "x"}))
    assert plants_table(entry).to_pylist() == [plant | {"kind": "one layer"}]
    spread = [plant | {"layer": layer, "kind": "spread"} for layer in (1, 2)]
    (folder / "card.json").write_text(json.dumps({"plants": spread}))
    assert plants_table(entry).to_pylist() == spread
    several = [plant, plant | {"concept": "symptoms", "labelling": "system"}]
    (folder / "card.json").write_text(json.dumps({"plants": several}))
    assert {row["kind"] for row in plants_table(entry).to_pylist()} == {"several concepts"}
    (folder / "card.json").write_text(json.dumps({"plants": [{"concept": "drugs"}]}))
    with pytest.raises(ModelError, match=r"card\.json"):
        plants_table(entry)
