"""What can be asked of a sweep: lesions, patches and memory, and how they are written in a command.

Light on purpose: whether there is anything to do is asked without torch.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from warehouse.errors import InputError

LESION_KINDS = ("identity", "mean", "resample")
LESION_PARTS = ("layer", "attention", "mlp")
PATCH_SITES = ("resid", "delta", "attn_out", "mlp_out")
PATCH_POSITIONS = ("last", "term", "token")


@dataclass(frozen=True, order=True)
class Lesion:
    """What takes the place of a layer's work, and of how much of it.

    Attributes:
        kind: `identity` (nothing is added to the stream), `mean` (what the layer adds on average over the prompts of
            the same template) or `resample` (what it adds for another prompt of the same template).
        part: the whole `layer`, its `attention` or its `mlp`.
    """

    kind: str
    part: str = "layer"


@dataclass(frozen=True, order=True)
class Patch:
    """What is taken from the clean run into the corrupted one, and where.

    Attributes:
        site: `resid` (the stream after the layer), `delta` (what the layer added to it), `attn_out` or `mlp_out`.
        position: the `last` token, the last token of the `term`, or every `token` in turn.
    """

    site: str
    position: str = "last"


def needs_parts(lesions: Iterable[Lesion], patches: Iterable[Patch]) -> bool:
    """Whether attention and MLP have to be told apart for any of them."""
    of_parts = any(lesion.part != "layer" for lesion in lesions)
    return of_parts or any(patch.site in {"attn_out", "mlp_out"} for patch in patches)


def read_lesions(written: Sequence[str]) -> tuple[Lesion, ...]:
    """Lesions as KIND or KIND:PART, like `identity` or `resample:mlp`.

    Raises:
        InputError: there is no such kind or part.
    """
    pairs = _read("lesion", written, LESION_KINDS, LESION_PARTS, "layer")
    return tuple(Lesion(kind, part) for kind, part in pairs)


def read_patches(written: Sequence[str]) -> tuple[Patch, ...]:
    """Patches as SITE or SITE:POSITION, like `resid` (at the last token) or `delta:token` (the whole grid).

    Raises:
        InputError: there is no such site or position.
    """
    pairs = _read("site", written, PATCH_SITES, PATCH_POSITIONS, "last")
    return tuple(Patch(site, position) for site, position in pairs)


def read_size(written: str) -> int:
    """Bytes, written like 24GB or 512MiB.

    Raises:
        InputError: it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", written, re.IGNORECASE)
    step = 1024 if found and found[3] else 1000
    size = float(found[1]) * step ** "_kmgt".index(found[2].lower() or "_") if found else 0
    if size < 1 or written.strip().isdigit():
        raise InputError(f"{written!r} is no amount of memory: write it with its unit, like 24GB or 512MiB.")
    return int(size)


def _read(
    what: str, written: Sequence[str], firsts: Sequence[str], seconds: Sequence[str], default: str
) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for text in written:
        first, _, second = text.strip().partition(":")
        if first not in firsts or (second or default) not in seconds:
            raise InputError(
                f"{text!r} is no {what}: write one of {', '.join(firsts)}, and behind a colon, if you like, one of "
                f"{', '.join(seconds)} (otherwise {default})."
            )
        found[first, second or default] = None
    return sorted(found)
