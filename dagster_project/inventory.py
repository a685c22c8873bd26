"""The code location as a page: every asset, check, job, sensor and schedule, as Dagster resolved them.

`vesalius docs` writes it as docs/dagster.md, and a test holds it to the definitions: what changed shows in the
difference. Nothing is decided here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

_HEADER = """\
# What Dagster knows

Written by `vesalius docs` from the definitions; a test fails while the page and the definitions differ. What is done
with all this is in [operations.md](operations.md).

## Assets

| asset | group | made from | partitions | owner | tags | kinds | pool | old after |
|---|---|---|---|---|---|---|---|---|"""


def inventory(defs: dg.Definitions) -> list[str]:
    """The page, line by line, in an order that depends on names alone."""
    graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
    lines = _HEADER.splitlines()
    lines += [_asset(node) for node in sorted(graph.asset_nodes, key=lambda node: (node.group_name, node.key))]
    lines += ["", "## Checks", "", "| asset | checks |", "|---|---|", *_checks(graph)]
    lines += ["", "## Jobs", "", "| job | assets | does |", "|---|---|---|"]
    lines += [_job(defs.resolve_job_def(name)) for name in sorted(repository.job_names) if not name.startswith("__")]
    lines += ["", "## Sensors and schedules", "", "| name | kind | job | every | unless switched | does |"]
    lines += ["|---|---|---|---|---|---|"]
    for sensor in sorted(repository.sensor_defs, key=lambda one: one.name):
        every = f"{sensor.minimum_interval_seconds} s"
        lines.append(
            _row(sensor.name, "sensor", sensor.job_name, every, sensor.default_status.value, sensor.description)
        )
    for schedule in sorted(repository.schedule_defs, key=lambda one: one.name):
        every = f"{schedule.cron_schedule} {schedule.execution_timezone}"
        state = schedule.default_status.value
        lines.append(_row(schedule.name, "schedule", schedule.job_name, every, state, schedule.description))
    return lines


def _asset(node: Any) -> str:
    policy = node.freshness_policy
    return _row(
        node.key.to_user_string(),
        node.group_name,
        _names(key.to_user_string() for key in node.parent_keys),
        node.partitions_def.name if node.partitions_def else "",
        _names(node.owners),
        _names(f"{name}={value}" for name, value in node.tags.items() if not name.startswith("dagster/")),
        _names(node.kinds),
        _names(node.pools or []),
        f"{policy.fail_window.to_timedelta().days} days" if policy else "",
    )


def _checks(graph: Any) -> Iterator[str]:
    checks: dict[str, list[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    yield from (_row(asset, _names(names)) for asset, names in sorted(checks.items()))


def _job(job: dg.JobDefinition) -> str:
    keys = job.asset_layer.executable_asset_keys
    return _row(job.name, _names(key.to_user_string() for key in keys), job.description)


def _names(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names))


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell or '') for cell in cells)} |"
