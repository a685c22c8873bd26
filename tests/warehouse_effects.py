"""Made-up rows of what is done to a model: pairs under a tokenizer, lesions, patches, gradients, answers, judgements.

For `warehouse_fixture`, which writes them. Values are functions of their key, so that a test can compute with the same
numbers and no file. Prompts of the held-out template have values that would show in any result.
"""

from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

import numpy as np

Row = dict[str, Any]

LESIONS = [("identity", "layer"), ("identity", "mlp"), ("resample", "layer")]
DAMAGE = {"identity": (5.0, 0.1, 3.0), "resample": (1.0, 0.1, 4.0)}
"""Drop of the log-probability by layer; at the planted layer only where specialties are asked for."""
UNKNOWN = "metformin"
"""The one drug whose specialty the intact model doesn't know; of mechanisms it knows none."""
HELD_OUT = "a-held-out"

PATCHED = [
    ("ask-specialty", "aspirin", "insulin", 2.0, -1.0),
    ("ask-specialty", "ibuprofen", "metformin", 3.0, -1.0),
    ("ask-specialty", "oxycodone", "metformin", -0.9, -1.0),
    (HELD_OUT, "aspirin", "insulin", 20.0, -1.0),
]
"""Template, term, corrupting term, logit difference of the clean and of the corrupted run; the third hardly differs."""

MODULES = {"input_norm": ("norm", 2), "q": ("attention", 4), "down": ("mlp", 8)}
"""The part that a module belongs to, and its weights."""

ANSWERED = [("ask-specialty", "aspirin"), ("ask-specialty", "insulin")]
JUDGE = "made-up-judge"

PROFILES = {
    "identity_log_probability_drop": ("lesions", [5.0, 0.1, 3.0]),
    "resample_log_probability_drop": ("lesions", [1.0, 0.1, 4.0]),
    "resample_log_probability_drop_over_controls": ("lesions", [-0.75, 0.0, 0.9]),
    "resid_restored": ("patches", [3 / 7, 5 / 7, 1.0]),
    "resid_restored_step": ("patches", [3 / 7, 2 / 7, 2 / 7]),
    "logit_difference_first_order_effect": ("saliency", [-1.0, 0.0, 2.0]),
}
"""Technique, and values by layer from 0 up, of `drugs` by specialty."""


def noise(*key: object) -> float:
    """A number between 0 and 1 that belongs to a key."""
    return float(np.random.default_rng(crc32(repr(key).encode())).random())


def pair_tokens(pairs: Iterable[Row], term_tokens: dict[str, int]) -> Iterator[Row]:
    """What becomes of each pair: those whose terms have other numbers of tokens are dropped."""
    for pair in pairs:
        mine, other = term_tokens[pair["term"]], term_tokens[pair["corrupting_term"]]
        yield {
            "template": pair["template"],
            "term": pair["term"],
            "corrupting_term": pair["corrupting_term"],
            "tokens": 9 + mine,
            "corrupted_tokens": 9 + other,
            "first_difference": 2 if mine == other else None,
            "answer_token": 1,
            "corrupting_answer_token": 2,
            "dropped": None if mine == other else "lengths differ",
        }


def lesion(model: str, lesion: str, part: str, layer: int, template: str, term: str) -> Row:
    """A row of `lesions`."""
    drop = DAMAGE[lesion][layer] if layer < 2 or template == "ask-specialty" else 0.2
    drop = (drop + noise(model, lesion, part, layer, template, term)) * (0.5 if part == "mlp" else 1.0)
    intact = -0.1 - noise(model, template, term)
    known = term != UNKNOWN and template != "ask-mechanism"
    if template == HELD_OUT:
        drop, known = 99.0, False
    return {
        "lesion": lesion,
        "part": part,
        "layer": layer,
        "template": template,
        "term": term,
        "logit": intact - drop,
        "log_probability": intact - drop,
        "rank": 0 if known and drop < 2 else 7,
        "kl": 2 * drop,
        "correct": known and drop < 2,
        "intact_logit": intact,
        "intact_log_probability": intact,
        "intact_rank": 0 if known else 3,
        "intact_correct": known,
    }


def lesions(model: str, layers: int, keys: list[tuple[str, str]]) -> list[Row]:
    """The rows of `lesions` for some prompts."""
    return [
        lesion(model, kind, part, layer, template, term)
        for kind, part in LESIONS
        for layer in range(layers)
        for template, term in keys
    ]


def patches(layers: int, term_tokens: dict[str, int]) -> Iterator[Row]:
    """The rows of `patches`: at the last token and the term's, and for the first pair the grid."""
    for layer in range(layers):
        for number, (template, term, corrupting_term, clean, corrupted) in enumerate(PATCHED):
            row = {
                "layer": layer,
                "template": template,
                "term": term,
                "corrupting_term": corrupting_term,
                "ld_clean": clean,
                "ld_corrupted": corrupted,
            }
            last, term_last = 8 + term_tokens[term], 1 + term_tokens[term]
            for site, size in (("resid", 1.0), ("delta", 0.5)):
                yield row | {
                    "site": site,
                    "position": "last",
                    "token": last,
                    "ld_patched": size * layer + number,
                }
            yield row | {"site": "resid", "position": "term", "token": term_last, "ld_patched": corrupted + 0.1}
            for token in range(2, last + 1) if number == 0 else ():
                patched = corrupted + 0.1 * token + layer
                yield row | {"site": "resid", "position": "token", "token": token, "ld_patched": patched}


def gradient(model: str, layer: int, module: str, target: str, template: str, term: str) -> Row:
    """A row of `saliency`."""
    part, weights = MODULES[module]
    size = noise(model, layer, module, target, template, term)
    push = noise(model, module, layer, target, template, term) - 0.5
    return {
        "layer": layer,
        "module": module,
        "target": target,
        "template": template,
        "term": term,
        "mean_abs_gradient": 99.0 if template == HELD_OUT else size,
        "rms_gradient": 2 * size,
        "first_order_effect": 99.0 if template == HELD_OUT else push,
        "weights": weights,
        "part": part,
    }


def saliency(model: str, layers: int, keys: list[tuple[str, str]]) -> list[Row]:
    """The rows of `saliency` for some prompts."""
    return [
        gradient(model, layer, module, target, template, term)
        for layer in range(layers)
        for module in MODULES
        for target in ("loss", "logit_difference")
        for template, term in keys
    ]


def responses(layers: int) -> Iterator[Row]:
    """The rows of `responses`: the intact answers, and those under each layer's identity lesion."""
    for kind, layer in [("none", -1), *(("identity", layer) for layer in range(layers))]:
        for place, (template, term) in enumerate(ANSWERED):
            intact = kind == "none"
            yield {
                "lesion": kind,
                "layer": layer,
                "template": template,
                "term": term,
                "response": "pain" if intact else "pain pain",
                "tokens": 1,
                "exact": intact or (layer + place) % 2 == 0,
                "token_agreement": 1.0 if intact else 0.5 * place,
                "chrf": 100.0 if intact else 10.0 * layer + place,
                "intact_answer_nll": 0.1 if intact else 1.0 + layer,
            }


def judgements(layers: int) -> Iterator[Row]:
    """The rows of `judgements`: all answers to the first prompt, those of layer 0 and the intact one twice."""
    template, term = ANSWERED[0]
    for kind, layer in [("none", -1), *(("identity", layer) for layer in range(layers))]:
        for repeat in (0, 1) if layer <= 0 else (0,):
            yield {
                "lesion": kind,
                "layer": layer,
                "template": template,
                "term": term,
                "judge": JUDGE,
                "repeat": repeat,
                "score": 1.0 if kind == "none" else 8.0 - layer - 2 * repeat,
                "reason": "Made up.",
                "rubric": "0",
                "prompt_tokens": 10,
                "completion_tokens": 5,
            }
