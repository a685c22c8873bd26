"""A task shared out to several workers, so that each prompt's numbers come out as if one had done all.

What goes to a worker is whole batches, as one worker alone would have made them: a product of matrices rounds otherwise
when its batch is another. Some prompts go to several workers: those that lesions and patches take from, whose own rows
only one of them hands out. Which batches there are is decided in `batches`, what a part needs of the rest here; who
works where, and where rows wait, is not known here.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from extract.batches import Batch, make_batches
from extract.memory import narrowed, patched_tokens
from extract.sweep import Vectors, kinds
from extract.task import Pairs, Task


def share_sweep(task: Task, *, layers: int, whole: bool, budget: int, count: int) -> Tensor:
    """Share out the prompts of a sweep.

    Args:
        task: all that is wanted.
        layers: of the model: they make lesioned prompts dearer than others.
        whole: whether patched streams are run from the first token on.
        budget: tokens of a batch.
        count: workers.

    Returns:
        [prompt], the number of each prompt's worker, from 1. A lesion goes with its prompt, a patch with its corrupted
        prompt.
    """
    costs = torch.tensor([float(len(prompt)) for prompt in task.prompts])
    if task.lesions:
        costs[task.lesioned] *= 1 + len(task.lesions) * layers / 2
    for patch in task.patches:
        tokens = patched_tokens(task, patch.position, whole=whole)
        costs.index_add_(0, task.pairs.corrupted, tokens.float() * layers / 2)
    return share(make_batches(task.prompts, budget=budget, kinds=kinds(task)), costs, count)


def share(batches: Sequence[Batch], costs: Tensor, count: int) -> Tensor:
    """Deal out batches, the dearest first, each to the worker that has least to do.

    Args:
        batches: each prompt stands in exactly one.
        costs: [prompt].
        count: workers.

    Returns:
        [prompt], numbers from 1.
    """
    shares = torch.zeros(len(costs), dtype=torch.long)
    each = [float(costs[batch.rows].sum()) for batch in batches]
    loads = [0.0] * count
    for place in sorted(range(len(batches)), key=lambda place: -each[place]):
        worker = min(range(count), key=loads.__getitem__)
        loads[worker] += each[place]
        shares[batches[place].rows] = worker + 1
    return shares


def portion(task: Task, own: Tensor) -> Task:
    """What one worker runs: its own prompts, and those that they take from.

    Prompts that are only taken from share no batch with its own, so that these are batched as in the whole task.

    Args:
        task: all that is wanted.
        own: [prompt], whether the prompt is this worker's.
    """
    lesioned = task.lesioned & own
    givers = task.givers & torch.isin(task.templates, task.templates[lesioned])
    mine = own[task.pairs.corrupted]
    pairs = Pairs(*(values[mine] for values in vars(task.pairs).values()))
    kept = own | givers
    kept[pairs.clean] = True
    company = 2 * torch.tensor(kinds(task), dtype=torch.long) + (~own).long()
    part = replace(task, lesioned=lesioned, population=givers, pairs=pairs, company=company)
    return narrowed(part, kept)


class Mine:
    """What one worker runs, and of which of its prompts it hands out rows.

    Attributes:
        own: [prompt of the whole task], whether its rows are handed out.
        task: what is run.
        count: own prompts.
        first_tokens: [token], which of the tokens that prompts begin with are told here: those whose first prompt is an
            own one.
        beginners: [token], these prompts, by their numbers in the task that is run.
    """

    def __init__(self, task: Task, own: Tensor | None) -> None:
        """Cut the task to what the own prompts need.

        Args:
            task: all that is wanted.
            own: [prompt]; None for all, and the task as it is.
        """
        self.own = torch.ones(len(task.prompts), dtype=torch.bool) if own is None else own
        self.task = task if own is None else portion(task, own)
        numbers = torch.arange(len(task.prompts)) if self.task.numbers is None else self.task.numbers
        self.count = int(self.own.sum())
        self._rows = None if own is None else self.own[numbers].nonzero()[:, 0]
        place = torch.full((len(task.prompts),), -1)
        place[numbers] = torch.arange(len(numbers))
        first = beginners(task)
        self.first_tokens = self.own[first].numpy()
        self.beginners = place[first[self.own[first]]]

    def vectors(self, vectors: Vectors, sites: Sequence[str]) -> Vectors:
        """The vectors of the own prompts at some sites, of those of all prompts that were run."""
        if self._rows is None:
            return {site: vectors[site] for site in sites}
        return {site: {position: found[self._rows] for position, found in vectors[site].items()} for site in sites}


def beginners(task: Task) -> Tensor:
    """[token], of each first token, ascending, the first prompt of the task that begins so."""
    _, found = np.unique(np.array([prompt[0] for prompt in task.prompts], dtype=np.int64), return_index=True)
    return torch.from_numpy(found.astype(np.int64))
