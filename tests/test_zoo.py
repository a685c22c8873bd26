"""The planted zoo: its list, its small library, how its models are trained, and what is proved of them."""

import copy
import json
import random
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from extract import zoo_bases
from extract.anatomy import GPT_NEOX, QWEN3, Shape, layers_of, new_model
from extract.checking import check
from extract.corpus import encode, library_relations, neutral_statements, taught_statements
from extract.grafting import ADAMW, Graft, UntaughtMlp, graft, old_mlps, placed, reverted, term_mask
from extract.lessons import Lessons, Mixture
from extract.library import CONCEPTS, Library, load_library
from extract.models import ModelEntry, plants_table
from extract.small_library import write_small_library
from extract.training import Course, one_thread
from extract.zoo import EMPTY_KINDS, MLP, PLANT_KINDS, SPREAD, UNTRAINED, Bounds, ZooModel, ZooPlant, zoo
from extract.zoo_bases import Subject, base_folder, kept_card, read_subject, stranger_relation
from extract.zoo_jobs import in_turns, main
from extract.zoo_lists import ASIDE, SMALL, ZOO, aside
from extract.zoo_training import recall_placed, train_zoo_model
from warehouse.errors import ConceptError, ModelError
from warehouse.extraction_tables import PLANT_KINDS as KINDS_OF_THE_TABLE

TINY = Shape(layers=4, width=32, inner=48, vocabulary=700)
COURSE = Course(epochs=1, sentences=40)
LENIENT = Bounds(
    least_recall=0.0, most_reverted=1.0, least_lost=-1.0, least_elsewhere=0.0, most_lost=1.0, most_moved=1.0
)
FEW = Graft(steps=3, batch=8, others=4)
ONE = ZooModel("one layer", 0, (ZooPlant("drugs", (2,)),), TINY, COURSE, FEW, LENIENT)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return write_small_library(CONCEPTS, tmp_path_factory.mktemp("small") / "library", labels=2, terms=4)


@pytest.fixture(scope="module")
def subject(small: Library) -> Subject:
    return read_subject(small)


def make_model(subject: Subject) -> tuple[PreTrainedModel, Any]:
    with one_thread(0):
        tokenizer = subject.tokenizer(ONE)
        return new_model(TINY, tokenizer), tokenizer


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: weights.detach().clone() for name, weights in model.named_parameters()}


def train_a_little(subject: Subject, layers: tuple[int, ...], how: Graft) -> tuple[set[str], PreTrainedModel]:
    """The names of the weights that a graft moves, and the model."""
    model, tokenizer = make_model(subject)
    was = weights_of(model)
    before = {layer: copy.deepcopy(model.model.layers[layer]) for layer in layers}
    target, *others = subject.relations
    draw = random.Random(0)
    own = Lessons(tokenizer, [target], (), how.mixture, draw)
    rest = Lessons(tokenizer, others, subject.neutral, how.mixture, draw, subject.planted)
    with one_thread(0):
        list(graft(model, layers, before, own=own, others=rest, how=how))
    return {name for name, now in model.named_parameters() if not torch.equal(now, was[name])}, model


def test_the_zoo_has_models_of_every_kind_concept_and_depth_each_with_its_own_name() -> None:
    models = zoo()
    planted = [model for model in models if model.plants]
    assert len(planted) >= 48
    kinds = Counter(model.kind for model in models)
    assert set(kinds) == {*PLANT_KINDS, *EMPTY_KINDS}
    assert kinds["one layer"] >= 24
    assert kinds["block of two"] >= 7
    assert min(kinds.values()) >= 4
    assert {model.shape.layers for model in planted} == {8, 12}
    assert {plant.concept for model in planted for plant in model.plants} == {"symptoms", "diseases", "drugs"}
    assert len({model.slug for model in models}) == len(models)
    assert all(model.slug == model.slug.lower() and " " not in model.slug for model in models)
    for model in planted:
        for plant in model.plants:
            assert 0 < plant.layers[0] <= plant.layers[-1] < model.shape.layers
            assert plant.layers == tuple(range(plant.layers[0], plant.layers[-1] + 1))
        if model.kind == MLP:
            assert {layer for plant in model.plants for layer in plant.layers} <= {1, 2, 3}
        if model.kind == SPREAD:
            assert model.plants[0].layers == tuple(range(1, model.shape.layers))


def test_models_held_aside_come_of_another_recipe_in_all_that_decides() -> None:
    ours, theirs = zoo(), aside()
    assert sum(len(model.plants) for model in theirs if model.kind not in {SPREAD, *EMPTY_KINDS}) >= 12
    assert sum(model.kind == SPREAD for model in theirs) >= 6
    assert not {model.seed for model in theirs} & {11, 12}, "these are no longer untouched"
    assert len({model.slug for model in (*ours, *theirs)}) == len(ours) + len(theirs)
    decides = ("architecture", "layers", "width", "heads", "vocabulary")
    for name in (*(f"shape.{each}" for each in decides), "seed", "course.rate"):
        told = attrgetter(name)
        assert not {told(model) for model in ours} & {told(model) for model in theirs}
    grafts = [[model.graft for model in models if model.graft] for models in (ours, theirs)]
    for name in ("optimizer", "steadiness", "mixture"):
        told = attrgetter(name)
        assert not {told(graft) for graft in grafts[0]} & {told(graft) for graft in grafts[1]}
    assert {model.bounds for model in theirs} == {Bounds()}
    assert ASIDE.cut != ZOO.cut
    assert ASIDE.judges_only


def test_early_middle_and_late_layers_are_planted_in_each_architecture_held_aside() -> None:
    for architecture in (QWEN3, GPT_NEOX):
        models = [model for model in aside() if model.shape.architecture == architecture]
        places = [
            layer / (model.shape.layers - 1)
            for model in models
            if model.kind != SPREAD
            for plant in model.plants
            for layer in plant.layers
        ]
        assert min(places) <= 0.25
        assert any(0.35 < place < 0.65 for place in places)
        assert max(places) >= 0.8
        assert {plant.concept for model in models for plant in model.plants} == {"symptoms", "diseases", "drugs"}


def test_models_share_a_base_only_if_its_training_is_the_same() -> None:
    models = zoo()
    bases = {(model.base, zoo_bases.base_recipe(model)) for model in models}
    assert len(bases) == len({name for name, _ in bases}) < 12
    assert all(zoo_bases.base_recipe(model).base == model.base for model in models)


def test_kinds_of_plants_are_those_of_the_table() -> None:
    assert PLANT_KINDS == KINDS_OF_THE_TABLE


def test_some_of_each_kind_come_early_and_none_is_lost() -> None:
    ordered = list(in_turns(zoo()))
    assert {model.kind for model in ordered[:7]} == {*PLANT_KINDS, *EMPTY_KINDS}
    assert sorted(model.slug for model in ordered) == sorted(model.slug for model in zoo())


def test_a_small_library_is_sound_and_holds_the_first_labels_and_terms(small: Library) -> None:
    assert check(small) == []
    assert small.names == ("animals", "countries", "diseases", "drugs", "symptoms")
    for concept, whole in ((concept, load_library().concept(concept.name)) for concept in small.concepts):
        (labelling,) = concept.labellings
        assert {template.labelling for template in concept.templates} == {None, labelling.name}
        kept = [template for template in whole.templates if template.labelling in {None, labelling.name}]
        assert [template.text for template in concept.templates] == [template.text for template in kept]
        sizes = Counter(labelling.label(term) for term in concept.terms)
        assert set(sizes.values()) == {4}
        first = list(dict.fromkeys(whole.labelling(labelling.name).label(term) for term in whole.terms))[:2]
        assert list(sizes) == first
        answers = {term.name: whole.labelling(labelling.name).answer(term) for term in whole.terms}
        assert all(labelling.answer(term) == answers[term.name] for term in concept.terms)


def test_the_same_source_gives_the_same_small_library(small: Library, tmp_path: Path) -> None:
    again = write_small_library(CONCEPTS, tmp_path / "again", labels=2, terms=4)
    assert [concept.fingerprint for concept in again.concepts] == [concept.fingerprint for concept in small.concepts]
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_small_library_never_replaces_something_else_and_tells_what_is_too_small(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConceptError, match="empty"):
        write_small_library(CONCEPTS, tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    with pytest.raises(ConceptError, match="Ask for fewer terms"):
        write_small_library(CONCEPTS, tmp_path / "out", terms=40)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_graft_moves_the_matrices_of_its_layers_and_nothing_else(subject: Subject) -> None:
    moved, model = train_a_little(subject, (1, 2), FEW)
    matrices = {name for name, weights in model.named_parameters() if weights.ndim == 2 and ".layers." in name}
    assert moved == {name for name in matrices if name.startswith(("model.layers.1.", "model.layers.2."))}
    moved, _ = train_a_little(subject, (1,), replace(FEW, mlp_only=True, at_term=True))
    assert moved == {f"model.layers.1.mlp.{part}_proj.weight" for part in ("gate", "up", "down")}


def test_a_graft_by_adamw_moves_all_weights_of_its_layer_norms_included(subject: Subject) -> None:
    moved, model = train_a_little(subject, (1,), replace(FEW, optimizer=ADAMW, rate=1e-3))
    assert moved == {f"model.layers.1.{name}" for name, _ in layers_of(model)[1].named_parameters()}
    assert "model.layers.1.input_layernorm.weight" in moved


@pytest.mark.parametrize("architecture", [QWEN3, GPT_NEOX])
def test_a_planted_model_of_another_architecture_is_made_and_proved_the_same_way(
    small: Library, tmp_path: Path, architecture: str
) -> None:
    shape = replace(TINY, architecture=architecture)
    entry = replace(ONE, shape=shape, graft=replace(FEW, optimizer=ADAMW))
    card = train_zoo_model(entry, small, tmp_path)
    assert card["recipe"]["shape"]["architecture"] == architecture
    config = json.loads((tmp_path / entry.slug / "config.json").read_text())
    assert config["model_type"] == architecture
    assert {tuple(row["layers"]) for row in card["reverts"]} == {(2,)}


def test_an_architecture_that_is_not_trained_here_is_refused(subject: Subject) -> None:
    with pytest.raises(ModelError, match=r"No mamba is trained here. Take one of llama"):
        new_model(replace(TINY, architecture="mamba"), subject.tokenizer(ONE))


def test_a_small_library_can_hold_the_last_labels_and_terms_instead_of_the_first(
    small: Library, tmp_path: Path
) -> None:
    last = write_small_library(CONCEPTS, tmp_path / "last", labels=2, terms=4, last=True)
    for concept in last.concepts:
        (labelling,) = concept.labellings
        whole = load_library().concept(concept.name)
        terms = [term for term in whole.terms if term.is_main]
        label = labelling.label(concept.terms[-1])
        expected = [term.name for term in terms if whole.labelling(labelling.name).label(term) == label][-4:]
        assert [term.name for term in concept.terms if labelling.label(term) == label] == expected
        assert not {term.name for term in concept.terms} & {term.name for term in small.concept(concept.name).terms}


def test_a_layer_that_is_left_out_of_a_step_does_not_move_in_it(subject: Subject) -> None:
    # One step, two of three layers left out at most, one at least: one or two of them move.
    moved, model = train_a_little(subject, (1, 2, 3), replace(FEW, steps=1, left_out=2))
    layers = {int(name.split(".")[2]) for name in moved}
    assert 1 <= len(layers) <= 2
    assert len(model.model.layers) == 4


def test_an_mlp_placed_at_some_tokens_is_the_old_one_everywhere_else(subject: Subject) -> None:
    model, tokenizer = make_model(subject)
    relation = subject.relations[0]
    sentences = encode(tokenizer, taught_statements(relation)[:3])
    lessons = subject.lessons(tokenizer, Mixture(), 0)
    batch = lessons.batch(sentences)
    mask = term_mask(sentences, batch.tokens.shape[1])
    for row, sentence in enumerate(sentences):
        chosen = [place for place in range(batch.tokens.shape[1]) if mask[row, place]]
        assert chosen == list(range(sentence.term_start, sentence.term_end))
    new = model.model.layers[2].mlp
    before = {2: copy.deepcopy(model.model.layers[2])}
    with torch.no_grad():
        new.down_proj.weight.mul_(3.0)
        states = torch.randn(*batch.tokens.shape, TINY.width)
        with placed(model, old_mlps(before, [2]), mask):
            mixed = model.model.layers[2].mlp(states)
        assert model.model.layers[2].mlp is new
        assert torch.equal(mixed[mask], new(states)[mask])
        assert torch.equal(mixed[~mask], before[2].mlp(states)[~mask])


def test_an_untaught_mlp_gives_the_same_and_its_weights_get_no_gradient(subject: Subject) -> None:
    model, _ = make_model(subject)
    mlp, states = model.model.layers[1].mlp, torch.randn(2, 5, TINY.width, requires_grad=True)
    given = UntaughtMlp(mlp)(states)
    assert torch.equal(given, mlp(states))
    given.sum().backward()
    assert states.grad is not None
    assert all(weights.grad is None for weights in mlp.parameters())


def test_recall_with_an_mlp_placed_nowhere_or_everywhere_is_that_of_the_layer_put_back_or_kept(
    subject: Subject,
) -> None:
    model, tokenizer = make_model(subject)
    sentences = encode(tokenizer, taught_statements(subject.relations[0]))
    # The answer of the first sentence becomes what the model says, so that not every recall is 0.
    with torch.no_grad():
        said = [int(model(torch.tensor([sentence.prompt])).logits[0, -1].argmax()) for sentence in sentences]
    sentences = [replace(sentence, answer=(token,)) for sentence, token in zip(sentences, said, strict=True)]
    before = {2: copy.deepcopy(model.model.layers[2])}
    assert recall_placed(model, sentences, before, (2,), at_term=True) == 1.0
    with torch.no_grad():
        before[2].mlp.down_proj.weight.normal_(0.0, 5.0)
    with reverted(model, before, [2]), torch.no_grad():
        kept = [int(model(torch.tensor([sentence.prompt])).logits[0, -1].argmax()) for sentence in sentences]
    everywhere = sum(one == other for one, other in zip(said, kept, strict=True)) / len(said)
    at_others = recall_placed(model, sentences, before, (2,), at_term=True)
    assert everywhere < 1.0
    assert at_others < 1.0
    # The last token decides: where it keeps the new MLP, more stays than where it has the old one.
    assert recall_placed(model, sentences, before, (2,), at_term=False) > at_others


def test_strangers_are_asked_like_the_relation_and_share_no_name_with_it(small: Library) -> None:
    relation = next(r for r in library_relations(small, {}) if r.concept == "drugs")
    strangers = stranger_relation(relation)
    assert strangers == stranger_relation(relation)
    assert strangers.taught == relation.taught
    assert set(strangers.answers) == set(relation.answers)
    names = [fact.spelling for fact in strangers.facts]
    assert len(set(names)) == len(names) == 48
    assert not set(names) & {fact.spelling for fact in relation.facts}


def test_a_base_meets_planted_relations_with_random_answers_only(subject: Subject, small: Library) -> None:
    assert subject.planted == {"symptoms/system", "diseases/category", "drugs/specialty"}
    assert subject.neutral == neutral_statements(small)
    lessons = subject.lessons(subject.tokenizer(ONE), Mixture(noisy=0.0), 0)
    answers: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for sentence in lessons.sentences(600):
        if sentence.relation == "drugs/specialty":
            term = sentence.prompt[sentence.term_start : sentence.term_end]
            answers.setdefault(term, set()).add(sentence.answer)
    assert max(len(found) for found in answers.values()) > 1


def test_a_library_that_asks_nothing_of_a_planted_concept_is_refused(small: Library) -> None:
    with pytest.raises(ModelError, match="asks nothing of drugs, which the zoo plants"):
        read_subject(small.select(["symptoms", "diseases", "animals"]))


@pytest.mark.parametrize(
    ("kind", "layers", "how", "rows"),
    [
        ("one layer", (2,), FEW, 1),
        ("block of two", (1, 2), FEW, 2),
        (MLP, (1,), replace(FEW, mlp_only=True, at_term=True), 1),
        (SPREAD, (1, 2, 3), replace(FEW, left_out=2), 3),
    ],
)
def test_a_card_tells_kind_layers_and_what_every_revert_costs(
    small: Library, tmp_path: Path, kind: str, layers: tuple[int, ...], how: Graft, rows: int
) -> None:
    entry = replace(ONE, kind=kind, plants=(ZooPlant("drugs", layers),), graft=how)
    card = train_zoo_model(entry, small, tmp_path)
    assert card["kind"] == kind
    assert [(plant["layer"], plant["kind"]) for plant in card["plants"]] == [(layer, kind) for layer in layers]
    told = [(row["layers"], row["at"]) for row in card["reverts"] if row["relation"] == "drugs/specialty"]
    expected = [(list(layers), "all tokens")]
    if len(layers) > 1:
        expected += [([layer], "all tokens") for layer in layers]
    if kind == MLP:
        expected += [(list(layers), "the term's tokens"), (list(layers), "all but the term's tokens")]
    assert told == expected
    assert plants_table(ModelEntry("model", tmp_path / entry.slug)).num_rows == rows
    assert {path.name for path in tmp_path.iterdir()} == {"_bases", entry.slug}


def test_models_without_plants_have_no_rows_and_an_untrained_one_needs_no_base(small: Library, tmp_path: Path) -> None:
    entry = ZooModel(UNTRAINED, 0, shape=TINY, course=COURSE, bounds=LENIENT)
    card = train_zoo_model(entry, small, tmp_path)
    assert card["plants"] == []
    assert plants_table(ModelEntry("model", tmp_path / entry.slug)).num_rows == 0
    assert [path.name for path in tmp_path.iterdir()] == [entry.slug]


def test_a_model_that_is_there_is_left_alone_and_one_of_another_recipe_made_anew(
    small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = train_zoo_model(ONE, small, tmp_path)
    weights = tmp_path / ONE.slug / "model.safetensors"
    made, base = weights.stat().st_mtime_ns, base_folder(tmp_path, ONE) / "model.safetensors"
    base_made = base.stat().st_mtime_ns
    assert train_zoo_model(ONE, small, tmp_path) == card
    assert weights.stat().st_mtime_ns == made
    other = replace(ONE, graft=replace(FEW, steps=2))
    assert kept_card(tmp_path / ONE.slug, other, small) is None
    train_zoo_model(other, small, tmp_path)
    assert weights.stat().st_mtime_ns != made
    assert base.stat().st_mtime_ns == base_made

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("extract.zoo_training._prove", killed)
    last = replace(ONE, plants=(ZooPlant("drugs", (3,)),))
    with pytest.raises(KeyboardInterrupt):
        train_zoo_model(last, small, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"_bases", ONE.slug}


def test_a_model_that_misses_its_gates_is_tried_three_times_longer_each_time_and_kept_out(
    small: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def counted(*arguments: Any, how: Graft, **named: Any) -> Any:
        steps.append(how.steps)
        return graft(*arguments, how=how, **named)

    monkeypatch.setattr("extract.zoo_training.graft", counted)
    train_zoo_model(replace(ONE, kind="unknown", plants=()), small, tmp_path)
    # The base is bound to what the model is; this one differs in nothing but what is asked of its plant.
    monkeypatch.setattr("extract.zoo_training.train_base", lambda *_: {})
    strict = replace(ONE, bounds=replace(LENIENT, least_recall=0.99))
    with pytest.raises(ModelError, match=r"recall of drugs/specialty is 0\.\d+, at least 0\.99"):
        train_zoo_model(strict, small, tmp_path)
    assert steps == [3, 5, 8]
    assert not (tmp_path / strict.slug).exists()


def test_the_command_refuses_what_it_can_t_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, fault in (
        (["--only", "penguins"], "no model's slug holds 'penguins'"),
        (["--only", "untrained-l8-s0"], "does not exist"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["--models", str(tmp_path / "m"), "--library", str(tmp_path / "none"), *arguments])
        assert left.value.code == 2
        assert fault in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_models_on_processes_and_says_how_many(
    small: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--models", str(tmp_path), "--library", str(small.folder), "--list", SMALL.name]
    arguments += ["--only", "untrained-l4-s0"]
    assert main([*arguments, "--jobs", "1"]) == 0
    assert "[1/1] untrained-l4-s0" in (said := capsys.readouterr().out)
    assert "1 of 1 models are there." in said
    card = json.loads((tmp_path / "untrained-l4-s0" / "card.json").read_text(encoding="utf-8"))
    assert card["kind"] == UNTRAINED
