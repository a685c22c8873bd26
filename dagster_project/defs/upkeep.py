"""Whose each asset is, what it costs, and how old it may be: set in one place, by the group that an asset stands in.

What an asset is made of and does is said where it is defined.
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

COST = "vesalius/cost"
"""The tag that says what making an asset takes: `forwards` of a model, `statistics` of a processor, or only `files`."""

_OWNERS = {
    "library": "team:concepts",
    "extraction": "team:extraction",
    "analyses": "team:analyses",
    "maps": "team:analyses",
    "atlas": "team:atlas",
}
_COSTS = {
    "library": "files",
    "extraction": "forwards",
    "analyses": "statistics",
    "maps": "statistics",
    "atlas": "files",
}
_LIGHT = {"models", "plants", "unmeasured", "tokens", "pair_tokens", "judgements", "findings"}
"""Assets that cost less than their group: no forward pass and no resampling of ours."""

_NIGHTLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(hours=36))
"""Of what shows all models: late once a night was missed, old after a week. What is measured of one does not age."""


def maintained(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with owners, tags, and how old they may be.

    Raises:
        KeyError: an asset stands in a group that is nobody's.
    """
    return list(dg.map_asset_specs(_maintained, assets))


def _maintained(spec: dg.AssetSpec) -> dg.AssetSpec:
    assert spec.group_name is not None
    shows_all = spec.group_name == "atlas" and spec.partitions_def is None
    return spec.replace_attributes(
        owners=[_OWNERS[spec.group_name]],
        tags={**spec.tags, COST: "files" if spec.key.to_user_string() in _LIGHT else _COSTS[spec.group_name]},
        freshness_policy=_NIGHTLY if shows_all else None,
    )
