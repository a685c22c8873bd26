"""The tally of one table in one run: which partitions were written, and which were current.

Belongs here: asking the store what is current, and what a run can say of a table afterwards in plain numbers. What
Dagster is told of it is in `dagster_project.landing`.
"""

import time

from warehouse.errors import InputError
from warehouse.store import Commit, Store, rows_in
from warehouse.versions import fingerprint


class Tally:
    """Counts the partitions of one table in one run."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.forwards = 0
        self.not_measured: str | None = None
        """Why the table holds nothing of this model, where that can't be otherwise."""
        self._started = time.monotonic()
        self._written: list[Commit] = []
        self._current: list[Commit] = []

    def is_current(self, expected: str, **keys: str) -> bool:
        """Whether the partition is there, made from the same inputs; if so it counts as part of this run."""
        footer = self.store.current(self.name, expected, **keys)
        if footer is None:
            return False
        path = self.store.path(self.name, **keys)
        self._current.append(Commit(path, footer.rows, path.stat().st_size, expected))
        return True

    def forget(self, **keys: str) -> None:
        """Don't count a partition as current after all: it is written again with its siblings."""
        path = self.store.path(self.name, **keys)
        self._current = [commit for commit in self._current if commit.path != path]

    def wrote(self, commit: Commit | None, forwards: int = 0) -> None:
        """Count a partition that was committed, and the prompts that went through the model for it."""
        assert commit is not None, "a writer that ended well has committed"
        self._written.append(commit)
        self.forwards += forwards

    @property
    def fingerprint(self) -> str:
        """Of all partitions that were written or current."""
        files = self._current + self._written
        return fingerprint(files=sorted([str(file.path), file.fingerprint] for file in files))

    @property
    def rows_validated(self) -> int:
        """Rows that were held to the contract of their table before they were committed."""
        return sum(file.rows for file in self._written)

    def numbers(self) -> dict[str, int | float | str]:
        """Rows, bytes, seconds, forwards, files written and current, the fingerprint, and why nothing was measured."""
        files = self._current + self._written
        return {
            "rows": sum(file.rows for file in files),
            "bytes": sum(file.bytes for file in files),
            "seconds": round(time.monotonic() - self._started, 3),
            "forwards": self.forwards,
            "files_written": len(self._written),
            "files_current": len(self._current),
            "fingerprint": self.fingerprint,
            **({} if self.not_measured is None else {"not_measured": self.not_measured}),
        }

    def torn(self) -> list[str]:
        """Files that were current and hold other rows than their footer says; written ones were validated."""
        return [str(file.path) for file in self._current if rows_in(file.path) != file.rows]


def upstream(store: Store, name: str, **keys: str) -> str:
    """The fingerprint of a partition that is about to be read.

    Raises:
        InputError: it is not there.
    """
    footer = store.footer(name, **keys)
    if footer is None:
        where = ", ".join(f"{key}={value}" for key, value in keys.items())
        raise InputError(f"Table {name} has nothing for {where}: materialize the asset `{name}` first.")
    return footer.fingerprint
