"""Activations in the warehouse's form equal those of one naive forward a prompt."""

import collections
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import ARCHITECTURES, CONTEXT, LAYERS, WIDTH, save_tiny, tiny_model, tiny_tokenizer

from extract.batches import make_batches
from extract.extraction import activation_rows, extract_activations, tokens_table
from extract.loading import LoadedModel, load_model
from extract.models import ModelEntry
from warehouse.errors import ModelError, TableError
from warehouse.store import Store
from warehouse.tables import table

TERMS = ("aspirin", "47", "salbutamol", "beta blocker", "X")
TEMPLATES = {"a": "The doctor gave {} to the patient at noon", "b": "Is {} a drug? It is used for", "c": "Take {} now"}


def prompts(templates: dict[str, str] = TEMPLATES, terms: tuple[str, ...] = TERMS) -> pa.Table:
    rows = [
        {
            "template": name,
            "term": term,
            "template_kind": "asking",
            "labelling": "use",
            "held_out": False,
            "text": text.format(term),
            "answer": "pain relief",
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
    layers = list(extract_activations(found, asked, token_budget=budget))
    assert [data["layer"][0].as_py() for data in layers] == list(range(-1, LAYERS))
    assert sum(data.num_rows for data in layers) == activation_rows(asked.num_rows, LAYERS)
    expected = {(row["template"], row["term"]): naive(found, row["text"], row["term"]) for row in asked.to_pylist()}
    for data in layers:
        for row in data.to_pylist():
            wanted = expected[row["template"], row["term"]][row["layer"], row["position"]]
            np.testing.assert_allclose(row["vector"], wanted, atol=1e-5, rtol=1e-5)


def test_the_store_takes_the_rows_as_they_come(tmp_path: Path) -> None:
    store, keys = Store(tmp_path), {"model": "tiny", "concept": "drugs"}
    rows = activation_rows(len(TERMS) * len(TEMPLATES), LAYERS)
    with store.writer("activations", fingerprint="a", rows=rows, width=WIDTH, **keys) as writer:
        for data in extract_activations(loaded("llama"), prompts()):
            writer.add(data)
    assert [layer for layer, _ in store.layers("activations", **keys)] == list(range(-1, LAYERS))


def test_weights_that_are_not_finite_are_told_and_nothing_is_committed(tmp_path: Path) -> None:
    found = loaded("llama")
    with torch.no_grad():
        found.model.model.layers[2].mlp.up_proj.weight[0, 0] = torch.nan
    store = Store(tmp_path)
    writing = store.writer("activations", fingerprint="a", width=WIDTH, model="tiny", concept="drugs")
    with pytest.raises(TableError, match="NaN"), writing as writer:
        collections.deque(map(writer.add, extract_activations(found, prompts())))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


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


def test_progress_counts_every_prompt_at_every_layer() -> None:
    seen: list[int] = []
    list(extract_activations(loaded("llama"), prompts(), progress=seen.append))
    assert sum(seen) == len(TERMS) * len(TEMPLATES) * (LAYERS + 1)


def test_a_tokenizer_without_a_padding_token_will_do(tmp_path: Path) -> None:
    found = load_model(ModelEntry("tiny", save_tiny(tmp_path / "tiny")))
    assert found.tokenizer.pad_token is None
    assert len(list(extract_activations(found, prompts(), token_budget=64))) == LAYERS + 1


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
