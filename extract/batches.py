"""Prompts into batches: sorted by length, under a budget of tokens, with as little padding as can be had.

What a prompt's tokens are is decided by `tokenization`; what is done with a batch, by `sweep`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Prompts that go through the model together.

    Attributes:
        rows: [prompt], where each prompt stands in the list that was given.
        tokens: [prompt, token], vocabulary indices, padded on the right.
        mask: [prompt, token], 1 for a token of the prompt; None where nothing is padded.
        lengths: [prompt], tokens of each prompt.
    """

    rows: Tensor
    tokens: Tensor
    mask: Tensor | None
    lengths: Tensor


def make_batches(prompts: Sequence[Sequence[int]], *, budget: int, padding: int = 0) -> list[Batch]:
    """Sort prompts by length and cut them into batches.

    A batch ends before it would exceed the budget. It also ends where the length changes, once it is a quarter full:
    most batches then hold no padding at all, and the few short ones do not multiply.

    Args:
        prompts: vocabulary indices of each prompt; none is empty.
        budget: tokens of a batch, padding included; a longer prompt makes a batch of its own.
        padding: the index that fills up; it is masked, so any will do.

    Returns:
        The batches, from short prompts to long ones; each prompt stands in exactly one.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    groups: list[list[int]] = []
    for row in order:
        length = len(prompts[row])
        group = groups[-1] if groups else []
        full = (len(group) + 1) * length > budget
        longer = bool(group) and len(prompts[group[0]]) < length and len(group) * length > budget / 4
        if not group or full or longer:
            groups.append([row])
        else:
            group.append(row)
    return [_batch(prompts, group, padding) for group in groups]


def _batch(prompts: Sequence[Sequence[int]], rows: list[int], padding: int) -> Batch:
    lengths = torch.tensor([len(prompts[row]) for row in rows])
    longest = int(lengths.max())
    tokens = torch.full((len(rows), longest), padding)
    for place, row in enumerate(rows):
        tokens[place, : len(prompts[row])] = torch.tensor(prompts[row])
    mask = (torch.arange(longest) < lengths[:, None]).long() if int(lengths.min()) < longest else None
    return Batch(torch.tensor(rows), tokens, mask, lengths)
