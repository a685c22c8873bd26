"""Answers under a lesion equal greedy decoding without a cache, token by token, with that layer skipped."""

import collections
import itertools
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import pyarrow as pa
import pytest
import torch
from test_extraction import loaded, prompts
from tiny_models import ARCHITECTURES, CONTEXT, LAYERS
from transformers import GenerationConfig

from extract.answers import chrf, extract_responses, lesioned, token_agreement
from extract.loading import LoadedModel
from extract.stack import Stack
from warehouse.errors import InputError, ModelError, TableError
from warehouse.store import Store

NEW_TOKENS = 6


@contextmanager
def skipping(stack: Stack, layer: int) -> Iterator[None]:
    """The model without one layer: its forward gives back what it is given."""
    if layer < 0:
        yield
        return
    module = stack.layers[layer]

    def identity(hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        return (hidden_states,) if stack.returns_tuple else hidden_states

    module.forward = identity
    try:
        yield
    finally:
        del module.forward


def next_logits(found: LoadedModel, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return found.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].float()


def slow_answer(found: LoadedModel, tokens: list[int], layer: int, ends: set[int]) -> list[int]:
    """One token after the other, each from the whole text anew."""
    said: list[int] = []
    with skipping(Stack.of(found.model), layer):
        while len(said) < NEW_TOKENS and not ends & set(said):
            said.append(int(next_logits(found, tokens + said).argmax()))
    return said


def slow_surprise(found: LoadedModel, tokens: list[int], answer: list[int], layer: int) -> float:
    """Minus the log of the product of the probabilities of the answer's tokens, each given all before it."""
    total = 0.0
    with skipping(Stack.of(found.model), layer):
        for place, token in enumerate(answer):
            total -= next_logits(found, tokens + answer[:place]).double().log_softmax(0)[token].item()
    return total


def by_key(layers: list[pa.Table]) -> dict[tuple[int, str, str], dict[str, Any]]:
    return {(row["layer"], row["template"], row["term"]): row for data in layers for row in data.to_pylist()}


@pytest.mark.parametrize("budget", [1, 300, 4096])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_and_their_surprise_equal_the_slow_truth(architecture: str, budget: int) -> None:
    found = loaded(architecture)
    asked = prompts(terms=("aspirin", "X"))
    # Random models seldom end a text: let them end it with what they say most.
    usual = collections.Counter(
        token
        for row in asked.to_pylist()
        for token in slow_answer(found, found.tokenizer(row["text"])["input_ids"], -1, set())
    )
    ends = {usual.most_common(1)[0][0], 2}
    found.model.generation_config.eos_token_id = sorted(ends)
    rows = by_key(list(extract_responses(found, asked, new_tokens=NEW_TOKENS, token_budget=budget)))
    assert len(rows) == asked.num_rows * (1 + LAYERS)
    lengths = set()
    for prompt in asked.to_pylist():
        tokens = found.tokenizer(prompt["text"])["input_ids"]
        intact = slow_answer(found, tokens, -1, ends)
        for layer in range(-1, LAYERS):
            row = rows[layer, prompt["template"], prompt["term"]]
            answer = slow_answer(found, tokens, layer, ends)
            lengths.add(len(answer))
            assert row["lesion"] == ("none" if layer == -1 else "identity")
            assert row["response"] == found.tokenizer.decode(answer, skip_special_tokens=True)
            assert row["tokens"] == len(answer)
            assert row["exact"] == (answer == intact)
            assert row["token_agreement"] == token_agreement(answer, intact)
            assert row["intact_answer_nll"] == pytest.approx(slow_surprise(found, tokens, intact, layer), abs=1e-3)
    assert len(lengths) > 1, "some answers have to end before others"


def test_the_intact_model_agrees_with_itself() -> None:
    layers = list(extract_responses(loaded("llama"), prompts(), new_tokens=NEW_TOKENS))
    assert [data["layer"][0].as_py() for data in layers] == list(range(-1, LAYERS))
    for row in layers[0].to_pylist():
        assert (row["lesion"], row["exact"], row["token_agreement"], row["chrf"]) == ("none", True, 1.0, 100.0)
    assert not all(row["exact"] for data in layers[1:] for row in data.to_pylist())


def test_an_answer_that_ends_at_once_is_empty_and_agrees_with_itself() -> None:
    found, asked = loaded("llama"), prompts()
    split = [found.tokenizer(text)["input_ids"] for text in asked["text"].to_pylist()]
    firsts = {  # what each prompt's answer begins with, intact and under a lesion of layer 0
        place: (slow_answer(found, tokens, -1, set())[0], slow_answer(found, tokens, 0, set())[0])
        for place, tokens in enumerate(split)
    }
    place, (end, other) = next(item for item in firsts.items() if item[1][0] != item[1][1])
    found.model.generation_config.eos_token_id = end
    found.tokenizer.add_special_tokens({"additional_special_tokens": [found.tokenizer.convert_ids_to_tokens(end)]})
    layers = list(extract_responses(found, asked.slice(place, 1), new_tokens=1))
    intact, lesion = layers[0].to_pylist()[0], layers[1].to_pylist()[0]
    assert (intact["response"], intact["tokens"], intact["exact"], intact["chrf"]) == ("", 1, True, 100.0)
    assert intact["intact_answer_nll"] == pytest.approx(slow_surprise(found, split[place], [end], -1), abs=1e-4)
    assert lesion["response"] == found.tokenizer.decode([other])
    assert (lesion["exact"], lesion["token_agreement"], lesion["chrf"]) == (False, 0.0, 0.0)


@pytest.mark.parametrize(
    ("answer", "intact", "agreement"),
    [
        ([5, 6, 7], [5, 6, 7], 1.0),
        ([5, 6, 7], [5, 9, 7], 2 / 3),
        ([5, 6], [5, 6, 7, 2], 2 / 4),
        ([5, 6, 7, 2], [6, 7], 0.0),
        ([2], [2], 1.0),
        ([], [2], 0.0),
        ([], [], 1.0),
    ],
)
def test_token_agreement_counts_equal_places_over_the_longer_answer(
    answer: list[int], intact: list[int], agreement: float
) -> None:
    assert token_agreement(answer, intact) == pytest.approx(agreement)


def chrf_by_hand(answer: str, intact: str) -> float:
    """Mean precision and recall of character n-grams, n = 1 to 6 as far as both texts go, and their F-score, β = 2."""
    ours, theirs = re.sub(r"\s", "", answer), re.sub(r"\s", "", intact)
    precision, recall, orders = 0.0, 0.0, 0
    for order in range(1, 7):
        counts = [
            collections.Counter(text[at : at + order] for at in range(len(text) - order + 1)) for text in (ours, theirs)
        ]
        if not counts[0] or not counts[1]:
            continue
        matched = sum((counts[0] & counts[1]).values())
        precision += matched / counts[0].total()
        recall += matched / counts[1].total()
        orders += 1
    if not precision:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100 * 5 * precision * recall / (4 * precision + recall)


@pytest.mark.parametrize(
    ("answer", "intact"),
    [
        ("pain relief", "pain relief"),
        ("pain", "pain relief and fever"),
        ("diabetes mellitus", "diabetes"),
        ("an infection of the lung", "the lung is infected"),
        ("xyz", "abc"),
    ],
)
def test_chrf_is_the_f_score_of_character_n_grams(answer: str, intact: str) -> None:
    assert chrf(answer, intact) == pytest.approx(chrf_by_hand(answer, intact), abs=1e-6)


def test_chrf_of_empty_answers_is_that_of_the_same_text_or_of_nothing_in_common() -> None:
    assert chrf("", "") == chrf(" ", " ") == 100.0
    assert chrf("", "pain") == chrf("pain", "") == 0.0


def test_the_surprise_of_an_end_is_counted() -> None:
    found = loaded("qwen2")
    asked = prompts(terms=("aspirin",)).slice(0, 1)
    tokens = found.tokenizer(asked["text"][0].as_py())["input_ids"]
    first, second = slow_answer(found, tokens, -1, set())[:2]
    ends = {second} - {first}
    assert ends, "the first two tokens of this answer differ"
    found.model.generation_config.eos_token_id = second
    row = by_key(list(extract_responses(found, asked, new_tokens=8)))[-1, "a", "aspirin"]
    assert row["tokens"] == 2
    alone = slow_surprise(found, tokens, [first], -1)
    assert row["intact_answer_nll"] > alone + math.log(2)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_answers_are_greedy_whatever_the_model_would_rather_do(
    architecture: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    plain = list(extract_responses(loaded(architecture), prompts(), new_tokens=NEW_TOKENS))
    found = loaded(architecture)
    found.model.generation_config = wishes = GenerationConfig(
        do_sample=True,
        temperature=5.0,
        top_k=3,
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        num_return_sequences=2,
        max_length=3,
        eos_token_id=2,
    )
    kept = wishes.to_dict()
    logging.getLogger("transformers").propagate = True
    try:
        assert list(extract_responses(found, prompts(), new_tokens=NEW_TOKENS)) == plain
    finally:
        logging.getLogger("transformers").propagate = False
    assert found.model.generation_config is wishes
    assert wishes.to_dict() == kept
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [str(warning.message) for warning in recwarn if "generat" in str(warning.message)]


def state(found: LoadedModel) -> dict[str, Any]:
    """All that a run could leave behind in a model."""
    modules = dict(found.model.named_modules())
    return {
        "weights": {
            name: (weights.data_ptr(), weights.sum().item()) for name, weights in found.model.state_dict().items()
        },
        "hooks": {
            name: (len(module._forward_hooks), len(module._forward_pre_hooks)) for name, module in modules.items()
        },
        "own": {name: sorted(module.__dict__) for name, module in modules.items()},
        "training": found.model.training,
        "generation": id(found.model.generation_config),
    }


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("when", [1, 40])
def test_the_model_is_as_before_after_a_run_an_error_or_an_interrupt(
    error: type[BaseException] | None, when: int
) -> None:
    found = loaded("llama")
    before = state(found)
    calls = itertools.count()

    def fail(*_: Any) -> None:
        if error is not None and next(calls) >= when + LAYERS:
            raise error

    trap = found.model.model.layers[1].mlp.register_forward_pre_hook(fail)
    if error is None:
        list(extract_responses(found, prompts(), new_tokens=2))
    else:
        with pytest.raises(error):
            list(extract_responses(found, prompts(), new_tokens=2, token_budget=100))
    trap.remove()
    assert state(found) == before


def test_hooks_go_when_the_block_ends_badly() -> None:
    found = loaded("llama")
    layers = Stack.of(found.model).layers
    with lesioned(layers, [-1, 0, 1, 1]):
        assert [len(layer._forward_hooks) for layer in layers] == [1, 1, 0, 0]
    assert not any(layer._forward_hooks for layer in layers)
    with pytest.raises(KeyboardInterrupt), lesioned(layers, [-1, 0, 1, 1]):
        raise KeyboardInterrupt
    assert not any(layer._forward_hooks for layer in layers)


def test_too_little_memory_halves_the_batch_and_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = loaded("llama"), prompts()
    expected = list(extract_responses(found, asked, new_tokens=NEW_TOKENS, token_budget=4096))
    sizes: list[int] = []
    generate = type(found.model).generate

    def scarce(model: Any, **given: Any) -> Any:
        sizes.append(len(given["input_ids"]))
        if sizes[-1] > 7:
            raise torch.OutOfMemoryError("no more")
        return generate(model, **given)

    monkeypatch.setattr(type(found.model), "generate", scarce)
    halved = list(extract_responses(found, asked, new_tokens=NEW_TOKENS, token_budget=4096))
    assert max(sizes) > 7
    assert [data.drop_columns("intact_answer_nll") for data in halved] == [
        data.drop_columns("intact_answer_nll") for data in expected
    ]


def test_too_little_memory_for_one_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded("llama")

    def scarce(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(type(found.model), "generate", scarce)
    with pytest.raises(ModelError, match="more memory"):
        list(extract_responses(found, prompts(), new_tokens=2))


def test_a_prompt_that_leaves_no_room_for_its_answer_is_named() -> None:
    found = loaded("gpt2")
    longest = max(len(found.tokenizer(text)["input_ids"]) for text in prompts()["text"].to_pylist())
    list(extract_responses(found, prompts(), new_tokens=CONTEXT - longest))
    with pytest.raises(ModelError, match=r"The prompt '.*' has .* tokens"):
        list(extract_responses(found, prompts(), new_tokens=CONTEXT - longest + 1))
    with pytest.raises(InputError, match="ask for 1 or more"):
        list(extract_responses(found, prompts(), new_tokens=0))


def test_the_store_takes_the_rows_as_they_come_and_progress_counts_prompts(tmp_path: Path) -> None:
    store, asked, done = Store(tmp_path), prompts(), []
    with store.writer("responses", fingerprint="a", rows=asked.num_rows * (1 + LAYERS), model="m", concept="c") as file:
        for data in extract_responses(loaded("llama"), asked, new_tokens=2, token_budget=200, progress=done.append):
            file.add(data)
    assert sum(done) == asked.num_rows
    assert len(done) > 1
    assert [layer for layer, _ in store.layers("responses", model="m", concept="c")] == list(range(-1, LAYERS))


def test_weights_that_are_not_finite_are_told_and_nothing_is_committed(tmp_path: Path) -> None:
    found = loaded("llama")
    with torch.no_grad():
        found.model.model.layers[2].mlp.up_proj.weight[0, 0] = torch.nan
    writing = Store(tmp_path).writer("responses", fingerprint="a", model="tiny", concept="drugs")
    with pytest.raises(TableError, match="NaN"), writing as writer:
        collections.deque(map(writer.add, extract_responses(found, prompts(), new_tokens=2)))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_weights_that_are_fetched_layer_by_layer_give_the_same_answers(place: str, tmp_path: Path) -> None:
    expected = list(extract_responses(loaded("llama"), prompts(), new_tokens=NEW_TOKENS))
    found = loaded("llama")
    if place == "memory":
        accelerate.cpu_offload(found.model, execution_device=torch.device("cpu"))
    else:
        accelerate.disk_offload(found.model, str(tmp_path), execution_device=torch.device("cpu"))
    assert found.model.device == torch.device("meta")
    assert list(extract_responses(found, prompts(), new_tokens=NEW_TOKENS)) == expected


def test_a_model_that_is_asked_as_chat_gets_its_prompts_in_its_template() -> None:
    found, asked = loaded("llama"), prompts(terms=("aspirin",))
    found.tokenizer.chat_template = "<bos>{% for message in messages %}{{ message['content'] }} ?{% endfor %}"
    chatting = replace(found, entry=replace(found.entry, chat_template=True))
    rows = by_key(list(extract_responses(chatting, asked, new_tokens=NEW_TOKENS)))
    for prompt in asked.to_pylist():
        tokens = found.tokenizer(f"{prompt['text']} ?")["input_ids"]
        answer = slow_answer(found, tokens, 1, {2})
        assert rows[1, prompt["template"], prompt["term"]]["response"] == found.tokenizer.decode(answer)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt-oss"])
def test_bfloat16_is_taken_as_it_comes(architecture: str) -> None:
    found = loaded(architecture)
    found.model.to(torch.bfloat16)
    rows = by_key(list(extract_responses(found, prompts(), new_tokens=NEW_TOKENS)))
    for (layer, template, term), row in rows.items():
        intact = rows[-1, template, term]
        assert row["exact"] == (row["token_agreement"] == 1.0)
        assert intact["intact_answer_nll"] > 0
        assert layer == -1 or row["intact_answer_nll"] != intact["intact_answer_nll"]


def test_no_prompts_make_a_file_without_rows(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), prompts().slice(0, 0)
    with store.writer("responses", fingerprint="a", rows=0, model="m", concept="c") as file:
        for data in extract_responses(loaded("llama"), asked):
            file.add(data)
    assert store.read("responses", model="m", concept="c").num_rows == 0
