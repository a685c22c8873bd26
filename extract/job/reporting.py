"""What a command tells the Dagster run that started it through Pipes; without one, nothing.

Pipes is a small package without dependencies that Dagster brings along; a machine that only extracts may lack it, and
it is imported only in a process that was started through it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from extract.job.tally import Tally
from warehouse.errors import InputError

CONTRACT = "contract"
"""The name of the check that every table has."""

_STARTED_BY_PIPES = "DAGSTER_PIPES_CONTEXT"

Report = Callable[[Mapping[str, Tally]], None]
"""Tells what became of some tables."""


@contextmanager
def reporting() -> Iterator[Report]:
    """A way to report tables: to the Dagster run that started this process, if one did; an error is reported too.

    Raises:
        InputError: Pipes started this process, and `dagster-pipes` is not installed.
    """
    if _STARTED_BY_PIPES not in os.environ:
        yield lambda tallies: None
        return
    try:
        from dagster_pipes import open_dagster_pipes
    except ImportError as error:
        raise InputError("Dagster started this process: install `dagster-pipes`, so that it can answer.") from error
    with open_dagster_pipes() as pipes:

        def report(tallies: Mapping[str, Tally]) -> None:
            for name, tally in tallies.items():
                if name not in pipes.asset_keys:
                    continue
                torn = tally.torn()
                pipes.report_asset_materialization(
                    asset_key=name, metadata=tally.numbers(), data_version=tally.fingerprint
                )
                pipes.report_asset_check(
                    asset_key=name,
                    check_name=CONTRACT,
                    passed=not torn,
                    metadata={"rows_validated": tally.rows_validated, "torn_files": torn},
                )

        yield report
