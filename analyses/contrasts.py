"""The contrasts that maps are read from: which profile of each technique, and how far it is to be believed.

How well a contrast finds planted knowledge is counted by `validity` on planted models and kept in `contrasts.csv`,
beside this module, with the commit that made it. How a profile marks layers is in `marking`.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from warehouse.errors import InputError

CONTRASTS_FILE = Path(__file__).with_name("contrasts.csv")

CANDIDATES = (
    ("lesions", "identity_accuracy_drop_over_controls", "last"),
    ("lesions", "mean_accuracy_drop_over_controls", "last"),
    ("lesions", "resample_accuracy_drop_over_controls", "last"),
    ("lesions", "resample_log_probability_drop_over_controls", "last"),
    ("patches", "resid_restored_step", "last"),
    ("patches", "delta_restored", "last"),
    ("patches", "delta_restored", "term"),
    ("saliency", "logit_difference_first_order_effect", "last"),
    ("saliency", "logit_difference_first_order_effect_over_controls", "last"),
    ("activations", "silhouette_cosine_step", "last"),
    ("activations", "silhouette_cosine_step", "term"),
)
"""Technique, metric and position of the profiles that the consensus may read."""

_COMPARED = frozenset({"silhouette_cosine", "r2_ridge", "effective_rank", "effective_rank_with_first_token"})
"""Metrics that are read against controls and an untrained model, or from layer to layer, draw by draw."""

_SMOOTHING = 0.5
"""Counted to hits and misses alike, so that no contrast is sure of anything (Jeffreys' prior)."""


@dataclass(frozen=True)
class Contrast:
    """One technique's profile, read against something that is not the concept.

    Attributes:
        technique, metric, position: which profile, on asking templates.
        least: what a layer must have to be marked, in the metric's unit: below it there is nothing to find.
        is_best: whether the consensus reads it; the others are the second opinions of `stability`.
        planted, found: planted layers that it was tried on, and how many of them it marked (marks count by their
            probability).
        others, false: layers that hold nothing, and how many of those it marked.
    """

    technique: str
    metric: str
    position: str
    least: float
    is_best: bool
    planted: float
    found: float
    others: float
    false: float

    @property
    def sensitivity(self) -> float:
        """Probability that it marks a layer that holds the knowledge."""
        return (self.found + _SMOOTHING) / (self.planted + 2 * _SMOOTHING)

    @property
    def false_alarm(self) -> float:
        """Probability that it marks a layer that doesn't."""
        return (self.false + _SMOOTHING) / (self.others + 2 * _SMOOTHING)

    def log_odds(self, marked: float) -> float:
        """What a mark adds to the log-odds that a layer holds the knowledge, in nats.

        Args:
            marked: how sure the mark is, 0 to 1; in between, what both would add, in proportion.
        """
        present = math.log(self.sensitivity / self.false_alarm)
        absent = math.log((1 - self.sensitivity) / (1 - self.false_alarm))
        return marked * present + (1 - marked) * absent


@cache
def contrasts(path: Path = CONTRASTS_FILE) -> tuple[Contrast, ...]:
    """All candidates, as they were validated.

    Raises:
        InputError: the file can't be read, or a technique has no best contrast or several.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            found = tuple(_contrast(row) for row in csv.DictReader(lines))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} can't be read as contrasts ({error}): make it anew with `vesalius validate`."
        ) from error
    _require_one_best(found, path)
    return found


def best_contrasts(found: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Those that the consensus reads, one a technique."""
    return tuple(contrast for contrast in found if contrast.is_best)


def drawn_metrics() -> frozenset[str]:
    """The metrics whose draws are kept in `profile_draws`: those of all candidates, and what is compared by draws."""
    return frozenset(metric for _, metric, _ in CANDIDATES) | _COMPARED


def write_contrasts(found: Sequence[Contrast], path: Path = CONTRASTS_FILE) -> None:
    """Write contrasts where `contrasts` reads them."""
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(_FIELDS)
        for each in found:
            counts = (f"{number:.3f}" for number in (each.planted, each.found, each.others, each.false))
            best = "yes" if each.is_best else "no"
            writer.writerow([each.technique, each.metric, each.position, each.least, best, *counts])


_FIELDS = ("technique", "metric", "position", "least", "is_best", "planted", "found", "others", "false")


def _contrast(row: dict[str, str]) -> Contrast:
    least, planted, found, others, false = (
        float(row[name]) for name in ("least", "planted", "found", "others", "false")
    )
    best = {"yes": True, "no": False}[row["is_best"]]
    return Contrast(row["technique"], row["metric"], row["position"], least, best, planted, found, others, false)


def _require_one_best(found: Sequence[Contrast], path: Path) -> None:
    best = [contrast.technique for contrast in best_contrasts(found)]
    if not found or len(best) != len(set(best)) or set(best) != {contrast.technique for contrast in found}:
        raise InputError(
            f"{path} must name one best contrast for each technique; it names {', '.join(best) or 'none'}."
        )
