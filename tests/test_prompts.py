"""Tables made of a concept: their schema, the offsets of terms, and the draw of pairs for patching."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from wordfreq import word_frequency

from extract.library import CONCEPTS, Concept, load_concept, load_library
from extract.prompts import (
    ConceptCount,
    LabellingCount,
    contains_words,
    frequencies_table,
    labels_table,
    library_counts,
    library_tables,
    pairs_table,
    prompts,
    prompts_table,
    terms_table,
)
from warehouse.tables import STAGES, table

CONCEPT_TOML = """\
title = "Vitamins"
role = "control"
description = "Vitamins."

[[labellings]]
name = "solubility"
kind = "categorical"
description = "What it dissolves in."

[labellings.answers]
"oil" = "fat"

[[labellings]]
name = "discovery"
kind = "ordinal"
description = "When it was found."
column = "era"
order_column = "era_order"
pair_within = "solubility"

[[labellings]]
name = "year"
kind = "continuous"
description = "Year of discovery."
unit = "years"

[[templates]]
name = "shelf"
kind = "neutral"
text = "The pharmacist put the {term} on the shelf"

[[templates]]
name = "dissolves"
kind = "asking"
labelling = "solubility"
text = "Chemists know that {term} dissolves best in"

[[templates]]
name = "found"
kind = "asking"
labelling = "discovery"
text = "The time when {term} was found is called"
held_out = true
"""

TERMS_CSV = """\
term,spelling,variant,solubility,era,era_order,year,source
thiamine,,,water,early,1,1910,a
riboflavin,,,water,late,2,1920,b
ascorbic acid,vitamin C,,water,late,2,1928.5,c
retinol,,,oil,early,1,1913,d
phylloquinone,,,oil,late,2,1929,e
mystery,,,,,,,f
fat oil,,words,oil,early,1,1913,g
aneurin,,words,water,early,1,1910,h
"""


def make_concept(folder: Path, terms: str = TERMS_CSV, toml: str = CONCEPT_TOML) -> Concept:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "concept.toml").write_text(toml, encoding="utf-8")
    (folder / "terms.csv").write_text(terms, encoding="utf-8")
    return load_concept(folder)


@pytest.fixture
def vitamins(tmp_path: Path) -> Concept:
    return make_concept(tmp_path / "vitamins")


def by_key(rows: pa.Table, *keys: str) -> dict[tuple[str, ...], dict[str, object]]:
    return {tuple(row[key] for key in keys): row for row in rows.to_pylist()}


def every_concept(tmp_path: Path) -> Iterator[Concept]:
    yield make_concept(tmp_path / "vitamins")
    yield from load_library().concepts


def test_every_table_has_the_registrys_schema_unique_sorted_keys_and_no_null_where_none_may_be(tmp_path: Path) -> None:
    for concept in every_concept(tmp_path):
        tables = library_tables(concept)
        assert list(tables) == [entry.name for entry in STAGES["library"]]
        for name, rows in tables.items():
            assert rows.schema.equals(table(name).schema())
            rows.validate(full=True)
            assert [
                column.name for column in table(name).columns if not column.nullable and rows[column.name].null_count
            ] == []
            keys = [tuple(row.values()) for row in rows.select([key.name for key in table(name).keys]).to_pylist()]
            if table(name).keys:
                assert keys == sorted(set(keys))
            for column in table(name).columns:
                if column.allowed:
                    assert set(rows[column.name].to_pylist()) <= set(column.allowed)


def test_the_concepts_row_says_what_it_is(vitamins: Concept) -> None:
    assert library_tables(vitamins)["concepts"].to_pylist() == [
        {"title": "Vitamins", "role": "control", "description": "Vitamins.", "fingerprint": vitamins.fingerprint}
    ]


def test_a_term_is_spelled_as_its_row_says(vitamins: Concept) -> None:
    rows = by_key(terms_table(vitamins), "term")
    assert rows["ascorbic acid",] == {"term": "ascorbic acid", "spelling": "vitamin C", "variant": "", "source": "c"}
    assert rows["aneurin",]["variant"] == "words"
    assert rows["thiamine",]["spelling"] == "thiamine"


def test_a_term_is_as_frequent_as_its_spelling_and_never_more_than_the_rarest_of_its_words(vitamins: Concept) -> None:
    rows = {row["term"]: row["zipf_frequency"] for row in frequencies_table(vitamins).to_pylist()}
    assert rows.keys() == {term.name for term in vitamins.terms}
    spelled = [word_frequency(word, "en") for word in ("vitamin", "c")]
    expected = math.log10(1e9 / sum(1 / each for each in spelled))
    assert rows["ascorbic acid"] == pytest.approx(expected, abs=0.02)
    assert 0 < rows["thiamine"] < rows["ascorbic acid"]
    drugs = load_concept(CONCEPTS / "drugs")
    uses = frequencies_table(drugs)["zipf_frequency"].to_pylist()
    assert uses.count(0.0) == 57


def test_labels_hold_what_their_kind_asks_for_and_skip_the_unlabelled(vitamins: Concept) -> None:
    rows = by_key(labels_table(vitamins), "labelling", "term")
    assert not any(term == "mystery" for _, term in rows)
    assert len(rows) == 3 * 7
    common = {"term": "retinol", "answer_in_spelling": False}
    assert rows["solubility", "retinol"] == common | {
        "labelling": "solubility", "kind": "categorical", "label": "oil", "ordinal": None, "number": None, "unit": None,
        "answer": "fat",
    }  # fmt: skip
    assert rows["discovery", "retinol"] == common | {
        "labelling": "discovery", "kind": "ordinal", "label": "early", "ordinal": 1, "number": None, "unit": None,
        "answer": "early",
    }  # fmt: skip
    assert rows["year", "retinol"] == common | {
        "labelling": "year", "kind": "continuous", "label": None, "ordinal": None, "number": 1913.0, "unit": "years",
        "answer": "1913",
    }  # fmt: skip
    assert rows["solubility", "fat oil"]["answer_in_spelling"] is True


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("heart failure", "heart", True),
        ("Heart failure", "HEART", True),
        ("heartburn", "heart", False),
        ("beta-blocker", "blocker", True),
        ("the 5 mg dose", "5", True),
        ("the 50 mg dose", "5", False),
        ("the 2.5 mg dose", "5", False),
        ("the 5.2 mg dose", "5", False),
        ("take 5.", "5", True),
        ("a (b) c", "(b)", True),
        ("47-year-old man", "man", True),
        ("47-year-old woman", "man", False),
    ],
)
def test_words_are_found_whole_and_in_any_case(text: str, words: str, found: bool) -> None:
    assert contains_words(text, words) is found


def test_every_template_meets_every_term_and_offsets_cut_out_the_spelling(tmp_path: Path) -> None:
    for concept in every_concept(tmp_path):
        spellings = {term.name: term.spelling for term in concept.terms}
        texts = {template.name: template.text for template in concept.templates}
        rows = prompts_table(concept).to_pylist()
        assert len(rows) == len(spellings) * len(texts)
        for row in rows:
            assert row["text"][row["term_start"] : row["term_end"]] == spellings[row["term"]]
            assert row["text"] == texts[row["template"]].replace("{term}", spellings[row["term"]])


def test_asking_prompts_carry_the_answer_neutral_ones_none_and_unlabelled_terms_null(vitamins: Concept) -> None:
    rows = by_key(prompts_table(vitamins), "template", "term")
    assert (rows["dissolves", "retinol"]["answer"], rows["dissolves", "retinol"]["labelling"]) == ("fat", "solubility")
    assert (rows["found", "retinol"]["answer"], rows["found", "retinol"]["held_out"]) == ("early", True)
    assert (rows["shelf", "retinol"]["answer"], rows["shelf", "retinol"]["labelling"]) == (None, None)
    assert (rows["dissolves", "mystery"]["answer"], rows["dissolves", "mystery"]["labelling"]) == (None, "solubility")
    assert [prompt.text for prompt in prompts(vitamins)] == [row["text"] for row in rows.values()]


def qualifying_pairs(concept: Concept) -> set[tuple[str, str, str]]:
    """Every pair that may be drawn, by the definition."""
    return {
        (template.name, clean.name, corrupting.name)
        for template in concept.templates
        if template.labelling is not None
        for labelling in [concept.labelling(template.labelling)]
        for clean in concept.terms
        for corrupting in concept.terms
        if clean.variant == corrupting.variant
        and labelling.answer(clean) is not None
        and labelling.answer(corrupting) is not None
        and labelling.answer(clean) != labelling.answer(corrupting)
        and (
            labelling.pair_within is None
            or clean.cells[labelling.pair_within] == corrupting.cells[labelling.pair_within] != ""
        )
    }


def drawn_pairs(concept: Concept, seed: int = 0, per_prompt: int = 6) -> list[tuple[str, str, str]]:
    rows = pairs_table(concept, seed, per_prompt).to_pylist()
    return [(row["template"], row["term"], row["corrupting_term"]) for row in rows]


def test_without_a_limit_the_pairs_are_exactly_those_that_qualify(vitamins: Concept) -> None:
    pairs = drawn_pairs(vitamins, per_prompt=100)
    assert set(pairs) == qualifying_pairs(vitamins)
    assert len(pairs) == len(set(pairs))
    assert ("dissolves", "aneurin", "fat oil") in pairs
    assert ("dissolves", "aneurin", "retinol") not in pairs
    assert ("found", "thiamine", "riboflavin") in pairs
    assert ("found", "thiamine", "phylloquinone") not in pairs


def test_shipped_pairs_qualify_and_each_prompt_gets_as_many_as_there_are_up_to_the_limit() -> None:
    for concept in load_library().concepts:
        qualifying = qualifying_pairs(concept)
        pairs = drawn_pairs(concept, per_prompt=4)
        assert set(pairs) <= qualifying
        possible = Counter((template, clean) for template, clean, _ in qualifying)
        assert Counter((template, clean) for template, clean, _ in pairs) == {
            prompt: min(count, 4) for prompt, count in possible.items()
        }


def test_a_pair_carries_both_answers(vitamins: Concept) -> None:
    rows = by_key(pairs_table(vitamins), "template", "term", "corrupting_term")
    assert rows["found", "thiamine", "riboflavin"] == {
        "template": "found", "term": "thiamine", "corrupting_term": "riboflavin", "labelling": "discovery",
        "held_out": True, "answer": "early", "corrupting_answer": "late",
    }  # fmt: skip


def test_terms_with_nothing_to_share_make_no_pair(tmp_path: Path) -> None:
    toml = CONCEPT_TOML.replace('pair_within = "solubility"', 'pair_within = "variant"')
    concept = make_concept(tmp_path / "vitamins", toml=toml)
    assert not any(template == "found" for template, _, _ in drawn_pairs(concept))


def test_the_draw_hangs_on_the_seed_the_concept_and_nothing_else(tmp_path: Path) -> None:
    countries = CONCEPTS / "countries"
    toml, terms = ((countries / name).read_text("utf-8") for name in ("concept.toml", "terms.csv"))
    header, *rows = terms.splitlines()
    shuffled = make_concept(tmp_path / "countries", "\n".join([header, *reversed(rows)]), toml)
    renamed = make_concept(tmp_path / "lands", terms, toml)
    first = drawn_pairs(load_concept(countries), seed=1)
    assert drawn_pairs(shuffled, seed=1) == first
    assert drawn_pairs(renamed, seed=1) != first
    assert drawn_pairs(shuffled, seed=2) != first


def test_a_new_term_takes_at_most_one_place_in_the_draw_of_each_prompt(tmp_path: Path) -> None:
    countries = load_concept(CONCEPTS / "countries")
    toml, terms = ((countries.folder / name).read_text("utf-8") for name in ("concept.toml", "terms.csv"))
    grown = make_concept(tmp_path / "countries", terms + "Atlantis,Europe,ATL,999,Plato\n", toml)
    before, after = set(drawn_pairs(countries)), set(drawn_pairs(grown))
    assert {corrupting for _, clean, corrupting in after - before if clean != "Atlantis"} == {"Atlantis"}
    lost = Counter((template, clean) for template, clean, _ in before - after)
    assert lost
    assert max(lost.values()) == 1
    assert len(before - after) < len(before) / 50


def test_every_candidate_is_drawn_equally_often(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(11)]
    rows = "".join(f"{name},{'oil' if name == 't0' else 'water'},era,1,1,s\n" for name in names)
    concept = make_concept(tmp_path / "vitamins", f"term,solubility,era,era_order,year,source\n{rows}")
    seeds = 600
    drawn = Counter(
        corrupting
        for seed in range(seeds)
        for template, clean, corrupting in drawn_pairs(concept, seed, per_prompt=3)
        if (template, clean) == ("dissolves", "t0")
    )
    # Ten candidates, three drawn: 180 each is expected, with a standard deviation of 11.
    assert set(drawn) == set(names[1:])
    assert all(abs(count - 0.3 * seeds) < 5 * 11.3 for count in drawn.values())


def test_the_counts_are_those_of_the_tables(tmp_path: Path) -> None:
    concept = make_concept(tmp_path / "vitamins")
    (count,) = library_counts(load_library(tmp_path))
    assert count == ConceptCount(
        concept="vitamins",
        role="control",
        terms=8,
        main_terms=6,
        labellings=(
            LabellingCount("solubility", "categorical", labels=2, terms=5),
            LabellingCount("discovery", "ordinal", labels=2, terms=5),
            LabellingCount("year", "continuous", labels=5, terms=5),
        ),
        neutral_templates=1,
        asking_templates=2,
        held_out_templates=1,
        prompts=prompts_table(concept).num_rows,
        pairs=pairs_table(concept).num_rows,
    )
