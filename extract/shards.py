"""Which part of a model's prompts a worker takes: shard i of n, written `i/n`.

Light on purpose: a command reads it before torch is there. How prompts are shared out is in `sharing`, where the rows
of a shard wait for the others in `extract.job.shards`.
"""

import re
from dataclasses import dataclass

from warehouse.errors import InputError

MOST = 10_000
"""Shards of one model at most: past that a typing error is likelier than so many workers."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of the same work.

    Attributes:
        number: which, from 1.
        count: of how many.
    """

    number: int
    count: int

    def __str__(self) -> str:
        """As it is written in a command."""
        return f"{self.number}/{self.count}"


def read_shard(written: str) -> Shard:
    """A shard as `i/n`, i from 1 to n.

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", written)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
        raise InputError(f"{written!r} is no shard: write it as i/n, like 2/8, with i from 1 to n; n up to {MOST:,}.")
    return Shard(int(found[1]), int(found[2]))
