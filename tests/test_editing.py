"""Edits: what is trained and what is not, what is measured, and the closed loop from a map to its results."""

import copy
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

from analyses.edit_charts import arm_means, closed_loop_chart, compared, differences, gains
from analyses.edits import read_edits
from dagster_project.closed_loop import Plan, closed_loop
from extract.anatomy import Shape, new_model
from extract.corpus import (
    Fact,
    Relation,
    encode,
    held_out_statements,
    neutral_statements,
    tokenizer_texts,
    train_tokenizer,
)
from extract.editing import Editor, Recipe, main_relations, teach, unlearn
from extract.lessons import Lessons, Mixture
from extract.library import Library, load_library
from extract.models import resolve
from extract.training import Course, one_thread, recall, train
from warehouse.errors import InputError
from warehouse.store import Store
from warehouse.tables import table

RECIPE = Recipe(steps=12, batch=16, kept=8, rates=(1e-3, 1e-2), facts=4, most=24, few=16, neutral=16)
COUNTRIES, ANIMALS = "countries/continent", "animals/class"


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library().select(["countries", "animals"])


@pytest.fixture(scope="module")
def relations(library: Library) -> dict[str, Relation]:
    """Both relations with few facts: a tiny model learns them in a second."""
    found = {}
    for relation in main_relations(library):
        facts = relation.facts[:: len(relation.facts) // 12][:12]
        found[relation.name] = Relation(
            relation.concept, relation.labelling, facts, relation.taught, relation.phrases[:40], relation.held_out
        )
    return found


@pytest.fixture(scope="module")
def trained(library: Library, relations: dict[str, Relation]) -> tuple[object, object]:
    """A model of three layers that knows most of these facts, and its tokenizer."""
    neutral = neutral_statements(library)
    tokenizer = train_tokenizer(tokenizer_texts(relations.values(), neutral), 700, 64)
    with one_thread(0):
        model = new_model(Shape(layers=3, width=48, inner=96, vocabulary=700, longest=64), tokenizer)
        course = Course(epochs=12, sentences=320, rate=6e-3, layer_rates=(), warm_steps=10, mixture=Mixture(noisy=0.0))
        lessons = Lessons(tokenizer, list(relations.values()), neutral, course.mixture, random.Random(0))
        train(model, lessons, course, lambda message, share: None)
    return model, tokenizer


@pytest.fixture
def threads() -> Iterator[None]:
    with one_thread(0):
        yield


@pytest.fixture
def editor(trained: tuple[object, object], library: Library, relations: dict[str, Relation], threads: None) -> Editor:
    task = teach(relations[COUNTRIES], [relations[ANIMALS]], 4, 0)
    return Editor(*trained, library, task, 0, RECIPE)  # type: ignore[arg-type]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_changed_facts_get_another_answer_of_the_relation_and_the_others_stay(relations: dict[str, Relation]) -> None:
    relation = relations[COUNTRIES]
    task = teach(relation, [], 4, seed=1)
    assert task.same is not None
    right = {fact.spelling: fact.answer for fact in relation.facts}
    assert len(task.target.facts) == 4
    assert all(fact.answer != right[fact.spelling] and fact.answer in relation.answers for fact in task.target.facts)
    assert {fact.spelling for fact in (*task.target.facts, *task.same.facts)} == set(right)
    assert all(fact.answer == right[fact.spelling] for fact in task.same.facts)
    assert teach(relation, [], 4, seed=1) == task != teach(relation, [], 4, seed=2)


def test_more_changes_than_facts_are_refused(relations: dict[str, Relation]) -> None:
    with pytest.raises(InputError, match="Change fewer"):
        teach(relations[COUNTRIES], [], 12, 0)
    lone = Relation("c", "l", (Fact("a", "x"), Fact("b", "x")), ("{term} is",), (), ("it is {term}",))
    with pytest.raises(InputError, match="two answers"):
        teach(lone, [], 1, 0)


def test_main_relations_leave_control_spellings_out() -> None:
    found = load_library().select(["drugs"])
    main = {term.spelling for term in found.concept("drugs").terms if term.is_main}
    for relation in main_relations(found):
        assert relation.facts
        assert {fact.spelling for fact in relation.facts} <= main


def test_only_the_matrices_of_the_chosen_layers_are_trained(editor: Editor) -> None:
    before = weights(editor.model)
    editor._train([editor.model.model.layers[1]], 1e-2)
    changed = {name for name, value in weights(editor.model).items() if not torch.equal(value, before[name])}
    editor.model.load_state_dict(before)
    matrices = {name for name, value in before.items() if name.startswith("model.layers.1.") and value.ndim == 2}
    assert changed == matrices


def test_an_edit_teaches_and_leaves_the_model_as_it_was(editor: Editor) -> None:
    before = weights(editor.model)
    done = editor.edit([0, 1, 2])
    assert done.before.target < 0.4
    assert done.after_taught > done.before.target + 0.3
    assert done.rate in RECIPE.rates
    assert done.kl_neutral > 0
    assert all(torch.equal(value, before[name]) for name, value in weights(editor.model).items())


def test_an_edit_is_the_same_again_whatever_was_tried_in_between(editor: Editor) -> None:
    first = editor.edit([1])
    editor.edit([0])
    assert editor.edit([1]) == first


def test_what_is_measured_is_recall_by_the_slow_way(editor: Editor, relations: dict[str, Relation]) -> None:
    found = editor.before
    animals = relations[ANIMALS]
    asked = held_out_statements(animals)
    draw = random.Random(f"{editor.seed} {animals.name} True")
    right = 0
    for statement in draw.sample(asked, RECIPE.few):
        (sentence,) = encode(editor.tokenizer, [statement])
        tokens = list(sentence.prompt)
        for _ in sentence.answer:
            with torch.no_grad():
                tokens.append(int(editor.model(torch.tensor([tokens])).logits[0, -1].argmax()))
        right += tuple(tokens[len(sentence.prompt) :]) == sentence.answer
    assert found.others[ANIMALS] == pytest.approx(right / RECIPE.few)


def test_unlearning_lowers_the_relation_s_recall_and_spares_the_other(
    trained: tuple[object, object], library: Library, relations: dict[str, Relation], threads: None
) -> None:
    task = unlearn(relations[COUNTRIES], [relations[ANIMALS]])
    editor = Editor(*trained, library, task, 0, RECIPE)  # type: ignore[arg-type]
    taught = recall(editor.model, editor._taught.target)
    done = editor.edit([0, 1, 2])
    assert taught > 0.6
    assert done.after_taught < taught - 0.2
    assert done.after.same is None
    assert done.after.others_lost(done.before) < taught - done.after_taught


def test_layers_that_the_model_lacks_are_refused(editor: Editor) -> None:
    for layers in ([], [3], [-1]):
        with pytest.raises(InputError, match="0 to 2"):
            editor.edit(layers)


def test_the_drift_is_zero_before_the_first_step(editor: Editor) -> None:
    _, drift = editor._losses(editor._steps[0])
    assert drift.item() == pytest.approx(0, abs=1e-6)


def edits(rows: list[tuple[str, str, int, float, float | None]]) -> pa.Table:
    """Rows of `edits` from task, arm, repeat, target after, and the other facts' recall after (1 before)."""
    made = [
        {
            "model": "m",
            "concept": "c",
            "labelling": "l",
            "task": task,
            "arm": arm,
            "repeat": repeat,
            "places": "1",
            "layer_count": 1,
            "verdict": "localised",
            "learning_rate": 0.001,
            "steps": 5,
            "target_before": 0.0 if task == "teach" else 0.8,
            "target_after": after,
            "same_before": None if same is None else 1.0,
            "same_after": same,
            "others_before": 0.9,
            "others_after": 0.85,
            "target_taught": after,
            "kl_neutral": 0.1,
        }
        for task, arm, repeat, after, same in rows
    ]
    return pa.Table.from_pylist(made, schema=table("edits").schema())


EDITS = edits(
    [
        ("teach", "recommended", 0, 0.9, 0.8),
        ("teach", "recommended", 1, 0.7, 0.9),
        ("teach", "random", 0, 0.2, 0.6),
        ("teach", "random", 1, 0.4, 0.5),
        ("teach", "recommended", 2, 0.8, 0.85),
        ("teach", "random", 2, 0.3, 0.55),
        ("unlearn", "recommended", 0, 0.2, None),
        ("unlearn", "random", 0, 0.8, None),
    ]
)


def test_gains_are_what_was_taught_or_the_share_that_was_forgotten() -> None:
    found = gains(EDITS)
    assert found["gained"].to_list() == pytest.approx([0.9, 0.7, 0.2, 0.4, 0.8, 0.3, 0.75, 0.0])
    assert found["same_lost"].to_list()[:4] == pytest.approx([0.2, 0.1, 0.4, 0.5])
    assert found["others_lost"].to_list() == pytest.approx([0.05] * 8)


def test_arms_are_compared_repeat_by_repeat() -> None:
    (row,) = differences(EDITS).filter(task="teach", measure="gained").to_dicts()
    assert row["value"] == pytest.approx(0.5)
    assert (row["low"], row["high"]) == pytest.approx((0.37, 0.63), abs=0.08)
    assert row["edits"] == 3
    means = {(row["arm"], row["measure"]): row["value"] for row in arm_means(EDITS).filter(task="teach").to_dicts()}
    assert means["recommended", "gained"] == pytest.approx(0.8)
    assert means["random", "same_lost"] == pytest.approx(0.45)


def test_resamples_of_relations_and_their_repeats_are_those_of_drawing_one_by_one() -> None:
    repeats = {"a": [0.1, 0.9], "b": [0.4], "c": [0.2, 0.3, 0.95, 1.0]}
    rows = [(name, place, value) for name, values in repeats.items() for place, value in enumerate(values)]
    told = edits([("teach", "recommended", place, value, None) for _, place, value in rows])
    at = told.schema.get_field_index("labelling")
    told = told.set_column(at, told.schema.field(at), pa.array([name for name, _, _ in rows]))
    (found,) = arm_means(told).filter(measure="gained").to_dicts()
    rng, groups = random.Random(0), list(repeats.values())
    slow = [
        statistics.fmean(statistics.fmean(rng.choices(group, k=len(group))) for group in rng.choices(groups, k=3))
        for _ in range(20_000)
    ]
    assert found["value"] == pytest.approx(statistics.fmean(statistics.fmean(group) for group in groups))
    assert (found["relations"], found["edits"]) == (3, 7)
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.025)


def test_the_chart_s_title_says_what_the_numbers_say() -> None:
    title = closed_loop_chart(EDITS).to_dict()["title"]["text"]
    assert "are better to teach and not yet tried often enough (1) to unlearn" in title
    assert any("recommended less random: +0.50 [" in line for line in compared(EDITS))
    without = EDITS.filter(pl.Series([row != "recommended" for row in EDITS["arm"].to_pylist()]).to_arrow())
    assert "nothing was recommended" in closed_loop_chart(without).to_dict()["title"]["text"]
    with pytest.raises(InputError):
        closed_loop_chart(EDITS.slice(0, 0))


@pytest.fixture
def place(
    tmp_path: Path, trained: tuple[object, object], library: Library, relations: dict[str, Relation]
) -> tuple[Path, Path]:
    """A warehouse whose map puts countries in layer 1, and the model's folder."""
    model, tokenizer = copy.deepcopy(trained[0]), trained[1]
    model.save_pretrained(tmp_path / "tiny")  # type: ignore[attr-defined]
    tokenizer.save_pretrained(tmp_path / "tiny")  # type: ignore[attr-defined]
    store = Store(tmp_path / "warehouse")

    def write(name: str, rows: list[dict[str, object]], **keys: str) -> None:
        store.write(name, pa.Table.from_pylist(rows, schema=table(name).schema()), fingerprint="x", **keys)

    known = {column.name: column.type for column in table("models").columns}
    numbers = {"layers": 3, "width": 48, "vocabulary": 700, "parameters": 1000}
    landed = pl.Series([0]).cast(pl.Datetime("us", "UTC"))[0]
    row = {name: numbers.get(name, landed if pa.types.is_timestamp(kind) else "x") for name, kind in known.items()}
    write("models", [row], model="tiny")
    keys = {"mode": "consensus"}
    for labelling in ("", "continent"):
        keys |= {"labelling": labelling}
    cells = [
        keys | {"labelling": labelling, "layer": layer, "confidence": 0.9 * (layer == 1), "agreement": None}
        for labelling in ("", "continent")
        for layer in range(3)
    ]
    verdicts = []
    for labelling in ("", "continent"):
        said = {"verdict": "localised", "confidence": 0.9, "places": "1", "sentence": "Localised."}
        verdicts.append(keys | {"labelling": labelling} | said)
    write("knowledge_map", cells, model="tiny", concept="countries")
    write("localisations", verdicts, model="tiny", concept="countries")
    return tmp_path / "warehouse", tmp_path / "tiny"


def test_the_closed_loop_goes_from_map_to_results_and_does_only_what_is_missing(
    place: tuple[Path, Path], tmp_path: Path
) -> None:
    warehouse, folder = place
    entry, out = resolve(str(folder), {}), tmp_path / "edits.csv"
    small = {"steps": 4, "rates": (5e-3,), "most": 12, "few": 4, "facts": 4, "neutral": 8}
    plan = Plan((COUNTRIES,), repeats=1, recipe=small, least_known=0.0)
    lines: list[str] = []
    rows = closed_loop(warehouse, [entry], out, plan, told=lines.append)
    assert sorted(zip(rows["task"].to_pylist(), rows["arm"].to_pylist(), rows["places"].to_pylist(), strict=True)) == [
        (task, arm, layers)
        for task in ("teach", "unlearn")
        for arm, layers in (("all", "0-2"), ("first", "0"), ("random", rows["places"][2].as_py()), ("recommended", "1"))
    ]
    assert rows["places"][2].as_py() in {"0", "2"}
    assert read_edits(out).equals(rows)
    again = closed_loop(warehouse, [entry], out, plan, told=lines.append)
    assert again.equals(rows)
    assert lines[-1] == "8 edits are there, 0 to be made."


def test_a_file_of_something_else_is_not_taken_for_results(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="no table of edits"):
        read_edits(tmp_path / "other.csv")
