"""What is estimated of a run before it is what the run then does: passes, operations, rows, bytes, memory."""

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tiny_library import write_library
from tiny_models import save_tiny, tiny_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.instance import open_instance
from dagster_project.running import run_models
from dagster_project.terminal import console
from extract import sweep as sweeping
from extract.costs import sweep_work
from extract.estimation import Estimate, estimate
from extract.extraction import run_sweep
from extract.hollow import ATTENDED, MLP, PROJECTED, _dry, passage
from extract.interventions import Lesion, Patch
from extract.job.extracting import TABLES
from extract.job.progress import for_console
from extract.library import load_library
from extract.loading import load_model
from extract.machine import make_machine
from extract.models import ModelEntry
from extract.outline import outline
from extract.planned import Choices, plans
from extract.streams import Streams
from extract.task import Pairs, Task

BUDGET = 64
ANSWERED = ("The colour of the brick is red", "The colour of the grass is green") * 4
"""Texts of which a tokenizer learns that answers begin unlike: only then there are pairs to patch."""

CHOICES = Choices(sample=6, held_out=2, answers=2, new_tokens=3)


def _task(**wanted: Any) -> Task:
    """Three templates of unlike lengths, every second prompt lesioned, pairs in two of them."""
    prompts = [
        [1, *range(10 + template, 13 + 2 * template), 30 + term, *[20] * (1 + term % 2)]
        for template in range(3)
        for term in range(12)
    ]
    first = [3 + template + 1 for template in range(3) for _ in range(12)]
    clean, corrupted = torch.tensor([0, 2, 13, 15]), torch.tensor([2, 4, 15, 17])
    return Task(
        prompts=prompts,
        term_first=torch.tensor(first),
        term_last=torch.tensor(first),
        templates=torch.arange(3).repeat_interleave(12),
        answers=torch.full((36,), 40),
        lesioned=torch.arange(36) % 2 == 0,
        pairs=Pairs(
            clean=clean,
            corrupted=corrupted,
            answers=torch.tensor([[40, 41]]).expand(4, -1),
            first_difference=torch.tensor([first[row] for row in corrupted]),
            term=torch.tensor([first[row] for row in corrupted]),
            numbers=torch.arange(4),
        ),
        **wanted,
    )


EVERYTHING = _task(
    reads=True,
    lesions=(Lesion("identity"), Lesion("mean", "mlp"), Lesion("resample")),
    patches=(Patch("delta"), Patch("resid", "token"), Patch("attn_out", "term")),
)
USUAL = _task(
    reads=True, lesions=(Lesion("identity"), Lesion("resample")), patches=(Patch("delta"), Patch("resid", "token"))
)
READING = _task(reads=True)


class _Here:
    """An executor that works in this thread, where operations are counted."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> "_Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], *items: Any) -> Iterator[Any]:
        return map(work, *items)


@pytest.mark.parametrize("layers", [3, 7])
@pytest.mark.parametrize("task", [EVERYTHING, USUAL, READING])
def test_hollow_layers_count_every_token_that_goes_through_real_ones(layers: int, task: Task) -> None:
    model = tiny_model("llama", layers=layers)
    counted = np.zeros((layers, 3))

    def count(layer: int, column: int) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _given: Any, output: torch.Tensor) -> None:
            counted[layer, column] += output.shape[0] * output.shape[1]

        return hook

    machine = make_machine(model)
    for number, layer in enumerate(machine.stack.layers):
        for column, name in enumerate(("self_attn.k_proj", "self_attn.o_proj", "mlp.down_proj")):
            layer.get_submodule(name).register_forward_hook(count(number, column))
    sweeping.sweep(machine, task, budget=BUDGET)
    found = passage(task, layers, BUDGET)
    assert found.layers[:, [PROJECTED, ATTENDED, MLP]].tolist() == counted.tolist()


@pytest.mark.parametrize("task", [EVERYTHING, USUAL, READING])
def test_batches_of_a_deep_sweep_are_those_that_begin_at_its_bottom(task: Task) -> None:
    assert passage(task, 9, 16).layers[0].tolist() == _dry(task, 9, 16).layers[0].tolist()


@pytest.mark.parametrize("task", [USUAL, READING])
def test_the_operations_of_a_sweep_are_counted_to_one_in_a_hundred(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sweeping, "ThreadPoolExecutor", _Here)
    model = tiny_model("llama", layers=6)
    model.set_attn_implementation("eager")
    model.config.save_pretrained(tmp_path)
    machine = make_machine(model)
    with FlopCounterMode(display=False) as counter:
        sweeping.sweep(machine, task, budget=BUDGET)
    shape = outline(ModelEntry("tiny", tmp_path))
    tokens = sum(len(prompt) for prompt in task.prompts)
    work = sweep_work(passage(task, 6, BUDGET), shape, forwards=36, passes=1, tokens=tokens)
    assert work.flops == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_streams_are_most_where_it_is_said_and_as_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "ThreadPoolExecutor", _Here)
    model = tiny_model("llama", layers=7)
    held: list[int] = []
    join = sweeping._Climb.join

    def watched(climb: Any, layer: int, pool: Any) -> None:
        join(climb, layer, pool)
        held.append(sum(_tokens(streams) for streams in climb.batches))

    monkeypatch.setattr(sweeping._Climb, "join", watched)
    sweeping.sweep(make_machine(model), USUAL, budget=BUDGET)
    *_, most, _ = held
    assert max(held) == most
    assert passage(USUAL, 7, BUDGET).held == most


def _tokens(streams: Any) -> int:
    beginnings = streams._beginnings.shape[0] * streams._beginnings.shape[1] if streams._shared else 0
    states = sum(state.shape[0] * state.shape[1] for state in streams._states)
    fronts = sum(state.shape[0] * state.shape[1] for front in streams.fronts for state in front.states)
    return int(beginnings + states + fronts)


def test_streams_hold_as_many_bytes_as_is_foretold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sweeping, "ThreadPoolExecutor", _Here)
    library = load_library(write_library(tmp_path / "concepts"))
    entry = ModelEntry("tiny", save_tiny(tmp_path / "tiny", "llama", ANSWERED))
    config = LlamaConfig(
        vocab_size=400, hidden_size=512, intermediate_size=64, num_hidden_layers=6, num_attention_heads=8
    )
    LlamaForCausalLM(config).save_pretrained(entry.path)
    need = estimate(entry, library.concepts, CHOICES).memory
    loaded = load_model(entry)
    machine, held = make_machine(loaded.model), [0]
    join = Streams.join
    # What there is by now, the model with it, is none of the sweep's, and takes long to look through.
    gc.freeze()

    def watched(streams: Any, layer: int, shelf: Any) -> None:
        join(streams, layer, shelf)
        held.append(_alive())

    monkeypatch.setattr(Streams, "join", watched)
    try:
        for plan in plans(loaded.tokenizer, library.concepts, CHOICES):
            run_sweep(loaded, machine, plan.subject, plan.wanted, lambda name, rows: None)
    finally:
        gc.unfreeze()
    assert need.streams == pytest.approx(max(held), rel=0.15)


def _alive() -> int:
    """Bytes of all tensors that came since `gc.freeze`: slow, and sure to forget none."""
    found = {}
    for each in gc.get_objects():
        if type(each) is torch.Tensor or type(each) is torch.nn.Parameter:
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Estimate, Warehouse, int]:
    """A small model, what is estimated of it, and a warehouse with all that was then measured."""
    folder = tmp_path_factory.mktemp("world")
    library = load_library(write_library(folder / "concepts"))
    entry = ModelEntry("tiny", save_tiny(folder / "tiny", "llama", ANSWERED))
    made = estimate(entry, library.concepts, CHOICES)
    places = Warehouse(root=str(folder / "warehouse"), concepts=str(folder / "concepts"), models=str(folder / "none"))
    settings = Settings(sample=6, held_out=2, answers=2, new_tokens=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder / "home"))
        with open_instance() as instance:
            done = run_models(
                instance, places, [entry], settings, for_console(console(error=True)), untrained=False, only=TABLES
            )
    return folder, made, places, done.forwards


def test_forwards_are_those_that_a_run_counts(world: tuple[Path, Estimate, Warehouse, int]) -> None:
    _, made, _, forwards = world
    assert made.total.forwards == forwards


def test_rows_are_those_of_the_run_and_bytes_within_a_fifth(world: tuple[Path, Estimate, Warehouse, int]) -> None:
    _, made, places, _ = world
    assert made.tables["patches"][0] > 0
    for name, (rows, size) in made.tables.items():
        files = [places.store.path(name, **keys) for keys in places.store.partitions(name)]
        found = [places.store.footer(name, **keys) for keys in places.store.partitions(name)]
        assert rows == sum(footer.rows for footer in found if footer), name
        if name in {"activations", "lesions", "saliency", "responses"}:
            assert size == pytest.approx(sum(file.stat().st_size for file in files), rel=0.2), name


def test_a_sweep_that_is_cut_is_counted_as_what_it_is_cut_into(tmp_path: Path) -> None:
    library = load_library(write_library(tmp_path / "concepts"))
    entry = ModelEntry("tiny", save_tiny(tmp_path / "tiny", "llama", ANSWERED))
    whole = estimate(entry, library.concepts, CHOICES)
    cut = estimate(entry, library.concepts, replace(CHOICES, memory=60_000))
    assert cut.sweeps > whole.sweeps
    assert cut.total.passes - whole.total.passes == cut.sweeps - whole.sweeps
    assert cut.memory.streams < whole.memory.streams


def test_a_folder_with_a_config_alone_is_enough_and_what_is_assumed_is_said(tmp_path: Path) -> None:
    library = load_library(write_library(tmp_path / "concepts"))
    tiny_model("qwen3").config.save_pretrained(tmp_path / "bare")
    made = estimate(ModelEntry("bare", tmp_path / "bare"), library.concepts, CHOICES)
    assert made.shape.weights == sum(weights.numel() for weights in tiny_model("qwen3").parameters())
    assert any("no tokenizer" in each for each in made.assumed)


def _vesalius(folder: Path, *words: str) -> Any:
    places = {
        "DAGSTER_HOME": str(folder / "home"),
        "VESALIUS_WAREHOUSE": str(folder / "other"),
        "VESALIUS_CONCEPTS": str(folder / "concepts"),
        "VESALIUS_MODELS": str(folder / "none.toml"),
    }
    return CliRunner().invoke(app, list(words), env=places)


def test_the_command_tells_it_to_people_and_to_scripts(world: tuple[Path, Estimate, Warehouse, int]) -> None:
    folder, made, _, _ = world
    few = ("--sample", "6", "--held-out", "2", "--answers", "2", "--no-untrained", "--no-time")
    told = _vesalius(folder, "estimate", str(folder / "tiny"), *few)
    assert told.exit_code == 0, told.output
    assert "lesions" in told.stdout
    assert "Memory: " in told.stdout
    found = json.loads(_vesalius(folder, "estimate", str(folder / "tiny"), *few, "--json").stdout)
    assert found["fits"] is True
    assert found["disk"]["tables"]["lesions"]["rows"] == made.tables["lesions"][0]


def test_a_model_that_can_not_fit_is_refused_with_what_would(world: tuple[Path, Estimate, Warehouse, int]) -> None:
    folder, _, _, _ = world
    told = _vesalius(folder, "estimate", str(folder / "tiny"), "--gpu", "100kB", "--no-time", "--disk", "1kB")
    assert told.exit_code == 2
    for word in ("--dtype bfloat16", "4bit", "--placement offload", "half of --sample"):
        assert word in told.stderr, word


def test_a_run_that_can_not_fit_is_refused_before_the_model_is_loaded(
    world: tuple[Path, Estimate, Warehouse, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _, _ = world
    loaded: list[str] = []

    def load(*_: Any, **__: Any) -> None:
        loaded.append("loaded")
        raise MemoryError("loaded all the same")

    monkeypatch.setattr("extract.job.measuring.load_model", load)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000, total=1000, percent=1.0))
    words = ("run", "--model", str(folder / "tiny"), "--no-umap", "--no-untrained")
    refused = _vesalius(folder, *words)
    assert refused.exit_code == 2, refused.output
    assert "main memory has" in refused.stderr
    assert "--even-if-it-may-not-fit" in refused.stderr
    assert not loaded
    _vesalius(folder, *words, "--even-if-it-may-not-fit")
    assert loaded
