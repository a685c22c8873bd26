"""What the rows of `validation` come to: hits, errors, overlap and false localisations, with intervals, in tables.

How a row is made is in `validity`; charts of it are in `validity_charts`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analyses.resampling import HIGH, LOW, generator, share_interval
from analyses.validity import ASIDE_FILE, VALIDATION_FILE, kept_validation

EMPTY_KINDS = ("spread", "untrained", "unknown")
"""Kinds of which no layer holds the knowledge."""

NOTHING_TO_NAME = ("spread", "untrained")
"""Those of them of which it is proved, by reverts or by random weights, that no layer does."""

_RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """How one profile, or map, does on some planted relations, or on relations that sit nowhere.

    Attributes:
        technique, metric, position: which.
        kind: of which plants; empty for all, each relation counting once.
        relations: how many.
        hit, hit_low, hit_high: share whose best layer is a planted one, with Wilson's 95% interval; NaN where none is
            planted.
        error, error_low, error_high: mean distance of the best layer from the nearest planted one, in layers, with a
            95% bootstrap interval over relations.
        overlap: mean Jaccard index of marked and planted layers.
        localised, localised_low, localised_high: share in which any layer is marked, with Wilson's interval: of
            relations that sit nowhere, the false localisations.
        cells: share of the layers that hold nothing which are marked all the same: cells of a map, wrongly called.
    """

    technique: str
    metric: str
    position: str
    kind: str
    relations: int
    hit: float
    hit_low: float
    hit_high: float
    error: float
    error_low: float
    error_high: float
    overlap: float
    localised: float
    localised_low: float
    localised_high: float
    cells: float

    @property
    def profile(self) -> tuple[str, str, str]:
        """Technique, metric and position."""
        return self.technique, self.metric, self.position

    @property
    def named(self) -> list[str]:
        """The same, as cells of a table."""
        return [self.technique, f"`{self.metric}`", self.position]


def summarize_validation(rows: pl.DataFrame) -> list[Summary]:
    """Every profile and map over all planted relations, over those of each kind, and over each kind of nothing.

    Args:
        rows: of `validation`.

    Returns:
        The best first: by the hits over all planted relations.
    """
    planted = rows.filter(~pl.col("kind").is_in(EMPTY_KINDS))
    parts = [("", planted), *((kind, rows.filter(kind=kind)) for kind in rows["kind"].unique(maintain_order=True))]
    found = [
        _summary((str(technique), str(metric), str(position)), kind, of_profile)
        for kind, part in parts
        for (technique, metric, position), of_profile in part.group_by(
            "technique", "metric", "position", maintain_order=True
        )
    ]
    over_all = {each.profile: each.hit for each in found if not each.kind}
    return sorted(found, key=lambda each: (-over_all.get(each.profile, 0.0), each.profile))


def results_page() -> list[str]:
    """The page of the results that come with the project, with what they were made by.

    Raises:
        InputError: they can't be read.
    """
    made, aside = (
        json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in (VALIDATION_FILE, ASIDE_FILE)
    )
    rows_aside = pl.DataFrame(kept_validation(ASIDE_FILE))
    return [
        "# Validity: all results",
        "",
        f"{made['models']} models, by commit `{made['commit']}` on {made['date']} with `vesalius validate --keep`.",
        f"{len(made['kept_out'])} more missed their gates and were left out. What the numbers mean, and what to make",
        "of them: [validity.md](validity.md). Top-1 is the share of relations whose best layer is a planted one; cells",
        "is the share of layers that hold nothing and are marked.",
        "Intervals are 95% (Wilson's for shares, bootstrap over relations for errors) and take relations of one model",
        "as independent. The row `consensus` was fitted without the models that share the judged one's base.",
        "Rows `…_over_rivals` are over spelling, token counts and embeddings: these models were judged before",
        "frequency became a rival.",
        "",
        *validity_markdown(pl.DataFrame(kept_validation())),
        "",
        "# Models held aside: all results",
        "",
        f"{aside['models']} of {aside['listed']} models of another recipe, by commit `{aside['commit']}` on",
        f"{aside['date']} with `vesalius validate --aside --keep`.",
        f"{len(aside['kept_out'])} missed their gates and were left out.",
        "Nothing was fitted to them: `consensus` is the one that every map is drawn by. No UMAP was made of them, so",
        "the paper's map lacks its first technique.",
        "",
        verdict_on(rows_aside),
        "",
        *validity_markdown(rows_aside),
    ]


def verdict_on(rows: pl.DataFrame) -> str:
    """What the consensus comes to on some models, in one sentence.

    Args:
        rows: of `validation`, some of planted relations and some of spread or untrained ones.
    """
    ours = rows.filter(technique="consensus")
    planted = ours.filter(~pl.col("kind").is_in(EMPTY_KINDS))
    empty = ours.filter(pl.col("kind").is_in(NOTHING_TO_NAME))
    found = _summary(("consensus", "", ""), "", planted)
    false = _summary(("consensus", "", ""), "", empty)
    return (
        f"The consensus named a planted layer of {found.hit:.0%} of {found.relations} planted relations "
        f"({found.hit_low:.0%} to {found.hit_high:.0%}), {found.error:.2f} layers off in the mean "
        f"({found.error_low:.2f} to {found.error_high:.2f}); it called {false.cells:.1%} of the "
        f"{int(empty['layers'].sum())} cells of {false.relations} spread or untrained relations localised."
    )


def validity_markdown(rows: pl.DataFrame) -> list[str]:
    """The summaries as a page: one table of all planted relations, one by kind, one of false localisations."""
    found = summarize_validation(rows)
    everywhere = [each for each in found if not each.kind]
    kinds = sorted(set(rows["kind"]))
    holding, empty = ([kind for kind in kinds if (kind in EMPTY_KINDS) == is_empty] for is_empty in (False, True))
    by_kind = {(*each.profile, each.kind): each for each in found}

    def cells(each: Summary, names: Sequence[str], write: Callable[[Summary], str]) -> list[str]:
        shares = [by_kind.get((*each.profile, kind)) for kind in names]
        return ["" if share is None else write(share) for share in shares]

    return [
        "## All planted relations",
        "",
        *_table(
            ["relations", "top-1", "mean error, layers", "overlap"],
            [
                [
                    *each.named,
                    str(each.relations),
                    _interval(each.hit, each.hit_low, each.hit_high),
                    _interval(each.error, each.error_low, each.error_high),
                    f"{each.overlap:.2f}",
                ]
                for each in everywhere
            ],
        ),
        "",
        "## Top-1 by kind of plant",
        "",
        *_table(
            holding,
            [
                [*each.named, *cells(each, holding, lambda share: f"{share.hit:.2f} of {share.relations}")]
                for each in everywhere
            ],
        ),
        "",
        "## False localisations: relations that sit in no layer",
        "",
        *_table(empty, [[*each.named, *cells(each, empty, _false)] for each in everywhere]),
    ]


def _false(share: Summary) -> str:
    shown = _interval(share.localised, share.localised_low, share.localised_high)
    return f"{shown} of {share.relations}; cells {share.cells:.3f}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    header = ["technique", "metric", "position", *columns]
    return [_line(header), "|" + "---|" * len(header), *map(_line, rows)]


def _summary(profile: tuple[str, str, str], kind: str, rows: pl.DataFrame) -> Summary:
    hits, errors = rows["hit"].drop_nulls().to_numpy(), rows["error"].drop_nulls().to_numpy()
    rng = generator(0, *profile, kind)
    overlap = rows["overlap"].drop_nulls()
    return Summary(
        *profile,
        kind,
        len(rows),
        *_share(hits),
        *_mean(errors, rng),
        float(overlap.mean() or 0.0) if len(overlap) else float("nan"),  # type: ignore[arg-type]
        *_share(rows["localised"].drop_nulls().to_numpy()),
        _cells(rows),
    )


def _cells(rows: pl.DataFrame) -> float:
    """Of all layers that hold nothing, the share that is marked; NaN where every layer holds something."""
    told = rows.filter(pl.col("false_marks").is_not_null())
    held = np.array([_count(planted) for planted in told["planted"]])
    nothing = told["layers"].to_numpy() - held
    return float((told["false_marks"].to_numpy() * nothing).sum() / nothing.sum()) if len(told) else float("nan")


def _count(planted: str) -> int:
    """How many layers are meant by `2-3, 7`."""
    ends = [place.split("-") for place in planted.split(", ") if place]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _share(found: NDArray[np.generic]) -> tuple[float, float, float]:
    if not len(found):
        return float("nan"), float("nan"), float("nan")
    low, high = share_interval(int(found.sum()), len(found))
    return float(found.mean()), low, high


def _mean(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float, float]:
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    drawn = values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, [LOW, HIGH])
    return float(values.mean()), float(low), float(high)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
