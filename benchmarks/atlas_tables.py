"""Made-up tables of any size, for the atlas: a library, and models whose numbers look like measured ones.

Belongs here: rows that keep the registry's contract, drawn with a seed. Pictures walk at random from layer to layer,
effects have a layer where they are largest, answers differ the more the deeper. What is built from them is measured in
`atlas_page`, and tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analyses.atlas.profiles import SHOWN
from warehouse.tables import table

TEMPLATES = (
    ("ask-held-out", "asking", True, "Doctors who think of ", " think of"),
    ("ask-one", "asking", False, "The word ", " belongs to"),
    ("ask-other", "asking", False, "Everyone knows that ", " is a matter of"),
    ("ask-third", "asking", False, "In a textbook ", " is found under"),
    ("said", "neutral", False, "Yesterday they spoke about ", " again"),
)
ASKED, OTHER = "field", "origin"
WORDS = [
    "heart",
    "lung",
    "skin",
    "blood",
    "nerve",
    "bone",
    "sleep",
    "fever",
    "drug",
    "dose",
    "child",
    "elderly",
    "chronic",
    "acute",
    "rare",
    "common",
    "mild",
    "severe",
    "infection",
    "tumour",
    "therapy",
    "surgery",
    "clinic",
    "ward",
    "nurse",
    "doctor",
    "patient",
    "symptom",
    "sign",
    "course",
    "outcome",
    "relapse",
    "remission",
    "care",
    "support",
]
NEIGHBOURS = 5
_STAGES = 4
_REASONS = ("The answer changed its field.", "Nothing changed.", "The words no longer make sense.")


@dataclass(frozen=True)
class Library:
    """A made-up concept library.

    Attributes:
        terms: the names of the terms of each concept; a concept called `control…` is a control.
        labels: how many labels each labelling has.
        staged: concepts whose terms are the stages of something, four of each: their fields have stages for origins.
    """

    terms: dict[str, list[str]]
    labels: int = 12
    staged: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Made:
    """What a made-up model has: by default all that the page can show.

    Attributes:
        layers: how many.
        prompts: how many prompts, and pairs, of each concept are intervened on.
        answered: how many prompts of each concept are answered under each lesion.
        without: tables that stay empty.
        techniques: whose profiles it has.
        surest: the largest probability of any layer; 0.5 and below leave all concepts not localised.
    """

    layers: int
    prompts: int = 160
    answered: int = 12
    without: frozenset[str] = field(default_factory=frozenset)
    techniques: frozenset[str] = frozenset({"activations", "lesions", "patches", "saliency"})
    surest: float = 0.97


def named_terms(concepts: int, terms: int) -> Library:
    """A library of concepts with names like `aspirin`, the last two of them controls."""
    syllables = (
        "ba",
        "do",
        "fi",
        "ga",
        "lu",
        "me",
        "no",
        "pra",
        "si",
        "tor",
        "va",
        "xi",
        "zol",
        "pril",
        "statin",
        "cillin",
    )
    draw = np.random.default_rng(7)
    found: dict[str, list[str]] = {}
    for number in range(concepts):
        names: dict[str, None] = {}
        while len(names) < terms:
            names["".join(draw.choice(syllables, draw.integers(2, 5)))] = None
        found[f"{'control' if number >= max(1, concepts - 2) else 'concept'}-{number}"] = sorted(names)
    return Library(found)


def shared_tables(library: Library) -> dict[str, pl.DataFrame]:
    """`inputs.SHARED_TABLES` of a library; nothing was published, validated or edited."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("concepts", "terms", "frequencies", "labels", "prompts")
    }
    for concept, terms in library.terms.items():
        role = "control" if concept.startswith("control") else "medical"
        rows["concepts"].append(
            {
                "concept": concept,
                "title": concept.title(),
                "role": role,
                "description": "Made up.",
                "fingerprint": "f" * 32,
            }
        )
        for place, term in enumerate(terms):
            key = {"concept": concept, "term": term}
            rows["terms"].append({**key, "spelling": term, "variant": "", "source": "a list, made up"})
            rows["frequencies"].append({**key, "zipf_frequency": round(len(term) % 7 * 0.83, 2)})
            for told in _labels(place, library, concept in library.staged):
                rows["labels"].append({**key, **told, "answer_in_spelling": False})
            for name, kind, held_out, before, behind in TEMPLATES:
                asks = kind == "asking"
                rows["prompts"].append(
                    {
                        **key,
                        "template": name,
                        "template_kind": kind,
                        "labelling": ASKED if asks else None,
                        "held_out": held_out,
                        "text": f"{before}{term}{behind}",
                        "answer": _labels(place, library, concept in library.staged)[0]["label"] if asks else None,
                        "term_start": len(before),
                        "term_end": len(before) + len(term),
                    }
                )
    return {name: _frame(name, rows.get(name, [])) for name in (*rows, "published", "validation", "edits")}


def _labels(place: int, library: Library, is_staged: bool) -> list[dict[str, Any]]:
    """The labels of a term, by its place in its concept."""
    field_ = f"field {(place // _STAGES if is_staged else place) % library.labels}"
    told: list[dict[str, Any]] = [{"labelling": ASKED, "kind": "categorical", "label": field_, "answer": field_}]
    if is_staged:
        stage = place % _STAGES
        return [*told, {"labelling": OTHER, "kind": "ordinal", "label": f"stage {stage + 1}", "ordinal": stage}]
    return [*told, {"labelling": OTHER, "kind": "categorical", "label": f"origin {place % 3}"}]


def model_tables(slug: str, made: Made, library: Library, seed: int = 0) -> dict[str, pl.DataFrame]:
    """`inputs.MODEL_TABLES` of one model."""
    draw = np.random.default_rng([seed, made.layers, *slug.encode()])
    parts: dict[str, list[pl.DataFrame]] = {}
    for concept, terms in library.terms.items():
        for name, rows in _measured(concept, terms, made, draw).items():
            keyed = rows.with_columns(model=pl.lit(slug), concept=pl.lit(concept)) if len(rows) else rows
            parts.setdefault(name, []).append(_conforming(name, keyed))
    found = {name: pl.concat(own) for name, own in parts.items()}
    found["models"] = pl.DataFrame([_card(slug, made)])
    found["findings"] = pl.DataFrame([{"model": slug, **_finding(place, draw)} for place in range(24)])
    found |= dict.fromkeys(("plants", "unmeasured", "judgements"), pl.DataFrame())
    return {name: _conforming(name, pl.DataFrame() if name in made.without else rows) for name, rows in found.items()}


def _measured(concept: str, terms: list[str], made: Made, draw: np.random.Generator) -> dict[str, pl.DataFrame]:
    peak = int(draw.integers(0, made.layers))
    width = max(1.0, made.layers / 12)
    shape = np.exp(-0.5 * ((np.arange(made.layers) - peak) / width) ** 2)
    prompts = [
        (name, term) for name, kind, held_out, *_ in TEMPLATES if kind == "asking" and not held_out for term in terms
    ]
    asked = [prompts[place] for place in draw.permutation(len(prompts))[: made.prompts]]
    return {
        "tokens": _tokens(terms, draw),
        "projections": _projections(terms, made, draw),
        "neighbours": _neighbours(terms, made, draw),
        "lesions": _lesions(asked, shape, draw),
        "patches": _patches(asked, terms, shape, draw),
        "responses": _responses(asked[: made.answered], made, draw),
        "profiles": _profiles(len(terms), shape, made, draw),
        **_maps(concept, shape, made, draw),
    }


def _tokens(terms: list[str], draw: np.random.Generator) -> pl.DataFrame:
    counts = {term: 1 + len(term) // 4 for term in terms}
    return pl.DataFrame(
        [
            {
                "template": name, "term": term, "tokens": counts[term] + 7, "term_tokens": counts[term],
                "term_first": 3,
                "term_last": 2 + counts[term], "answer_tokens": 2, "answer_token": int(draw.integers(0, 30_000)),
                "term_last_text": term[-3:], "answer_text": "field", "first_token": 1,
            }
            for name, *_ in TEMPLATES
            for term in terms
        ]
    )  # fmt: skip


def _projections(terms: list[str], made: Made, draw: np.random.Generator) -> pl.DataFrame:
    layers, count = made.layers + 1, len(terms)
    steps = draw.normal(size=(layers, count, 2)) * 0.9
    steps[0] = draw.normal(size=(count, 2)) * 4
    places = steps.cumsum(axis=0).astype(np.float32)
    trust = draw.uniform(0.75, 0.98, size=(2, layers))
    return pl.DataFrame(
        {
            "template_kind": "asking", "position": "last", "variant": "",
            "layer": np.repeat(np.arange(layers) - 1, count), "term": terms * layers,
            "x": places[:, :, 0].reshape(-1), "y": places[:, :, 1].reshape(-1),
            "coordinates": [[0.0] * 30] * (layers * count),
            "trustworthiness": np.repeat(trust[0], count), "continuity": np.repeat(trust[1], count),
        }
    )  # fmt: skip


def _neighbours(terms: list[str], made: Made, draw: np.random.Generator) -> pl.DataFrame:
    """Each layer keeps most of the neighbours of the layer below, as measured ones do."""
    count, ranks = len(terms), min(NEIGHBOURS, len(terms) - 1)
    if not ranks:
        return pl.DataFrame()
    # Points that drift in eight dimensions: from a layer to the next nine in ten neighbours stay, as in a model of
    # eight layers: deeper ones should change less.
    points = draw.normal(size=(count, 8))
    near, far = [], []
    for _ in range(made.layers):
        points = points + 0.05 * draw.normal(size=points.shape)
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        cosines = np.clip(unit @ unit.T, -1, 1)
        np.fill_diagonal(cosines, -2)
        near.append(np.argsort(-cosines, axis=1)[:, :ranks])
        far.append(np.take_along_axis(cosines, near[-1], axis=1))
    return pl.DataFrame(
        {
            "template_kind": "asking", "position": "last", "variant": "",
            "layer": np.repeat(np.arange(made.layers), count * ranks),
            "term": np.tile(np.repeat(np.array(terms, dtype=object), ranks), made.layers).tolist(),
            "rank": np.tile(np.arange(ranks), made.layers * count),
            "neighbour": [terms[place] for place in np.array(near).reshape(-1)],
            "similarity": np.array(far).reshape(-1),
        }
    )  # fmt: skip


def _lesions(asked: list[tuple[str, str]], shape: NDArray[np.float64], draw: np.random.Generator) -> pl.DataFrame:
    layers, count = len(shape), len(asked)
    intact = -np.abs(draw.normal(size=count)) * 1.5
    cost = np.abs(draw.normal(size=(layers, count))) * (0.08 + 3 * shape[:, None])
    under = intact[None, :] - cost
    rank = np.round(np.exp(-intact * 2)).astype(int) - 1
    return pl.DataFrame(
        {
            "lesion": "resample", "part": "layer", "layer": np.repeat(np.arange(layers), count),
            "template": [name for name, _ in asked] * layers, "term": [term for _, term in asked] * layers,
            "logit": (under + 12).reshape(-1), "log_probability": under.reshape(-1),
            "rank": np.tile(rank, layers) + 1, "kl": cost.reshape(-1), "correct": False,
            "intact_logit": np.tile(intact + 12, layers), "intact_log_probability": np.tile(intact, layers),
            "intact_rank": np.tile(rank, layers), "intact_correct": np.tile(rank == 0, layers),
        }
    )  # fmt: skip


def _patches(
    asked: list[tuple[str, str]], terms: list[str], shape: NDArray[np.float64], draw: np.random.Generator
) -> pl.DataFrame:
    if len(terms) < 2:
        return pl.DataFrame()
    layers, count = len(shape), len(asked)
    others = [terms[(terms.index(term) + 1 + int(draw.integers(0, len(terms) - 1))) % len(terms)] for _, term in asked]
    others = [
        other if other != term else terms[terms.index(term) - 1] for other, (_, term) in zip(others, asked, strict=True)
    ]
    clean = draw.normal(2, 2, size=count)
    corrupted = clean - np.abs(draw.normal(3, 2, size=count))
    reach = {"delta": shape, "resid": shape.cumsum() / shape.sum()}
    parts = []
    for site, share in reach.items():
        patched = corrupted + (clean - corrupted) * (share[:, None] + draw.normal(size=(layers, count)) * 0.05)
        parts.append(
            pl.DataFrame(
                {
                    "site": site, "position": "last", "layer": np.repeat(np.arange(layers), count), "token": 9,
                    "template": [name for name, _ in asked] * layers, "term": [term for _, term in asked] * layers,
                    "corrupting_term": others * layers, "ld_clean": np.tile(clean, layers),
                    "ld_corrupted": np.tile(corrupted, layers), "ld_patched": patched.reshape(-1),
                }
            )
        )  # fmt: skip
    return pl.concat(parts)


def _responses(answered: list[tuple[str, str]], made: Made, draw: np.random.Generator) -> pl.DataFrame:
    rows = []
    for name, term in answered:
        intact = _phrase(draw)
        under = [
            ("none", -1),
            *((lesion, layer) for lesion in ("identity", "resample") for layer in range(made.layers)),
        ]
        for lesion, layer in under:
            same = lesion == "none" or draw.random() < 0.4
            rows.append(
                {
                    "lesion": lesion, "layer": layer, "template": name, "term": term,
                    "response": intact if same else _phrase(draw), "tokens": 16, "exact": same,
                    "token_agreement": 1.0 if same else float(draw.random()),
                    "chrf": 100.0 if same else float(draw.uniform(10, 90)),
                    "intact_answer_nll": float(draw.exponential()),
                }
            )  # fmt: skip
    return pl.DataFrame(rows) if rows else pl.DataFrame()


def _phrase(draw: np.random.Generator) -> str:
    return " " + " ".join(draw.choice(WORDS, int(draw.integers(6, 14))))


def _profiles(count: int, shape: NDArray[np.float64], made: Made, draw: np.random.Generator) -> pl.DataFrame:
    layers = len(shape)
    parts = []
    for item in SHOWN:
        if item.technique not in made.techniques:
            continue
        of_embeddings = item.technique == "activations" and not item.metric.endswith("_step")
        first = -1 if of_embeddings else 0
        scale = 2e-4 if item.metric == "mean_abs_gradient" else float(draw.uniform(0.3, 2))
        for labelling in (ASKED, OTHER) if item.technique == "activations" else (ASKED,):
            value = scale * (np.concatenate([[0.1] * -first, shape]) + draw.normal(size=layers - first) * 0.08)
            spread = scale * draw.uniform(0.05, 0.15, size=(2, len(value)))
            parts.append(
                pl.DataFrame(
                    {
                        "technique": item.technique, "metric": item.metric, "labelling": labelling,
                        "template_kind": "asking", "position": item.position, "variant": "",
                        "layer": np.arange(first, layers), "value": value, "low": value - spread[0],
                        "high": value + spread[1], "null_mean": draw.normal(size=len(value)) * 0.01 * scale,
                        "null_high": scale * draw.uniform(0.05, 0.12, size=len(value)),
                        "null_p": draw.integers(1, 201, size=len(value)) / 201, "n": count,
                    }
                )
            )  # fmt: skip
    return pl.concat(parts) if parts else pl.DataFrame()


_CHANGES = (
    *(("half of the terms", repeat, f"half {repeat}") for repeat in range(6)),
    *(("one template", repeat, f"ask-{repeat}") for repeat in range(3)),
    *(("seed", repeat, f"seed {repeat}") for repeat in range(3)),
    ("held-out templates", 0, "ask-held-out"),
    ("metric", 0, "accuracy"),
)


def _maps(concept: str, shape: NDArray[np.float64], made: Made, draw: np.random.Generator) -> dict[str, pl.DataFrame]:
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("knowledge_map", "regions", "localisations", "stability")
    }
    localised = made.surest > 0.5 and not concept.startswith("control")
    for mode in ("consensus", "paper"):
        sure = np.clip(made.surest * shape + draw.uniform(0, 0.03, size=len(shape)), 0, 1)
        marked = [int(layer) for layer in np.flatnonzero(sure > 0.5)] if localised else []
        for labelling in ("", ASKED):
            keys = {"mode": mode, "labelling": labelling}
            rows["knowledge_map"] += [
                {**keys, "layer": layer, "confidence": float(told), "agreement": 0.9 if mode == "consensus" else None}
                for layer, told in enumerate(sure)
            ]
            verdict = "localised" if marked else "not localised"
            places = f"{marked[0]}-{marked[-1]}" if marked else ""
            rows["localisations"].append(
                {
                    **keys, "verdict": verdict, "confidence": float(sure.max()), "places": places,
                    "surest_layer": int(sure.argmax()), "lost_answers": 0.5, "lost_low": 0.4, "lost_high": 0.6,
                    "first_half_share": 0.4, "first_half_low": 0.2, "first_half_high": 0.6,
                    "sentence": f"{concept} is {verdict}{f': layers {places}' if marked else ''}.",
                }
            )  # fmt: skip
            if marked:
                region = {"region": 0, "first": marked[0], "last": marked[-1], "confidence": float(sure[marked].mean())}
                rows["regions"] += [{**keys, "technique": name, **region} for name in ("all", *sorted(made.techniques))]
        if mode == "paper":
            continue
        for change, repeat, detail in _CHANGES:
            other = np.clip(sure + draw.normal(size=len(sure)) * 0.05, 0, 1)
            of_map: dict[str, Any] = {"labelling": ASKED, "change": change, "repeat": repeat, "detail": detail}
            rows["stability"] += [
                {**of_map, "layer": layer, "confidence": float(told)} for layer, told in enumerate(other)
            ]
    return {name: pl.DataFrame(own, infer_schema_length=None) if own else pl.DataFrame() for name, own in rows.items()}


def _card(slug: str, made: Made) -> dict[str, Any]:
    return {
        "model": slug, "source": f"/home/someone/models/{slug}", "revision": "0123abcd",
        "architecture": "LlamaForCausalLM",
        "layers": made.layers, "width": 8192, "vocabulary": 128_000, "parameters": 70_000_000_000, "dtype": "bfloat16",
        "quantization": None, "landed_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "fingerprint": "0" * 32,
        "untrained_of": None,
    }  # fmt: skip


def _finding(place: int, draw: np.random.Generator) -> dict[str, Any]:
    estimate = float(draw.normal())
    return {
        "finding": f"finding-{place:02}", "claimed_by": "the paper" if place < 8 else "this project",
        "title": f"Claim {place} holds of this model",
        "question": "How much?", "rule": "Supported above the threshold.",
        "estimate": estimate, "low": estimate - 0.2, "high": estimate + 0.2, "threshold": 0.0, "null_mean": 0.01,
        "null_p": 0.02, "basis": "8 concepts of 300 terms",
        "verdict": "supported" if estimate > 0.2 else "refuted" if estimate < -0.2 else "undecided",
        "sentence": f"The estimate of claim {place} is {estimate:.2f}.",
    }  # fmt: skip


def _frame(name: str, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return _conforming(name, pl.DataFrame(list(rows), infer_schema_length=None))


def _conforming(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the columns and types that the registry promises, keys in front."""
    entry = table(name)
    empty = pl.from_arrow(entry.schema(30).empty_table())
    assert isinstance(empty, pl.DataFrame)
    types = dict.fromkeys(entry.partitions, pl.String()) | dict(empty.schema)
    missing = [pl.lit(None, dtype=type_).alias(column) for column, type_ in types.items() if column not in rows.columns]
    if rows.is_empty():
        return pl.DataFrame(schema=types)
    return rows.with_columns(missing).select(pl.col(column).cast(type_) for column, type_ in types.items())
