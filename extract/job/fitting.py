"""Whether a model that is about to be loaded fits: a quick look, which refuses what surely can't be run.

It reads the model's config, and counts what no setting makes less: the weights, the intact streams of the largest
concept, the vectors that are not in the warehouse yet. The whole estimate is `vesalius estimate`.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from extract.holding import Load, memory, weights_on_device
from extract.job.plan import Plan
from extract.models import ModelEntry
from extract.outline import outline
from extract.room import Room, refusals, refuse, remedies
from warehouse.errors import ModelError
from warehouse.store import Store

HOW = "Run it with --even-if-it-may-not-fit to try all the same; `vesalius estimate` tells more."

_TOKENS = 16
"""Of a prompt, where they were not counted."""

_BYTES = {"float32": 3.0, "bfloat16": 1.9}
"""Of a number of a stored vector: *measured* 3.1 in float32, 1.4 in bfloat16, and means are float32 in any case."""


def check_fits(
    entry: ModelEntry,
    plan: Plan,
    stores: Sequence[Store],
    prompts: Mapping[str, int],
    *,
    device: str,
    placement: str | None,
) -> None:
    """See that a model, and what is made of it, may fit.

    Args:
        entry: the model.
        plan: of the run.
        stores: where tables lie already; into the last of them they are written.
        prompts: of each concept, how many the model is run over.
        device: where it is loaded.
        placement: where its weights lie; None for where its entry says.

    Raises:
        InputError: it surely does not, or the disk is too small; the message says what would do.
    """
    import psutil
    import torch

    try:
        shape = outline(entry, plan.dtype)
    except ModelError:
        # Loading fails too, and says better what is wrong; or it knows a model that has no outline.
        return
    on_gpu = torch.device(device).type == "cuda"
    host = int(psutil.virtual_memory().available)
    free = int(torch.cuda.mem_get_info(torch.device(device))[0]) if on_gpu else host
    room = Room(device if on_gpu else "main memory", free, free_disk(stores[-1].root), shared=not on_gpu)
    most = max(prompts.values(), default=0)
    tokens = most * _TOKENS
    load = Load(
        stream_tokens=tokens,
        intact_tokens=tokens,
        shelved_tokens=0,
        tokens=tokens,
        most_prompts=most,
        streams=1,
        lesioned=0,
        longest=_TOKENS,
        budget=1,
        saliency_tokens=0,
        answer_rows=0,
        answer_tokens=0,
        workers=1,
        contributions=plan.contributions,
    )
    weights = weights_on_device(shape, placement or entry.placement, entry.quantization)
    need = memory(load, shape, weights=weights, shared=not on_gpu)
    rows = _vectors(entry, plan, stores, prompts, len(shape.layers))
    tables = {name: int(count * shape.width * _BYTES[shape.dtype]) for name, count in rows.items()}
    why = refusals(need, sum(tables.values()), shape, room)
    refuse(why, [*remedies(need, tables, shape, room, host=host)] if why else [], HOW)


def free_disk(root: object) -> int:
    """Free bytes where a warehouse lies; without end where nothing says so, as in an object store."""
    if not isinstance(root, Path):
        return sys.maxsize
    usage = shutil.disk_usage(next(place for place in (root, *root.parents) if place.exists()))
    return usage.free if usage.total else sys.maxsize


def _vectors(
    entry: ModelEntry, plan: Plan, stores: Sequence[Store], prompts: Mapping[str, int], layers: int
) -> dict[str, int]:
    """Vectors of each table, but for those that lie there already."""
    wanted = {"activations": 3 * (layers + 1)}
    if plan.contributions and not entry.is_untrained:
        wanted["contributions"] = 6 * layers
    found = dict.fromkeys(wanted, 0)
    for name, each in wanted.items():
        for concept, count in prompts.items():
            if all(store.footer(name, model=entry.slug, concept=concept) is None for store in stores):
                found[name] += count * each
    return found
