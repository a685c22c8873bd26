"""A judge's verdicts, kept in one small SQLite file, so that nothing is paid for twice.

A verdict is found by its content: the judge's model, the rubric, the prompt and both answers, and which repeat it is.
Each is on the disk before the next is waited for: a run that is killed goes on where it stopped. The file holds no
prompt and no answer, only their hash, and nothing of the endpoint but the name of its model. Where it lies is for the
caller to say.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warehouse.errors import StoreError
from warehouse.versions import fingerprint

_PATIENCE = 60.0
"""Seconds to wait for another process that is writing."""

_TABLE = """
CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT PRIMARY KEY,
    judge TEXT NOT NULL,
    rubric TEXT NOT NULL,
    score INTEGER NOT NULL,
    reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    judged_at TEXT NOT NULL
) WITHOUT ROWID
"""
_FIND = "SELECT score, reason, prompt_tokens, completion_tokens FROM verdicts WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Question:
    """An answer to be judged.

    Attributes:
        prompt: what the model was given.
        intact: the intact model's answer.
        answer: the answer under the lesion.
        repeat: 0 for the first judgement of this content, 1 for the same content judged again.
    """

    prompt: str
    intact: str
    answer: str
    repeat: int = 0

    def key(self, judge: str, rubric: str) -> str:
        """Hash of all that a verdict depends on."""
        return fingerprint(
            judge=judge,
            rubric=rubric,
            prompt=self.prompt,
            intact=self.intact,
            answer=self.answer,
            repeat=self.repeat,
        )


@dataclass(frozen=True)
class Judged:
    """A verdict and what it cost.

    Attributes:
        score: degradation, 1 to 10.
        reason: the judge's reason.
        prompt_tokens: tokens that the judge read, replies that did not fit included.
        completion_tokens: tokens that it wrote.
    """

    score: int
    reason: str
    prompt_tokens: int
    completion_tokens: int


class Verdicts:
    """The verdicts of one judge under one rubric. Made by `open_verdicts`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, judge: str, rubric: str) -> None:
        self._path = path
        self._connection = connection
        self.judge = judge
        self.rubric = rubric

    def find(self, question: Question) -> Judged | None:
        """The verdict on a question, if there is one already.

        Raises:
            StoreError: the file can't be read.
        """
        with _sqlite_errors(self._path):
            row = self._connection.execute(_FIND, (question.key(self.judge, self.rubric),)).fetchone()
        return Judged(*row) if row else None

    def keep(self, question: Question, judged: Judged) -> None:
        """Put a verdict on the disk.

        Raises:
            StoreError: the disk refused.
        """
        values = (judged.score, judged.reason, judged.prompt_tokens, judged.completion_tokens)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with _sqlite_errors(self._path), self._connection:
            key = question.key(self.judge, self.rubric)
            self._connection.execute(_KEEP, (key, self.judge, self.rubric, *values, now))


@contextmanager
def open_verdicts(path: Path, judge: str, rubric: str) -> Iterator[Verdicts]:
    """The verdicts in a file, which is made where there is none.

    Args:
        path: the SQLite file; several processes may have it open.
        judge: the judge's model.
        rubric: hash of its instructions.

    Raises:
        StoreError: the file can't be opened, or is none of ours.
    """
    with _sqlite_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_PATIENCE)
    with closing(connection):
        with _sqlite_errors(path), connection:
            connection.execute(_TABLE)
        yield Verdicts(path, connection, judge, rubric)


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"The judge's verdicts in {path} can't be read or kept: {error}. Free space or mend its permissions; if "
            "the file is damaged, move it away, and what it held is judged again."
        ) from error
