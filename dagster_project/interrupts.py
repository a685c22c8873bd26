"""Ctrl-C ends a run at once, wherever it is.

Work goes to a thread and the main one waits: an interrupt that is raised in the middle of an import or of compiled code
is lost there. The process then ends without ceremony. That is safe, since files appear whole or not at all.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from dagster._core.execution import compute_logs

from warehouse.exit_codes import ExitCode

_LOOK = 0.2
"""Seconds between two looks at whether there was an interrupt."""

_T = TypeVar("_T")

_TAIL = compute_logs.execute_posix_tail


def interruptible(work: Callable[[], _T], farewell: Callable[[], None]) -> _T:
    """Do the work in a thread, and return or raise what it does.

    Args:
        work: what to do.
        farewell: called on an interrupt, before the process ends; a second interrupt cuts it short.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def collect() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  it is raised again, in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=collect, name="work", daemon=True)
    try:
        thread.start()
        # The system may hand the signal to another thread; this one sees it when it next runs.
        while thread.is_alive():
            thread.join(_LOOK)
    except KeyboardInterrupt:
        try:
            farewell()
        finally:
            os._exit(ExitCode.INTERRUPTED)
    if errors:
        raise errors[0]
    return results[0]


def keep_interrupts_from_dagster() -> None:
    """Let Ctrl-C not reach the helpers that show a step's output: each would end with a traceback on the terminal.

    They end by themselves once the process that started them is gone.
    """
    compute_logs.execute_posix_tail = _deaf_tail


@contextmanager
def _deaf_tail(path: Any, stream: Any) -> Iterator[Any]:
    with ExitStack() as stack:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Inherited by what this thread starts.
        try:
            started = stack.enter_context(_TAIL(path, stream))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield started
