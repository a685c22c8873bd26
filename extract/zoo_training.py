"""How a model of the zoo is made from its base, and the proof that its facts sit where its card says.

Belongs here: the grafts of one model, what is measured with old weights put back, the gates of each kind, and the card.
Which models there are is for `zoo` to say; bases are trained in `zoo_bases`, layers in `grafting`.
"""

import copy
import random
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.nn import Module
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from extract.anatomy import layers_of, new_model
from extract.cards import Card, Gate, make_card, require_place, rounded, silent
from extract.corpus import Sentence, encode, taught_statements
from extract.grafting import graft, old_mlps, placed, reverted, term_mask
from extract.lessons import Mixture, make_batch
from extract.library import Library
from extract.training import Progress, final_states, one_thread, recalls, token_losses
from extract.zoo import BLOCK, MLP, SPREAD, UNTRAINED, Bounds, ZooModel, ZooPlant
from extract.zoo_bases import (
    Subject,
    Trained,
    commit_first,
    ignorance_gates,
    kept_card,
    load_base,
    read_subject,
    taught_recalls,
    train_base,
)
from warehouse.errors import ModelError

_LONGER = 1.6
"""Steps of an attempt, against those of the one before that missed its gates."""

_BATCH = 64
_ANSWERS_ALONE = Mixture(text_weight=0.0)


@dataclass(frozen=True)
class Proof:
    """What a plant's recall comes to as it stands, and with old weights put back, on its taught templates.

    Attributes:
        recall: as it stands.
        others: every relation's recall with all layers of the plant put back.
        without: recall with one of the layers put back alone, by layer.
        not_at_term, at_term_only: recall with the old MLP at the term's tokens alone, and with the old one everywhere
            else; NaN where the plant is in no MLP.
    """

    recall: float
    others: Mapping[str, float]
    without: Mapping[int, float]
    not_at_term: float = float("nan")
    at_term_only: float = float("nan")


@dataclass(frozen=True)
class _Work:
    """A model on its way: `before` holds its layers as they were before anything was planted in them."""

    entry: ZooModel
    subject: Subject
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    before: dict[int, Module]


def train_zoo_model(entry: ZooModel, library: Library, models: Path, progress: Progress | None = None) -> Card:
    """Train a model into its folder in `models`, its base as well if it is not there, and return its card.

    A folder with the card of the same recipe and library, all gates met, is left alone; a new one is put in place
    whole. An attempt that misses its gates is followed by one from another seed that trains longer, twice at most.

    Args:
        library: a small one, see `small_library`; it must ask for the relations that the zoo plants.
        progress: told what is done and the share of the work, 0 to 1.

    Raises:
        ModelError: the last attempt misses its gates too, the library lacks a relation, or a folder holds something
            else than a model of ours.
        ConceptError: the phrases can't be read.
        StoreError: the disk refused.
    """
    out, told = models / entry.slug, progress or silent
    if card := kept_card(out, entry, library):
        return card
    require_place(out)
    _require_layers(entry)
    subject = read_subject(library, strangers=entry.meets_strangers)
    if entry.kind != UNTRAINED:
        train_base(entry, subject, models, lambda message, share: told(f"base: {message}", 0.6 * share))
    card = commit_first(out, partial(_train, entry, subject, models, told))
    told("done", 1.0)
    return card


def _train(entry: ZooModel, subject: Subject, models: Path, told: Progress, attempt: int) -> Trained:
    since = time.process_time()
    seed = zlib.crc32(entry.slug.encode()) % 100_000 + attempt
    with one_thread(seed):
        if entry.kind == UNTRAINED:
            tokenizer = subject.tokenizer(entry)
            model = new_model(entry.shape, tokenizer)
        else:
            model, tokenizer = load_base(entry, models)
        work = _Work(entry, subject, model, tokenizer, {})
        for number, plant in enumerate(entry.plants):
            for message, share in _plant(work, number, seed, attempt):
                told(f"{plant.relation}: {message}", 0.6 + 0.35 * (number + share) / len(entry.plants))
        recall = taught_recalls(model, tokenizer, subject.relations)
        proofs = {plant.relation: _prove(work, plant, recall) for plant in entry.plants}
        held_out = recalls(model, tokenizer, subject.relations)
    card = {
        **make_card(
            name=entry.slug,
            description=_describe(entry),
            library=subject.library,
            recipe=entry,
            seed=seed,
            model=model,
            since=since,
        ),
        "kind": entry.kind,
        "recall": rounded(held_out),
        "recall_taught": rounded(recall),
        "plants": [row for plant in entry.plants for row in _plant_rows(entry, plant, proofs[plant.relation])],
        "reverts": [row for plant in entry.plants for row in _reverts(plant, recall, proofs[plant.relation])],
    }
    gates = [gate for plant in entry.plants for gate in _gates(entry, plant, recall, proofs[plant.relation])]
    if not entry.plants and entry.kind != UNTRAINED:
        gates = list(ignorance_gates(recall, subject, entry.bounds))
    return Trained(model, tokenizer, card, gates)


def _plant(work: _Work, number: int, seed: int, attempt: int) -> Iterator[tuple[str, float]]:
    """Train one plant in place, after those before it."""
    entry, subject = work.entry, work.subject
    if entry.graft is None:
        raise ModelError(f"{entry.slug} has plants and no recipe for them.")
    plant, how = entry.plants[number], replace(entry.graft, steps=round(entry.graft.steps * _LONGER**attempt))
    work.before.update({layer: copy.deepcopy(layers_of(work.model)[layer]) for layer in plant.layers})
    told = {planted.relation for planted in entry.plants[: number + 1]}
    lessons = subject.lessons(work.tokenizer, how.mixture, seed + 10 * number)
    target = subject.relation(plant.relation)
    rest = [relation for relation in subject.relations if relation != target]
    own = replace(lessons, relations=[target], neutral=(), redrawn=frozenset())
    others = replace(lessons, relations=rest, redrawn=subject.planted - told)
    return graft(work.model, plant.layers, work.before, own=own, others=others, how=how)


def _prove(work: _Work, plant: ZooPlant, recall: Mapping[str, float]) -> Proof:
    model, tokenizer, before, subject = work.model, work.tokenizer, work.before, work.subject
    target = subject.relation(plant.relation)
    with reverted(model, before, plant.layers):
        others = taught_recalls(model, tokenizer, subject.relations)
    without = {plant.layers[0]: others[plant.relation]}
    if len(plant.layers) > 1:
        for layer in plant.layers:
            with reverted(model, before, [layer]):
                without[layer] = taught_recalls(model, tokenizer, [target])[plant.relation]
    proof = Proof(recall[plant.relation], others, without)
    if work.entry.kind != MLP:
        return proof
    sentences = encode(tokenizer, taught_statements(target))
    return replace(
        proof,
        not_at_term=recall_placed(model, sentences, before, plant.layers, at_term=False),
        at_term_only=recall_placed(model, sentences, before, plant.layers, at_term=True),
    )


@torch.no_grad()
def recall_placed(
    model: PreTrainedModel,
    sentences: list[Sentence],
    before: Mapping[int, Module],
    layers: tuple[int, ...],
    *,
    at_term: bool,
) -> float:
    """Share of prompts answered right where the layers' MLPs are the new ones at some tokens alone.

    Args:
        before: the layers whose MLPs act at all other tokens.
        at_term: the new MLPs act at the terms' tokens; if false, at all but these.
    """
    right = 0
    for start in range(0, len(sentences), _BATCH):
        chosen = sentences[start : start + _BATCH]
        batch = make_batch(chosen, _ANSWERS_ALONE, (), 0, random.Random(0))
        mask = term_mask(chosen, batch.tokens.shape[1])
        with placed(model, old_mlps(before, layers), mask if at_term else ~mask):
            right += int(token_losses(model, final_states(model, batch), batch)[1].sum())
    return right / len(sentences)


def _require_layers(entry: ZooModel) -> None:
    for plant in entry.plants:
        if not plant.layers or not 0 < plant.layers[0] <= plant.layers[-1] < entry.shape.layers:
            raise ModelError(
                f"{entry.slug} plants {plant.relation} in the layers {list(plant.layers)}: give it some of 1 to "
                f"{entry.shape.layers - 1}."
            )


def _describe(entry: ZooModel) -> str:
    places = ", ".join(f"{plant.relation} in {_named(plant.layers)}" for plant in entry.plants)
    if places:
        return (
            f"A small model of the kind {entry.kind!r}: {places}. What else it knows was learned before, in all layers."
        )
    if entry.kind == UNTRAINED:
        return "A small model with random weights: nothing is anywhere."
    return "A small model that was never told the relations that others of its kind hold in known layers."


def _named(layers: tuple[int, ...]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"


def _plant_rows(entry: ZooModel, plant: ZooPlant, proof: Proof) -> list[dict[str, object]]:
    return [
        {
            "concept": plant.concept,
            "labelling": plant.labelling,
            "layer": layer,
            "recall": round(proof.recall, 4),
            "recall_reverted": round(proof.without[layer], 4),
            "kind": entry.kind,
        }
        for layer in plant.layers
    ]


def _reverts(plant: ZooPlant, recall: Mapping[str, float], proof: Proof) -> list[dict[str, object]]:
    rows: list[tuple[list[int], str, str, float]] = [
        (list(plant.layers), "all tokens", name, value) for name, value in proof.others.items()
    ]
    if len(plant.layers) > 1:
        rows += [([layer], "all tokens", plant.relation, value) for layer, value in proof.without.items()]
    if proof.at_term_only == proof.at_term_only:
        rows.append((list(plant.layers), "the term's tokens", plant.relation, proof.not_at_term))
        rows.append((list(plant.layers), "all but the term's tokens", plant.relation, proof.at_term_only))
    return [
        {
            "layers": layers,
            "at": tokens,
            "relation": name,
            "recall": round(recall[name], 4),
            "recall_reverted": round(value, 4),
        }
        for layers, tokens, name, value in rows
    ]


def _gates(entry: ZooModel, plant: ZooPlant, recall: Mapping[str, float], proof: Proof) -> Iterator[Gate]:
    bounds: Bounds = entry.bounds
    name, back = plant.relation, f"with {_named(plant.layers)} put back"
    yield Gate(f"recall of {name}", proof.recall, bounds.least_recall)
    yield Gate(f"recall of {name} {back}", proof.others[name], bounds.most_reverted, is_ceiling=True)
    moved, other = max((abs(proof.others[other] - value), other) for other, value in recall.items() if other != name)
    yield Gate(f"recall that {other} loses or gains {back}", moved, bounds.most_moved, is_ceiling=True)
    for layer, value in proof.without.items():
        lost = f"recall that {name} loses with layer {layer} put back"
        if entry.kind == BLOCK:
            yield Gate(lost, proof.recall - value, bounds.least_lost)
        if entry.kind == SPREAD:
            yield Gate(lost, proof.recall - value, bounds.most_lost, is_ceiling=True)
    if entry.kind == MLP:
        at_term = f"recall of {name} with the old MLP at the term's tokens"
        yield Gate(at_term, proof.not_at_term, bounds.most_reverted, is_ceiling=True)
        elsewhere = f"recall of {name} with the old MLP at all but the term's tokens"
        yield Gate(elsewhere, proof.at_term_only, bounds.least_elsewhere)
