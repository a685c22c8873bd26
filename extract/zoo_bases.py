"""The bases of the zoo: models that know how they are asked, and nothing of what is to be planted.

Belongs here: the sentences that all models of the zoo share, the training of a base, and where it is kept. One base
serves every model of its shape and seed: all planted relations are redrawn in it, at each use with a random answer.
"""

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from extract.anatomy import new_model
from extract.cards import CARD_FILE, Card, Gate, commit_model, make_card, no_bars, require_place, rounded
from extract.corpus import (
    Fact,
    Relation,
    Statement,
    drawer_relation,
    library_relations,
    neutral_statements,
    taught_statements,
    tokenizer_texts,
    train_tokenizer,
)
from extract.lessons import Lessons, Mixture
from extract.library import Library
from extract.phrases import PHRASES_FILE, read_phrases
from extract.training import Progress, one_thread, recalls, train
from extract.zoo import BASE, RELATIONS, STRANGERS_BASE, Bounds, ZooModel
from warehouse.errors import ModelError
from warehouse.versions import file_hash

BASES = "_bases"
"""The folder of the bases, inside that of the models."""

ATTEMPTS = 3
"""How often a model is trained, each time from another seed, before it is given up."""

_STRANGERS = 48
_FIRST, _SECOND, _LAST = "bdfgklmnprstvz", "aeiou", "lmnrst"

_MOST = 256
"""Prompts of a relation that recall is measured on, where it has more."""


@dataclass(frozen=True)
class Subject:
    """What the models of the zoo are taught, from one library: each planted concept's drawers included."""

    library: Library
    relations: tuple[Relation, ...]
    neutral: tuple[Statement, ...]

    @property
    def planted(self) -> frozenset[str]:
        """The names of the relations that a base must not know."""
        return frozenset(relation.name for relation in self.relations if _is_planted(relation))

    def relation(self, name: str) -> Relation:
        """The relation of that name."""
        return next(relation for relation in self.relations if relation.name == name)

    def lessons(self, tokenizer: PreTrainedTokenizerFast, mixture: Mixture, seed: int) -> Lessons:
        """Sentences about everything, with random answers for what is planted."""
        return Lessons(tokenizer, self.relations, self.neutral, mixture, random.Random(seed), self.planted)

    def tokenizer(self, entry: ZooModel) -> PreTrainedTokenizerFast:
        """The tokenizer of all models of a shape: the same library gives the same one."""
        texts = tokenizer_texts(self.relations, self.neutral)
        return train_tokenizer(texts, entry.shape.vocabulary, entry.shape.longest)


@dataclass(frozen=True)
class Trained:
    """What an attempt came to; the card still lacks the gates."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    card: Card
    gates: Sequence[Gate]


def read_subject(library: Library, *, strangers: bool = False) -> Subject:
    """What there is to teach.

    Args:
        strangers: the planted relations of made-up names too, see `stranger_relation`.

    Raises:
        ModelError: the library does not ask for a relation that is planted.
        ConceptError: the phrases can't be read.
    """
    asked = library_relations(library, read_phrases())
    known = {relation.concept: relation.labelling for relation in asked if _is_planted(relation)}
    missing = [concept for concept in RELATIONS if concept not in known]
    if missing:
        raise ModelError(
            f"{library.folder} asks nothing of {', '.join(missing)}, which the zoo plants. Cut a small library of one "
            "that does."
        )
    drawers = tuple(drawer_relation(library.concept(concept)) for concept in RELATIONS)
    unknown = tuple(stranger_relation(relation) for relation in asked if strangers and _is_planted(relation))
    return Subject(library, (*asked, *drawers, *unknown), neutral_statements(library))


def stranger_relation(relation: Relation) -> Relation:
    """A relation of made-up names, such as "karomet", asked like another one: each name has one of its answers."""
    names: dict[str, None] = {}
    for number in count():
        if len(names) == _STRANGERS:
            break
        digest = hashlib.blake2b(f"{relation.name}\0{number}".encode(), digest_size=8).digest()
        pairs = ((digest[2 * place], digest[2 * place + 1]) for place in range(3))
        syllables = "".join(_FIRST[first % len(_FIRST)] + _SECOND[second % len(_SECOND)] for first, second in pairs)
        names[syllables + _LAST[digest[6] % len(_LAST)]] = None
    facts = tuple(Fact(name, relation.answers[turn % len(relation.answers)]) for turn, name in enumerate(names))
    return replace(relation, labelling=f"{relation.labelling} (made up)", facts=facts)


def kept_card(folder: Path, recipe: object, library: Library) -> Card | None:
    """The card of a model that is already there, if all gates are met and recipe, library and phrases are these."""
    try:
        card: Card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        met = all(gate["met"] for gate in card["gates"])
        same = (card["recipe"], card["library"], card["phrases"]) == (
            json.loads(json.dumps(asdict(recipe))),  # type: ignore[call-overload]
            {concept.name: concept.fingerprint for concept in library.concepts},
            file_hash(PHRASES_FILE),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return card if met and same else None


def base_folder(models: Path, entry: ZooModel) -> Path:
    """Where the base of a model is kept."""
    return models / BASES / entry.base


def base_recipe(entry: ZooModel) -> ZooModel:
    """The model whose training is the base's: without a plant."""
    kind = STRANGERS_BASE if entry.meets_strangers else BASE
    return ZooModel(kind, entry.seed, shape=entry.shape, course=entry.course, bounds=entry.bounds)


def train_base(entry: ZooModel, subject: Subject, models: Path, progress: Progress) -> Card:
    """Train the base of a model, unless it is there, and return its card.

    Raises:
        ModelError: it misses its gates with each of its seeds, or the folder holds something else.
        StoreError: the disk refused.
    """
    out, recipe = base_folder(models, entry), base_recipe(entry)
    if card := kept_card(out, recipe, subject.library):
        return card
    require_place(out)
    return commit_first(out, partial(_train_base, recipe, subject, progress))


def commit_first(out: Path, trains: Callable[[int], Trained]) -> Card:
    """Put the first model that meets its gates in place, and return its card.

    Args:
        trains: called with the number of the attempt, from 0.

    Raises:
        ModelError: no attempt met its gates; the message tells what the last one missed.
        StoreError: the disk refused.
    """
    for attempt in range(ATTEMPTS):
        trained = trains(attempt)
        if all(gate.is_met for gate in trained.gates):
            break
    card = {**trained.card, "attempt": attempt}
    return commit_model(out, trained.model, trained.tokenizer, card, trained.gates, keep_failed=False)


def load_base(entry: ZooModel, models: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The base of a model, with its tokenizer."""
    folder = base_folder(models, entry)
    with no_bars():
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return model, tokenizer


def taught_recalls(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, relations: Sequence[Relation]
) -> dict[str, float]:
    """Recall of each relation on its taught templates, or on a sample of these prompts."""
    return recalls(model, tokenizer, relations, most=_MOST, ask=taught_statements)


def ignorance_gates(recall: Mapping[str, float], subject: Subject, bounds: Bounds) -> Iterator[Gate]:
    """A base knows what it was told, and nothing of what is planted."""
    for name, value in recall.items():
        if name in subject.planted:
            yield Gate(f"recall of {name}, never told", value, bounds.most_reverted, is_ceiling=True)
        else:
            yield Gate(f"recall of {name}", value, bounds.least_recall)


def _train_base(recipe: ZooModel, subject: Subject, progress: Progress, attempt: int) -> Trained:
    since, seed = time.process_time(), recipe.seed + 1000 * attempt
    with one_thread(seed):
        tokenizer = subject.tokenizer(recipe)
        model = new_model(recipe.shape, tokenizer)
        train(model, subject.lessons(tokenizer, recipe.course.mixture, seed), recipe.course, progress)
        recall = taught_recalls(model, tokenizer, subject.relations)
    card = {
        **make_card(
            name=f"base {recipe.base}",
            description="A small model that was told some relations of a library; the others came with random answers.",
            library=subject.library,
            recipe=recipe,
            seed=seed,
            model=model,
            since=since,
        ),
        "recall_taught": rounded(recall),
        "plants": [],
    }
    return Trained(model, tokenizer, card, list(ignorance_gates(recall, subject, recipe.bounds)))


def _is_planted(relation: Relation) -> bool:
    return RELATIONS.get(relation.concept) == relation.labelling
