"""What an estimate says of the analyses: seconds by layers and size of concepts, memory, and how they are fitted."""

from dataclasses import replace

import pytest
from tiny_library import write_library
from tiny_models import save_tiny

from benchmarks.analyses_fit import fitted, quietest
from dagster_project.commands.analysed import (
    LIBRARIES_MEMORY,
    MAPS_EACH,
    PROFILES_EACH,
    UMAP_EACH,
    analyses_memory,
    analyses_seconds,
    labelled_prompts,
    peak,
)
from dagster_project.commands.estimate import verdict
from dagster_project.commands.estimated import as_object
from extract.estimation import Estimate, estimate
from extract.library import Library, load_library
from extract.models import ModelEntry
from extract.planned import Choices
from extract.prompts import library_tables
from extract.room import Room


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A small concept library."""
    return load_library(write_library(tmp_path_factory.mktemp("library")))


@pytest.fixture(scope="module")
def made(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Estimate:
    """What is estimated of a tiny model over it."""
    entry = ModelEntry("tiny", save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama"))
    return estimate(entry, library.concepts, Choices(sample=4, held_out=0, answers=0))


def _middle(made: Estimate, library: Library) -> dict[str, float]:
    return {name: (low * high) ** 0.5 for name, (low, high) in analyses_seconds(made, library.concepts).items()}


def _deeper(made: Estimate, layers: int) -> Estimate:
    return replace(made, shape=replace(made.shape, layers=made.shape.layers * layers))


def test_prompts_count_once_for_every_labelling_of_their_concept(library: Library) -> None:
    counted = 0
    for concept in library.concepts:
        tables = library_tables(concept)
        counted += tables["prompts"].num_rows * len(set(tables["labels"]["labelling"].to_pylist()))
    assert labelled_prompts(library.concepts) == counted


def test_each_layer_more_costs_by_prompts_by_concepts_and_umap_by_terms(made: Estimate, library: Library) -> None:
    first, second, third = (_middle(_deeper(made, times), library) for times in (1, 2, 3))
    layers, concepts = len(made.shape.layers), library.concepts
    terms = sum(len(each.terms) for each in concepts)
    each = PROFILES_EACH * labelled_prompts(concepts) + MAPS_EACH * len(concepts)
    assert second["analyses"] - first["analyses"] == pytest.approx(each * layers)
    assert third["analyses"] - second["analyses"] == pytest.approx(each * layers)
    assert third["umap"] - second["umap"] == pytest.approx(UMAP_EACH * layers * terms)


def test_the_peak_is_the_larger_of_extraction_and_analyses(made: Estimate) -> None:
    room = Room("main memory", 10**10, 10**10, shared=True, program=700)
    assert made.memory.peak < LIBRARIES_MEMORY
    assert peak(made, room) == 700 + analyses_memory(made)
    large = replace(made, memory=replace(made.memory, weights=10**9))
    assert peak(large, room) == 700 + large.memory.peak
    told = as_object(made, room, None, (), [])["memory"]
    assert told["peak"] == peak(made, room)
    assert told["analyses"] == analyses_memory(made)


def test_analyses_take_nothing_of_a_device_with_memory_of_its_own(made: Estimate) -> None:
    assert peak(made, Room("a GPU", 10**10, 10**10, shared=False)) == made.memory.peak


def test_analyses_that_do_not_fit_main_memory_are_a_reason_to_refuse(made: Estimate) -> None:
    needed = analyses_memory(made)
    gpu = Room("a GPU", 10**12, 10**12, shared=False)
    assert verdict(made, gpu, needed) == ((), [])
    (why,), (instead,) = verdict(made, gpu, needed - 1)
    assert "analyses" in why
    assert "main memory" in why
    assert "python -m extract run" in instead
    shared = Room("main memory", needed + 699, 10**12, shared=True, program=700)
    assert any("analyses" in each for each in verdict(made, shared, 10**12)[0])


def test_memory_of_the_analyses_grows_with_the_largest_concept_and_the_width(made: Estimate, library: Library) -> None:
    most = max(len(each.terms) * len(each.templates) for each in library.concepts)
    assert made.most_prompts == most
    wider = replace(made, shape=replace(made.shape, width=2 * made.shape.width))
    more = replace(made, most_prompts=2 * most)
    assert analyses_memory(wider) == analyses_memory(more)
    assert analyses_memory(more) - LIBRARIES_MEMORY == 2 * (analyses_memory(made) - LIBRARIES_MEMORY)


def test_a_fit_finds_what_a_run_and_what_a_layer_took() -> None:
    lines = []
    for labelled, terms in ((1000, 100), (9000, 300)):
        for layers in (4, 8):
            line = {"layers": layers, "labelled_prompts": labelled, "terms": terms, "concepts": 1}
            line |= {"profiles_seconds": 4 + 1e-4 * (layers + 1) * labelled}
            line |= {f"{stage}_seconds": 0.5 + 0.02 * (layers + 1) for stage in ("maps", "findings", "neighbours")}
            line |= {"umap_seconds": 6 + 5e-4 * (layers + 1) * terms, "pictures_seconds": 1.0}
            lines.append(line)
    found = fitted(lines)
    expected = {"profiles_fixed": 4.0, "profiles_each": 1e-4, "profiles_worst": 1.0}
    expected |= {"maps_fixed": 1.5, "maps_each": 0.06, "maps_worst": 1.0}
    expected |= {"umap_fixed": 7.0, "umap_each": 5e-4, "umap_worst": 1.0}
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_fit_tells_how_far_the_worst_of_its_lines_is_from_it() -> None:
    stages = ("profiles", "maps", "findings", "neighbours", "umap", "pictures")
    one, other = (
        {"layers": 4, "labelled_prompts": 1000, "terms": terms, "concepts": 1}
        | {f"{stage}_seconds": seconds for stage in stages}
        for terms, seconds in ((100, 1.0), (101, 2.0))
    )
    worst = fitted([one, other])["profiles_worst"]
    assert max(worst, 1 / worst) > 1.2


def test_what_was_measured_twice_counts_with_the_quieter_seconds_of_each_stage() -> None:
    line = {"layers": 4, "labelled_prompts": 1000, "terms": 100, "concepts": 1}
    found = quietest(
        [
            {**line, "profiles_seconds": 5.0, "maps_seconds": 1.0},
            {**line, "profiles_seconds": 4.0, "maps_seconds": 2.0, "umap_seconds": 7.0},
            {**line, "layers": 8, "profiles_seconds": 9.0},
        ]
    )
    assert [each["layers"] for each in found] == [4, 8]
    assert found[0] == {**line, "profiles_seconds": 4.0, "maps_seconds": 1.0, "umap_seconds": 7.0}
