"""How much memory a run would take, whether that fits, and what would fit instead.

Weights are known exactly, streams as the sweep counts them; what a layer, a head or a graph needs while it works is
counted from shapes. What is done when memory runs out all the same is in `memory`. Nothing here needs torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from extract.outline import BYTES, Outline
from warehouse.errors import InputError

LIBRARIES = 1_000_000_000
"""Bytes of main memory that the program itself takes: interpreter, torch, Arrow, the tables that are read."""

LOGITS, HEAD_LOGITS = 2**24, 2**22
"""Logits that a sweep, and gradients, hold at once: as in `sweep` and `descent`."""

_QUANTIZED = {"8bit": 1.06, "4bit": 0.56}
"""Bytes of a weight by the name of a quantization, scales included. MXFP4 is run as bfloat16."""


@dataclass(frozen=True)
class Memory:
    """What a run takes of the device, in bytes.

    Attributes:
        weights: the model.
        streams: of the sweep that has most, cut to what streams may take.
        floor: of streams that no cut makes fewer: all prompts of the largest concept, intact.
        work: what works on them: a layer, the head, a graph of gradients, answers.
        least_work: the same where memory is so short that only a prompt is worked on at a time.
        host: main memory beside, if the device has its own: rows on their way to disk, and the program.
    """

    weights: int
    streams: int
    floor: int
    work: int
    least_work: int
    host: int

    @property
    def peak(self) -> int:
        """At its most."""
        return self.weights + max(self.streams, self.floor) + self.work

    @property
    def least(self) -> int:
        """With as little as streams can be cut to."""
        return self.weights + self.floor + self.least_work


@dataclass(frozen=True)
class Room:
    """What there is.

    Attributes:
        device: what it is called.
        memory: bytes of it.
        disk: free bytes where the warehouse lies.
        shared: whether the device works in main memory, as a processor does.
        program: bytes that the program itself takes of the memory beside, as far as it is not there already.
    """

    device: str
    memory: int
    disk: int
    shared: bool
    program: int = 0


@dataclass(frozen=True)
class Load:
    """What is held and worked on at once.

    Attributes:
        stream_tokens: tokens of all streams of the largest sweep, when they are most.
        intact_tokens: of those, the intact ones.
        shelved_tokens: of those, the ones that other prompts take from.
        kept_tokens: tokens whose keys and values of a layer are kept.
        most_prompts: prompts of the largest concept.
        streams: of one prompt, at the top.
        lesioned: prompts of a batch that is lesioned, at most.
        longest: tokens of the longest prompt.
        budget: tokens of a batch.
        saliency_tokens: tokens of a batch of gradients; 0 without.
        answer_rows, answer_tokens: of a batch of answers.
        contributions: whether vectors of attention and MLP are kept.
    """

    stream_tokens: float
    intact_tokens: float
    shelved_tokens: int
    kept_tokens: int
    most_prompts: int
    streams: int
    lesioned: int
    longest: int
    budget: int
    saliency_tokens: int
    answer_rows: int
    answer_tokens: int
    contributions: bool


def memory(
    load: Load, shape: Outline, *, weights: int | None = None, may_take: int | None = None, shared: bool = True
) -> Memory:
    """What a run takes.

    Args:
        load: what is held.
        shape: the model.
        weights: bytes of them on the device; None for all.
        may_take: bytes that streams may take; None for as many as they like.
        shared: whether rows on their way to disk are in the device's memory too.
    """
    token = shape.width * shape.itemsize
    # What entered the layer is held beside what left it, and of some the shelf's tables: taken, given, added.
    intact = int(load.intact_tokens * 2 * token)
    beside = load.shelved_tokens * 3 * token + load.kept_tokens * shape.keys_width * shape.itemsize
    streams = int((load.stream_tokens - load.intact_tokens) * token) + beside + intact
    sites = 3 if load.contributions else 1
    # Read positions as float32, a layer's rows of them, and the encoded row group.
    rows = load.most_prompts * shape.width * 4 * (1 + 3 * sites + 6)
    host = rows + LIBRARIES
    return Memory(
        weights=shape.weight_bytes if weights is None else weights,
        streams=streams if may_take is None else min(streams, max(may_take, 0)),
        floor=intact,
        work=_work(load, shape) + (rows if shared else 0),
        least_work=_work(_short(load), shape) + (rows if shared else 0),
        host=host,
    )


def weights_on_device(shape: Outline, placement: str, quantization: str | None) -> int:
    """Bytes of weights that lie on the device at a time.

    Args:
        shape: the model.
        placement: where weights lie, one of `extract.entries.PLACEMENTS`: two layers of those that lie elsewhere are
            there at a time.
        quantization: how they are packed, if they are.
    """
    packed = quantization in _QUANTIZED
    each = _QUANTIZED[quantization] / shape.itemsize if quantization is not None and packed else 1.0
    layers = shape.layer_bytes if placement == "none" else 2 * shape.largest_layer_bytes
    return int(each * (shape.weight_bytes - shape.layer_bytes + layers))


def _work(load: Load, shape: Outline) -> int:
    return max(each(load, shape) for each in (_layer_work, _head_work, _graph, _answers))


def _short(load: Load) -> Load:
    """The same where batches are halved to a prompt each; those of gradients never are."""
    return replace(load, budget=1, lesioned=min(load.lesioned, 1), answer_rows=min(load.answer_rows, 1))


def _layer_work(load: Load, shape: Outline) -> int:
    scores = shape.heads * load.longest
    inside = 4 * shape.width + 3 * shape.inner_width + 2 * shape.heads_width + shape.keys_width + scores
    return max(load.budget, load.longest) * inside * shape.itemsize


def _head_work(load: Load, shape: Outline) -> int:
    """Logits of some prompts with all their streams; in float32, their log-probabilities, and two products of those."""
    held = min(max(LOGITS, load.streams * shape.vocabulary), load.lesioned * load.streams * shape.vocabulary)
    gathered = load.lesioned * load.streams * shape.width * shape.itemsize
    return gathered + held * (4 * 4 + (shape.itemsize if shape.itemsize < 4 else 0))


def _graph(load: Load, shape: Outline) -> int:
    """What enters each layer, and one layer's graph: its inputs and outputs, kept for both ends of each matrix."""
    if not load.saliency_tokens:
        return 0
    stored = (len(shape.layers) + 1) * shape.width
    inside = 12 * shape.width + 6 * shape.inner_width + 4 * shape.heads_width + 2 * shape.keys_width
    # Of one module after the other input, output and gradient are brought to float32.
    measured = 3 * max(shape.inner_width, shape.heads_width, shape.width) * BYTES["float32"]
    odd = max(layer.odd for layer in shape.layers) * shape.itemsize
    return load.saliency_tokens * ((stored + inside) * shape.itemsize + measured) + odd


def _answers(load: Load, shape: Outline) -> int:
    """Keys and values of all layers, and the logits of an answer's tokens."""
    cache = len(shape.layers) * shape.keys_width * load.answer_tokens
    new = min(load.answer_tokens, 17)
    return load.answer_rows * shape.itemsize * (cache + shape.vocabulary * new)


def refusals(need: Memory, disk: int, shape: Outline, room: Room) -> tuple[str, ...]:
    """Why a run can't fit, in words; nothing where it can."""
    found = []
    least = need.least + room.program
    if least > room.memory:
        found.append(
            f"{shape.architecture} in {shape.dtype} takes {size(least)} at least ({size(need.weights)} of weights), "
            f"and {room.device} has {size(room.memory)}."
        )
    if disk > room.disk:
        found.append(f"The tables take {size(disk)}, and the disk has {size(room.disk)} free.")
    return tuple(found)


def remedies(need: Memory, tables: dict[str, int], shape: Outline, room: Room, *, host: int) -> Iterator[str]:
    """What would fit instead.

    Args:
        need: of memory.
        tables: bytes of each table.
        shape: the model.
        room: what there is.
        host: bytes of main memory, where weights can lie that a device has no room for.
    """
    beside = room.program
    if need.least + beside > room.memory:
        if shape.dtype == "float32":
            half = _in_type(need, shape, BYTES["bfloat16"]) + beside
            yield _remedy("--dtype bfloat16", half, room)
        for name, each in _QUANTIZED.items():
            yield _remedy(
                f"weights of {name} (`quantization` in models.toml)", _in_type(need, shape, each) + beside, room
            )
        if need.weights >= shape.weight_bytes:
            apart = need.least - need.weights + weights_on_device(shape, "offload", None) + beside
            where = "main memory" if not room.shared and shape.layer_bytes + need.host <= host else "disk"
            yield _remedy(f"--placement offload (layers in {where}, fetched one at a time)", apart, room)
        larger = size(need.least + beside, up=True)
        yield f"a device with {larger}, or several that have as much together (--placement auto)"
    total = sum(tables.values())
    if total > room.disk:
        if tables.get("contributions"):
            yield f"no --contributions: {size(total - tables['contributions'])} of disk"
        sampled = sum(tables.get(name, 0) for name in ("lesions", "patches", "saliency"))
        yield f"half of --sample: {size(total - sampled // 2)} of disk"
        yield "fewer concepts (--only), or a warehouse on another disk (--warehouse)"


def refuse(why: Sequence[str], instead: Sequence[str], how: str) -> None:
    """Say why a run can't fit and what would.

    Args:
        why: from `refusals`.
        instead: from `remedies`.
        how: to run it all the same.

    Raises:
        InputError: there is a reason.
    """
    if why:
        raise InputError(f"{' '.join(why)} What would do: {'; '.join(instead)}. {how}")


def _in_type(need: Memory, shape: Outline, bytes_per_weight: float) -> int:
    """What is needed at least if a weight takes so many bytes; numbers in streams then take two."""
    streams = need.floor * 2 // shape.itemsize
    work = need.least_work if shape.itemsize == BYTES["bfloat16"] else need.least_work * 3 // 4
    return int(shape.weights * bytes_per_weight) + streams + work


def _remedy(what: str, takes: int, room: Room) -> str:
    verdict = "fits" if takes <= room.memory else "still too much"
    return f"{what}: {size(takes)}, {verdict}"


def size(count: float, *, up: bool = False) -> str:
    """Bytes for people: 3.2 GB."""
    for unit, step in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            value = count / step
            whole = up or value >= 100
            return f"{value + 0.5 * up:.0f} {unit}" if whole else f"{value:.1f} {unit}"
    return f"{count:.0f} B"
