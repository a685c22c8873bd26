"""A model's folder counts as complete only once every file of it is there, and whole."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from extract.completeness import completeness

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A folder of two shards: what `save_pretrained` writes, without a model."""
    folder = tmp_path / "whole"
    folder.mkdir()
    tensors = {"a": np.arange(40, dtype=np.float32), "b": np.ones((3, 5), np.float32), "c": np.zeros(7, np.float16)}
    save_file({"a": tensors["a"], "b": tensors["b"]}, folder / SHARDS[0], metadata={"format": "pt"})
    save_file({"c": tensors["c"]}, folder / SHARDS[1])
    weight_map = {"a": SHARDS[0], "b": SHARDS[0], "c": SHARDS[1]}
    total = sum(tensor.nbytes for tensor in tensors.values())
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


def _weights(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def test_a_whole_folder_has_landed_and_tells_its_bytes(whole: Path) -> None:
    found = completeness(whole)
    assert (found.state, found.reason) == ("landed", "2 weight files, all whole")
    assert found.is_landed
    assert found.bytes_found == found.bytes_expected == _weights(whole)


def test_no_folder_and_a_folder_without_a_model_are_only_known(tmp_path: Path) -> None:
    assert completeness(tmp_path / "none").state == "known"
    (tmp_path / "README.md").write_text("notes")
    assert completeness(tmp_path).state == "known"


@pytest.mark.parametrize("order", ["as listed", "weights first"])
def test_a_folder_that_is_copied_in_byte_by_byte_lands_with_its_last_byte(
    whole: Path, tmp_path: Path, order: str
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    files = sorted(whole.iterdir(), key=lambda file: (order == "weights first" and file.suffix == ".json", file.name))
    steps = [
        (file, size)
        for file in files
        for size in sorted({0, file.stat().st_size // 2, file.stat().st_size - 1, file.stat().st_size})
    ]
    states = []
    for file, size in steps:
        (copy / file.name).write_bytes(file.read_bytes()[:size])
        states.append(completeness(copy).state)
    assert states[-1] == "landed"
    assert set(states[:-1]) == {"partly"}


def test_every_length_of_a_weight_file_but_its_own_is_partly(whole: Path) -> None:
    shard = whole / SHARDS[0]
    content = shard.read_bytes()
    for size in range(len(content)):
        shard.write_bytes(content[:size])
        assert completeness(whole).state == "partly", size
    shard.write_bytes(content + b"\0")
    assert completeness(whole).reason == f"{SHARDS[0]} is not whole: {len(content) + 1} of {len(content)} bytes"
    shard.write_bytes(content)
    assert completeness(whole).is_landed


def _without(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _written(name: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(content)

    return write


def _pickled(folder: Path) -> None:
    _without(*SHARDS, INDEX)(folder)
    (folder / "pytorch_model.bin").write_bytes(b"weights")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without("config.json"), "config.json is missing"),
        (_without("tokenizer.json"), "there is no tokenizer"),
        (_without(SHARDS[1]), f"1 of 2 weight files are missing, {SHARDS[1]} first"),
        (_without(INDEX), f"{INDEX} is missing"),
        (_without(*SHARDS, INDEX), "there are no weights"),
        (_pickled, "its weights are pickles"),
        (_written("config.json", '{"model_type"'), "config.json does not parse"),
        (_written("tokenizer.json", ""), "tokenizer.json does not parse"),
        (_written(INDEX, '{"metadata": {}}'), f"{INDEX} names no shards"),
        (_written(INDEX, "[]"), f"{INDEX} names no shards"),
        (_written(INDEX, json.dumps({"weight_map": {"x": SHARDS[0]}})), f"{SHARDS[0]} lacks x"),
        (_written(f"{SHARDS[1]}.incomplete", ""), "is a download that has not ended"),
        (_written(SHARDS[1], "version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (_written(SHARDS[1], ""), f"{SHARDS[1]} is not whole: 0 bytes"),
    ],
)
def test_what_is_missing_or_torn_is_told(whole: Path, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(whole)
    found = completeness(whole)
    assert found.state == "partly"
    assert reason in found.reason
    assert not found.is_landed


def test_how_much_is_still_to_come_is_told_where_the_index_or_a_header_says_it(whole: Path) -> None:
    (whole / SHARDS[1]).unlink()
    found = completeness(whole)
    assert found.bytes_found == _weights(whole)
    assert found.bytes_expected == 40 * 4 + 15 * 4 + 7 * 2
    content = (whole / SHARDS[0]).read_bytes()
    for name in (SHARDS[0], INDEX):
        (whole / name).unlink()
    (whole / "model.safetensors").write_bytes(content[:-10])
    found = completeness(whole)
    assert (found.bytes_found, found.bytes_expected) == (len(content) - 10, len(content))


def test_a_link_of_a_hub_cache_counts_as_the_file_that_it_leads_to(whole: Path) -> None:
    blob = whole.parent / "blob"
    shutil.move(whole / SHARDS[1], blob)
    (whole / SHARDS[1]).symlink_to(blob)
    assert completeness(whole).is_landed
    blob.unlink()
    assert completeness(whole).reason.startswith("1 of 2 weight files are missing")


@pytest.mark.parametrize("names", [("tokenizer.model",), ("vocab.json", "merges.txt"), ("vocab.txt",)])
def test_a_tokenizer_of_any_kind_is_one(whole: Path, names: tuple[str, ...]) -> None:
    (whole / "tokenizer.json").unlink()
    for name in names:
        assert not completeness(whole).is_landed
        (whole / name).write_text("{}")
    assert completeness(whole).is_landed


def test_asking_brings_neither_torch_nor_transformers_along() -> None:
    program = "import sys; import extract.completeness; assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True)
