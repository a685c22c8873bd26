"""What a check found: a verdict, what it saw, and what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from warehouse.errors import VesaliusError

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at.
        verdict: `ok`; `warn`, when something works worse than it could; `fail`, when a run would end in an error.
        found: what was seen.
        remedy: what to do; empty where nothing need be done.
    """

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def guarded(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check found; an error of ours that stopped it is a finding too."""
    try:
        yield from look()
    except VesaliusError as error:
        yield Finding(check, "fail", str(error), "Mend what it names, then ask again.")
