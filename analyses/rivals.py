"""Rivals of a profile: what else could make terms of one label lie together, and what is left over it.

Spelling, the number of tokens, how frequent a term is and the embeddings give a number before the first layer; control
concepts and an untrained model of the same shape give one at every layer. Here they are measured, and taken off the
profiles of activations. How activations are measured is in `profiles`; what is left of lesions and saliency over the
controls is in `effects`, and whether those follow the tokens or the frequency of terms in `effect_correlations`.

Everything is taken over its own chance first: less its mean under permuted labels. A silhouette of many small labels is
below 0 by chance, and one along a single number (tokens, frequency) far below, so values as they are don't compare.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from analyses.geometry import cosine_distances, euclidean_distances
from analyses.labellings import Grouped, LabelDraws, Labelled, labelled_terms
from analyses.profiles import LINEARITY, SILHOUETTE
from analyses.resampling import Estimate, Floats, Sampled, estimate
from analyses.series import OVER_CONTROLS, Key, Profile, Series
from analyses.term_numbers import FREQUENCY, TOKEN_COUNT, TermNumber
from warehouse.errors import InputError
from warehouse.tables import table

RIVALLED = (SILHOUETTE, LINEARITY)
"""The metrics that have rivals. The draws of control concepts and untrained models must be kept for these."""

SPELLING, EMBEDDINGS = "spelling", "embeddings"
FLAT = (SPELLING, TOKEN_COUNT, FREQUENCY, EMBEDDINGS)
"""Rivals that are the same at all layers."""

OVER_RIVALS, OVER_UNTRAINED = "_over_rivals", "_over_untrained"

_PADDING = "  "
"""Two blanks at each end, so that the first and last letters have trigrams of their own, and each digit of a number."""


@dataclass(frozen=True)
class Rival:
    """A metric of a labelling on what is known before the first layer.

    Attributes:
        rival: one of `FLAT`.
        metric, labelling, template_kind, variant: of the profiles that it is a rival of.
        sampled: its value, under the same draws as those profiles.
        terms: how many terms are behind it.
    """

    rival: str
    metric: str
    labelling: str
    template_kind: str
    variant: str
    sampled: Sampled
    terms: int


def rivals_of(
    own: Sequence[Profile],
    terms: pa.Table,
    labels: pa.Table,
    numbers: Sequence[TermNumber],
    *,
    seed: int = 0,
    resamples: int = 1000,
    permutations: int = 200,
) -> list[Rival]:
    """What spelling, token counts, frequency and embeddings alone make of each labelling, of one model and one concept.

    - `spelling`: the metric on the character trigrams of the terms (`trigram_counts`): a silhouette by cosine distance,
      R² of the ridge fit from the counts;
    - `token_count`, `frequency`: the metric on one number a term (`term_numbers`): a silhouette by the difference of
      the numbers, R² of the ridge fit from the number;
    - `embeddings`: the profile's own value at layer -1 and position `term`. It is used at all positions: at layer -1
      the last token of a template is the same for all terms. Only the term's last token is recorded there, so the
      first tokens of a long name are left to `spelling`.

    Args:
        own: the profiles of activations (`profiles.activation_profiles`), made with the same seed and draws.
        terms, labels: the concept's tables.
        numbers: those of the concept's terms, from `term_numbers`.
        seed, resamples, permutations: as they were for `own`.

    Returns:
        One for each rival, metric of `RIVALLED`, labelling, kind of template and variant; no `embeddings` where layer
        -1 was not read at `term`.

    Raises:
        InputError: a term without a number.
    """
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for profile in own:
        if profile.key.metric in RIVALLED:
            kinds[profile.key.labelling, profile.key.variant].add(profile.key.template_kind)
    spellings = dict(zip(terms["term"].to_pylist(), terms["spelling"].to_pylist(), strict=True))
    found = []
    for each in labelled_terms(terms, labels, LabelDraws(seed, resamples, permutations)):
        trigrams = trigram_counts([spellings[term] for term in each.terms])
        measured = {SPELLING: _measured(each, trigrams, cosine_distances(trigrams))}
        for number in numbers:
            points = number.of(each.terms)[:, None]
            measured[number.name] = _measured(each, points, euclidean_distances(points))
        for rival, (metric, sampled) in measured.items():
            for kind in sorted(kinds[each.labelling, each.variant]):
                found.append(Rival(rival, metric, each.labelling, kind, each.variant, sampled, len(each.terms)))
    return [*found, *_embeddings(own)]


def _measured(labelled: Labelled, points: Floats, distances: Floats) -> tuple[str, Sampled]:
    measure = labelled.measure
    if isinstance(measure, Grouped):
        return SILHOUETTE, measure.silhouette(distances)
    return LINEARITY, measure.linearity(points)


def _embeddings(own: Sequence[Profile]) -> list[Rival]:
    found = []
    for profile in own:
        key, series = profile.key, profile.series
        if key.metric in RIVALLED and key.position == "term" and series.first == -1:
            permuted = None if series.permuted is None else series.permuted[0]
            sampled = Sampled(float(series.value[0]), series.resampled[0], permuted)
            found.append(
                Rival(EMBEDDINGS, key.metric, key.labelling, key.template_kind, key.variant, sampled, profile.terms)
            )
    return found


def trigram_counts(spellings: Sequence[str]) -> Floats:
    """How often each run of three characters stands in each spelling.

    In lower case, with two blanks at each end: `Iron` has the trigrams `··i`, `·ir`, `iro`, `ron`, `on·` and `n··`. The
    cosine of two rows is the share of trigrams in common, `x·y / (|x| |y|)` (as approximate string matching by n-grams:
    Ukkonen 1992, Theoretical Computer Science 92).

    Returns:
        Shape (spellings, distinct trigrams).
    """
    columns: dict[str, int] = {}
    cells: list[tuple[int, int]] = []
    for row, spelling in enumerate(spellings):
        padded = f"{_PADDING}{spelling.lower()}{_PADDING}"
        for start in range(len(padded) - 2):
            cells.append((row, columns.setdefault(padded[start : start + 3], len(columns))))
    counts = np.zeros((len(spellings), len(columns)))
    if cells:
        np.add.at(counts, tuple(np.array(cells).T), 1.0)
    return counts


def rivals_table(rivals: Sequence[Rival]) -> pa.Table:
    """The rows of `rivals`, sorted by key."""
    entry = table("rivals")
    rows = [
        {name: getattr(each, name) for name in entry.key_names} | asdict(_estimate(each)) | {"n": each.terms}
        for each in rivals
    ]
    found = pa.Table.from_pylist(rows, schema=entry.schema())
    return found.sort_by([(name, "ascending") for name in entry.key_names])


def _estimate(rival: Rival) -> Estimate:
    return estimate(replace(rival.sampled, terms=rival.terms))


def rival_profiles(
    own: Sequence[Profile],
    rivals: Sequence[Rival],
    controls: Sequence[Mapping[Key, Series]] = (),
    untrained: Mapping[Key, Series] | None = None,
) -> list[Profile]:
    """What is left of a profile over each of its rivals, for the metrics `RIVALLED` at every position.

    Of a metric m, each value being taken over its own mean under permuted labels:
    - `m_over_<rival>`, of each in `FLAT`: m less that rival's value, the same at all layers;
    - `m_over_rivals`: m less the largest of them all, in each draw the largest there;
    - `m_over_controls`: m less the mean of the controls' series, at the same layer, position and kind of template;
    - `m_over_untrained`: m less the untrained model's.

    The last two also as `_step`: over the others a step is that of m itself. Differences are paired: resample by
    resample of the same terms (the controls' terms are drawn for themselves), and so are the nulls, in which the same
    exchange of labels befalls both. Over controls there is no null, nor where of the other's only the mean is known.
    The null says what the difference is when labels mean nothing to either; whether m is more than its rival is told by
    the interval.

    Args:
        own: the profiles of activations.
        rivals: from `rivals_of`, with the same draws.
        controls: the series of each control concept, the concept itself left out; main terms are read.
        untrained: the series of the untrained model on the same concept.

    Raises:
        InputError: series of other layers, or of another number of resamples.
    """
    by_key: dict[tuple[str, ...], dict[str, Series]] = defaultdict(dict)
    for each in rivals:
        by_key[each.metric, each.labelling, each.template_kind, each.variant][each.rival] = _flat(each.sampled)
    profiles = []
    for profile in own:
        key = profile.key
        if key.metric not in RIVALLED:
            continue
        found = by_key[key.metric, key.labelling, key.template_kind, key.variant]
        for name, rival in found.items():
            profiles.append(_named(profile, f"_over_{name}", _left_over(profile, [rival], name)))
        if found.keys() == set(FLAT):
            profiles.append(_named(profile, OVER_RIVALS, _left_over(profile, list(found.values()), "its rivals")))
        layered = {OVER_CONTROLS: _controls(key, controls), OVER_UNTRAINED: (untrained or {}).get(key)}
        for ending, other in layered.items():
            if other is not None:
                left = _named(profile, ending, _left_over(profile, [other], ending.removeprefix("_over_")))
                steps = (
                    [Profile(left.key.step(), left.series.steps(), left.terms)] if len(left.series.value) > 1 else []
                )
                profiles += [left, *steps]
    return profiles


def _named(profile: Profile, ending: str, series: Series) -> Profile:
    return replace(profile, key=replace(profile.key, metric=profile.key.metric + ending), series=series)


def _flat(sampled: Sampled) -> Series:
    """What is the same at all layers, as a series of one."""
    permuted = None if sampled.permuted is None else sampled.permuted[None]
    return Series(np.array([sampled.value]), sampled.resampled[None], permuted, first=-1)


def _controls(key: Key, controls: Sequence[Mapping[Key, Series]]) -> Series | None:
    """The mean over the labellings of all controls, each over its chance; None where there are none."""
    wanted = replace(key, variant="")
    same = [
        _over_chance(series)
        for control in controls
        for other, series in control.items()
        if replace(other, labelling=key.labelling) == wanted
    ]
    if not same:
        return None
    for other in same[1:]:
        _require_alike(same[0], other, key, "one control and another")
    value, resampled = (np.mean([getattr(each, name) for each in same], axis=0) for name in ("value", "resampled"))
    return Series(value, resampled, None, same[0].first)


def _left_over(own: Profile, others: Sequence[Series], name: str) -> Series:
    """A profile less the largest of some series, draw by draw, each over its chance."""
    series, against = _over_chance(own.series), [_over_chance(other) for other in others]
    for other in against:
        _require_alike(series, other, own.key, f"it and {name}")
    nulls = [other.permuted for other in against if other.permuted is not None]
    paired = len(nulls) == len(against) and {null.shape[1] for null in nulls} == {_permutations(series)}
    return Series(
        series.value - np.max([other.value for other in against], axis=0),
        series.resampled - np.max([other.resampled for other in against], axis=0),
        series.permuted - np.max(nulls, axis=0) if series.permuted is not None and paired else None,
        series.first,
    )


def _over_chance(series: Series) -> Series:
    """A series less its mean under permuted labels; as it is where labels were not permuted."""
    if not _permutations(series) or series.permuted is None:
        return series
    chance = series.permuted.mean(axis=1)
    return replace(
        series,
        value=series.value - chance,
        resampled=series.resampled - chance[:, None],
        permuted=series.permuted - chance[:, None],
    )


def _permutations(series: Series) -> int:
    return 0 if series.permuted is None else int(series.permuted.shape[1])


def _require_alike(series: Series, other: Series, key: Key, which: str) -> None:
    flat = len(other.value) == 1
    same_layers = flat or (series.first, len(series.value)) == (other.first, len(other.value))
    if not same_layers or series.resampled.shape[1] != other.resampled.shape[1]:
        raise InputError(
            f"{key.metric} by {key.labelling!r} can't be compared: {which} have {len(series.value)} and "
            f"{len(other.value)} layers, {series.resampled.shape[1]} and {other.resampled.shape[1]} resamples. Profile "
            "them again with the same settings, on models of the same shape."
        )
