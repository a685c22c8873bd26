"""The reference model: a small Llama that has learned every fact of a concept library.

Belongs here: its recipe, its gates, and `train_reference`. The sentences come from `corpus` and `lessons`, the loop
from `training`, the folder and the card from `cards`; the model whose facts sit in known layers is made in `planting`.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extract.anatomy import Shape, new_model
from extract.cards import Card, Gate, commit_model, make_card, require_place, rounded, silent
from extract.corpus import library_relations, neutral_statements, tokenizer_texts, train_tokenizer
from extract.lessons import Lessons
from extract.library import Library
from extract.phrases import read_phrases
from extract.training import Course, Progress, one_thread, recalls, train
from warehouse.errors import ModelError

_SHAPE, _COURSE = Shape(), Course()


@dataclass(frozen=True)
class Recipe:
    """How the reference model is made, and the recall it must reach on held-out templates."""

    shape: Shape = _SHAPE
    course: Course = _COURSE
    least_mean_recall: float = 0.95
    least_recall: float = 0.85


REFERENCE = Recipe()
"""The recipe of the model that comes with the project."""


def train_reference(
    out: Path,
    library: Library,
    recipe: Recipe = REFERENCE,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    keep_failed: bool = False,
) -> Card:
    """Train the reference model into the folder `out`, and return its card.

    Args:
        library: what is taught: every labelling that an asking template calls for, of controls too.
        seed: of the weights and of the draw of sentences; the same seed gives the same weights on the same machine.
        progress: told what is done and the share of the work, 0 to 1.
        keep_failed: write the folder also when a gate is missed; the card says which.

    Raises:
        ModelError: the library asks nothing, a gate is missed, or `out` holds something else than an embedded model.
        ConceptError: the phrases can't be read.
        StoreError: the disk refused.
    """
    require_place(out)
    told, since = progress or silent, time.process_time()
    relations, neutral = library_relations(library, read_phrases()), neutral_statements(library)
    if not relations:
        raise ModelError(
            f"No template of {library.folder} asks for a label: there is nothing to teach. Add asking ones."
        )
    with one_thread(seed):
        texts = tokenizer_texts(relations, neutral)
        tokenizer = train_tokenizer(texts, recipe.shape.vocabulary, recipe.shape.longest)
        model = new_model(recipe.shape, tokenizer)
        lessons = Lessons(tokenizer, relations, neutral, recipe.course.mixture, random.Random(seed))
        train(model, lessons, recipe.course, lambda message, share: told(message, 0.97 * share))
        told("measuring recall", 0.97)
        recall = recalls(model, tokenizer, relations)
    description = "A small Llama trained from nothing on every fact of the concept library, in all of its layers."
    card = {
        **make_card(
            name="reference",
            description=description,
            library=library,
            recipe=recipe,
            seed=seed,
            model=model,
            since=since,
        ),
        "recall": rounded(recall),
        "plants": [],
    }
    card = commit_model(out, model, tokenizer, card, _gates(recall, recipe), keep_failed=keep_failed)
    told("done", 1.0)
    return card


def _gates(recall: Mapping[str, float], recipe: Recipe) -> list[Gate]:
    mean = sum(recall.values()) / len(recall)
    return [
        Gate("mean recall", mean, recipe.least_mean_recall),
        *(Gate(f"recall of {relation}", value, recipe.least_recall) for relation, value in recall.items()),
    ]
