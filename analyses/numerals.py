"""Numbers as sentences write them.

Belongs here: rounding for people, the same in every sentence. Numbers in tables and files are not rounded.
"""


def two(value: float) -> str:
    """A number with two places, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def signed(value: float) -> str:
    """A number with two places and its sign; a zero has a plus."""
    return f"{round(value, 2) + 0.0:+.2f}"


def percent(share: float) -> str:
    """A share in whole percent, and no minus before a zero."""
    return f"{round(share, 2) + 0.0:.0%}"
