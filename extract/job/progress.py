"""How long work is shown while it lasts: on a terminal or as plain lines.

Whatever takes long opens a stage and advances it; who looks on is decided by the command, or where Dagster's
definitions are built (`dagster_project.progress` has the log of a run).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

_EVERY = 10.0
"""Seconds between two lines about the same stage."""


class Advance(Protocol):
    """Told of the units that are done since the last call, and in a word or two what is being done."""

    def __call__(self, units: float, doing: str = "") -> None:
        """Go on by so many units."""
        ...


class Progress(Protocol):
    """Shows stages of work."""

    def stage(self, title: str, total: float, unit: str) -> AbstractContextManager[Advance]:
        """A stage of `total` units; it is over when the block ends."""
        ...


class LineProgress:
    """Says in lines how far a stage is: now and then, and at its end."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    @contextmanager
    def stage(self, title: str, total: float, unit: str) -> Iterator[Advance]:
        """As `Progress.stage`."""
        started = said = time.monotonic()
        done = 0.0

        def advance(units: float, doing: str = "") -> None:
            nonlocal done, said
            done += units
            now = time.monotonic()
            if now - said >= _EVERY:
                said = now
                left = (total - done) * (now - started) / max(done, 1e-9)
                now_at = f" ({doing})" if doing else ""
                self._say(f"{title}: {done:,.0f} of {total:,.0f} {unit}, about {left:,.0f} s left{now_at}")

        yield advance
        seconds = time.monotonic() - started
        rate = f", {done / seconds:,.1f} a second" if seconds >= 1 and done > 1 else ""
        self._say(f"{title}: {done:,.0f} {unit} in {seconds:.1f} s{rate}")


class TerminalProgress:
    """Draws a bar with rate and time left, and keeps it when the stage is over."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, title: str, total: float, unit: str) -> Iterator[Advance]:
        """As `Progress.stage`."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console, refresh_per_second=4) as bars:
            task = bars.add_task(title, total=total, unit=unit)

            def advance(units: float, doing: str = "") -> None:
                bars.update(task, advance=units, description=f"{title}: {doing}" if doing else title)

            yield advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "")


def for_console(console: Console) -> Progress:
    """Bars on a terminal that can draw them, lines elsewhere, whatever FORCE_COLOR says."""
    if console.is_terminal and not console.is_dumb_terminal and console.file.isatty():
        return TerminalProgress(console)
    return LineProgress(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
