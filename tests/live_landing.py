"""The landing of a model, live: the UI with its daemon on an empty home, the sensor switched on as the UI does it.

`python tests/live_landing.py` takes minutes, for the sensor looks every 30 seconds: no part of the test suite. It
copies a tiny model into the inbox slowly, changes the weights, kills a run, and prints what happened when; it fails
where something ran that should not have.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from tiny_library import write_library
from tiny_models import save_tiny

from dagster_project.instance import open_instance
from warehouse.store import Store

_SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "vesalius"}
_START = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on Sensor { sensorState { status } } }
}"""
_BEGAN = time.monotonic()


def main() -> None:
    """The trial, in a folder of its own, which is deleted if all went well."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    place = Path(tempfile.mkdtemp(prefix="vesalius-landing-"))
    os.environ |= {
        "DAGSTER_HOME": str(place / "home"),
        "VESALIUS_WAREHOUSE": str(place / "warehouse"),
        "VESALIUS_CONCEPTS": str(write_library(place / "concepts")),
        "VESALIUS_MODELS": str(place / "models.toml"),
        "VESALIUS_INBOX": str(place / "inbox"),
    }
    whole = save_tiny(place / "elsewhere" / "tiny", "llama")
    with open_instance() as instance, ui(place) as port:
        switch_on(port)
        say("the sensor is on, the inbox empty")
        ticks(instance, 1)
        target = place / "inbox" / "tiny"
        copy_slowly(whole, target, lambda: expect(instance, {}))
        say("the model is there, whole")
        wait(instance, {"tiny.untrained": 1, "tiny": 1})
        before = files(place)
        say(f"mapped: {len(before)} partitions; forwards {forwards(instance)}")
        ticks(instance, 2)
        expect(instance, {"tiny.untrained": 1, "tiny": 1})

        change_last_weight(target / "model.safetensors")
        say("another revision of the weights")
        wait(instance, {"tiny.untrained": 1, "tiny": 2})
        changed = {name for name, when in files(place).items() if before.get(name) != when}
        kept = sorted({name.split("/")[0] for name in before.keys() - changed})
        say(f"{len(changed)} of {len(before)} partitions are new; untouched: {', '.join(kept)}")
        twins = [name for name in changed if "untrained" in name]
        assert not twins, twins
        assert {"prompts", "terms", "frequencies", "labels", "concepts", "pairs"} <= set(kept)
        ticks(instance, 2)
        expect(instance, {"tiny.untrained": 1, "tiny": 2})

        shutil.copy(whole / "model.safetensors", target)
        say("back to the first revision, and its run is killed")
        kill_next_run(instance)
        wait(instance, {"tiny.untrained": 1, "tiny": 4}, failed=1)
        ticks(instance, 2)
        expect(instance, {"tiny.untrained": 1, "tiny": 4})
    shutil.rmtree(place)
    say("all as it should be")


def say(text: str) -> None:
    """A line with the seconds since the beginning."""
    sys.stdout.write(f"{time.monotonic() - _BEGAN:6.0f} s  {text}\n")
    sys.stdout.flush()


@contextmanager
def ui(place: Path) -> Iterator[int]:
    """`vesalius ui` on a free port, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    program = Path(sys.executable).with_name("vesalius")
    with (place / "ui.log").open("w") as log:
        process = subprocess.Popen(
            [program, "ui", "--port", str(port)], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def switch_on(port: int) -> None:
    """What the switch of the sensor in the UI does, once the UI is there."""
    body = {"query": _START, "variables": {"selector": {**_SELECTOR, "sensorName": "new_models"}}}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(900):
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                found = json.load(answer)
        except OSError:
            time.sleep(1)
            continue
        if found.get("data", {}).get("startSensor", {}).get("__typename") == "Sensor":
            return
        time.sleep(1)
    raise AssertionError("the UI did not come up: see ui.log")


def copy_slowly(source: Path, target: Path, meanwhile: Callable[[], None]) -> None:
    """Copy a folder in pieces, the config first and the weights over more than a minute."""
    target.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        data = file.read_bytes()
        pieces = 14 if file.suffix == ".safetensors" else 1
        with (target / file.name).open("wb") as stream:
            for index in range(pieces):
                stream.write(data[len(data) * index // pieces : len(data) * (index + 1) // pieces])
                stream.flush()
                if pieces > 1:
                    time.sleep(5)
                    meanwhile()


def change_last_weight(file: Path) -> None:
    """Another value in the last place of the file, and nothing else."""
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)


def runs(instance: dg.DagsterInstance) -> dict[str, int]:
    """How many runs each model had."""
    found: dict[str, int] = {}
    for run in instance.get_runs():
        slug = run.tags["dagster/partition"]
        found[slug] = found.get(slug, 0) + 1
    return found


def expect(instance: dg.DagsterInstance, wanted: dict[str, int]) -> None:
    """These runs, and no other.

    Raises:
        AssertionError: there are others.
    """
    found = runs(instance)
    assert found == wanted, f"{found} where {wanted} was expected"


def ticks(instance: dg.DagsterInstance, count: int) -> None:
    """Wait for some more looks of the sensor, and tell what the last one said."""
    before = len(_ticks(instance))
    until(lambda: len(_ticks(instance)) >= before + count)
    last = _ticks(instance)[0].tick_data
    say(f"{count} looks more: {last.skip_reason or last.status.value}")


def _ticks(instance: dg.DagsterInstance) -> list[Any]:
    """Looks that are over, the last one first."""
    (state,) = [one for one in instance.all_instigator_state() if one.instigator_name == "new_models"]
    found = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return [one for one in found if one.status.value != "STARTED"]


def wait(instance: dg.DagsterInstance, wanted: dict[str, int], failed: int = 0) -> None:
    """Wait until there are these runs and all are over."""

    def are_over() -> bool:
        return runs(instance) == wanted and all(run.is_finished for run in instance.get_runs())

    until(are_over)
    for run in reversed(instance.get_runs()):
        stats = instance.get_run_stats(run.run_id)
        seconds = (stats.end_time or 0) - (stats.start_time or 0)
        say(f"run of {run.tags['dagster/partition']}: {run.status.value}, {seconds:.0f} s")
    assert sum(not run.is_success for run in instance.get_runs()) == failed


def kill_next_run(instance: dg.DagsterInstance) -> None:
    """Kill the process of the next run, once it makes something."""
    before = {run.run_id for run in instance.get_runs()}

    def started() -> list[dg.DagsterRun]:
        return [
            run
            for run in instance.get_runs()
            if run.run_id not in before and instance.get_run_stats(run.run_id).materializations
        ]

    until(lambda: bool(started()))
    (run,) = started()
    (process,) = {
        int(entry.value)
        for event in instance.all_logs(run.run_id)
        if event.dagster_event and "Started process for run" in (event.dagster_event.message or "")
        for name, entry in event.dagster_event.engine_event_data.metadata.items()
        if name == "pid"
    }
    os.kill(process, signal.SIGKILL)
    say(f"killed the process {process} of a run")


def until(condition: Callable[[], bool], seconds: int = 3600) -> None:
    """Wait for something to be so.

    Raises:
        AssertionError: it never was.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long: see ui.log"
        time.sleep(2)


def files(place: Path) -> dict[str, int]:
    """Every partition of the warehouse with the time at which it was written."""
    root = Store(place / "warehouse").root
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("part-0.parquet")}


def forwards(instance: dg.DagsterInstance) -> int:
    """Prompts that went through a model, by what all materializations reported."""
    return sum(
        int(record.asset_materialization.metadata["forwards"].value)
        for key in instance.all_asset_keys()
        for record in instance.fetch_materializations(key, limit=100).records
        if record.asset_materialization and "forwards" in record.asset_materialization.metadata
    )


if __name__ == "__main__":
    main()
