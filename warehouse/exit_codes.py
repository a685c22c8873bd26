"""The exit codes of the project's commands, each with what it means: the one place where they are said.

`vesalius --help` and `docs/cli.md` print this list.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        """A code with what it means."""
        made = int.__new__(cls, value)
        made._value_ = value
        made.meaning = meaning
        return made

    OK = 0, "Done; what was asked is true, written or printed."
    FAILED = 1, "The machine refused (disk, store, network), or a verdict is negative: verify, doctor."
    INPUT = 2, "Something to mend in what was typed or read: a name, a path, a file, an option; or a run can't fit."
    INTERRUPTED = 130, "Ctrl-C. What was committed is kept; the same command goes on from there."
