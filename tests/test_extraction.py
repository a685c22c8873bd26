"""Activations in the warehouse's form equal those of one naive forward a prompt."""

import collections
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, CONTEXT, LAYERS, WIDTH, save_tiny, tiny_model, tiny_tokenizer

import extract.windows
from extract.batches import make_batches
from extract.extraction import Subject, Wanted, prompts_swept, row_counts, run_sweep, split
from extract.interventions import Lesion, Patch
from extract.loading import LoadedModel, load_model
from extract.machine import make_machine
from extract.models import ModelEntry
from extract.pairing import pair_tokens
from warehouse.errors import ModelError
from warehouse.store import Store
from warehouse.tables import table

Rows = dict[str, list[pa.Table]]

TERMS = ("aspirin", "47", "salbutamol", "beta blocker", "X")
TEMPLATES = {"a": "The doctor gave {} to the patient at noon", "b": "Is {} a drug? It is used for", "c": "Take {} now"}


ANSWERS = ("pain relief", "an age", "wheezing", "blood pressure", "letters")


def prompts(templates: dict[str, str] = TEMPLATES, terms: tuple[str, ...] = TERMS) -> pa.Table:
    rows = [
        {
            "template": name,
            "term": term,
            "template_kind": "asking",
            "labelling": "use",
            "held_out": False,
            "text": text.format(term),
            "answer": ANSWERS[TERMS.index(term) % len(ANSWERS)] if term in TERMS else "pain relief",
            "term_start": text.index("{}"),
            "term_end": text.index("{}") + len(term),
        }
        for name, text in sorted(templates.items())
        for term in sorted(terms)
    ]
    return pa.Table.from_pylist(rows, schema=table("prompts").schema())


def loaded(architecture: str) -> LoadedModel:
    tokenizer = tiny_tokenizer([text.format(term) for text in TEMPLATES.values() for term in TERMS])
    return LoadedModel(ModelEntry("tiny", Path("nowhere")), tiny_model(architecture, len(tokenizer)), tokenizer)


READING = Wanted(activations=True)
EVERYTHING = Wanted(
    activations=True,
    first_tokens=True,
    contributions=True,
    lesions=(Lesion("identity"), Lesion("mean", "mlp"), Lesion("resample")),
    patches=(Patch("resid", "last"), Patch("delta", "token"), Patch("mlp_out", "term")),
)


def subject(found: LoadedModel, asked: pa.Table) -> Subject:
    """All prompts, each lesioned, and all pairs of terms that can be patched."""
    tokenized = split(found, asked)
    rows = [
        {"template": one["template"], "term": one["term"], "corrupting_term": other["term"], "labelling": "use"}
        | {"held_out": False, "answer": one["answer"], "corrupting_answer": other["answer"]}
        for one in asked.to_pylist()
        for other in asked.to_pylist()
        if one["template"] == other["template"] and one["term"] != other["term"]
    ]
    fates = pair_tokens(pa.Table.from_pylist(rows, schema=table("pairs").schema()), asked, tokenized)
    return Subject(asked, tokenized, asked, fates.filter(pc.is_null(fates["dropped"])))


def swept(found: LoadedModel, asked: pa.Table, wanted: Wanted = READING, **options: Any) -> Rows:
    """The rows of every table that a sweep fills."""
    rows: Rows = collections.defaultdict(list)
    run_sweep(
        found,
        make_machine(found.model),
        subject(found, asked),
        wanted,
        lambda name, data: rows[name].append(data),
        **options,
    )
    return rows


def tokens_table(found: LoadedModel, asked: pa.Table) -> pa.Table:
    return split(found, asked).table


def naive(found: LoadedModel, text: str, term: str) -> dict[tuple[int, str], np.ndarray]:
    """One prompt through the model's own forward, unbatched, with hooks."""
    split = found.tokenizer(text, return_offsets_mapping=True)
    start, end = text.index(term), text.index(term) + len(term)
    last = max(place for place, (low, high) in enumerate(split["offset_mapping"]) if low < end and high > start)
    decoder = found.model.get_decoder()
    layers = decoder.layers if hasattr(decoder, "layers") else decoder.h
    seen: list[torch.Tensor] = []
    hooks = [layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))]
    hooks += [layer.register_forward_hook(lambda _, __, output: seen.append(output[0])) for layer in layers]
    with torch.no_grad():
        decoder(input_ids=torch.tensor([split["input_ids"]]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return {
        (layer - 1, position): vector.numpy()
        for layer, hidden in enumerate(seen)
        for position, vector in (("last", hidden[-1]), ("term", hidden[last]), ("mean", hidden[1:].mean(dim=0)))
    }


@pytest.mark.parametrize("budget", [1, 40, 2048])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_activations_equal_one_naive_forward_a_prompt(architecture: str, budget: int) -> None:
    found, asked = loaded(architecture), prompts()
    layers = swept(found, asked, token_budget=budget)["activations"]
    assert [data["layer"][0].as_py() for data in layers] == list(range(-1, LAYERS))
    expected = {(row["template"], row["term"]): naive(found, row["text"], row["term"]) for row in asked.to_pylist()}
    for data in layers:
        for row in data.to_pylist():
            wanted = expected[row["template"], row["term"]][row["layer"], row["position"]]
            np.testing.assert_allclose(row["vector"], wanted, atol=1e-5, rtol=1e-5)


def beginning_at_once(found: LoadedModel) -> LoadedModel:
    """The same with a tokenizer that puts nothing before a text: templates begin with tokens of their own."""
    from tokenizers.processors import TemplateProcessing

    found.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_first_tokens_are_bitwise_what_the_model_gives(architecture: str) -> None:
    found, asked = beginning_at_once(loaded(architecture)), prompts()
    rows = swept(found, asked, Wanted(activations=True, first_tokens=True), token_budget=1)["first_tokens"]
    assert [data["layer"][0].as_py() for data in rows] == list(range(-1, LAYERS))
    tokens = tokens_table(found, asked).to_pylist()
    decoder = found.model.get_decoder()
    for place, first in enumerate(sorted({row["first_token"] for row in tokens})):
        beginners = [
            text for text, row in zip(asked["text"].to_pylist(), tokens, strict=True) if row["first_token"] == first
        ]
        split = found.tokenizer(beginners[0], return_tensors="pt")["input_ids"]
        assert split[0, 0] == first
        seen: list[torch.Tensor] = []
        top = (decoder.layers if hasattr(decoder, "layers") else decoder.h)[-1]
        hook = top.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output))
        with torch.no_grad():
            states = decoder(input_ids=split, use_cache=False, output_hidden_states=True).hidden_states
        hook.remove()
        # The last of the model's own states is behind its final norm: what the last layer gives is taken from it.
        for data, state in zip(rows, [*states[:-1], *seen], strict=True):
            row = data.slice(place, 1).to_pylist()[0]
            assert (row["first_token"], row["prompts"]) == (first, len(beginners))
            np.testing.assert_array_equal(np.float32(row["vector"]), state[0, 0].numpy())


def test_first_tokens_put_back_into_a_mean_give_that_over_all_tokens() -> None:
    found, asked = loaded("llama"), prompts()
    rows = swept(found, asked, Wanted(activations=True, first_tokens=True))
    above = rows["activations"][2]
    means = above.filter(pc.equal(above["position"], "mean"))
    (first,) = rows["first_tokens"][2]["vector"].to_pylist()
    decoder = found.model.get_decoder()
    for rest, row, prompt in zip(
        means["vector"].to_pylist(), tokens_table(found, asked).to_pylist(), asked.to_pylist(), strict=True
    ):
        with torch.no_grad():
            states = decoder(**found.tokenizer(prompt["text"], return_tensors="pt"), output_hidden_states=True)
        whole = states.hidden_states[2][0].mean(dim=0)
        again = ((row["tokens"] - 1) * np.array(rest) + np.array(first)) / row["tokens"]
        np.testing.assert_allclose(again, whole.numpy(), atol=1e-5, rtol=1e-5)


def test_first_tokens_alone_cost_a_prompt_each_and_are_the_same() -> None:
    found, asked = beginning_at_once(loaded("qwen3")), prompts()
    wanted = Wanted(first_tokens=True)
    beginnings = set(tokens_table(found, asked)["first_token"].to_pylist())
    assert prompts_swept(subject(found, asked), wanted) == len(beginnings) > 1
    alone = swept(found, asked, wanted)
    assert alone.keys() == {"first_tokens"}
    _same(alone, {"first_tokens": swept(found, asked, replace(wanted, activations=True))["first_tokens"]})


@pytest.mark.parametrize(
    "wanted", [EVERYTHING, replace(EVERYTHING, activations=False, first_tokens=False, contributions=False)]
)
def test_the_store_takes_the_rows_as_they_come(tmp_path: Path, wanted: Wanted) -> None:
    store, keys, found = Store(tmp_path), {"model": "tiny", "concept": "drugs"}, loaded("llama")
    rows = row_counts(subject(found, prompts()), wanted, LAYERS)
    for name, tables in swept(found, prompts(), wanted).items():
        with store.writer(name, fingerprint="a", rows=rows[name], width=WIDTH, **keys) as writer:
            for data in tables:
                writer.add(data)
        first = -1 if name in {"activations", "first_tokens"} else 0
        assert [layer for layer, _ in store.layers(name, **keys)] == list(range(first, LAYERS))


def _same(one: Rows, other: Rows) -> None:
    assert one.keys() == other.keys()
    for name in one:
        left, right = (pa.concat_tables(rows[name]) for rows in (one, other))
        keys = [(key, "ascending") for key in table(name).key_names]
        left, right = left.sort_by(keys), right.sort_by(keys)
        assert left.select(table(name).key_names).equals(right.select(table(name).key_names))
        for column in table(name).values:
            pair = [rows[column.name].to_pylist() for rows in (left, right)]
            np.testing.assert_allclose(*pair, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("memory", [1, 40_000, 200_000])
def test_whatever_memory_there_is_the_rows_are_the_same(memory: int) -> None:
    found, asked = loaded("gemma3"), prompts()
    _same(swept(found, asked, EVERYTHING), swept(found, asked, EVERYTHING, memory=memory))


@pytest.mark.parametrize("most", [800, 4000])
def test_a_sweep_that_runs_out_of_memory_goes_on_with_half_of_it_and_gives_the_same(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = loaded("llama"), prompts()
    expected = swept(found, asked, EVERYTHING)
    _refuse_more_than(most, monkeypatch)
    _same(expected, swept(found, asked, EVERYTHING))


def test_one_prompt_that_is_too_much_for_the_memory_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded("llama")
    machine = make_machine(found.model)
    _refuse_more_than(10, monkeypatch)
    with pytest.raises(ModelError, match="Memory ran out with one prompt"):
        run_sweep(found, machine, subject(found, prompts()), EVERYTHING, lambda name, data: None)
    with pytest.raises(ModelError, match="Memory runs out with a few tokens"):
        make_machine(found.model)


def _refuse_more_than(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call of a layer that takes more than so many numbers fail as a GPU without memory does."""
    whole = extract.windows.replay

    def small(layer: torch.nn.Module, hidden: torch.Tensor, call: Any) -> torch.Tensor:
        if hidden.numel() > numbers:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much.")
        return whole(layer, hidden, call)

    monkeypatch.setattr(extract.windows, "replay", small)


def test_weights_that_are_not_finite_are_named_by_their_layer_and_nothing_is_written() -> None:
    found = loaded("llama")
    with torch.no_grad():
        found.model.model.layers[2].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="Layer 2 gives numbers that are not finite"):
        swept(found, prompts(), EVERYTHING)


def test_tokens_tell_where_the_term_lies_and_how_the_answer_begins() -> None:
    found, asked = loaded("llama"), prompts()
    rows = tokens_table(found, asked).to_pylist()
    for row, prompt in zip(rows, asked.to_pylist(), strict=True):
        split = found.tokenizer(prompt["text"])["input_ids"]
        assert row["tokens"] == len(split)
        covered = found.tokenizer.decode(split[row["term_first"] : row["term_last"] + 1])
        assert covered.strip() == prompt["term"] or prompt["term"] in covered
        assert row["term_tokens"] == row["term_last"] - row["term_first"] + 1
        whole = found.tokenizer(f"{prompt['text']} {prompt['answer']}")["input_ids"]
        assert row["answer_token"] == whole[len(split)]
        assert row["answer_tokens"] == len(whole) - len(split)


def test_prompts_without_an_answer_have_no_answer_token() -> None:
    asked = prompts()
    mute = asked.set_column(asked.schema.get_field_index("answer"), "answer", pa.nulls(asked.num_rows, pa.string()))
    assert tokens_table(loaded("llama"), mute)["answer_token"].null_count == asked.num_rows


def test_a_term_of_which_the_tokenizer_makes_nothing_is_named() -> None:
    found = loaded("llama")
    from tokenizers import normalizers

    found.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("salbutamol", "")
    with pytest.raises(ModelError, match="'salbutamol'"):
        tokens_table(found, prompts())


def test_a_prompt_longer_than_the_context_is_named() -> None:
    long = {"a": "The doctor gave {} to the patient " + "again and " * CONTEXT}
    with pytest.raises(ModelError, match=f"the model takes {CONTEXT}"):
        tokens_table(loaded("llama"), prompts(long))


@pytest.mark.parametrize("memory", [1, None])
def test_shares_of_the_work_sum_to_all_of_it(memory: int | None) -> None:
    shares: list[float] = []
    swept(loaded("llama"), prompts(), EVERYTHING, progress=shares.append, memory=memory)
    assert sum(shares) == pytest.approx(1)


def test_a_tokenizer_without_a_padding_token_will_do(tmp_path: Path) -> None:
    found = load_model(ModelEntry("tiny", save_tiny(tmp_path / "tiny")))
    assert found.tokenizer.pad_token is None
    assert len(swept(found, prompts(), token_budget=64)["activations"]) == LAYERS + 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 200))
def test_every_prompt_stands_in_one_batch_and_no_batch_exceeds_the_budget(lengths: list[int], budget: int) -> None:
    given_prompts = [[1 + row % 7] * length for row, length in enumerate(lengths)]
    batches = make_batches(given_prompts, budget=budget)
    rows = [int(row) for batch in batches for row in batch.rows]
    assert sorted(rows) == list(range(len(lengths)))
    for batch in batches:
        assert batch.tokens.numel() <= budget or len(batch.rows) == 1
        for place, row in enumerate(batch.rows.tolist()):
            length = int(batch.lengths[place])
            assert batch.tokens[place, :length].tolist() == given_prompts[row]
            assert batch.mask is None or batch.mask[place].tolist() == [1] * length + [0] * (
                batch.tokens.shape[1] - length
            )


def test_batches_of_many_prompts_hold_next_to_no_padding() -> None:
    lengths = np.random.default_rng(0).integers(8, 30, size=2000)
    batches = make_batches([[1] * int(length) for length in lengths], budget=512)
    padded = sum(batch.tokens.numel() for batch in batches)
    assert padded / lengths.sum() < 1.01
