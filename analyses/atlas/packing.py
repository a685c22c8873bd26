"""Numbers as the page carries them: columns of small integers, gzipped, in plain characters: a block a model.

Belongs here: how arrays become bytes, and what the script must know to get them back (`page/codec.js` reads what is
written here). What is packed, and to how many digits, is decided by who packs it. Two packs of the same content are the
same to the byte.
"""

import gzip
import json
import struct
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

NOTHING = -32768
"""Stands for a number that is not there, in a column of decimals."""

_LARGEST = 32_000
_MOST_DECIMALS = 6

_ALPHABET = "".join(chr(code) for code in range(33, 127) if chr(code) not in "&<>")
"""91 characters that mean nothing to HTML inside an element: two of them tell 13 bits, where base64 needs 2.2."""
_BITS = 13


class Reference(TypedDict):
    """Where an array lies in its pack."""

    at: int
    """Offset of its first byte, behind the header."""
    n: int
    """How many values."""
    bytes: int
    """Bytes of a value: 1 or 2."""
    stride: int
    """0: values as they are. Else differences from the value `stride` places before, with the sign as the last bit."""


class Column(Reference):
    """An array of decimals: integers over ten to the power of `decimals`."""

    decimals: int


class Pack:
    """Collects arrays, and hands them out as one block with a header."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def integers(self, values: NDArray[np.integer[Any]], *, stride: int = 0) -> Reference:
        """Add whole numbers, of one byte where all lie in 0..255 and of two signed bytes elsewhere.

        Args:
            values: any shape; kept in C order.
            stride: keep differences from the value so many places before, which pack better where neighbours are alike.

        Raises:
            ValueError: a number does not fit in two bytes.
        """
        flat = np.ascontiguousarray(values).reshape(-1).astype(np.int64)
        if flat.size and (flat.min() < NOTHING or flat.max() > 32767):
            raise ValueError(f"Numbers from {flat.min()} to {flat.max()} do not fit in two bytes.")
        kept = _differences(flat, stride) if stride else flat
        small = not flat.size or (kept.min() >= 0 and kept.max() <= 255)
        raw = kept.astype(np.uint8) if small else (kept & 0xFFFF).astype(np.uint16)
        width = raw.dtype.itemsize
        # All first bytes, then all second ones: like lies by like, and packs to half.
        planes = raw.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
        reference = Reference(at=self._length, n=int(flat.size), bytes=width, stride=stride)
        self._parts.append(np.ascontiguousarray(planes).tobytes())
        self._length += len(self._parts[-1])
        return reference

    def decimals(
        self, values: NDArray[np.floating[Any]], *, most: int = 4, largest: int = _LARGEST, stride: int = 0
    ) -> Column:
        """Add numbers rounded to decimals; NaN means none.

        A number is rounded in decimals, so what the page shows is what any reader of the table would round it to.

        Args:
            values: any shape; kept in C order.
            most: how many decimals at the most; fewer where the largest number would not fit.
            largest: the largest whole number to be kept: 9,999 keeps four digits of the largest number.
            stride: as for `integers`.
        """
        flat = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
        known = np.isfinite(flat)
        reach = float(np.abs(flat[known]).max()) if known.any() else 0.0
        places = min(most, _MOST_DECIMALS)
        while places > -_MOST_DECIMALS and reach * 10.0**places > min(largest, _LARGEST):
            places -= 1
        scaled = np.full(flat.shape, NOTHING, dtype=np.int64)
        scaled[known] = np.round(flat[known] * 10.0**places).astype(np.int64)
        return Column(**self.integers(scaled, stride=stride), decimals=places)

    def points(self, places: NDArray[np.floating[Any]], *, steps: int) -> tuple[Reference, list[float]]:
        """Add pictures, one a layer, in steps of their common frame, as differences from layer to layer.

        Args:
            places: shape `(layers, points, 2)`.
            steps: how many steps an axis has.

        Returns:
            The reference, and the frame: lowest x, highest x, lowest y, highest y.
        """
        low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
        span = np.where(high > low, high - low, 1.0)
        whole = np.round((places - low) / span * (steps - 1)).astype(np.int64)
        frame = [round(float(edge), 4) for edge in (low[0], low[0] + span[0], low[1], low[1] + span[1])]
        return self.integers(whole, stride=places.shape[1] * 2), frame

    def block(self, header: Mapping[str, Any]) -> str:
        """The header and all arrays, gzipped, in plain characters; the same content gives the same text."""
        told = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        raw = struct.pack("<I", len(told)) + told + b"".join(self._parts)
        return packed(raw)


def packed(content: bytes) -> str:
    """Bytes gzipped, in plain characters; the same content gives the same text."""
    return _written(gzip.compress(content, compresslevel=9, mtime=0))


def unpack(block: str) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes of a block, as the script reads them: for tests and for `vesalius` itself."""
    raw = gzip.decompress(_bytes_of(block))
    (length,) = struct.unpack("<I", raw[:4])
    return json.loads(raw[4 : 4 + length]), raw[4 + length :]


def read(reference: Mapping[str, Any], content: bytes) -> NDArray[np.int64]:
    """The integers that a reference points to."""
    width, count = reference["bytes"], reference["n"]
    planes = np.frombuffer(content, np.uint8, count * width, reference["at"]).reshape(width, count)
    raw = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(-1).astype(np.int64)
    stride = reference["stride"]
    if stride:
        raw = (raw >> 1) ^ -(raw & 1)
        for start in range(stride, count, stride):
            end = min(start + stride, count)
            raw[start:end] += raw[start - stride : start - stride + end - start]
    return _wrapped(raw) if width == 2 or stride else raw


def read_decimals(column: Mapping[str, Any], content: bytes) -> NDArray[np.float64]:
    """The numbers that a column holds; NaN where there is none."""
    whole = read(column, content)
    return np.where(whole == NOTHING, np.nan, whole / 10.0 ** column["decimals"])


def _differences(flat: NDArray[np.int64], stride: int) -> NDArray[np.int64]:
    """Differences as numbers from 0 on: twice their size, less one of those below 0.

    Small ones have small numbers then, whatever their sign. Those that leave the range of two bytes wrap around there,
    and back again when they are summed.
    """
    kept = flat.copy()
    kept[stride:] -= flat[:-stride]
    kept = _wrapped(kept)
    return np.where(kept < 0, -2 * kept - 1, 2 * kept)


def _wrapped(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers as two signed bytes hold them."""
    return ((values + 32768) & 0xFFFF) - 32768


def _written(content: bytes) -> str:
    """Bytes as their count, a colon, and two characters for each 13 bits."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
    groups = np.pad(bits, (0, -len(bits) % _BITS)).reshape(-1, _BITS).astype(np.int64)
    numbers = groups @ (1 << np.arange(_BITS))
    characters = np.frombuffer(_ALPHABET.encode(), np.uint8)
    pairs = characters[np.stack(np.divmod(numbers, len(_ALPHABET)), axis=1)]
    return f"{len(content)}:{pairs.tobytes().decode('ascii')}"


def _bytes_of(text: str) -> bytes:
    count, _, written = text.partition(":")
    place = np.zeros(128, np.int64)
    place[np.frombuffer(_ALPHABET.encode(), np.uint8)] = np.arange(len(_ALPHABET))
    pairs = place[np.frombuffer(written.encode("ascii"), np.uint8)].reshape(-1, 2)
    numbers = pairs @ np.array([len(_ALPHABET), 1])
    bits = (numbers[:, None] >> np.arange(_BITS)) & 1
    return np.packbits(bits.reshape(-1).astype(np.uint8), bitorder="little").tobytes()[: int(count)]
