"""Which code wrote a file, and the fingerprints that tell whether it would write the same again."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

CODE_VERSION = version("vesalius")


def fingerprint(**inputs: object) -> str:
    """Hash of named inputs that can be written as JSON: 32 hexadecimal digits.

    Two calls agree exactly when the names and the values do, in any order of names.
    """
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
