"""The Dagster instance: its home, the settings written into it, and runs whose process died.

One instance serves the commands and the UI, so that each sees what the other did. It lies in DAGSTER_HOME, by default
`.dagster` in the project's folder.
"""

import json
import os
import socket
import sqlite3
from pathlib import Path

import dagster as dg
import sqlalchemy
from dagster._core.storage.tags import GRPC_INFO_TAG
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from dagster_project.defs.resources import PROJECT
from warehouse.errors import StoreError

_SETTINGS = """\
# Made by vesalius. One instance serves the commands and the UI.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    # One run at a time holds a model. Counted by run: a command in its own process never waits for a dead one.
    granularity: run
    default_limit: 1
run_retries:
  # A run whose process died is started again if its tags say how often; a step that failed is no reason.
  enabled: true
  max_retries: 0
  retry_on_asset_or_op_failure: false
"""

PROCESS_TAG = "vesalius/process"
"""On runs of `vesalius run`: the machine, the process, and when that began."""


def prepare_home() -> Path:
    """Dagster's home, made if it is not there; from now on DAGSTER_HOME names it.

    Raises:
        StoreError: it can't be made or written.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or PROJECT / ".dagster").expanduser().absolute()
    settings = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not settings.exists():
            temporary = home / f".dagster.yaml.{os.getpid()}.tmp"
            temporary.write_text(_SETTINGS, encoding="utf-8")
            temporary.replace(settings)
    except OSError as error:
        raise StoreError(
            f"Can't write Dagster's home {home}: {error.strerror}. Set DAGSTER_HOME to a folder of yours."
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def open_instance() -> dg.DagsterInstance:
    """The instance in Dagster's home.

    Raises:
        StoreError: its files can't be opened.
    """
    home = prepare_home()
    if not sqlalchemy.event.contains(Engine, "connect", _without_waiting):
        sqlalchemy.event.listen(Engine, "connect", _without_waiting)
    try:
        return dg.DagsterInstance.get()
    except (SQLAlchemyError, sqlite3.Error, OSError, dg.DagsterError) as error:
        raise StoreError(
            f"Dagster's home {home} can't be opened: {error}. Make it writable, or set DAGSTER_HOME to another folder."
        ) from error


def _without_waiting(connection: object, _record: object) -> None:
    """Let SQLite hand its writes to the system without waiting for the disk, hundreds of times a run.

    A killed process loses nothing by it. A power cut can damage the record of runs, which can be deleted; the warehouse
    has its own files and waits for the disk at each.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def this_process() -> str:
    """What `PROCESS_TAG` says of this process."""
    return f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


def cancel_own_runs(instance: dg.DagsterInstance) -> None:
    """Mark the runs of this process that are not over as canceled: it is about to end."""
    own = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags={PROCESS_TAG: this_process()})
    for run in instance.get_runs(own):
        instance.report_run_canceled(run, "Interrupted. What it committed is kept; run again.")


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed that were killed with their process on this machine; their ids."""
    unfinished = [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        if _is_dead(run.tags.get(PROCESS_TAG, "")) or _server_is_gone(run.tags.get(GRPC_INFO_TAG, "")):
            instance.report_run_failed(run, "The process of this run is gone. What it committed is kept; run again.")
            dead.append(run.run_id)
    return dead


def _is_dead(process: str) -> bool:
    try:
        host, number, began = process.rsplit(":", 2)
    except ValueError:
        return False
    return host == socket.gethostname() and _began(int(number)) != began


def _server_is_gone(address: str) -> bool:
    """Whether the code server that started a run, and would tell of its death, answers no more.

    Such a run keeps its place in a pool for ever. One that a server of a network started is left alone.

    Args:
        address: what the run's tag says: JSON with the path of a socket on this machine; empty if no server started it.
    """
    path = json.loads(address).get("socket") if address else None
    if path is None:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) != 0


def _began(process: int) -> str:
    """When a process began, in ticks since the machine did; empty if there is none. The number alone is used again."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self").exists() or not _answers(process) else "?"
    return stat.rpartition(")")[2].split()[19]


def _answers(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
