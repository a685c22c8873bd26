"""Pairs are kept where the two prompts fit each other token by token; every other pair is told with its reason."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer

from extract.pairing import pair_tokens, term_token
from extract.tokenization import Tokenized, tokenize
from warehouse.errors import InputError
from warehouse.tables import table
from warehouse.validation import validate

Row = tuple[str, str, list[int], int | None]
"""Template, term, tokens and the answer's first token."""


def prompts_of(rows: list[Row], answers: dict[tuple[str, str], str] | None = None) -> tuple[pa.Table, Tokenized]:
    """Prompts and their tokens; the answer's words are its token's number, if they are not given."""
    prompts, tokens = [], []
    for template, term, indices, answer in rows:
        said = (answers or {}).get((template, term), None if answer is None else f"answer {answer}")
        prompts.append(
            {
                "template": template,
                "term": term,
                "template_kind": "asking",
                "labelling": "use",
                "held_out": False,
                "text": f"{term} in {template}",
                "answer": said,
                "term_start": 0,
                "term_end": len(term),
            }
        )
        tokens.append(
            {
                "template": template,
                "term": term,
                "tokens": len(indices),
                "term_tokens": 1,
                "term_first": 0,
                "term_last": len(indices) - 1,
                "answer_tokens": None if answer is None else 1,
                "answer_token": answer,
                "term_last_text": term,
                "answer_text": None,
                "first_token": indices[0],
            }
        )
    return (
        pa.Table.from_pylist(prompts, schema=table("prompts").schema()),
        Tokenized(
            [indices for _, _, indices, _ in rows], pa.Table.from_pylist(tokens, schema=table("tokens").schema())
        ),
    )


def pairs_of(keys: list[tuple[str, str, str]]) -> pa.Table:
    rows = [
        {
            "template": template,
            "term": term,
            "corrupting_term": corrupting,
            "labelling": "use",
            "held_out": False,
            "answer": "one",
            "corrupting_answer": "another",
        }
        for template, term, corrupting in keys
    ]
    return pa.Table.from_pylist(rows, schema=table("pairs").schema())


def fate(clean: list[int], corrupted: list[int], answers: tuple[int | None, int | None]) -> dict[str, object]:
    """The row of one pair."""
    prompts, tokenized = prompts_of([("t", "a", clean, answers[0]), ("t", "b", corrupted, answers[1])])
    found = pair_tokens(pairs_of([("t", "a", "b")]), prompts, tokenized)
    validate(table("pair_tokens"), found)
    row: dict[str, object] = found.to_pylist()[0]
    return row


@pytest.mark.parametrize(
    ("clean", "corrupted", "answers", "reason", "first_difference"),
    [
        ([1, 5, 6, 2], [1, 7, 8, 2], (3, 4), None, 1),
        ([9, 5], [1, 5], (3, 4), None, 0),
        ([1, 5, 6], [1, 5], (3, 4), "lengths differ", None),
        ([1, 5, 6], [1, 5], (3, 3), "lengths differ", None),
        ([1, 5], [1, 5], (3, 4), "prompts are the same", None),
        ([1, 5], [1, 6], (3, 3), "answers begin alike", 1),
        ([1, 5], [1, 6], (None, 3), "no answer token", 1),
        ([1, 5], [1, 6], (3, None), "no answer token", 1),
        ([1, 5], [1, 6], (None, None), "no answer token", 1),
    ],
)
def test_each_pair_is_kept_or_has_one_reason(
    clean: list[int],
    corrupted: list[int],
    answers: tuple[int | None, int | None],
    reason: str | None,
    first_difference: int | None,
) -> None:
    assert fate(clean, corrupted, answers) == {
        "template": "t",
        "term": "a",
        "corrupting_term": "b",
        "tokens": len(clean),
        "corrupted_tokens": len(corrupted),
        "first_difference": first_difference,
        "answer_token": answers[0],
        "corrupting_answer_token": answers[1],
        "dropped": reason,
    }


Tokens = st.lists(st.integers(0, 2), min_size=1, max_size=3)
Answer = st.none() | st.integers(0, 1)


@given(st.lists(st.tuples(Tokens, Answer), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_every_pair_has_a_row_in_key_order_that_a_plain_loop_would_write(
    given_prompts: list[tuple[list[int], int | None]], random: object
) -> None:
    rows: list[Row] = [
        (template, f"term {place}", indices, answer)
        for template in ("s", "t")
        for place, (indices, answer) in enumerate(given_prompts)
    ]
    terms = sorted({term for _, term, _, _ in rows})
    keys = [(template, one, other) for template in ("s", "t") for one in terms for other in terms if one != other]
    prompts, tokenized = prompts_of(rows)
    shuffled = keys.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = pair_tokens(pairs_of(shuffled), prompts, tokenized).to_pylist()
    known = {(template, term): (indices, answer) for template, term, indices, answer in rows}
    assert [(row["template"], row["term"], row["corrupting_term"]) for row in found] == keys
    for row in found:
        clean, answer = known[row["template"], row["term"]]
        corrupted, other = known[row["template"], row["corrupting_term"]]
        places = [place for place, (one, two) in enumerate(zip(clean, corrupted, strict=False)) if one != two]
        if len(clean) != len(corrupted):
            reason = "lengths differ"
        elif not places:
            reason = "prompts are the same"
        elif answer is None or other is None:
            reason = "no answer token"
        else:
            reason = "answers begin alike" if answer == other else None
        assert row["dropped"] == reason
        assert row["first_difference"] == (places[0] if places and len(clean) == len(corrupted) else None)
        assert (row["answer_token"], row["corrupting_answer_token"]) == (answer, other)


def test_an_answer_that_begins_otherwise_after_another_term_is_none() -> None:
    rows: list[Row] = [
        (template, term, [place], answer)
        for template, odd in (("s", 7), ("t", 8))
        for place, (term, answer) in enumerate([("a", 3), ("b", 7), ("c", odd), ("d", None)])
    ]
    words = {"a": "red", "b": "green", "c": "green", "d": "green"}
    prompts, tokenized = prompts_of(rows, {(template, term): words[term] for template, term, _, _ in rows})
    found = pair_tokens(pairs_of([(t, "a", term) for t in "st" for term in "bd"]), prompts, tokenized).to_pylist()
    assert [(row["template"], row["corrupting_term"], row["dropped"]) for row in found] == [
        ("s", "b", None),
        ("s", "d", "no answer token"),
        ("t", "b", "no answer token"),
        ("t", "d", "no answer token"),
    ]


def test_under_a_real_tokenizer_the_corrupted_answer_begins_as_it_would_after_the_clean_prompt() -> None:
    answers = {"aspirin": "pain", "heparin": "blood", "salbutamol": "asthma", "codeine": "pain relief"}
    texts = {"a": "The drug {} is used for", "b": "They gave {} against"}
    rows = [
        {
            "template": template,
            "term": term,
            "template_kind": "asking",
            "labelling": "use",
            "held_out": False,
            "text": text.format(term),
            "answer": answer,
            "term_start": text.index("{"),
            "term_end": text.index("{") + len(term),
        }
        for template, text in texts.items()
        for term, answer in sorted(answers.items())
    ]
    prompts = pa.Table.from_pylist(rows, schema=table("prompts").schema())
    tokenizer = tiny_tokenizer([f"{row['text']} {row['answer']}" for row in rows if row["term"] != "salbutamol"], 400)
    keys = [(template, one, other) for template in texts for one in answers for other in answers if one != other]
    found = pair_tokens(pairs_of(keys), prompts, tokenize(tokenizer, prompts)).to_pylist()
    assert {row["dropped"] for row in found} >= {None, "lengths differ"}
    for row in found:
        clean, corrupted = (texts[row["template"]].format(row[side]) for side in ("term", "corrupting_term"))
        split, other = tokenizer([clean, corrupted])["input_ids"]
        whole = tokenizer(f"{clean} {answers[row['corrupting_term']]}")["input_ids"]
        assert row["corrupting_answer_token"] == whole[len(split)]
        assert (row["tokens"], row["corrupted_tokens"]) == (len(split), len(other))


def test_the_term_is_patched_where_both_terms_end_at_one_token() -> None:
    _, tokenized = prompts_of([("t", "a", [1, 2], 3), ("t", "b", [1, 3], 4), ("t", "c", [1, 4, 5], 4)])
    pairs = pairs_of([("t", "a", "b"), ("t", "a", "c"), ("t", "c", "a"), ("t", "b", "a")])
    assert term_token(pairs, tokenized.table).to_pylist() == [1, None, None, 1]


def test_no_pairs_give_no_rows() -> None:
    prompts, tokenized = prompts_of([("t", "a", [1, 2], 3)])
    found = pair_tokens(pairs_of([]), prompts, tokenized)
    validate(table("pair_tokens"), found)
    assert found.num_rows == len(term_token(found, tokenized.table)) == 0


def test_a_pair_of_a_prompt_that_is_not_there_is_named() -> None:
    prompts, tokenized = prompts_of([("t", "a", [1, 2], 3)])
    with pytest.raises(InputError, match="template 't' and term 'z'"):
        pair_tokens(pairs_of([("t", "a", "z")]), prompts, tokenized)
