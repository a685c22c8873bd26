"""What a claim is, what it is judged by, and how its verdict follows from the interval, the threshold and the null.

Belongs here: what all claims share, and the few statistics that several of them need. What is claimed, and by which
numbers it is tested, is in the modules beside this one.

Every estimate points the same way: the larger, the more it speaks for the claim. So one rule serves all.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from analyses.rows import listed
from warehouse.tables import table

PAPER, OURS = "the paper", "this project"
SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"

LARGEST_P = 0.05
"""The largest p-value at which a claim that is held against a null can be supported."""

_NORMAL = statistics.NormalDist()
_Z = _NORMAL.inv_cdf(0.975)


@dataclass(frozen=True)
class Evidence:
    """What is known of a model, and of the others beside it.

    Attributes:
        model: the model that is judged.
        tables: by name; those with partitions carry `model` and `concept` as columns. What is absent has no rows.
    """

    model: str
    tables: Mapping[str, pl.DataFrame] = field(repr=False)

    def everywhere(self, name: str, **equal: str) -> pl.DataFrame:
        """A table's rows of all models, for which some columns have these values."""
        rows = self.tables.get(name)
        if rows is None or not rows.width:
            rows = _no_rows(name)
        return rows.filter(**equal) if equal else rows

    def of_model(self, name: str, **equal: str) -> pl.DataFrame:
        """A table's rows of the model, for which some columns have these values."""
        return self.everywhere(name, model=self.model, **equal)

    def medical(self, name: str, **equal: str) -> pl.DataFrame:
        """The same of medical concepts only; without rows of `concepts` all count as medical."""
        return self.of_model(name, **equal).filter(~pl.col("concept").is_in(sorted(self.controls)))

    def profiles(self, metric: str, **equal: str) -> pl.DataFrame:
        """The model's profiles of a metric, as they are usually read: asking prompts, last token, main terms."""
        usual = {"template_kind": "asking", "position": "last", "variant": ""} | equal
        return self.of_model("profiles", metric=metric, **usual).sort("layer")

    @property
    def controls(self) -> set[str]:
        """The control concepts."""
        return set(self.everywhere("concepts", role="control")["concept"])

    @property
    def layers(self) -> int | None:
        """Layers of the model; None if it is not recorded."""
        rows = self.of_model("models")
        return int(rows["layers"][0]) if len(rows) else None


@dataclass(frozen=True)
class Measured:
    """What the numbers say of a claim.

    Attributes:
        estimate: the larger, the more it speaks for the claim.
        low, high: its 95% interval; None where there is none, and then the claim stays undecided.
        basis: what it rests on.
        said: the sentence, with its numbers.
        null_mean, null_p: the estimate under the null, and how often the null does as well.
    """

    estimate: float
    low: float | None
    high: float | None
    basis: str
    said: str
    null_mean: float | None = None
    null_p: float | None = None


@dataclass(frozen=True)
class Missing:
    """Nothing can be said, and why: what would have to be measured."""

    why: str


@dataclass(frozen=True)
class Claim:
    """A claim that is put to the test.

    Attributes:
        name: its slug.
        claimed_by: the paper, or this project.
        title: the claim.
        question: what the estimate answers.
        threshold: intervals above it support the claim, intervals below it refute it.
        measure: makes the estimate of the evidence.
        has_null: whether the estimate is held against a null.
    """

    name: str
    claimed_by: str
    title: str
    question: str
    threshold: float
    measure: Callable[[Evidence], Measured | Missing]
    has_null: bool = False

    @property
    def rule(self) -> str:
        """The rule of the verdict, in words."""
        null = f" and p is at most {LARGEST_P:g} under the null" if self.has_null else ""
        return (
            f"Supported if the 95% interval lies above {self.threshold:g}{null}; refuted if the interval lies below "
            f"{self.threshold:g}; else undecided."
        )

    def verdict(self, found: Measured) -> str:
        """What follows by the rule."""
        if found.low is None or found.high is None:
            return UNDECIDED
        if found.high < self.threshold:
            return REFUTED
        surprising = found.null_p is None or found.null_p <= LARGEST_P
        return SUPPORTED if found.low > self.threshold and surprising else UNDECIDED


def at_least(hits: int, chances: Sequence[float]) -> float:
    """The probability of at least so many hits in independent trials with these chances (Poisson binomial)."""
    distribution = np.ones(1)
    for chance in chances:
        distribution = np.convolve(distribution, [1.0 - chance, chance])
    return float(min(1.0, distribution[hits:].sum()))


def mean_of_independent(rows: pl.DataFrame, value: str, low: str, high: str) -> tuple[float, float, float]:
    """The mean of numbers with 95% intervals, and its own interval: distances from the estimates add in squares."""
    numbers, lows, highs = (rows[name].to_numpy() for name in (value, low, high))
    mean = float(numbers.mean())
    down, up = (float(np.sqrt(((numbers - end) ** 2).sum())) / len(numbers) for end in (lows, highs))
    return mean, mean - down, mean + up


def difference(one: Mapping[str, float], other: Mapping[str, float]) -> tuple[float, float, float]:
    """The difference of two numbers (`over`, `low`, `high`) with its interval; draws of labellings are their own."""
    estimate = one["over"] - other["over"]
    down = math.hypot(one["over"] - one["low"], other["high"] - other["over"])
    up = math.hypot(one["high"] - one["over"], other["over"] - other["low"])
    return estimate, estimate - down, estimate + up


def widening(choices: int) -> float:
    """By how much a 95% interval widens so that it holds for the best of so many choices (Bonferroni, normal tails)."""
    return _NORMAL.inv_cdf(1 - 0.025 / choices) / _Z


@dataclass(frozen=True)
class Best:
    """The layer of a profile's largest value, with an interval that allows for the choice.

    Attributes:
        layer, value: where and how large.
        low, high: the interval; None where the profile has none.
        choice: the same in words.
    """

    layer: int
    value: float
    low: float | None
    high: float | None
    choice: str


def best_layer(rows: pl.DataFrame) -> Best:
    """The layer of the largest value among the rows of one profile; the lowest if there are several."""
    row = rows.sort("value", "layer", descending=[True, False]).row(0, named=True)
    wider, value = widening(len(rows)), row["value"]
    low, high = (None if row[end] is None else value + wider * (row[end] - value) for end in ("low", "high"))
    return Best(
        row["layer"], value, low, high, f"best of {counted(len(rows), 'layer')}, interval widened for the choice"
    )


def as_float(value: object) -> float:
    """A number that Polars took from a column of numbers; it can't tell its kind."""
    assert isinstance(value, int | float)
    return float(value)


def counted(number: int, thing: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def place(layer: int) -> str:
    """`layer 3`; the embedding output is layer -1."""
    return "the embeddings" if layer < 0 else f"layer {layer}"


def named_rows(rows: pl.DataFrame) -> str:
    """The labellings of some rows, as a sentence lists them."""
    return listed(
        [f"{concept} · {labelling}" for concept, labelling in rows.select("concept", "labelling").iter_rows()]
    )


def _no_rows(name: str) -> pl.DataFrame:
    entry = table(name)
    found = pl.from_arrow(entry.schema(1).empty_table())
    assert isinstance(found, pl.DataFrame)
    return found.with_columns(pl.lit(None, pl.String).alias(key) for key in entry.partitions)
