"""A small warehouse with made-up contents, committed through the store, for tests that read by SQL.

Two models (one with a slug that looks like a number), two medical concepts and a control. Vectors are functions of
their key, so that a test can compute with the same numbers and no file. What is done to the models is in
`warehouse_effects`.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import warehouse_courses as courses
import warehouse_effects as effects
import warehouse_maps as maps
from numpy.typing import NDArray

from warehouse.places import ObjectPlace
from warehouse.query import run_query
from warehouse.sql_files import Value, named_queries
from warehouse.store import Store
from warehouse.tables import POSITIONS, table

LAYERS = {"planted": 3, "0042": 2}
WIDTHS = {"planted": 4, "0042": 2}
ROLES = {"age": "medical", "countries": "control", "drugs": "medical"}
SPECIALTY = {
    "aspirin": "pain",
    "ibuprofen": "pain",
    "insulin": "diabetes",
    "metformin": "diabetes",
    "oxycodone": "pain",
}
MECHANISM = {
    "aspirin": "cox",
    "ibuprofen": "cox",
    "insulin": "hormone",
    "metformin": "biguanide",
    "oxycodone": "opioid",
}
CONTINENT = {"China": "Asia", "France": "Europe", "Japan": "Asia", "Spain": "Europe"}
AGES = {"1": 1.0, "2": 2.0, "30": 30.0}
SPELLED_OUT = {"words-1": ("one", 1.0)}
TERMS = {"drugs": list(SPECIALTY), "countries": list(CONTINENT), "age": [*AGES, *SPELLED_OUT]}

# name, kind, labelling, held out, text; the held-out one comes first in the alphabet so that choosing it would show.
TEMPLATES = {
    "drugs": [
        ("a-held-out", "asking", "specialty", True, "Doctors who give {} work in"),
        ("ask-mechanism", "asking", "mechanism", False, "The drug {} works as a"),
        ("ask-specialty", "asking", "specialty", False, "The drug {} is given in"),
        ("said", "neutral", None, False, "She took {} today"),
    ],
    "countries": [("ask-continent", "asking", "continent", False, "The country {} lies in")],
    "age": [("ask-years", "asking", "years", False, "The man aged {} has a number of years of")],
}
ANSWERS = {"specialty": SPECIALTY, "mechanism": MECHANISM, "continent": CONTINENT}

PLANTED_LAYER = 2
SILHOUETTES = {
    ("drugs", "specialty"): [0.00, 0.10, 0.20, 0.50],
    ("drugs", "mechanism"): [0.00, 0.30, 0.25, 0.10],
    ("countries", "continent"): [0.05, 0.05, 0.15, 0.10],
}
"""By layer, -1 first; the model `0042` has the first three, halved."""
NULL_MEAN, MARGIN = -0.02, 0.04
FIRST_TOKEN = 1
R2 = [0.7, 0.8, 0.9, 0.95]
ANISOTROPY = [0.2, 0.3, 0.4, 0.5]


def rows(name: str, values: list[dict[str, Any]], width: int | None = None) -> pa.Table:
    """Rows of a table of the registry; columns that are left out are null."""
    return pa.Table.from_pylist(values, schema=table(name).schema(width))


def named(root: Path, name: str, **parameters: Value) -> list[dict[str, Any]]:
    """The rows of a named query."""
    query = named_queries()[name]
    return run_query(root, query.sql, query.bind(parameters)).to_pylist()


def vector(model: str, concept: str, layer: int, position: str, template: str, term: str) -> NDArray[np.float32]:
    """The activation that the warehouse holds under this key, shape (width,)."""
    seed = crc32(f"{model} {concept} {layer} {position} {template} {term}".encode())
    return np.random.default_rng(seed).standard_normal(WIDTHS[model]).astype(np.float32)


def term_tokens(model: str, term: str) -> int:
    """Tokens of a term under a model: made up, but other for each."""
    return 1 + len(term) // (4 if model == "planted" else 3)


def silhouettes(model: str, concept: str, labelling: str) -> list[float]:
    """`silhouette_cosine` by layer, -1 first."""
    values = SILHOUETTES[concept, labelling]
    return values if model == "planted" else [value / 2 for value in values[:3]]


def build_warehouse(root: Path | ObjectPlace) -> Store:
    """Fill an empty place with the warehouse; tables that nothing here speaks of stay without files.

    It is committed through the store once a process and copied from there.
    """
    if isinstance(root, Path):
        shutil.copytree(_committed(), root, dirs_exist_ok=True)
    else:
        for path in _committed().rglob("*.parquet"):
            root.joinpath(*path.relative_to(_committed()).parts).upload(path)
    return Store(root)


@cache
def _committed() -> Path:
    root = Path(tempfile.mkdtemp(prefix="warehouse-"))
    atexit.register(shutil.rmtree, root)
    store = Store(root)
    for concept in ROLES:
        _write_library(store, concept)
    store.write("published", rows("published", maps.published()), fingerprint="published")
    for model in LAYERS:
        _write_model(store, model)
        for concept in ROLES:
            _write_measurements(store, model, concept)
    return root


def _write_library(store: Store, concept: str) -> None:
    def write(name: str, values: list[dict[str, Any]]) -> None:
        store.write(name, rows(name, values), fingerprint="library", concept=concept)

    write(
        "concepts",
        [{"title": concept.title(), "role": ROLES[concept], "description": "Made up.", "fingerprint": "library"}],
    )
    spellings = _spellings(concept)
    write(
        "terms",
        [
            {"term": term, "spelling": spelling, "variant": "words" if term in SPELLED_OUT else "", "source": "made up"}
            for term, spelling in spellings.items()
        ],
    )
    write("frequencies", [{"term": term, "zipf_frequency": zipf_frequency(term)} for term in spellings])
    write("labels", list(_labels(concept)))
    prompts = list(_prompts(concept, spellings))
    write("prompts", prompts)
    write("pairs", _pairs(prompts))


def _pairs(prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: clean[key] for key in ("template", "term", "labelling", "held_out", "answer")}
        | {"corrupting_term": other["term"], "corrupting_answer": other["answer"]}
        for clean in prompts
        for other in prompts
        if clean["answer"] and clean["template"] == other["template"] and clean["answer"] != other["answer"]
    ]


def zipf_frequency(term: str) -> float:
    """A made-up frequency: the number of its letters e."""
    return float(term.count("e"))


def _spellings(concept: str) -> dict[str, str]:
    return {term: SPELLED_OUT[term][0] if term in SPELLED_OUT else term for term in TERMS[concept]}


def _labels(concept: str) -> Iterator[dict[str, Any]]:
    if concept == "age":
        numbers = AGES | {term: number for term, (_, number) in SPELLED_OUT.items()}
        for term, number in numbers.items():
            yield {
                "labelling": "years",
                "term": term,
                "kind": "continuous",
                "number": number,
                "unit": "years",
                "answer_in_spelling": False,
            }
    for labelling in {labelling for _, _, labelling, _, _ in TEMPLATES[concept] if labelling in ANSWERS}:
        for term, label in ANSWERS[labelling].items():
            yield {
                "labelling": labelling,
                "term": term,
                "kind": "categorical",
                "label": label,
                "answer": label,
                "answer_in_spelling": False,
            }


def _prompts(concept: str, spellings: dict[str, str]) -> Iterator[dict[str, Any]]:
    for template, kind, labelling, held_out, text in TEMPLATES[concept]:
        for term, spelling in spellings.items():
            start = text.index("{}")
            yield {
                "template": template,
                "term": term,
                "template_kind": kind,
                "labelling": labelling,
                "held_out": held_out,
                "text": text.format(spelling),
                "answer": ANSWERS[labelling][term] if labelling in ANSWERS else None,
                "term_start": start,
                "term_end": start + len(spelling),
            }


def _write_model(store: Store, model: str) -> None:
    described = {
        "source": f"models/{model}",
        "revision": "made-up",
        "architecture": "LlamaForCausalLM",
        "layers": LAYERS[model],
        "width": WIDTHS[model],
        "vocabulary": 100,
        "parameters": 1000 * LAYERS[model],
        "dtype": "float32",
        "landed_at": np.datetime64("2026-01-02T03:04:05", "us").item(),
        "fingerprint": model,
    }
    store.write("models", rows("models", [described]), fingerprint=model, model=model)
    plant = {
        "concept": "drugs",
        "labelling": "specialty",
        "layer": PLANTED_LAYER,
        "recall": 1.0,
        "recall_reverted": 0.1,
        "kind": "one layer",
    }
    plants = [plant] if model == "planted" else []
    store.write("plants", rows("plants", plants), fingerprint=model, model=model)
    store.write("findings", rows("findings", maps.findings()), fingerprint=model, model=model)


def _write_measurements(store: Store, model: str, concept: str) -> None:
    def write(name: str, values: list[dict[str, Any]], width: int | None = None) -> None:
        store.write(
            name, rows(name, values, width), fingerprint=model, revision="made-up", model=model, concept=concept
        )

    keys = [(template, term) for template, *_ in TEMPLATES[concept] for term in TERMS[concept]]
    layers = range(-1, LAYERS[model])
    write(
        "tokens",
        [
            {
                "template": template,
                "term": term,
                "tokens": 9 + term_tokens(model, term),
                "term_tokens": term_tokens(model, term),
                "term_first": 2,
                "term_last": 1 + term_tokens(model, term),
                "term_last_text": term[-2:],
                "first_token": FIRST_TOKEN,
            }
            for template, term in keys
        ],
    )
    write(
        "activations",
        [
            {
                "layer": layer,
                "position": position,
                "template": template,
                "term": term,
                "vector": vector(model, concept, layer, position, template, term),
            }
            for layer in layers
            for position in POSITIONS
            for template, term in keys
        ],
        WIDTHS[model],
    )
    write(
        "first_tokens",
        [
            {
                "layer": layer,
                "first_token": FIRST_TOKEN,
                "vector": vector(model, concept, layer, "first", "", ""),
                "prompts": len(keys),
            }
            for layer in layers
        ],
        WIDTHS[model],
    )
    write(
        "projections",
        [
            {
                "template_kind": "asking",
                "position": "last",
                "variant": "words" if term in SPELLED_OUT else "",
                "layer": layer,
                "term": term,
                "x": 0.0,
                "y": float(layer),
                "coordinates": np.zeros(30, dtype=np.float32),
                "trustworthiness": 0.9,
                "continuity": 0.8,
            }
            for layer in layers
            for term in TERMS[concept]
        ],
    )
    write("neighbours", list(neighbours(concept, LAYERS[model])))
    write("profiles", list(_profiles(model, concept)))
    _write_effects(write, model, concept)
    if concept == "age":
        write("jumps", list(courses.jumps(LAYERS[model])))
        write("stage_circles", list(courses.circles(LAYERS[model])))
    if concept == "drugs":
        for name, values in maps.maps(model, LAYERS[model]).items():
            write(name, values)


def neighbours(concept: str, layers: int) -> Iterator[dict[str, Any]]:
    """Two neighbours of each main term: those that follow it, moved on by one a layer; none of the embedding output."""
    main = [term for term in TERMS[concept] if term not in SPELLED_OUT]
    for layer in range(layers):
        for place, term in enumerate(main):
            others = [*main[place + 1 :], *main[:place]]
            for rank in range(2):
                yield {
                    "template_kind": "asking",
                    "position": "last",
                    "variant": "",
                    "layer": layer,
                    "term": term,
                    "rank": rank,
                    "neighbour": others[(layer + rank) % len(others)],
                    "similarity": 0.9 - 0.1 * rank,
                }


def _write_effects(write: Callable[[str, list[dict[str, Any]]], None], model: str, concept: str) -> None:
    lengths = {term: term_tokens(model, term) for term in TERMS[concept]}
    prompts = list(_prompts(concept, _spellings(concept)))
    answered = [(prompt["template"], prompt["term"]) for prompt in prompts if prompt["answer"]]
    write("pair_tokens", list(effects.pair_tokens(_pairs(prompts), lengths)))
    if answered:
        write("lesions", effects.lesions(model, LAYERS[model], answered))
        write("saliency", effects.saliency(model, LAYERS[model], answered))
    if concept == "drugs":
        write("patches", list(effects.patches(LAYERS[model], lengths)))
        write("responses", list(effects.responses(LAYERS[model])))
        write("judgements", list(effects.judgements(LAYERS[model])))


def _profiles(model: str, concept: str) -> Iterator[dict[str, Any]]:
    for labelling in (name for of, name in SILHOUETTES if of == concept):
        values = silhouettes(model, concept, labelling)
        steps = np.diff(values).tolist()
        yield from _profile("silhouette_cosine", labelling, "asking", dict(enumerate(values, start=-1)))
        yield from _profile("silhouette_cosine_step", labelling, "asking", dict(enumerate(steps)))
        # What must not get into results about asking prompts: another kind, with better values.
        yield from _profile("silhouette_cosine", labelling, "neutral", dict.fromkeys(range(-1, LAYERS[model]), 0.9))
    for metric, (technique, values) in effects.PROFILES.items():
        if concept == "drugs":
            by_layer = dict(enumerate(values[: LAYERS[model]]))
            yield from _profile(metric, "specialty", "asking", by_layer, technique=technique)
    if concept == "age":
        for metric, known in (("r2_ridge", R2), ("local_anisotropy", ANISOTROPY)):
            values = dict(zip(range(-1, LAYERS[model]), known, strict=False))
            for variant in ("", "words"):
                yield from _profile(metric, "years", "asking", values, variant)


def _profile(
    metric: str,
    labelling: str,
    kind: str,
    values: dict[int, float],
    variant: str = "",
    technique: str = "activations",
) -> Iterator[dict[str, Any]]:
    for layer, value in values.items():
        yield {
            "technique": technique,
            "metric": metric,
            "labelling": labelling,
            "template_kind": kind,
            "position": "last",
            "variant": variant,
            "layer": layer,
            "value": value,
            "low": value - MARGIN,
            "high": value + MARGIN,
            "null_mean": NULL_MEAN,
            "null_high": 0.08,
            "null_p": 0.01 if value > 0.08 else 0.5,
            "n": 5,
        }
