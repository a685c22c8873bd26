"""One JSON document on standard output: what `--json` prints. Notes, progress and warnings go to standard error.

JSON has no NaN and no infinity: such a number becomes null. A decimal becomes a number. Dates are ISO 8601, paths text.
"""

import json
import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import typer


def print_json(value: object) -> None:
    """Print the one document."""
    typer.echo(as_json(value))


def as_json(value: object) -> str:
    """The document as text."""
    return json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False)


def plain(value: object) -> Any:
    """A value of mappings, lists, texts, finite numbers, truths and nothing."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
