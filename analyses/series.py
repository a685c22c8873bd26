"""A metric at every layer under all draws, and the tables that it becomes: `profiles` and `profile_draws`.

Shared by all modules that make profiles. What is measured, and on what, is theirs to say; how an interval is made of
draws is in `resampling`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa

from analyses.resampling import Floats, Sampled, estimate
from warehouse.tables import table

OVER_CONTROLS = "_over_controls"
"""Ends the name of a metric from which the controls' profiles were taken off."""

STEP = "_step"
"""Ends the name of a metric's change from the layer below."""


@dataclass(frozen=True)
class Key:
    """The keys of a profile in the table, the layer aside."""

    technique: str
    metric: str
    labelling: str
    variant: str
    position: str = "last"
    template_kind: str = "asking"

    def over_controls(self) -> "Key":
        """The same with the controls taken off."""
        return replace(self, metric=self.metric + OVER_CONTROLS)

    def step(self) -> "Key":
        """The same as its change from the layer below."""
        return replace(self, metric=self.metric + STEP)


@dataclass(frozen=True)
class Series:
    """A metric at every layer, from `first` up, under all draws.

    Attributes:
        value: shape (layers,).
        resampled: shape (layers, resamples).
        permuted: shape (layers, permutations); None where nothing is exchanged.
        first: the lowest layer; -1 is the embedding output.
    """

    value: Floats
    resampled: Floats
    permuted: Floats | None = None
    first: int = 0

    @property
    def is_computable(self) -> bool:
        """Whether there is a number at every layer."""
        return bool(np.isfinite(self.value).all())

    def steps(self) -> "Series":
        """The change from each layer to the next, paired draw by draw; it begins one layer higher."""
        permuted = None if self.permuted is None else np.diff(self.permuted, axis=0)
        return Series(np.diff(self.value), np.diff(self.resampled, axis=0), permuted, self.first + 1)

    def minus(self, other: "Series") -> "Series":
        """The difference, paired: both were taken at the same layers, under the same draws."""
        paired = self.permuted is not None and other.permuted is not None
        return replace(
            self,
            value=self.value - other.value,
            resampled=self.resampled - other.resampled,
            permuted=self.permuted - other.permuted if paired else None,  # type: ignore[operator]
        )


@dataclass(frozen=True)
class Profile:
    """A series with its keys, and how many terms are behind it."""

    key: Key
    series: Series
    terms: int

    def rows(self) -> Iterator[dict[str, object]]:
        """Rows of `profiles`, one a layer; none where a value can't be computed.

        Draws in which it can't be computed are left out, such as those of terms that have nothing to lose.
        """
        if not self.series.is_computable:
            return
        for place, value in enumerate(self.series.value):
            drawn = self.series.resampled[place]
            permuted = None if self.series.permuted is None else self.series.permuted[place]
            sampled = Sampled(
                float(value),
                drawn[np.isfinite(drawn)],
                None if permuted is None else permuted[np.isfinite(permuted)],
                self.terms,
            )
            yield asdict(self.key) | {"layer": self.series.first + place, **asdict(estimate(sampled)), "n": self.terms}


def profiles_table(profiles: Sequence[Profile]) -> pa.Table:
    """The rows of `profiles`, sorted by key."""
    entry = table("profiles")
    found = pa.Table.from_pylist([row for profile in profiles for row in profile.rows()], schema=entry.schema())
    return found.sort_by([(column.name, "ascending") for column in entry.keys])


def draws_table(profiles: Sequence[Profile], metrics: Collection[str], resamples: int) -> pa.Table:
    """The rows of `profile_draws`, sorted by key: the draws of some metrics, on main terms.

    A draw in which a series can't be computed at some layer is filled with the next one in which it can, so that draws
    stay paired over layers and all have the same number.

    Args:
        profiles: all profiles of a model and concept.
        metrics: those that maps are drawn from.
        resamples: how many draws each has.
    """
    entry = table("profile_draws")
    rows: list[dict[str, object]] = []
    draws = [np.empty((0, resamples))]
    for profile in profiles:
        key, series = profile.key, profile.series
        usable = np.flatnonzero(np.isfinite(series.resampled).all(axis=0))
        if key.metric not in metrics or key.variant or not series.is_computable or not len(usable):
            continue
        draws.append(series.resampled[:, usable[np.searchsorted(usable, np.arange(resamples)) % len(usable)]])
        for place, value in enumerate(series.value):
            row = {"layer": series.first + place, "value": float(value), "null_mean": _null_mean(series, place)}
            rows.append(asdict(key) | row)
    schema = entry.schema(resamples)
    flat = pa.array(np.concatenate(draws).astype(np.float32).ravel())
    columns = [
        pa.FixedSizeListArray.from_arrays(flat, resamples)
        if field.name == "draws"
        else pa.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    found = pa.table(columns, schema=schema)
    return found.sort_by([(column.name, "ascending") for column in entry.keys])


def _null_mean(series: Series, place: int) -> float | None:
    if series.permuted is None:
        return None
    permuted = series.permuted[place]
    finite = permuted[np.isfinite(permuted)]
    return float(finite.mean()) if finite.size else None


def series_of(draws: pa.Table) -> dict[Key, Series]:
    """The series that `draws_table` kept, as they are read from `profile_draws`.

    Of a null only the mean was kept: `permuted` has shape (layers, 1), or is None where there was none.
    """
    names = [column.name for column in table("profile_draws").keys if column.name != "layer"]
    found = {}
    for keys, rows in pl.DataFrame(draws).sort("layer").group_by(names, maintain_order=True):
        nulls = rows["null_mean"]
        found[Key(**dict(zip(names, map(str, keys), strict=True)))] = Series(
            rows["value"].to_numpy(),
            rows["draws"].to_numpy().astype(np.float64),
            None if nulls.null_count() else nulls.to_numpy()[:, None],
            int(rows["layer"][0]),
        )
    return found
