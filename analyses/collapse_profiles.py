"""Profiles of collapse: effective rank, mean cosine and length of a concept's vectors at every layer and position.

Here it is said which vectors enter: main terms, each template on its own and then averaged, and how the first token is
put back into the mean over tokens. The measures themselves, and the dip of a profile, are in `collapse`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyses.collapse import collapse, with_first_token
from analyses.parallel import in_order
from analyses.projection import Layers, Progress, Readings, readings
from analyses.resampling import Floats, Sampled, average, bootstrap_counts, generator
from analyses.series import Key, Profile, Series
from warehouse.errors import InputError
from warehouse.tables import TEMPLATE_KINDS

WITH_FIRST_TOKEN = "_with_first_token"
"""Ends the name of a metric that is taken over all tokens of a prompt, the first one counted in."""

_FEWEST = 3
"""Terms that a template must have to be measured."""


@dataclass(frozen=True)
class _Template:
    """One template's main terms: their places, tokens of each prompt, and the token that each begins with."""

    name: str
    kind: str
    places: NDArray[np.intp]
    tokens: NDArray[np.int64]
    first: NDArray[np.int64]


@dataclass(frozen=True)
class _Plan:
    """What is the same at every layer: templates, draws of terms, and the first tokens' vectors by layer and token."""

    templates: list[_Template]
    counts: NDArray[np.float32]
    first_tokens: dict[int, dict[int, NDArray[np.float32]]]


def collapse_profiles(
    layers: Layers,
    first_tokens: pa.Table,
    prompts: pa.Table,
    terms: pa.Table,
    tokens: pa.Table,
    *,
    seed: int = 0,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> list[Profile]:
    """How far the vectors of a concept's main terms fall together, layer by layer, for each kind of template.

    Metrics are `effective_rank`, `mean_cosine` and `norm` at each position. The position `mean` leaves the first token
    out; the same metrics with `_with_first_token` at the end of their names are taken of the mean over all tokens. Each
    is taken per template over terms, then averaged over the templates of a kind, held-out ones left aside. No label
    plays a part: the labelling is empty, and there is no null.

    Args:
        layers: for each layer, ascending, its activations (`activations` of the registry).
        first_tokens: the concept's `first_tokens`, all layers; none of an encoder, whose first tokens differ from
            prompt to prompt, and there nothing is taken with them.
        prompts, terms: the concept's tables.
        tokens: the prompts under the model's tokenizer.
        seed: of the draws, which are the same for all layers, templates and positions.
        resamples: bootstrap resamples of terms.
        progress: called with each layer when it is done.

    Returns:
        A profile for each kind of template, position and metric; none where no template has 3 terms.

    Raises:
        InputError: layers that don't ascend; or activations, tokens or first tokens are missing.
    """
    names = terms.filter(pc.equal(terms["variant"], ""))["term"].to_pylist()
    templates = _templates(prompts, names, tokens)
    if not templates:
        return []
    counts = bootstrap_counts(len(names), resamples, generator(seed, "collapse"))
    plan = _Plan(templates, counts, _by_layer(first_tokens))
    found: dict[Key, list[Sampled]] = defaultdict(list)
    first: int | None = None
    for layer, measured in in_order(partial(_measured, plan), readings(layers, names)):
        first = layer if first is None else first
        for key, sampled in measured.items():
            found[key].append(sampled)
        if progress is not None:
            progress(layer)
    counted = {
        kind: len(np.unique(np.concatenate([each.places for each in templates if each.kind == kind])))
        for kind in {each.kind for each in templates}
    }
    return [
        Profile(
            key,
            Series(
                value=np.array([each.value for each in sampled]),
                resampled=np.stack([each.resampled for each in sampled]),
                first=first or 0,
            ),
            counted[key.template_kind],
        )
        for key, sampled in found.items()
    ]


def _measured(plan: _Plan, reading: Readings) -> tuple[int, dict[Key, Sampled]]:
    """A layer, and every metric there, averaged over templates."""
    parts: dict[Key, list[Sampled]] = defaultdict(list)
    for position, template in product(reading.positions, plan.templates):
        vectors = reading.of(position, template.name, template.places)
        spaces: dict[str, NDArray[np.floating]] = {"": vectors}
        if position == "mean" and plan.first_tokens:
            first = _first_vectors(plan, reading.layer, template)
            spaces[WITH_FIRST_TOKEN] = with_first_token(vectors.astype(np.float64), first, template.tokens)
        for ending, space in spaces.items():
            for metric, sampled in collapse(space, plan.counts[template.places]).items():
                key = Key("activations", metric + ending, "", "", position, template.kind)
                parts[key].append(sampled)
    return reading.layer, {key: average(sampled) for key, sampled in parts.items()}


def _first_vectors(plan: _Plan, layer: int, template: _Template) -> Floats:
    """The vector of the token that each prompt begins with, shape (terms, width)."""
    known = plan.first_tokens.get(layer, {})
    missing = set(template.first.tolist()) - known.keys()
    if missing:
        raise InputError(
            f"Table first_tokens has no vector for the token {min(missing)} at layer {layer}, and prompts of the "
            f"template {template.name!r} begin with it: run the model on this concept again."
        )
    return np.stack([known[token] for token in template.first.tolist()]).astype(np.float64)


def _by_layer(first_tokens: pa.Table) -> dict[int, dict[int, NDArray[np.float32]]]:
    found: dict[int, dict[int, NDArray[np.float32]]] = defaultdict(dict)
    flat = first_tokens["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(len(first_tokens), -1) if len(first_tokens) else flat
    keys = zip(first_tokens["layer"].to_pylist(), first_tokens["first_token"].to_pylist(), strict=True)
    for (layer, token), vector in zip(keys, vectors, strict=True):
        found[layer][token] = vector
    return found


def _templates(prompts: pa.Table, names: Sequence[str], tokens: pa.Table) -> list[_Template]:
    """The templates that are not held out and have enough main terms, by kind and name."""
    places = {name: place for place, name in enumerate(names)}
    split = {
        (row["template"], row["term"]): (row["tokens"], row["first_token"])
        for row in tokens.select(["template", "term", "tokens", "first_token"]).to_pylist()
    }
    kinds, members = {}, defaultdict(set)
    for row in prompts.select(["template", "term", "template_kind", "held_out"]).to_pylist():
        if not row["held_out"] and row["term"] in places:
            kinds[row["template"]] = row["template_kind"]
            members[row["template"]].add(places[row["term"]])
    found = []
    for name in sorted(members, key=lambda name: (TEMPLATE_KINDS.index(kinds[name]), name)):
        own = sorted(members[name])
        if len(own) < _FEWEST:
            continue
        lacking = [names[place] for place in own if (name, names[place]) not in split]
        if lacking:
            raise InputError(
                f"Table tokens has nothing for {lacking[0]!r} in the template {name!r}: run the model on this concept "
                "again."
            )
        rows = np.array([split[name, names[place]] for place in own], dtype=np.int64)
        found.append(_Template(name, kinds[name], np.array(own, dtype=np.intp), rows[:, 0], rows[:, 1]))
    return found
