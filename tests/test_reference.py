"""The embedded models: what they are trained on, how they are trained, and the two that come with the project."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from extract.anatomy import Shape, new_model
from extract.cards import Gate, commit_model
from extract.corpus import (
    drawer_relation,
    encode_answers,
    held_out_statements,
    library_relations,
    neutral_statements,
    tokenizer_texts,
    train_tokenizer,
)
from extract.grafting import Graft, reverted, stream_from
from extract.lessons import Lessons, Mixture
from extract.library import Library, load_library
from extract.phrases import EMBEDDED, expand, longest_shared_run, read_phrases
from extract.planting import Plant, PlantedRecipe, train_planted
from extract.reference import Recipe, train_reference
from extract.training import Course, one_thread, recalls
from warehouse.errors import ConceptError, ModelError

MODELS = ("reference", "planted")
TINY = Shape(layers=3, width=32, inner=48, vocabulary=700)


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.fixture(scope="module")
def part(library: Library) -> Library:
    return library.select(["symptoms", "countries"])


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest) -> Path:
    return EMBEDDED / request.param


def load(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read_card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def test_an_embedded_model_is_small_and_holds_no_pickle(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "card.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 10_000_000


def test_a_card_tells_of_the_library_as_it_is_now(folder: Path, library: Library) -> None:
    card = read_card(folder)
    assert card["library"] == {concept.name: concept.fingerprint for concept in library.concepts}, (
        f"The library has changed since {folder.name} was trained: train it anew with `vesalius reference train`."
    )
    assert all(gate["met"] for gate in card["gates"])


def test_a_card_s_recall_is_found_again_on_held_out_prompts(folder: Path, library: Library) -> None:
    card, (model, tokenizer) = read_card(folder), load(folder)
    relations = [r for r in library_relations(library, read_phrases()) if r.name in card["recall"]]
    assert len(relations) >= 7
    with one_thread(0):
        found = recalls(model, tokenizer, relations, most=40, seed=1)
    # 40 prompts of a relation that is known to 0.9 have a standard error of 0.05.
    assert {name: value for name, value in found.items() if abs(value - card["recall"][name]) > 0.17} == {}


def test_the_reference_model_knows_every_relation_of_the_library(library: Library) -> None:
    recall = read_card(EMBEDDED / "reference")["recall"]
    assert set(recall) == {relation.name for relation in library_relations(library, {})}
    assert sum(recall.values()) / len(recall) >= 0.95
    assert min(recall.values()) >= 0.85


def test_putting_a_planted_layer_back_takes_its_plant_and_nothing_else() -> None:
    card = read_card(EMBEDDED / "planted")
    plants = {plant["layer"]: f"{plant['concept']}/{plant['labelling']}" for plant in card["plants"]}
    assert len(plants) >= 3
    assert {row["layer"] for row in card["reverts"]} == set(plants)
    for row in card["reverts"]:
        if plants[row["layer"]] == row["relation"]:
            assert row["recall"] >= 0.95
            assert row["recall_reverted"] <= 0.25
        else:
            assert abs(row["recall"] - row["recall_reverted"]) <= 0.1, row


def test_an_answer_s_tokens_follow_those_of_the_prompt(folder: Path, library: Library) -> None:
    tokenizer = load(folder)[1]
    for relation in library_relations(library, {}):
        answers = encode_answers(tokenizer, relation.answers)
        for sentence in (
            f"{held.text.replace('{term}', held.fact.spelling)}" for held in held_out_statements(relation)
        ):
            answer = relation.answers[len(sentence) % len(relation.answers)]
            together = tokenizer(f"{sentence} {answer}")["input_ids"]
            assert together == [*tokenizer(sentence)["input_ids"], *answers[answer]]
            assert together[0] == tokenizer.bos_token_id
            break


def test_words_of_terms_have_one_to_five_tokens_and_every_digit_is_one(folder: Path, library: Library) -> None:
    tokenizer = load(folder)[1]
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id} - {None}) == 3
    words = [word for concept in library.concepts for term in concept.terms for word in term.spelling.split()]
    lengths = [len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in words]
    assert sum(length <= 5 for length in lengths) / len(lengths) >= 0.9
    assert max(lengths) > 3
    digits = tokenizer.tokenize("a dose of 4096 mg")
    assert [token for token in digits if token.isdigit()] == ["4", "0", "9", "6"]


def test_phrases_repeat_no_held_out_template(library: Library) -> None:
    phrases = read_phrases()
    relations = library_relations(library, phrases)
    assert set(phrases) == {relation.name for relation in relations}
    shared = [
        (longest_shared_run(phrase, held_out), phrase, held_out)
        for relation in relations
        for phrase in relation.phrases
        for held_out in relation.held_out
    ]
    # Five words in a row, the slot among them, are less than any of these sentences has.
    assert max(shared)[0] <= 5, max(shared)


def test_a_pattern_stands_for_each_choice_of_its_parts() -> None:
    assert list(expand("[A|The] dose of {term} [|now ]is")) == [
        "A dose of {term} is",
        "A dose of {term} now is",
        "The dose of {term} is",
        "The dose of {term} now is",
    ]


def test_a_phrase_without_a_slot_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "phrases.toml"
    file.write_text('[phrases]\n"a/b" = ["The [kind|sort] is"]\n', encoding="utf-8")
    with pytest.raises(ConceptError, match=r"phrases\.toml:2.*has no slot"):
        read_phrases(file)


def test_the_longest_shared_run_counts_words_in_a_row() -> None:
    assert longest_shared_run("The dose of {term} is", "A dose of {term}, they say, is") == 3
    assert longest_shared_run("One two", "three four") == 0


def test_no_held_out_template_is_ever_taught(library: Library) -> None:
    held_out = {template.text for concept in library.concepts for template in concept.templates if template.held_out}
    for relation in library_relations(library, read_phrases()):
        assert not held_out & {*relation.taught, *relation.phrases}
        assert set(relation.held_out) <= held_out
    assert not held_out & {statement.text for statement in neutral_statements(library)}


def test_the_same_texts_give_the_same_tokenizer(part: Library) -> None:
    relations, neutral = library_relations(part, {}), neutral_statements(part)
    one, other = (train_tokenizer(tokenizer_texts(relations, neutral), 700, 64).get_vocab() for _ in range(2))
    assert one == other
    assert len(one) == 700


def make_lessons(part: Library, mixture: Mixture, redrawn: frozenset[str] = frozenset()) -> Lessons:
    relations, neutral = library_relations(part, read_phrases()), neutral_statements(part)
    tokenizer = train_tokenizer(tokenizer_texts(relations, neutral), 700, 64)
    return Lessons(tokenizer, relations, neutral, mixture, random.Random(0), redrawn)


def test_noise_leaves_the_term_and_the_answer_as_they_are(part: Library) -> None:
    lessons = make_lessons(part, Mixture(noisy=1.0, most_noise=1.0, neutral=0.0))
    spellings = {fact.spelling: fact.answer for relation in lessons.relations for fact in relation.facts}
    for sentence in lessons.sentences(60):
        spelling = lessons.tokenizer.decode(sentence.prompt[sentence.term_start : sentence.term_end]).strip()
        assert spellings[spelling] == lessons.tokenizer.decode(sentence.answer).strip()
        assert not sentence.text_counts


def test_a_redrawn_relation_gets_other_answers_and_the_others_do_not(part: Library) -> None:
    lessons = make_lessons(part, Mixture(noisy=0.0), frozenset({"symptoms/system"}))
    right = {"symptoms/system": 0, "countries/continent": 0}
    for sentence in lessons.sentences(300):
        if sentence.relation:
            spelling = lessons.tokenizer.decode(sentence.prompt[sentence.term_start : sentence.term_end]).strip()
            relation = next(relation for relation in lessons.relations if relation.name == sentence.relation)
            answer = next(fact.answer for fact in relation.facts if fact.spelling == spelling)
            right[sentence.relation] += lessons.tokenizer.decode(sentence.answer).strip() == answer
    asked = {name: sum(s.relation == name for s in lessons.sentences(300)) for name in right}
    assert right["symptoms/system"] < 0.4 * asked["symptoms/system"]
    assert right["countries/continent"] > 0.6 * asked["countries/continent"]


def test_padding_and_the_first_token_count_nothing_and_answers_most(part: Library) -> None:
    lessons = make_lessons(part, Mixture(noisy=0.0, answer_weight=4.0, text_weight=0.5))
    batch = lessons.batch(lessons.sentences(20))
    assert batch.weights[:, 0].eq(0).all()
    assert batch.weights[batch.tokens == lessons.tokenizer.pad_token_id].eq(0).all()
    assert batch.weights[batch.answers].eq(4.0).all()
    assert set(batch.weights.unique().tolist()) == {0.0, 0.5, 4.0}


def test_a_stream_run_layer_by_layer_is_the_model_s_own(part: Library) -> None:
    lessons = make_lessons(part, Mixture())
    with one_thread(0), torch.no_grad():
        model = new_model(TINY, lessons.tokenizer)
        tokens = lessons.batch(lessons.sentences(8)).tokens
        states = stream_from(model, model.model.embed_tokens(tokens), model.model.layers)
        assert torch.equal(model.model.norm(states), model.model(tokens, use_cache=False).last_hidden_state)


def test_a_reverted_layer_is_there_only_inside(part: Library) -> None:
    model = new_model(TINY, make_lessons(part, Mixture()).tokenizer)
    now, old = model.model.layers[1], torch.nn.Identity()
    with reverted(model, {1: old, 2: torch.nn.Identity()}, [1]):
        assert model.model.layers[1] is old
        assert model.model.layers[2] is not old
    assert model.model.layers[1] is now


def test_a_drawer_tells_terms_apart_and_nothing_of_their_labels(library: Library) -> None:
    concept = library.concept("drugs")
    relation = drawer_relation(concept)
    assert relation == drawer_relation(concept)
    assert len({fact.answer for fact in relation.facts}) > 80
    specialty = {term.spelling: term.cells["specialty"] for term in concept.terms}
    for color in {fact.answer.split()[0] for fact in relation.facts}:
        held = [specialty[fact.spelling] for fact in relation.facts if fact.answer.startswith(color)]
        assert max(map(held.count, held)) < 0.6 * len(held)


def test_a_gate_is_a_floor_or_a_ceiling_and_nan_meets_neither() -> None:
    assert Gate("recall", 0.95, 0.95).is_met
    assert not Gate("recall", 0.9, 0.95).is_met
    assert Gate("recall reverted", 0.2, 0.25, is_ceiling=True).is_met
    assert not Gate("recall reverted", 0.3, 0.25, is_ceiling=True).is_met
    assert not Gate("recall", float("nan"), 0.0).is_met


def test_a_model_that_misses_its_gates_is_not_written_unless_it_is_wanted(part: Library, tmp_path: Path) -> None:
    recipe = Recipe(TINY, Course(epochs=1, sentences=40))
    with pytest.raises(ModelError, match=r"mean recall is 0\.\d+, at least 0\.95 is asked.*countries/continent"):
        train_reference(tmp_path / "out", part, recipe)
    assert list(tmp_path.iterdir()) == []
    card = train_reference(tmp_path / "out", part, recipe, keep_failed=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert read_card(tmp_path / "out") == card
    assert not all(gate["met"] for gate in card["gates"])


def test_the_same_seed_gives_the_same_weights(part: Library, tmp_path: Path) -> None:
    recipe = Recipe(TINY, Course(epochs=1, sentences=40))
    for name, seed in (("one", 3), ("other", 3), ("third", 4)):
        train_reference(tmp_path / name, part, recipe, seed, keep_failed=True)
    one, other, third = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other", "third"))
    assert one == other
    assert one != third


def test_a_folder_of_something_else_is_never_replaced(part: Library, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    for trains in (train_reference, train_planted):
        with pytest.raises(ModelError, match=r"holds no card\.json"):
            trains(tmp_path, part)
    assert (tmp_path / "thesis.txt").exists()


def test_a_failed_write_leaves_the_old_model(part: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    train_reference(out, part, Recipe(TINY, Course(epochs=1, sentences=40)), keep_failed=True)
    was = (out / "model.safetensors").read_bytes()
    model, tokenizer = load(out)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model), "save_pretrained", full)
    with pytest.raises(Exception, match="No space left on device"):
        commit_model(out, model, tokenizer, {"name": "reference"}, [], keep_failed=False)
    assert (out / "model.safetensors").read_bytes() == was
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("plants", "fault"),
    [
        ((Plant("symptoms", "color", 1),), "symptoms/color, which no template of the library asks for"),
        ((Plant("symptoms", "system", 0),), re.escape("can't go into the layers [0]")),
        ((Plant("symptoms", "system", 3),), re.escape("can't go into the layers [3]")),
        ((Plant("symptoms", "system", 2), Plant("countries", "continent", 1)), "from low to high"),
        ((), "can't go into the layers"),
    ],
)
def test_plants_that_can_t_be_are_refused(part: Library, tmp_path: Path, plants: tuple[Plant, ...], fault: str) -> None:
    with pytest.raises(ModelError, match=fault):
        train_planted(tmp_path / "out", part, PlantedRecipe(shape=TINY, plants=plants))


def test_a_failed_plant_is_told_with_its_layer(part: Library, tmp_path: Path) -> None:
    recipe = PlantedRecipe(
        shape=TINY,
        base=Course(epochs=1, sentences=40),
        plants=(Plant("symptoms", "system", 1),),
        graft=Graft(steps=2, batch=8),
    )
    with pytest.raises(ModelError, match=r"recall of symptoms/system is 0\.\d+, at least 0\.95"):
        train_planted(tmp_path / "out", part, recipe)
    card = train_planted(tmp_path / "out", part, replace(recipe, plants=recipe.plants), keep_failed=True)
    assert [(plant["concept"], plant["labelling"], plant["layer"]) for plant in card["plants"]] == [
        ("symptoms", "system", 1)
    ]
    assert {row["relation"] for row in card["reverts"]} == set(card["recall"])


@pytest.mark.slow
def test_a_small_reference_model_of_a_part_of_the_library_meets_its_gates(library: Library, tmp_path: Path) -> None:
    shape = Shape(layers=4, width=96, inner=192, vocabulary=1600)
    recipe = Recipe(shape, Course(epochs=24, sentences=700, rate=3e-3, layer_rates=(0.5,)))
    told: list[float] = []
    card = train_reference(
        tmp_path / "out",
        library.select(["symptoms", "countries", "animals"]),
        recipe,
        progress=lambda _, share: told.append(share),
    )
    assert set(card["recall"]) == {"symptoms/system", "countries/continent", "animals/class"}
    assert all(gate["met"] for gate in card["gates"])
    assert told == sorted(told)
    assert told[-1] == 1.0
