"""A folder that is written aside and put in place whole: a reader never sees half of one, and a failure leaves the old.

Belongs here: that exchange, and nothing of what lies in the folder. Single files of the warehouse are put in place by
`warehouse.store`.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warehouse.errors import StoreError


@contextmanager
def written_whole(out: Path, what: str) -> Iterator[Path]:
    """A new folder to write into, beside `out`; it takes that place, and what was there goes, if nothing fails inside.

    Args:
        what: what is written, for the message: "model", "library".

    Raises:
        StoreError: the disk refused; what was there before is untouched.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as aside:
            new, old = Path(aside, "new"), Path(aside, "old")
            new.mkdir()
            yield new
            if out.exists():
                out.rename(old)
            try:
                new.rename(out)
            except OSError:
                if old.exists():
                    old.rename(out)
                raise
    except OSError as error:
        remedy = "Make room, or choose another folder."
        raise StoreError(f"The {what} can't be written to {out} ({error.strerror or error}). {remedy}") from error
