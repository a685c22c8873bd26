"""Trials of the engine: what they are counted as, and what their seconds say of longer and deeper runs."""

from collections import Counter
from pathlib import Path
from statistics import median

import pytest
import torch
from tiny_library import write_library
from tiny_models import save_tiny, tiny_model, tiny_tokenizer

from extract.answers import TOKEN_BUDGETS
from extract.costs import Work
from extract.extraction import _SMALL, threads
from extract.library import Concept, load_library
from extract.loading import LoadedModel
from extract.models import ModelEntry
from extract.outline import Outline, outline
from extract.planned import Choices, Plan, plans, tokenizer_of
from extract.probing import probe
from extract.speed import EFFECTS, Pace, Tried, paces
from extract.standin import of_first_templates, of_one_template, stand_in
from extract.trials import _answered, deepest, standing_weights, tried


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A concept library and a tiny model."""
    place = tmp_path_factory.mktemp("trials")
    write_library(place / "concepts")
    save_tiny(place / "tiny", "llama")
    return place


@pytest.fixture(scope="module")
def concept(folder: Path) -> Concept:
    """The smallest concept that asks."""
    concepts = load_library(folder / "concepts").concepts
    return min((each for each in concepts if each.asked), key=lambda each: len(each.terms) * len(each.templates))


@pytest.fixture(scope="module")
def entry(folder: Path) -> ModelEntry:
    """The tiny model."""
    return ModelEntry("tiny", folder / "tiny")


@pytest.fixture(scope="module")
def shape(entry: ModelEntry) -> Outline:
    """Its shape."""
    return outline(entry)


@pytest.fixture(scope="module")
def plan(entry: ModelEntry, concept: Concept) -> Plan:
    """All of the concept that can be lesioned."""
    tokenizer, _ = tokenizer_of(entry, [concept])
    (found,) = plans(tokenizer, [concept], Choices(sample=1000, held_out=0, answers=2))
    return found


def _took(pace: Pace, technique: str, batches: float, calls: float, flops: float) -> Tried:
    work = Work(flops=flops, calls=calls, batches=batches)
    return Tried(technique, work, pace.seconds(work))


def test_a_depth_that_no_trial_had_is_foretold_with_what_batches_take_told_apart() -> None:
    effects, reading = Pace(2e-3, 5e-4, 5e10), Pace(9e-4, 1e-3, 2.5e10)
    found = paces(
        [
            _took(effects, EFFECTS, 9, 38, 9e7),
            _took(effects, EFFECTS, 9, 164, 6e8),
            _took(effects, EFFECTS, 12, 291, 3e9),
            _took(reading, "activations", 29, 58, 9e8),
            _took(reading, "activations", 29, 232, 3.6e9),
        ]
    )
    deep = Work(flops=2e11, calls=9000.0, batches=187.0)
    for name, real in ((EFFECTS, effects), ("activations", reading)):
        assert found[name].seconds(deep) == pytest.approx(real.seconds(deep), rel=1e-3)


def test_of_one_depth_a_batch_is_taken_to_take_nothing_besides_its_layers() -> None:
    real = Pace(0.0, 5e-4, 5e10)
    found = paces(
        [
            _took(real, EFFECTS, 9, 38, 9e7),
            _took(real, EFFECTS, 12, 70, 9e8),
            _took(real.times(3.0), "answers", 5, 80, 1e9),
        ]
    )
    assert found[EFFECTS].batch == found["answers"].batch == 0
    assert found[EFFECTS].call == pytest.approx(real.call, rel=1e-3)
    assert found["answers"].flops == pytest.approx(real.flops / 3, rel=1e-3)


def test_no_pace_is_endless_whatever_noise_the_trials_had() -> None:
    shallow, deep = Work(flops=1e8, calls=40.0, batches=9.0), Work(flops=9e8, calls=160.0, batches=9.0)
    found = paces(
        [
            Tried(EFFECTS, shallow, 0.2),
            Tried(EFFECTS, deep, 0.1),
            Tried(EFFECTS, Work(flops=3e9, calls=290.0, batches=12.0), 0.1),
            Tried("answers", shallow, 0.2),
            Tried("answers", deep, 0.1),
        ]
    )
    for pace in found.values():
        assert pace.call > 0
        assert 0 < pace.flops < float("inf")


def test_the_engine_is_tried_at_two_depths_and_no_technique_is_forgotten(
    entry: ModelEntry, shape: Outline, concept: Concept
) -> None:
    now = iter(range(1_000_000))
    found = tried(
        entry, shape, [concept], "cpu", choices=Choices(answers=2), clock=lambda: float(next(now)), largest=10**9
    )
    counts = Counter(each.technique for each in found)
    depths = 2 if len(shape.layers) > 2 else 1
    assert counts == {EFFECTS: depths + 1, "activations": depths, "saliency": depths, "answers": depths}
    assert all(each.work.batches > 0 and each.work.calls > 0 and each.work.flops > 0 for each in found)
    if depths == 2:
        small, large = (each.work for each in found if each.technique == "activations")
        assert small.batches == large.batches
        assert large.calls / small.calls == pytest.approx(len(shape.layers) / 2)


@pytest.mark.parametrize("depth", [2, 8])
def test_a_trial_answers_as_many_streams_as_the_run_up_to_a_full_batch(plan: Plan, depth: int) -> None:
    few = Choices(answers=2)
    assert _answered(plan, 12, depth, few, "cpu") * (1 + depth) == pytest.approx(2 * 13, abs=depth)
    length = median(map(len, plan.subject.tokenized.indices)) + few.new_tokens
    many = _answered(plan, 80, depth, Choices(answers=1000), "cpu")
    assert many * (1 + depth) * length <= TOKEN_BUDGETS["cpu"] < (many + 1) * (1 + depth) * length
    assert _answered(plan, 80, depth, Choices(answers=1, token_budget=8), "cpu") == 1


def test_a_probe_tries_the_engine_of_a_small_model(entry: ModelEntry, shape: Outline, concept: Concept) -> None:
    now = iter(range(1_000_000))
    found = probe(entry, shape, [concept], "cpu", Choices(), clock=lambda: float(next(now)))
    assert found.tried
    assert found.paces.keys() == {EFFECTS, "activations", "saliency", "answers"}


def test_a_deeper_stand_in_is_as_deep_as_its_weights_allow(shape: Outline) -> None:
    whole = standing_weights(shape, len(shape.layers))
    assert deepest(shape, whole) == len(shape.layers)
    assert deepest(shape, whole - 1) == max(2, len(shape.layers) - 1)
    assert deepest(shape, 0) == 2


def test_a_stand_in_has_the_layers_of_its_shape(entry: ModelEntry, shape: Outline) -> None:
    model = stand_in(entry, shape, "cpu")
    assert sum(each.numel() for each in model.parameters()) == shape.weights


def test_a_stand_in_gets_the_threads_of_the_model_that_it_stands_for(entry: ModelEntry) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer(["some text"])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads(LoadedModel(entry, model, tokenizer)) as workers:
            assert (workers, torch.get_num_threads()) == (2, 1)
        with threads(LoadedModel(entry, model, tokenizer, stands_for=_SMALL)) as workers:
            assert (workers, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)


def test_full_batches_are_of_the_template_that_most_lesioned_prompts_have(plan: Plan) -> None:
    found = of_one_template(plan, 3)
    (template,) = set(found.subject.sample["template"].to_pylist())
    counts = Counter(plan.subject.sample["template"].to_pylist())
    assert counts[template] == max(counts.values())
    assert found.subject.sample.num_rows == min(3, counts[template])
    assert set(found.subject.pairs["template"].to_pylist()) <= {template}
    assert found.subject.pairs.num_rows <= 3
    assert found.subject.prompts.equals(plan.subject.prompts)


def test_prompts_that_are_read_in_a_trial_are_whole_templates(plan: Plan) -> None:
    every = Counter(plan.subject.prompts["template"].to_pylist())
    least = next(iter(every.values())) + 1
    found = of_first_templates(plan, least)
    some = Counter(found.subject.prompts["template"].to_pylist())
    assert all(every[template] == count for template, count in some.items())
    assert least <= found.subject.prompts.num_rows < plan.subject.prompts.num_rows
    assert len(found.subject.tokenized.indices) == found.subject.prompts.num_rows
    assert of_first_templates(plan, 10**6).subject.prompts.equals(plan.subject.prompts)
