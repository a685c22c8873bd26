"""What the page says in plain HTML, without any script: verdicts, findings, validity, the data card.

Belongs here: rows of tables as words and numbers, ready for the template. Every number is the tables' own, rounded.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import polars as pl

from analyses.atlas.inputs import MadeWith
from analyses.atlas.library import Concept, Tables
from analyses.contrasts import contrasts
from analyses.edit_charts import compared
from analyses.map_charts import MARKED
from analyses.metric_words import meaning, unit_of
from analyses.numerals import percent, two
from analyses.rows import listed
from analyses.validity_summary import Summary

_SIGNS = {"localised": "localised"}
_NOTHING, _MINUS = "\u2013", "\u2212"
_RAW = ("identity_log_probability_drop", "mean_abs_gradient", "silhouette_cosine", "resid_restored")
"""The paper's own scores."""


def headline(header: dict[str, Any]) -> str:
    """What the consensus map of a model says of all medical concepts, in a few words."""
    rows = [row for row in header["maps"]["consensus"] if row["labelling"] and not row["name"].startswith("control: ")]
    known = [row for row in rows if row["verdict"] not in {"not measured", "not known"}]
    localised = [row for row in known if row["verdict"] == "localised"]
    if not known:
        return "nothing that it knows was measured"
    if not localised:
        return f"none of the {len(known)} medical labellings that it can answer sits in few layers"
    planted = [row for row in rows if row["planted"]]
    named = [row for row in planted if row["verdict"] == "localised" and _marks_plant(row)]
    truth = (
        f"; for {len(planted)} of them the knowledge was planted, that is, put into a known layer on purpose: the map "
        f"names that layer for {len(named)}"
        if planted
        else ""
    )
    return f"{len(localised)} of the {len(known)} medical labellings that it can answer sit in few layers{truth}"


def _marks_plant(row: dict[str, Any]) -> bool:
    spans = [(first, last) for technique, first, last, _ in row["regions"] if technique == "all"]
    return any(first <= layer <= last for layer in row["planted"] for first, last in spans)


def verdict_rows(header: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table of verdicts of one model."""
    told = []
    for row in header["maps"]["consensus"]:
        cells = [-1.0 if cell is None else cell for cell in row["cells"]]
        query = {"model": header["model"], "concept": row["concept"], "labelling": row["labelling"]}
        told.append(
            {
                "name": row["name"],
                "href": "#"
                + urlencode({key: value for key, value in query.items() if value} | {"layer": cells.index(max(cells))}),
                "verdict": row["verdict"],
                "sign": _SIGNS.get(row["verdict"], "other"),
                "places": row["places"],
                "planted": ", ".join(str(layer) for layer in row["planted"]),
                "confidence": _NOTHING
                if row["verdict"] in {"not measured", "not known"}
                else probability(row["confidence"]),
                "lost": _share(row["lost"]),
                "first_half": _share(row["first_half"]),
                "agreement": _agreement(row),
            }
        )
    return told


def _share(ends: Sequence[float | None]) -> str:
    share, low, high = ends
    if share is None:
        return _NOTHING
    return percent(share) if low is None or high is None else f"{percent(share)} ({percent(low)} to {percent(high)})"


def _agreement(row: dict[str, Any]) -> str:
    """The least agreement of its marked layers, or of all layers where none is marked: other maps may mark one."""
    is_localised = row["verdict"] == "localised"
    told = [
        agreed
        for cell, agreed in zip(row["cells"], row["agreement"], strict=True)
        if cell is not None and agreed is not None and (cell >= MARKED or not is_localised)
    ]
    return f"{min(told):.0%}" if told and row["verdict"] in {"localised", "not localised"} else _NOTHING


def findings(header: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings of one model with their numbers as text."""
    return [
        finding
        | {
            "number": _number(finding),
            "estimate_text": digits(finding["estimate"]),
            "interval_text": _interval(finding),
            "threshold_text": digits(finding["threshold"]),
            "null_text": _null(finding),
        }
        for finding in header["findings"]
    ]


def claims(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The paper's claims, those that stand or fall before those that are open."""
    return [finding for finding in told if finding["claimed_by"] == "the paper"]


def _number(finding: dict[str, Any]) -> str:
    found = _interval(finding)
    return (
        f"{digits(finding['estimate'])}{f' ({found})' if found != _NOTHING else ''}"
        if finding["estimate"] is not None
        else ""
    )


def _interval(finding: dict[str, Any]) -> str:
    low, high = finding["low"], finding["high"]
    return _NOTHING if low is None or high is None else f"{digits(low)} to {digits(high)}"


def _null(finding: dict[str, Any]) -> str:
    mean, chance = finding["null_mean"], finding["null_p"]
    parts = [f"mean {digits(mean)}"] if mean is not None else []
    parts += [f"p = {digits(chance)}"] if chance is not None else []
    return ", ".join(parts) or _NOTHING


def probability(value: float) -> str:
    """A probability to two digits; one that is nearly sure is not called sure."""
    if value >= 0.995:
        return ">0.99"
    return "<0.01" if value < 0.005 else f"{value:.2f}"


def digits(value: float | None, count: int = 3) -> str:
    """A number with so many digits that count; a dash for none."""
    if value is None:
        return _NOTHING
    text = f"{value + 0.0:.{count}g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"
    return text.replace("-", _MINUS)


def validity_rows(found: Sequence[Summary], most: int = 14) -> list[list[str]]:
    """How often each profile names the planted layer, the best first, and how often it sees one where there is none.

    Args:
        found: what the rows of `validation` come to; none give none.
        most: how many profiles; those that the map reads, the paper's raw scores and its map are always among them.
    """
    false = {each.profile: each for each in found if each.kind == "spread"}
    read = _read_by_the_map()
    return [
        [
            each.technique,
            f"{each.metric.replace('_', ' ')}{' (read by the map)' if each.profile in read else ''}",
            each.position,
            f"{each.hit:.2f} ({each.hit_low:.2f} to {each.hit_high:.2f})",
            f"{each.error:.2f}",
            f"{each.overlap:.2f}",
            str(each.relations),
            _false(false.get(each.profile)),
        ]
        for each in _judged(found, most)
    ]


def glossary(found: Sequence[Summary], most: int = 14) -> list[tuple[str, str, str]]:
    """Of each metric among the `validity_rows` its name there, its unit, and what it means."""
    metrics = dict.fromkeys(each.metric for each in _judged(found, most))
    return [(metric.replace("_", " "), unit_of(metric), meaning(metric)) for metric in metrics if meaning(metric)]


def _judged(found: Sequence[Summary], most: int) -> list[Summary]:
    """The profiles that are shown."""
    read = _read_by_the_map()
    return [
        each
        for place, each in enumerate(each for each in found if not each.kind)
        if place < most or each.profile in read or each.metric in _RAW or each.technique == "paper"
    ]


def _read_by_the_map() -> set[tuple[str, str, str]]:
    return {(one.technique, one.metric, one.position) for one in contrasts() if one.is_best}


def _place(source: str) -> str:
    """Where weights come from; of a folder only its end: the rest is nobody's business but its owner's."""
    parts = source.replace("\\", "/").split("/")
    return f"…/{'/'.join(parts[-2:])}" if source.startswith(("/", "~")) or len(parts) > 3 else source


def believe(found: Sequence[Summary], aside: Sequence[Summary] = ()) -> str:
    """How far a map is to be believed, in sentences; empty where no model was planted.

    Args:
        found: what the planted models come to that contrasts were chosen by.
        aside: the same of those of another recipe, which nothing was fitted to.
    """
    maps, others = ({each.kind: each for each in told if each.technique == "consensus"} for told in (found, aside))
    if "" not in maps:
        return ""
    sentence = (
        "How far to believe a map: in other models, knowledge was planted, that is, put into known layers on purpose. "
        f"For {_hits(maps[''])} such relations the layer that the map was surest of was one of those"
    )
    if "spread" in maps:
        sentence += f"; of {_called(maps['spread'])} localised all the same"
    if "" not in others:
        return f"{sentence}."
    sentence += f". In models made otherwise and held aside it was so for {_hits(others[''])}"
    return f"{sentence}, and of {_called(others['spread'])} localised." if "spread" in others else f"{sentence}."


def _hits(over_all: Summary) -> str:
    return f"{round(over_all.hit * over_all.relations)} of {over_all.relations}"


def _called(spread: Summary) -> str:
    called = round(spread.localised * spread.relations)
    return f"{spread.relations} that were spread over all layers it called {called}"


def published_rows(published: pl.DataFrame) -> list[list[str]]:
    """The paper's Table 1."""
    order = published.sort("concept", "metric", "published_model")
    return [
        [
            row["concept"],
            row["metric"],
            row["published_model"],
            two(row["value"]).replace("-", _MINUS),
            str(row["layer"]),
            f"{row['depth']:.2f}",
        ]
        for row in order.iter_rows(named=True)
    ]


def closed_loop(edits: pl.DataFrame) -> list[str]:
    """What training the layers of a map did, beside others: sentences; none where nothing was edited."""
    return [] if edits.is_empty() else compared(edits)


def _false(spread: Summary | None) -> str:
    return _NOTHING if spread is None else f"{round(spread.localised * spread.relations)} of {spread.relations}"


def card_rows(
    headers: Sequence[dict[str, Any]], concepts: Sequence[Concept], tables: Tables, made_with: Mapping[str, MadeWith]
) -> dict[str, Any]:
    """What lies behind the page: models and how they were measured, concepts and their prompts, versions."""
    models = [
        [
            header["model"],
            header["card"]["architecture"],
            f"{header['layers']} x {header['card']['width']}",
            f"{header['card']['parameters']:,}",
            ", ".join(filter(None, (header["card"]["dtype"], header["card"]["quantization"]))),
            _place(header["card"]["source"]),
            header["card"]["revision"],
            header["card"]["landed_at"],
        ]
        for header in headers
    ]
    library = [
        [
            concept.name,
            concept.told["role"],
            str(len(concept.terms)),
            listed([f"{one['name']} ({one['kind']})" for one in concept.told["labellings"]]) or _NOTHING,
            str(len(concept.templates)),
            str(concept.told["prompts"]),
            row["fingerprint"][:12],
        ]
        for concept in concepts
        for row in tables["concepts"].filter(pl.col("concept") == concept.name).iter_rows(named=True)
    ]
    missing = [[header["model"], name, reason] for header in headers for name, reason in header["unmeasured"]]
    settings = [
        [header["model"], *_settings(header["settings"], made_with.get(header["model"], MadeWith()))]
        for header in headers
    ]
    measured = [[header["model"], *_measured(header["measured"])] for header in headers]
    templates = [
        [
            concept.name,
            told["name"],
            told["kind"],
            told["labelling"] or _NOTHING,
            "yes" if told["held_out"] else "no",
            f"{told['before']}\u25ad{told['behind']}",
        ]
        for concept in concepts
        for told in concept.told["templates"]
    ]
    return {
        "models": models,
        "measured": measured,
        "settings": settings,
        "library": library,
        "templates": templates,
        "missing": missing,
    }


def _settings(told: dict[str, Any], made_with: MadeWith) -> list[str]:
    """Settings of a model's numbers; a dash for what its tables do not tell."""
    remade = [f"{change} ({count})" for change, count in told["remade"]]
    terms = ["main terms" if variant == "" else f"variant {variant}" for variant in told["terms"]]
    resamples = [f"{count:,}" for count in made_with.resamples]
    found = (told["kinds"], told["positions"], terms, resamples, remade, made_with.versions)
    return [", ".join(one) or _NOTHING for one in found]


def _measured(counts: dict[str, Any]) -> list[str]:
    names = ("prompts", "tokens", "lesioned", "lesions", "patched", "patches", "answers", "judges")
    told = (counts[name] for name in names)
    return [", ".join(one) or _NOTHING if isinstance(one, list) else f"{one:,}" for one in told]
