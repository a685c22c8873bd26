"""How much memory a sweep takes, sweeps cut to fit a budget, and what is done when memory runs out all the same.

A sweep holds every stream of every prompt between two layers: that is how it can read each layer's weights only once.
Where that is more than there is, lesions and patches are done for some prompts at a time, in several sweeps. What is
computed doesn't depend on it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psutil
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor

from extract.task import Pairs, Task, no_pairs
from warehouse.errors import ModelError

SHARE = 0.5
"""Of the memory that is free, what streams may take by default: layers at work and logits need some too."""

_OVERHEAD = 4
"""Copies of the intact streams that are held beside the joined ones: entered, left, and both on the shelf."""


@dataclass(frozen=True)
class Shape:
    """What decides how much memory a stream takes.

    Attributes:
        layers: of the model.
        bytes_per_token: of a stream: width times bytes of a value.
        whole: whether patched streams are run from the first token on, because layers take no cache.
    """

    layers: int
    bytes_per_token: int
    whole: bool = False


def free_memory(device: torch.device) -> int:
    """Bytes that streams may take by default."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return int(free * SHARE)


def task_bytes(task: Task, shape: Shape) -> int:
    """Bytes of all streams of a task at the top of the stack, where they are most."""
    lengths = torch.tensor([len(prompt) for prompt in task.prompts])
    tokens = _OVERHEAD * int(lengths.sum())
    if task.lesions:
        tokens += shape.layers * len(task.lesions) * int(lengths[task.lesioned].sum())
    for patch in task.patches:
        tokens += shape.layers * int(patched_tokens(task, patch.position, whole=shape.whole).sum())
    return tokens * shape.bytes_per_token


def cut(task: Task, shape: Shape, memory: int) -> list[Task]:
    """The task in as few tasks as fit the memory, and the same numbers from them.

    Reading activations of all prompts comes first, then lesions, then patches; lesions and patches of some prompts at a
    time. A task of one prompt or pair is not cut further, whatever it takes.
    """
    if task_bytes(task, shape) <= memory:
        return [task]
    tasks = []
    if task.reads:
        tasks.append(replace(task, lesions=(), patches=(), pairs=no_pairs()))
    if task.lesions:
        lesions = _without_reading(task, patches=False)
        tasks.extend(_halved(lesions, shape, memory, lesions.lesioned.nonzero()[:, 0], _lesion_task))
    if task.patches:
        patches = _without_reading(task, patches=True)
        tasks.extend(_halved(patches, shape, memory, torch.arange(len(patches.pairs)), _patch_task))
    return tasks


def halving(task: Task, shape: Shape, memory: int, budget: int, run: Callable[[Task, int, float], None]) -> None:
    """Run a task in as many sweeps as its memory needs; where that runs out all the same, in half of it.

    Args:
        task: what is wanted.
        shape: of the model's streams.
        memory: bytes that streams may take.
        budget: tokens that go through a layer at once.
        run: runs one task with a budget, and is told its share of all; called again for what ran out of memory.

    Raises:
        ModelError: one prompt at a time is still too much.
    """
    waiting = cut(task, shape, memory)
    total = sum(task_bytes(part, shape) for part in waiting)
    smallest = max(len(prompt) for prompt in task.prompts)
    while waiting:
        try:
            run(waiting[0], budget, task_bytes(waiting[0], shape) / total)
        except Exception as error:
            if not ran_out(error):
                raise
            parts = cut(waiting[0], shape, task_bytes(waiting[0], shape) // 2)
            if budget <= smallest and len(parts) == 1:
                raise ModelError(
                    f"Memory ran out with one prompt of {smallest} tokens at a time ({_first_line(error)}). Use a "
                    "device with more memory, a smaller type (--dtype bfloat16), or fewer lesions and sites."
                ) from error
            budget = max(budget // 2, 1)
            waiting[:1] = parts
            _release()
        else:
            del waiting[0]


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory ran out, on whichever device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(should_reduce_batch_size(error))


def _release() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def patched_tokens(task: Task, position: str, *, whole: bool) -> Tensor:
    """[pair], tokens that the streams of one layer hold, for a patch at a position."""
    lengths = torch.tensor([len(task.prompts[prompt]) for prompt in task.pairs.corrupted.tolist()])
    if whole:
        return lengths * lengths if position == "token" else lengths
    if position == "last":
        return torch.ones_like(lengths)
    if position == "term":
        return torch.where(task.pairs.term < 0, 0, lengths - task.pairs.term)
    rest = lengths - task.pairs.first_difference
    return rest * (rest + 1) // 2


def _without_reading(task: Task, *, patches: bool) -> Task:
    """The lesions or the patches of a task alone."""
    if patches:
        return replace(task, reads=False, contributions=False, lesions=())
    return replace(task, reads=False, contributions=False, patches=(), pairs=no_pairs())


def _halved(
    task: Task, shape: Shape, memory: int, chosen: Tensor, narrowed: Callable[[Task, Tensor], Task]
) -> Iterator[Task]:
    """The task for some of its prompts or pairs at a time: halves of halves, until they fit."""
    part = narrowed(task, chosen)
    if len(chosen) <= 1 or task_bytes(part, shape) <= memory:
        yield part
        return
    middle = len(chosen) // 2
    yield from _halved(task, shape, memory, chosen[:middle], narrowed)
    yield from _halved(task, shape, memory, chosen[middle:], narrowed)


def _lesion_task(task: Task, chosen: Tensor) -> Task:
    """Lesions of some prompts, with all prompts of their templates that they may take from."""
    lesioned = torch.zeros(len(task.prompts), dtype=torch.bool)
    lesioned[chosen] = True
    givers = task.givers & torch.isin(task.templates, task.templates[chosen])
    return narrowed(replace(task, lesioned=lesioned, population=givers), lesioned | givers)


def _patch_task(task: Task, chosen: Tensor) -> Task:
    pairs = Pairs(*(values[chosen] for values in vars(task.pairs).values()))
    kept = torch.zeros(len(task.prompts), dtype=torch.bool)
    kept[pairs.clean] = kept[pairs.corrupted] = True
    return narrowed(replace(task, pairs=pairs), kept)


def narrowed(task: Task, kept: Tensor) -> Task:
    """The task without the prompts that are not kept."""
    rows = kept.nonzero()[:, 0]
    now = torch.full((len(kept),), -1)
    now[rows] = torch.arange(len(rows))
    pairs = replace(task.pairs, clean=now[task.pairs.clean], corrupted=now[task.pairs.corrupted])
    return replace(
        task,
        prompts=[task.prompts[row] for row in rows.tolist()],
        term_first=task.term_first[rows],
        term_last=task.term_last[rows],
        templates=task.templates[rows],
        answers=task.answers[rows],
        lesioned=task.lesioned[rows] if len(task.lesioned) else task.lesioned,
        population=None if task.population is None else task.population[rows],
        pairs=pairs,
        numbers=rows if task.numbers is None else task.numbers[rows],
        company=None if task.company is None else task.company[rows],
        layout=None if task.layout is None else task.layout.rows(rows),
    )
