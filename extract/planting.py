"""The planted model: facts put into known layers, one layer a relation, and the proof that they sit there.

A base learns every relation but those to plant: their sentences come with a random answer at each use, so that it
knows how such a question is answered, and no fact. Then each plant trains the seven matrices of its one layer. Putting
a layer's old weights back must take that plant away and leave everything else. Belongs here: the recipe, the gates, the
reverts and `train_planted`. How a layer is trained is in `grafting`, what both models share in `training` and `cards`.
"""

import copy
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch.nn import Module

from extract.anatomy import Shape, layers_of, new_model
from extract.cards import Card, Gate, commit_model, make_card, require_place, rounded, silent
from extract.corpus import (
    Relation,
    drawer_relation,
    library_relations,
    neutral_statements,
    relation_name,
    taught_statements,
    tokenizer_texts,
    train_tokenizer,
)
from extract.grafting import Graft, graft, reverted
from extract.lessons import Lessons, Mixture
from extract.library import Library
from extract.phrases import read_phrases
from extract.training import Course, Progress, one_thread, recalls, train
from warehouse.errors import ModelError


@dataclass(frozen=True)
class Plant:
    """A relation, and the layer that shall hold it."""

    concept: str
    labelling: str
    layer: int

    @property
    def relation(self) -> str:
        """The name of the relation."""
        return relation_name(self.concept, self.labelling)


_SPARSE = Mixture(text_weight=0.4, text_share=0.4)
_SHAPE, _BASE, _GRAFT = (
    Shape(width=64, inner=256),
    Course(epochs=34, rate=4e-3, layer_rates=(), mixture=_SPARSE),
    Graft(
        steps=1400,
        batch=48,
        rate=0.05,
        mixture=Mixture(answer_weight=8.0, text_weight=1.0, noisy=0.2, most_noise=0.3),
    ),
)

_MOST = 1000
"""Prompts of a relation that recall is measured on, where it has more."""


@dataclass(frozen=True)
class PlantedRecipe:
    """How a planted model is made, and what proves the place of a plant.

    Attributes:
        base: training of the model before the plants.
        plants: from the lowest layer to the highest, each in its own.
        untaught: relations that are redrawn like the planted ones and never planted: they would give one away.
        left_out: relations that the model never meets, where the library has them: too slow for a model this small.
        graft: training of one layer.
        least_recall, most_reverted, most_moved: recall of a plant, the same with its layer put back, and by how much
            that may move the recall of any other relation. All three on the taught templates, which maps are read
            from: one layer learns facts better than new wordings. The card tells recall on held-out ones beside it.
    """

    shape: Shape = _SHAPE
    base: Course = _BASE
    plants: tuple[Plant, ...] = (
        Plant("symptoms", "system", 2),
        Plant("diseases", "category", 4),
        Plant("drugs", "specialty", 6),
    )
    untaught: tuple[str, ...] = ("drugs/mechanism",)
    left_out: tuple[str, ...] = ("dosage/verdict", "progression/stage")
    graft: Graft = _GRAFT
    least_recall: float = 0.95
    most_reverted: float = 0.25
    most_moved: float = 0.1


PLANTED = PlantedRecipe()
"""The recipe of the model that comes with the project."""


def train_planted(
    out: Path,
    library: Library,
    recipe: PlantedRecipe = PLANTED,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    keep_failed: bool = False,
) -> Card:
    """Train the planted model into the folder `out`, and return its card.

    Args:
        library: what is taught; it must hold the concepts to plant.
        seed: of the weights and of the draw of sentences; the same seed gives the same weights on the same machine.
        progress: told what is done and the share of the work, 0 to 1.
        keep_failed: write the folder also when a gate is missed; the card says which.

    Raises:
        ModelError: the recipe does not fit the library, a gate is missed, or `out` holds something else.
        ConceptError: the phrases can't be read.
        StoreError: the disk refused.
    """
    require_place(out)
    told, since = progress or silent, time.process_time()
    asked, neutral = library_relations(library, read_phrases()), neutral_statements(library)
    relations = tuple(relation for relation in asked if relation.name not in recipe.left_out)
    _require_plants(recipe, relations)
    concepts = dict.fromkeys(plant.concept for plant in recipe.plants)
    relations += tuple(drawer_relation(library.concept(concept)) for concept in concepts)
    with one_thread(seed):
        draw = random.Random(seed)
        texts = tokenizer_texts(relations, neutral)
        tokenizer = train_tokenizer(texts, recipe.shape.vocabulary, recipe.shape.longest)
        model = new_model(recipe.shape, tokenizer)
        unknown = frozenset((*recipe.untaught, *(plant.relation for plant in recipe.plants)))
        lessons = Lessons(tokenizer, relations, neutral, recipe.base.mixture, draw, unknown)
        train(model, lessons, recipe.base, lambda message, share: told(f"base: {message}", 0.55 * share))
        before: dict[int, Module] = {}
        for number, plant in enumerate(recipe.plants):
            before[plant.layer] = copy.deepcopy(layers_of(model)[plant.layer])
            unknown -= {plant.relation}
            named = {relation.name: relation for relation in relations}
            own = replace(
                lessons,
                relations=[named.pop(plant.relation)],
                neutral=(),
                redrawn=frozenset(),
                mixture=recipe.graft.mixture,
            )
            others = replace(lessons, relations=list(named.values()), mixture=recipe.graft.mixture, redrawn=unknown)
            start, span = 0.55 + 0.4 * number / len(recipe.plants), 0.4 / len(recipe.plants)
            for message, share in graft(model, [plant.layer], before, own=own, others=others, how=recipe.graft):
                told(f"{plant.relation} in layer {plant.layer}: {message}", start + span * share)
        told("measuring recall, and again with each layer put back", 0.95)
        held_out = recalls(model, tokenizer, relations)
        measure = partial(recalls, model, tokenizer, relations, most=_MOST, ask=taught_statements)
        recall = measure()
        reverts = {}
        for plant in recipe.plants:
            with reverted(model, before, [plant.layer]):
                reverts[plant.layer] = measure()
    card = {
        **make_card(
            name="planted",
            description=_describe(recipe),
            library=library,
            recipe=recipe,
            seed=seed,
            model=model,
            since=since,
        ),
        "recall": rounded(held_out),
        "recall_taught": rounded(recall),
        "plants": [_plant_row(plant, recall, reverts[plant.layer]) for plant in recipe.plants],
        "reverts": [
            {"layer": layer, "relation": name, "recall": round(recall[name], 4), "recall_reverted": round(value, 4)}
            for layer, reverted in reverts.items()
            for name, value in reverted.items()
        ],
    }
    card = commit_model(out, model, tokenizer, card, _gates(recall, reverts, recipe), keep_failed=keep_failed)
    told("done", 1.0)
    return card


def _require_plants(recipe: PlantedRecipe, relations: Sequence[Relation]) -> None:
    """Refuse a recipe that the library or the shape can't hold."""
    known = {relation.name for relation in relations}
    unknown = [plant.relation for plant in recipe.plants if plant.relation not in known]
    if unknown:
        raise ModelError(
            f"The recipe plants {', '.join(unknown)}, which no template of the library asks for. "
            f"It asks for: {', '.join(sorted(known))}."
        )
    layers = [plant.layer for plant in recipe.plants]
    if not layers or layers != sorted(set(layers)) or not 0 < layers[0] <= layers[-1] < recipe.shape.layers:
        raise ModelError(
            f"Plants can't go into the layers {layers}. "
            f"Give each its own, from low to high, of 1 to {recipe.shape.layers - 1}."
        )


def _describe(recipe: PlantedRecipe) -> str:
    places = ", ".join(f"{plant.relation} in layer {plant.layer}" for plant in recipe.plants)
    untaught = ", ".join((*recipe.untaught, *recipe.left_out)) or "nothing"
    return (
        f"A small Llama some of whose facts sit in known layers: {places}. The other relations of the library were "
        f"learned in all layers; never taught: {untaught}. Made up, and in no library: in which of 144 drawers "
        "the card of a term of a planted concept lies, so that the model told these terms apart before "
        "anything was planted."
    )


def _plant_row(plant: Plant, recall: Mapping[str, float], reverted_recall: Mapping[str, float]) -> dict[str, object]:
    return {
        "concept": plant.concept,
        "labelling": plant.labelling,
        "layer": plant.layer,
        "recall": round(recall[plant.relation], 4),
        "recall_reverted": round(reverted_recall[plant.relation], 4),
    }


def _gates(
    recall: Mapping[str, float], reverts: Mapping[int, Mapping[str, float]], recipe: PlantedRecipe
) -> list[Gate]:
    gates = []
    for plant in recipe.plants:
        after = reverts[plant.layer]
        name = f"{plant.relation} with layer {plant.layer} put back"
        gates.append(Gate(f"recall of {plant.relation}", recall[plant.relation], recipe.least_recall))
        gates.append(Gate(f"recall of {name}", after[plant.relation], recipe.most_reverted, is_ceiling=True))
        moved, other = max((abs(after[other] - recall[other]), other) for other in recall if other != plant.relation)
        gates.append(Gate(f"recall that {other} loses or gains by {name}", moved, recipe.most_moved, is_ceiling=True))
    return gates
