"""What the page carries is what the tables hold: packing, rounding, detail layers, prompts; and no text is code."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses import palette, validity_charts
from analyses.atlas.building import build_atlas
from analyses.atlas.details import LESION
from analyses.atlas.inputs import MODEL_TABLES, SHARED_TABLES
from analyses.atlas.library import concepts_of
from analyses.atlas.packing import NOTHING, Pack, packed, read, read_decimals, unpack
from analyses.atlas.precision import MOST, WHOLE, detail_layers
from analyses.atlas.specs import page_charts
from analyses.atlas.telling import believe, verdict_rows
from analyses.validity import ASIDE_FILE, kept_validation
from analyses.validity_summary import summarize_validation
from benchmarks.atlas_tables import ASKED, Library, Made, model_tables, named_terms, shared_tables
from warehouse.catalog import build_catalog
from warehouse.errors import InputError
from warehouse.query import run_query
from warehouse.store import Store
from warehouse.tables import table

HOSTILE = [
    "</script><script>alert(1)</script>",
    "__proto__",
    "constructor",
    "toString",
    "line\u2028and\u2029paragraph",
    "<!--<script>",
    "\"double\" 'single' `back`",
    "a.b[c].d",
    "=1+1",
    "@SUM(A1)",
    "ًالسكري",
    "x" * 300,
    "&amp; & &#60;",
    "tab\tand\nline",
    "{{ 7 * 7 }} ${7 * 7}",
]
STAGES = [f"d{number // 4} at {number % 4}" for number in range(16)]
LIBRARY = Library(
    {"drugs": HOSTILE, "stages": STAGES, "control-words": [f"w{number}" for number in range(12)]},
    labels=4,
    staged=frozenset({"stages"}),
)
MADE = {"shallow": Made(6, prompts=20, answered=4), "other": Made(9, prompts=20, answered=4)}


@pytest.fixture(scope="module")
def shared() -> dict[str, pl.DataFrame]:
    return shared_tables(LIBRARY)


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, pl.DataFrame]]:
    return {slug: model_tables(slug, made, LIBRARY) for slug, made in MADE.items()}


@pytest.fixture(scope="module")
def page(shared: dict[str, pl.DataFrame], tables: dict[str, dict[str, pl.DataFrame]]) -> str:
    return build_atlas(shared, list(tables), tables.__getitem__).decode()


@pytest.fixture(scope="module")
def blocks(page: str) -> dict[str, tuple[dict[str, Any], bytes]]:
    """What each block of the page holds."""
    found = re.findall(r'<script type="text/plain" id="((?:model-\d+)|library)">([^<]*)</script>', page)
    return {name: unpack(text) for name, text in found}


def test_marked_layers_are_drawn_over_the_layer_that_is_looked_at() -> None:
    profile = page_charts()["profile"]
    source = {data["name"]: data.get("source", data["name"]) for data in profile["data"]}
    drawn = [source.get(mark.get("from", {}).get("data")) for mark in profile["marks"]]
    assert 0 <= drawn.index("column") < drawn.index("regions") < drawn.index("hits")


def shape(block: tuple[dict[str, Any], bytes], reference: dict[str, Any], *sizes: int) -> np.ndarray[Any, Any]:
    """A column of a block in its shape."""
    return read_decimals(reference, block[1]).reshape(*sizes)


# Packing


@given(
    st.lists(st.integers(-32768, 32767), max_size=60),
    st.integers(0, 7),
)
def test_whole_numbers_come_back_whatever_the_stride_though_differences_leave_two_bytes(
    values: list[int], stride: int
) -> None:
    pack = Pack()
    pack.integers(np.array([1, 2, 3]))
    reference = pack.integers(np.array(values, dtype=np.int64), stride=stride)
    header, content = unpack(pack.block({"x": reference}))
    assert read(header["x"], content).tolist() == values


def test_the_largest_differences_wrap_around_and_back() -> None:
    pack = Pack()
    values = np.array([[-32768, 32767], [32767, -32768], [-32768, 0]])
    header, content = unpack(pack.block({"x": pack.integers(values, stride=2)}))
    assert read(header["x"], content).tolist() == values.reshape(-1).tolist()


@given(
    st.lists(st.one_of(st.none(), st.floats(-5000, 5000)), max_size=40),
    st.integers(0, 4),
    st.integers(0, 5),
)
def test_decimals_come_back_as_they_are_rounded_and_none_as_none(
    values: list[float | None], most: int, stride: int
) -> None:
    pack = Pack()
    given_ = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    column = pack.decimals(given_, most=most, stride=stride)
    header, content = unpack(pack.block({"x": column}))
    found = read_decimals(header["x"], content)
    assert np.array_equal(np.isnan(found), np.isnan(given_))
    assert column["decimals"] <= most
    known = ~np.isnan(given_)
    assert np.abs(found[known] - given_[known]).max(initial=0.0) <= 0.5 * 10.0 ** -column["decimals"] + 1e-9
    largest = np.abs(given_[known]).max(initial=0.0)
    assert column["decimals"] == most or largest * 10.0 ** (column["decimals"] + 1) > 32_000


def test_numbers_that_do_not_fit_are_refused_and_infinite_ones_are_none() -> None:
    with pytest.raises(ValueError, match="do not fit in two bytes"):
        Pack().integers(np.array([40_000]))
    pack = Pack()
    header, content = unpack(pack.block({"x": pack.decimals(np.array([math.inf, -math.inf, 1.0]))}))
    assert read(header["x"], content).tolist() == [NOTHING, NOTHING, 10_000]


def test_nothing_packs_to_nothing() -> None:
    pack = Pack()
    told = {"i": pack.integers(np.array([], dtype=np.int64)), "d": pack.decimals(np.array([]), stride=3)}
    header, content = unpack(pack.block(told))
    assert (content, read(header["i"], content).size, read_decimals(header["d"], content).size) == (b"", 0, 0)


@given(st.binary(max_size=300))
def test_any_bytes_are_written_in_characters_that_mean_nothing_to_html(content: bytes) -> None:
    pack = Pack()
    numbers = np.frombuffer(content, np.uint8).astype(np.int64)
    text = pack.block({"x": pack.integers(numbers)})
    header, found = unpack(text)
    assert read(header["x"], found).astype(np.uint8).tobytes() == content
    assert not re.search(r"[&<>\s\x00-\x20\x7f-\uffff]", text)
    assert packed(content) == packed(content)


def test_points_keep_to_half_a_step_and_their_frame() -> None:
    draw = np.random.default_rng(0)
    places = draw.normal(size=(5, 30, 2)) * [3, 500]
    pack = Pack()
    reference, (left, right, bottom, top) = pack.points(places, steps=4096)
    _, content = unpack(pack.block({}))
    whole = read(reference, content).reshape(places.shape)
    found = np.stack(
        [left + (right - left) * whole[..., 0] / 4095, bottom + (top - bottom) * whole[..., 1] / 4095], axis=-1
    )
    assert (np.abs(found - places) <= np.array([right - left, top - bottom]) / 4095 * 0.51 + 1e-3).all()


def test_terms_that_all_lie_at_one_point_do() -> None:
    pack = Pack()
    reference, frame = pack.points(np.ones((3, 4, 2)), steps=1024)
    _, content = unpack(pack.block({}))
    assert read(reference, content).tolist() == [0] * 24
    assert frame == [1.0, 2.0, 1.0, 2.0]


# Which layers are told of in detail


def test_shallow_models_are_told_whole_and_deep_ones_where_their_maps_mark() -> None:
    assert detail_layers(WHOLE, [3]) == list(range(WHOLE))
    found = detail_layers(80, [61, 62, -1, 80, 500])
    assert {0, 61, 62, 79} <= set(found)
    assert len(found) <= MOST
    assert found == sorted(set(found))
    assert max(np.diff(found)) < 80 // (MOST // 2)


def test_marked_layers_that_are_too_many_are_thinned_from_end_to_end() -> None:
    found = detail_layers(80, range(80))
    assert len(found) <= MOST
    assert (found[0], found[-1]) == (0, 79)
    assert max(np.diff(found)) <= 12


# The whole page


def test_two_builds_are_the_same_to_the_byte(
    shared: dict[str, pl.DataFrame], tables: dict[str, dict[str, pl.DataFrame]], page: str
) -> None:
    turned = {slug: {name: rows.reverse() for name, rows in own.items()} for slug, own in tables.items()}
    assert build_atlas(shared, list(tables), tables.__getitem__).decode() == page
    # The order of rows in the tables is nobody's business, but for names that nothing else orders.
    other = build_atlas(shared, list(turned), turned.__getitem__).decode()
    assert re.sub(r'id="model-\d">[^<]*', "", other) == re.sub(r'id="model-\d">[^<]*', "", page)


def test_no_text_from_data_becomes_markup(page: str) -> None:
    assert "alert(1)" not in page
    told = [text.lower() for text in re.findall(r"<script[^>]*>", page)]
    assert told == [
        '<script type="application/json" id="charts">',
        '<script type="text/plain" id="library">',
        '<script type="text/plain" id="model-0">',
        '<script type="text/plain" id="model-1">',
        '<script type="text/plain" id="bundle">',
        "<script>",
    ]
    assert page.count("</script>") == len(told)
    assert page.count("<!--") == 0
    assert not re.search(r"\son\w+=|javascript:", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert json.loads(re.findall(r'id="charts">(.*?)</script>', page, flags=re.DOTALL)[0]).keys() >= {"map", "profile"}


def test_the_data_card_tells_settings_that_the_tables_keep_and_no_others(page: str) -> None:
    rows = [re.findall(r"<td>([^<]*)</td>", row) for row in page.split("With which settings")[1].split("<tr>")[2:4]]
    remade = "half of the terms (6), one template (3), seed (3), held-out templates (1), metric (1)"
    assert rows == [[slug, "asking", "last, mean, term", "main terms", "\u2013", remade, "\u2013"] for slug in MADE]


def test_a_technique_has_one_colour_on_the_page_and_on_all_charts(page: str) -> None:
    for name, colour in palette.TECHNIQUES.items():
        assert page.count(f"--{name}: {colour};") == 1
        assert page.count(f"--{name}: {palette.TECHNIQUES_ON_DARK[name]};") == 1
    validation = pl.read_csv(Path(validity_charts.__file__).with_name("validation.csv"))
    drawn = json.dumps(validity_charts.validity_chart(validation).to_dict(validate=False))
    assert all(f'"{colour}"' in drawn for colour in palette.TECHNIQUES.values())
    assert not {*palette.TECHNIQUES.values()} & {*palette.MAPS.values(), *palette.OTHERS}


def test_names_of_models_and_sentences_are_escaped(shared: dict[str, pl.DataFrame]) -> None:
    evil = '<img src=x onerror="alert(1)">'
    rows = model_tables("m", Made(3), LIBRARY)
    for name, column in (("findings", "sentence"), ("localisations", "sentence"), ("models", "architecture")):
        rows[name] = rows[name].with_columns(pl.lit(evil).alias(column))
    built = build_atlas(shared, ["m"], lambda _: rows).decode()
    assert "<img" not in built
    assert "&lt;img src=x" in built


def test_every_prompt_is_put_together_again_from_its_template(shared: dict[str, pl.DataFrame]) -> None:
    odd = pl.col("term") == "constructor"
    prompts = shared["prompts"].with_columns(
        text=pl.when(odd & (pl.col("template") == "said")).then(pl.lit("Otherwise.")).otherwise("text")
    )
    for concept in concepts_of({**shared, "prompts": prompts}):
        spellings = concept.told["spellings"] or concept.terms
        found = {
            (template["name"], term): template.get("own", {}).get(
                term, f"{template['before']}{spelling}{template['behind']}"
            )
            for template in concept.told["templates"]
            for term, spelling in zip(concept.terms, spellings, strict=True)
        }
        own = prompts.filter(concept=concept.name)
        assert found == {(row["template"], row["term"]): row["text"] for row in own.iter_rows(named=True)}


def test_terms_are_as_frequent_as_the_table_says_and_unknown_where_it_has_none(shared: dict[str, pl.DataFrame]) -> None:
    known = shared["frequencies"].filter(pl.col("term") != "constructor")
    for concept in concepts_of({**shared, "frequencies": known}):
        rows = known.filter(concept=concept.name)
        expected = dict(rows.select("term", "zipf_frequency").iter_rows())
        found = dict(zip(concept.terms, concept.told["zipf"], strict=True))
        assert {term: uses for term, uses in found.items() if uses is not None} == pytest.approx(expected, abs=5e-3)
        assert set(found) - set(expected) <= {"constructor"}


def test_labels_and_answers_are_those_of_the_terms(shared: dict[str, pl.DataFrame]) -> None:
    (drugs,) = (concept for concept in concepts_of(shared) if concept.name == "drugs")
    asked = next(labelling for labelling in drugs.told["labellings"] if labelling["name"] == ASKED)
    rows = shared["labels"].filter(concept="drugs", labelling=ASKED)
    expected = {row["term"]: (row["label"], row["answer"]) for row in rows.iter_rows(named=True)}
    told = {
        term: (asked["labels"][place], answer)
        for term, place, answer in zip(drugs.terms, asked["of"], asked["answers"], strict=True)
    }
    assert told == expected


@pytest.mark.parametrize(("place", "slug"), [("model-0", "shallow"), ("model-1", "other")])
def test_profiles_are_the_tables_rounded(
    blocks: dict[str, Any], tables: dict[str, dict[str, pl.DataFrame]], place: str, slug: str
) -> None:
    block = blocks[place]
    header = block[0]
    shown = blocks["library"][0]["shown"]
    rows = tables[slug]["profiles"]
    assert len(header["profiles"]) == len(
        rows.select("technique", "metric", "position", "concept", "labelling").unique()
    )
    for told in header["profiles"]:
        about = {name: shown[told["shown"]][name] for name in ("technique", "metric", "position")}
        own = rows.filter(**about, concept=told["concept"], labelling=told["labelling"]).sort("layer")
        numbers = shape(block, told["numbers"], len(header["numbers"]), header["layers"] + 1)
        scale = told["numbers"]["scale"]
        step = 10.0 ** -told["numbers"]["decimals"] / scale
        for name, found in zip(header["numbers"], numbers / scale, strict=True):
            assert found[own["layer"].to_numpy() + 1] == pytest.approx(own[name].to_numpy(), abs=0.5 * step + 1e-12)
            assert np.isnan(np.delete(found, own["layer"].to_numpy() + 1)).all()
        assert step <= 2e-3 * float(own["value"].abs().max() or 1)


def test_neighbours_are_the_tables_in_their_order(
    blocks: dict[str, Any], tables: dict[str, dict[str, pl.DataFrame]]
) -> None:
    block = blocks["model-0"]
    header, count = block[0], len(HOSTILE)
    told = header["concepts"]["drugs"]["neighbours"]
    near = read(told["terms"], block[1]).reshape(header["layers"], count, told["ranks"])
    cosine = shape(block, told["similarity"], told["ranks"], header["layers"], count)
    rows = tables["shallow"]["neighbours"].filter(concept="drugs")
    assert len(rows) == near.size
    for row in rows.iter_rows(named=True):
        at = (row["layer"], HOSTILE.index(row["term"]))
        assert HOSTILE[near[(*at, row["rank"])]] == row["neighbour"]
        assert cosine[(row["rank"], *at)] == pytest.approx(row["similarity"], abs=5.1e-4)


def test_effects_and_pairs_are_the_tables_prompt_by_prompt(
    blocks: dict[str, Any], tables: dict[str, dict[str, pl.DataFrame]]
) -> None:
    block = blocks["model-0"]
    header = block[0]
    effects, restored = (header["concepts"]["drugs"][name] for name in ("effects", "restored"))
    under = shape(block, effects["under"], header["layers"], effects["n"])
    intact = shape(block, effects["intact"], effects["n"])
    templates = [told["name"] for told in blocks["library"][0]["concepts"][0]["templates"]]
    keys = [
        (templates[template], HOSTILE[term])
        for template, term in zip(*(read(effects[name], block[1]) for name in ("template", "term")), strict=True)
    ]
    rows = tables["shallow"]["lesions"].filter(concept="drugs", lesion=LESION)
    assert len(rows) == under.size
    for row in rows.iter_rows(named=True):
        at = keys.index((row["template"], row["term"]))
        assert under[row["layer"], at] == pytest.approx(row["log_probability"], abs=5.1e-4)
        assert intact[at] == pytest.approx(row["intact_log_probability"], abs=5.1e-4)
    names = ("template", "term", "corrupting")
    pairs = [
        (templates[template], HOSTILE[term], HOSTILE[other])
        for template, term, other in zip(*(read(restored[name], block[1]) for name in names), strict=True)
    ]
    differs = read(restored["differs"], block[1])
    for row in tables["shallow"]["patches"].filter(concept="drugs").iter_rows(named=True):
        at = pairs.index((row["template"], row["term"], row["corrupting_term"]))
        patched = shape(block, restored[row["site"]], header["layers"], restored["n"])
        assert patched[row["layer"], at] == pytest.approx(row["ld_patched"], abs=5.1e-3)
        assert differs[at] == (row["ld_clean"] - row["ld_corrupted"] >= 0.5)


def test_effects_by_term_are_those_of_the_sql_view(tmp_path: Path) -> None:
    """The made-up tables are committed to a warehouse: they keep the contract, and SQL finds what the page adds up."""
    library = named_terms(2, 12)
    rows = model_tables("m", Made(4, prompts=30, answered=2), library)
    store = Store(tmp_path)
    for name, whole in {**shared_tables(library), **rows}.items():
        for keys, part in _partitions(name, whole):
            store.write(name, part.to_arrow().cast(table(name).schema(30)), fingerprint="made up", **keys)
    build_catalog(tmp_path)
    found = {
        (row["layer"], row["term"]): row
        for row in run_query(
            tmp_path,
            "SELECT * FROM term_effects WHERE model = 'm' AND concept = 'concept-0' AND labelling = $labelling",
            {"labelling": ASKED},
        ).to_pylist()
    }
    built = build_atlas(shared_tables(library), ["m"], lambda _: rows).decode()
    block = unpack(re.findall(r'id="model-0">([^<]*)<', built)[0])
    header, terms = block[0], library.terms["concept-0"]
    effects, restored = (header["concepts"]["concept-0"][name] for name in ("effects", "restored"))
    of_prompt, of_pair = (read(part["term"], block[1]) for part in (effects, restored))
    cost = shape(block, effects["intact"], effects["n"]) - shape(block, effects["under"], 4, effects["n"])
    clean, corrupted = (shape(block, restored[name], restored["n"]) for name in ("clean", "corrupted"))
    patched = shape(block, restored["resid"], 4, restored["n"])
    differs = read(restored["differs"], block[1]).astype(bool)
    assert found
    for (layer, term), row in found.items():
        own = of_prompt == terms.index(term)
        assert own.sum() == row["prompts"]
        if row["prompts"]:
            assert cost[layer, own].mean() == pytest.approx(row["lesion_drop"], abs=1.1e-3)
        pairs = (of_pair == terms.index(term)) & differs
        assert pairs.sum() == row["pairs"]
        if row["pairs"]:
            share = (patched[layer, pairs] - corrupted[pairs]).sum() / (clean[pairs] - corrupted[pairs]).sum()
            assert share == pytest.approx(row["patch_restored"], abs=0.04)


def _partitions(name: str, whole: pl.DataFrame) -> Iterator[tuple[dict[str, str], pl.DataFrame]]:
    keys = list(table(name).partitions)
    if not keys:
        yield {}, whole
        return
    for values, part in whole.group_by(keys, maintain_order=True):
        yield dict(zip(keys, map(str, values), strict=True)), part.drop(keys)


# What is missing


@pytest.mark.parametrize(
    "name", ["projections", "neighbours", "lesions", "patches", "responses", "profiles", "stability"]
)
def test_a_table_without_rows_leaves_its_part_out(shared: dict[str, pl.DataFrame], name: str) -> None:
    rows = model_tables("m", Made(4, prompts=8, answered=2, without=frozenset({name})), LIBRARY)
    built = build_atlas(shared, ["m"], lambda _: rows).decode()
    header = unpack(re.findall(r'id="model-0">([^<]*)<', built)[0])[0]
    part = {"projections": "pictures", "lesions": "effects", "patches": "restored", "responses": "answers"}.get(
        name, name
    )
    told = header["concepts"]["drugs"].get(part) if part in header["concepts"]["drugs"] else header.get(part)
    assert not told


def test_numbers_that_are_not_there_stay_out(shared: dict[str, pl.DataFrame]) -> None:
    rows = model_tables("m", Made(4, prompts=8, answered=2), LIBRARY)
    bare = ("low", "high", "null_mean", "null_high", "null_p")
    rows["profiles"] = rows["profiles"].with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in bare)
    rows["findings"] = rows["findings"].with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("estimate", "low", "high", "null_mean", "null_p")
    )
    built = build_atlas(shared, ["m"], lambda _: rows).decode()
    assert ">nan<" not in built.lower()
    assert ">none<" not in built.lower()
    header, content = unpack(re.findall(r'id="model-0">([^<]*)<', built)[0])
    numbers = read_decimals(header["profiles"][0]["numbers"], content).reshape(len(header["numbers"]), -1)
    known = ~np.isnan(numbers).all(axis=1)
    assert [name for name, is_known in zip(header["numbers"], known, strict=True) if is_known] == ["value"]


@pytest.mark.parametrize("layers", [1, 2, 80])
def test_models_of_any_depth_are_shown(layers: int) -> None:
    library = named_terms(2, 5)
    rows = model_tables("m", Made(layers, prompts=4, answered=1), library)
    built = build_atlas(shared_tables(library), ["m"], lambda _: rows).decode()
    header = unpack(re.findall(r'id="model-0">([^<]*)<', built)[0])[0]
    assert all(len(row["cells"]) == layers for row in header["maps"]["consensus"])
    assert header["details"][0] == 0
    assert header["details"][-1] == layers - 1


def test_without_a_model_or_without_its_map_it_says_what_to_do(shared: dict[str, pl.DataFrame]) -> None:
    with pytest.raises(InputError, match=r"no model to show.*vesalius run"):
        build_atlas(shared, [], lambda _: {})
    rows = model_tables("m", Made(3, without=frozenset({"localisations"})), LIBRARY)
    with pytest.raises(InputError, match=r"no map of 'm'.*vesalius run --model m"):
        build_atlas(shared, ["m"], lambda _: rows)


def test_the_page_asks_for_tables_of_the_registry_alone() -> None:
    assert all(table(name).name == name for name in (*SHARED_TABLES, *MODEL_TABLES))
    assert set(model_tables("m", Made(2), LIBRARY)) == set(MODEL_TABLES)
    assert set(shared_tables(LIBRARY)) == set(SHARED_TABLES)


def test_how_far_maps_are_to_be_believed_is_told_of_models_held_aside_too() -> None:
    chosen, aside = (
        summarize_validation(pl.DataFrame(rows)) for rows in (kept_validation(), kept_validation(ASIDE_FILE))
    )
    alone, both = believe(chosen), believe(chosen, aside)
    rows = pl.DataFrame(kept_validation(ASIDE_FILE)).filter(technique="consensus")
    planted, spread = rows.filter(pl.col("hit").is_not_null()), rows.filter(kind="spread")
    assert both.startswith(alone.removesuffix("."))
    assert f"it was so for {int(planted['hit'].sum())} of {len(planted)}" in both
    assert both.endswith(f"it called {int(spread['localised'].sum())} localised.")
    assert believe([], aside) == ""


def test_a_verdict_without_layers_tells_how_many_other_maps_name_one() -> None:
    row = {"concept": "drugs", "labelling": "field", "name": "drugs", "places": "", "planted": [], "confidence": 0.9}
    row |= {"lost": [None] * 3, "first_half": [None] * 3, "cells": [0.1, 0.9], "agreement": [0.7, 0.8]}
    header = {"model": "m", "maps": {"consensus": [row | {"verdict": said} for said in ("localised", "not localised")]}}
    assert [told["agreement"] for told in verdict_rows(header)] == ["80%", "70%"]
