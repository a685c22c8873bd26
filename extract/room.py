"""Whether a run fits the memory and the disk that there are, and what would fit instead, in words.

What it holds is counted in `holding`. Nothing here needs torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extract.holding import QUANTIZED, Memory, weights_on_device
from extract.outline import BYTES, Outline
from warehouse.errors import InputError


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
        for name, each in QUANTIZED.items():
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
    """What is needed at least if a weight takes so many bytes; numbers then take two, but for some."""
    numbers = need.numbers if shape.itemsize == BYTES["bfloat16"] else need.numbers * 3 // 4
    return int(shape.weights * bytes_per_weight) + numbers


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
