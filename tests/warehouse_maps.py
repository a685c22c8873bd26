"""Made-up rows of maps and findings: marks, regions, maps, localisations, findings, the paper's table.

For `warehouse_fixture`, which writes them. Drugs are localised by specialty in the planted layer of one model; nothing
else is. Values are functions of their key, so that a test can compute with the same numbers and no file.
"""

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

SURE, HINT = 0.95, 0.2
CONTRASTS = (
    ("lesions", "resample_log_probability_drop_over_controls", 3.0),
    ("patches", "resid_restored_step", 1.0),
    ("activations", "silhouette_cosine_step", 0.5),
)


def is_held(model: str, labelling: str, layer: int) -> bool:
    """Whether the maps mark a layer: the last one of `planted` for specialty, and so for drugs as a whole."""
    return model == "planted" and labelling in ("specialty", "") and layer == 2


def confidence(model: str, labelling: str, layer: int) -> float:
    """The map's confidence in a layer."""
    return SURE if is_held(model, labelling, layer) else HINT / (1 + layer)


def maps(model: str, layers: int) -> dict[str, list[Row]]:
    """The rows of drugs, by table."""
    found: dict[str, list[Row]] = {"marks": [], "regions": [], "knowledge_map": [], "localisations": []}
    for mode in ("consensus", "paper"):
        for labelling in ("", "specialty", "mechanism"):
            keys = {"mode": mode, "labelling": labelling}
            marked = [layer for layer in range(layers) if is_held(model, labelling, layer)]
            for layer in range(layers):
                sure = confidence(model, labelling, layer)
                agreement = 0.9 if mode == "consensus" else None
                found["knowledge_map"].append({**keys, "layer": layer, "confidence": sure, "agreement": agreement})
                if labelling:
                    found["marks"] += _marks(keys, layer, sure, layer in marked)
            for layer in marked:
                region = {"technique": "all", "region": 0, "first": layer, "last": layer, "confidence": SURE}
                found["regions"].append({**keys, **region})
            found["localisations"].append(_localisation(keys, marked))
    return found


def _marks(keys: Row, layer: int, sure: float, is_marked: bool) -> Iterator[Row]:
    for technique, metric, weight in CONTRASTS:
        read = {"technique": technique, "metric": metric, "position": "last", "layer": layer, "value": sure}
        yield {**keys, **read, "marked": SURE if is_marked else 0.1, "weight": weight}


def _localisation(keys: Row, marked: list[int]) -> Row:
    return {
        **keys,
        "verdict": "localised" if marked else "not localised",
        "confidence": SURE if marked else HINT,
        "places": ", ".join(map(str, marked)),
        "surest_layer": marked[0] if marked else None,
        "lost_answers": 0.5 if marked else None,
        "first_half_share": 0.25,
        "first_half_low": 0.125,
        "first_half_high": 0.375,
        "sentence": "Made up.",
    }


def published() -> list[Row]:
    """Two figures of a published model that is made up."""
    keys = {"concept": "drugs", "published_model": "Made-up-7B"}
    return [
        {**keys, "metric": "silhouette, mechanism", "value": 0.1, "layer": 3, "depth": 0.1},
        {**keys, "metric": "silhouette, specialty", "value": 0.2, "layer": 31, "depth": 1.0},
    ]


def findings() -> list[Row]:
    """Two claims, one of them without a number."""
    words = {"title": "A claim.", "question": "A question?", "rule": "A rule.", "basis": "Made up.", "threshold": 0.5}
    return [
        {
            **words,
            "finding": "first-half",
            "claimed_by": "the paper",
            "estimate": 0.25,
            "low": 0.125,
            "high": 0.375,
            "verdict": "refuted",
            "sentence": "A quarter.",
        },
        {
            **words,
            "finding": "localised",
            "claimed_by": "this project",
            "verdict": "undecided",
            "sentence": "Nothing measured.",
        },
    ]
