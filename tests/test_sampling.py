"""What an intervention takes of prompts and pairs is spread evenly, and hangs on nothing but seed and keys."""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.sampling import sample_pairs, sample_prompts, spread
from warehouse.errors import InputError
from warehouse.tables import table

LABELS = ("red", "green", "blue")


def term_names(terms: int) -> list[str]:
    return [f"term {place:02d}" for place in range(terms)]


def rows_of(name: str, rows: Iterable[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=table(name).schema())


def terms_of(terms: int, variants: int = 0) -> pa.Table:
    """Main terms, and control spellings of the first of them."""
    main = [{"term": term, "spelling": term, "variant": "", "source": "x"} for term in term_names(terms)]
    other = [{"term": f"variant {v}", "spelling": "v", "variant": "upper", "source": "x"} for v in range(variants)]
    return rows_of("terms", [*main, *other])


def labels_of(terms: pa.Table) -> pa.Table:
    return rows_of(
        "labels",
        (
            {
                "labelling": "colour",
                "term": term,
                "kind": "categorical",
                "label": LABELS[place % len(LABELS)],
                "ordinal": None,
                "number": None,
                "unit": None,
                "answer": LABELS[place % len(LABELS)],
                "answer_in_spelling": False,
            }
            for place, term in enumerate(terms["term"].to_pylist())
        ),
    )


def prompts_of(terms: pa.Table, templates: int) -> pa.Table:
    """Asking templates `t0`, `t1`, …, one that is held out and a neutral one."""
    kinds = [(f"t{place}", "asking", False) for place in range(templates)]
    return rows_of(
        "prompts",
        (
            {
                "template": template,
                "term": term,
                "template_kind": kind,
                "labelling": "colour" if kind == "asking" else None,
                "held_out": held_out,
                "text": f"{template} {term}",
                "answer": "red" if kind == "asking" else None,
                "term_start": 3,
                "term_end": 3 + len(term),
            }
            for template, kind, held_out in [("neutral", "neutral", False), ("held-out", "asking", True), *kinds]
            for term in terms["term"].to_pylist()
        ),
    )


def tokens_of(prompts: pa.Table, mute: frozenset[tuple[str, str]] = frozenset()) -> pa.Table:
    """Tokens of prompts, some of whose answers don't fit."""
    return rows_of(
        "tokens",
        (
            {
                "template": row["template"],
                "term": row["term"],
                "tokens": 4,
                "term_tokens": 1,
                "term_first": 1,
                "term_last": 1,
                "answer_tokens": 1,
                "answer_token": None if row["answer"] is None or (row["template"], row["term"]) in mute else 5,
                "term_last_text": "x",
                "answer_text": "y",
                "first_token": 0,
            }
            for row in prompts.to_pylist()
        ),
    )


def uneven(counts: Counter[str], things: int) -> int:
    """Most draws of one thing minus fewest, those counted that were never drawn."""
    return max(counts.values(), default=0) - (min(counts.values()) if len(counts) == things else 0)


Grid = st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(1, 200), st.integers(0, 3))


@given(Grid)
def test_terms_templates_and_labels_come_equally_often(grid: tuple[int, int, int, int]) -> None:
    size, templates, count, seed = grid
    terms = terms_of(size)
    prompts, labels = prompts_of(terms, templates), labels_of(terms)
    found = sample_prompts(prompts, labels, tokens_of(prompts), terms=terms, count=count, seed=seed).to_pylist()
    assert len(found) == min(count, size * templates)
    label_of = {row["term"]: row["label"] for row in labels.to_pylist()}
    assert uneven(Counter(row["term"] for row in found), size) <= 1
    assert uneven(Counter(row["template"] for row in found), templates) <= (1 if count <= size else 2)
    if count <= size - size % len(LABELS):
        assert uneven(Counter(label_of[row["term"]] for row in found), min(size, len(LABELS))) <= 1


@given(Grid, st.randoms(use_true_random=False))
def test_the_draw_hangs_on_seed_and_keys_alone(grid: tuple[int, int, int, int], random: object) -> None:
    size, templates, count, seed = grid
    terms = terms_of(size)
    prompts, labels = prompts_of(terms, templates), labels_of(terms)
    tokens = tokens_of(prompts)
    found = sample_prompts(prompts, labels, tokens, terms=terms, count=count, seed=seed)
    order = list(range(prompts.num_rows))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = sample_prompts(prompts.take(pa.array(order)), labels, tokens, terms=terms, count=count, seed=seed)
    assert mixed.equals(found)
    keys = [(row["template"], row["term"]) for row in found.to_pylist()]
    assert keys == sorted(set(keys))


def test_another_seed_draws_other_prompts() -> None:
    terms = terms_of(30)
    prompts, labels = prompts_of(terms, 4), labels_of(terms)
    draws = [
        sample_prompts(prompts, labels, tokens_of(prompts), terms=terms, count=20, seed=seed) for seed in (0, 1, 2)
    ]
    assert len({str(draw.to_pylist()) for draw in draws}) == 3


def test_only_what_asks_is_not_held_out_fits_the_tokenizer_and_is_a_main_term_is_drawn() -> None:
    terms = terms_of(3, variants=2)
    prompts, labels = prompts_of(terms, 2), labels_of(terms)
    tokens = tokens_of(prompts, frozenset({("t0", "term 01"), ("t1", "variant 0")}))
    expected = {("t0", "term 00"), ("t0", "term 02"), ("t1", "term 00"), ("t1", "term 01"), ("t1", "term 02")}
    spelled = {("t0", "variant 0"), ("t0", "variant 1"), ("t1", "variant 1")}
    for variants, wanted in ((False, expected), (True, expected | spelled)):
        for count in (0, 1000):
            found = sample_prompts(prompts, labels, tokens, terms=terms, count=count, seed=0, variants=variants)
            assert {(row["template"], row["term"]) for row in found.to_pylist()} == wanted
            assert found.schema.equals(prompts.schema)


def test_prompts_that_ask_for_different_labellings_are_each_spread_over_their_own_labels() -> None:
    terms = terms_of(30)
    prompts = prompts_of(terms, 2).to_pylist()
    for row in prompts:
        row["labelling"] = "shape" if row["template"] == "t1" else row["labelling"]
    colours = labels_of(terms).to_pylist()
    shapes = [
        row | {"labelling": "shape", "label": "red" if place < 5 else "flat"} for place, row in enumerate(colours)
    ]
    asked = rows_of("prompts", prompts)
    labels = rows_of("labels", [*colours, *shapes])
    found = sample_prompts(asked, labels, tokens_of(asked), terms=terms, count=12, seed=3).to_pylist()
    label_of = {(row["labelling"], row["term"]): row["label"] for row in labels.to_pylist()}
    drawn = Counter((row["labelling"], label_of[row["labelling"], row["term"]]) for row in found)
    colour = {("colour", label): 2 for label in LABELS}
    assert drawn == colour | {("shape", "red"): 3, ("shape", "flat"): 3}


def test_a_continuous_labelling_has_no_labels_and_is_drawn_from_all_the_same() -> None:
    terms = terms_of(9)
    prompts = prompts_of(terms, 2)
    none = table("labels").schema().empty_table()
    assert sample_prompts(prompts, none, tokens_of(prompts), terms=terms, count=9, seed=0).num_rows == 9


def pairs_of(terms: list[str], templates: list[str], dropped: str | None = None) -> pa.Table:
    return rows_of(
        "pair_tokens",
        (
            {
                "template": template,
                "term": term,
                "corrupting_term": terms[(place + step) % len(terms)],
                "tokens": 4,
                "corrupted_tokens": 4,
                "first_difference": 1,
                "answer_token": 5,
                "corrupting_answer_token": 6,
                "dropped": dropped,
            }
            for template in templates
            for place, term in enumerate(terms)
            for step in (1, 2, 3)
        ),
    )


@given(st.tuples(st.integers(4, 20), st.integers(1, 5), st.integers(1, 300), st.integers(0, 3)))
def test_pairs_take_each_clean_prompt_once_before_any_twice_and_templates_equally_often(
    grid: tuple[int, int, int, int],
) -> None:
    size, templates, count, seed = grid
    terms = terms_of(size)
    prompts = prompts_of(terms, templates)
    pairs = pairs_of(term_names(size), [f"t{place}" for place in range(templates)])
    found = sample_pairs(pairs, prompts, terms=terms, count=count, seed=seed).to_pylist()
    assert len(found) == min(count, pairs.num_rows)
    assert uneven(Counter((row["template"], row["term"]) for row in found), size * templates) <= 1
    assert uneven(Counter(row["template"] for row in found), templates) <= 1
    keys = [(row["template"], row["term"], row["corrupting_term"]) for row in found]
    assert keys == sorted(set(keys))
    mixed = sample_pairs(
        pairs.take(pa.array(range(pairs.num_rows)[::-1])), prompts, terms=terms, count=count, seed=seed
    )
    assert mixed.to_pylist() == found


def test_pairs_that_were_dropped_held_out_or_of_control_spellings_are_not_drawn() -> None:
    terms = terms_of(4, variants=4)
    spelled = [name for name in terms["term"].to_pylist() if name.startswith("variant")]
    prompts = prompts_of(terms, 2)
    kept = pairs_of(term_names(4), ["t0"])
    control = pairs_of(spelled, ["t0"])
    others = [pairs_of(term_names(4), ["held-out"]), pairs_of(term_names(4), ["t1"], "lengths differ")]
    pairs = pa.concat_tables([kept, control, *others])
    order = [(name, "ascending") for name in table("pair_tokens").key_names]
    assert sample_pairs(pairs, prompts, terms=terms, count=0, seed=0).equals(kept.sort_by(order))
    both = pa.concat_tables([kept, control]).sort_by(order)
    assert sample_pairs(pairs, prompts, terms=terms, count=0, seed=0, variants=True).equals(both)


def test_nothing_to_draw_from_gives_no_rows() -> None:
    terms = terms_of(3)
    prompts = prompts_of(terms, 2)
    tokens = tokens_of(prompts)
    nothing = sample_prompts(prompts.slice(0, 0), labels_of(terms), tokens, terms=terms, count=5, seed=0)
    assert nothing.num_rows == 0
    pairs = pairs_of(term_names(4), ["t0"], "lengths differ")
    assert sample_pairs(pairs, prompts_of(terms_of(4), 1), terms=terms, count=5, seed=0).num_rows == 0


def test_a_negative_count_is_refused() -> None:
    terms = terms_of(3)
    prompts = prompts_of(terms, 2)
    with pytest.raises(InputError, match="-1 rows of prompts"):
        sample_prompts(prompts, labels_of(terms), tokens_of(prompts), terms=terms, count=-1, seed=0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12), st.data())
def test_the_draw_equals_a_plain_loop_over_the_least_used(things: list[tuple[int, int]], data: st.DataObject) -> None:
    lots = [bytes([lot]) for lot in data.draw(st.permutations(range(len(things))))]
    left = list(range(len(things)))
    slow: list[int] = []
    for _ in things:
        used = [Counter(things[row][kind] for row in slow) for kind in (0, 1)]
        best = min(left, key=lambda row: (used[0][things[row][0]], used[1][things[row][1]], lots[row]))
        left.remove(best)
        slow.append(best)
    kinds = [[thing[kind] for thing in things] for kind in (0, 1)]
    assert spread(kinds, lots, len(things)).tolist() == slow
