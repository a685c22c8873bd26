"""The one family of errors. Each message says what was wrong, where, and what to do about it.

`InputError` and its children are the user's to mend (the command line ends with code 2); the others are the
machine's or ours (code 1). What may pass when tried again is a `TransientError`; everything else is permanent.
"""


class VesaliusError(Exception):
    """Root of every error that this project raises on purpose."""


class InputError(VesaliusError):
    """What the user gave can't be used as it is: a name, a path, a file, an option."""


class ModelError(InputError):
    """A model can't be found, loaded or measured."""


class ConceptError(InputError):
    """A concept library is unsound; the message names file and line."""


class QueryError(InputError):
    """A SQL statement is wrong, or asks for what is not there."""


class TableError(VesaliusError):
    """Rows that were to be committed break their table's contract; nothing was committed."""


class StoreError(VesaliusError):
    """The disk or the object store refused: full, read-only, or not ours."""


class TransientError(VesaliusError):
    """Something outside failed that may work when tried again."""


class StoreUnreachableError(StoreError, TransientError):
    """The object store does not answer, or is busy; nothing was half-written."""
