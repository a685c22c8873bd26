"""Prompts into batches: of one kind each, sorted by length, with as little padding as can be had.

What a prompt's tokens are is decided by `tokenization`; what is done with a batch, by `streams`.
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
        tokens: [prompt, token], vocabulary indices, padded.
        mask: [prompt, token], 1 for a token of the prompt; None where nothing is padded.
        lengths: [prompt], tokens of each prompt.
        starts: [prompt], index of each prompt's first token; 0 where the padding is on the right.
        read: [prompt], index of the token at which each prompt is read: of a decoder the last one.
    """

    rows: Tensor
    tokens: Tensor
    mask: Tensor | None
    lengths: Tensor
    starts: Tensor
    read: Tensor

    @property
    def last(self) -> Tensor:
        """[prompt], index of each prompt's last token."""
        return self.starts + self.lengths - 1

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        moved = (part.to(device) for part in (self.rows, self.tokens, self.lengths, self.starts, self.read))
        rows, tokens, lengths, starts, read = moved
        return Batch(rows, tokens, mask, lengths, starts, read)


def make_batches(
    prompts: Sequence[Sequence[int]],
    *,
    budget: int,
    padding: int = 0,
    kinds: Sequence[int] | None = None,
    side: str = "right",
    read: Sequence[int] | None = None,
) -> list[Batch]:
    """Sort prompts by kind and length and cut them into batches.

    A batch ends before it would exceed the budget, and where the kind changes. It also ends where the length changes,
    once it is a quarter full: most batches then hold no padding at all, and the few short ones do not multiply.

    Args:
        prompts: vocabulary indices of each prompt; none is empty.
        budget: tokens of a batch, padding included; a longer prompt makes a batch of its own.
        padding: the index that fills up; it is masked, so any will do.
        kinds: prompts of two kinds never share a batch; by default all are of one.
        side: where the padding goes, `right` or `left`.
        read: the token at which each prompt is read, counted from its first; by default its last.

    Returns:
        The batches; each prompt stands in exactly one.
    """
    kind = [0] * len(prompts) if kinds is None else kinds
    order = sorted(range(len(prompts)), key=lambda row: (kind[row], len(prompts[row])))
    groups: list[list[int]] = []
    for row in order:
        length = len(prompts[row])
        group = groups[-1] if groups else []
        other = bool(group) and kind[group[0]] != kind[row]
        full = (len(group) + 1) * length > budget
        longer = bool(group) and len(prompts[group[0]]) < length and len(group) * length > budget / 4
        if not group or other or full or longer:
            groups.append([row])
        else:
            group.append(row)
    ends = [len(prompt) - 1 for prompt in prompts] if read is None else read
    return [_batch(prompts, group, padding, side, ends) for group in groups]


def _batch(prompts: Sequence[Sequence[int]], rows: list[int], padding: int, side: str, read: Sequence[int]) -> Batch:
    lengths = torch.tensor([len(prompts[row]) for row in rows])
    longest = int(lengths.max())
    starts = longest - lengths if side == "left" else torch.zeros_like(lengths)
    tokens = torch.full((len(rows), longest), padding)
    for place, row in enumerate(rows):
        start = int(starts[place])
        tokens[place, start : start + len(prompts[row])] = torch.tensor(prompts[row])
    columns = torch.arange(longest)
    padded = int(lengths.min()) < longest
    mask = ((columns >= starts[:, None]) & (columns < (starts + lengths)[:, None])).long() if padded else None
    return Batch(torch.tensor(rows), tokens, mask, lengths, starts, starts + torch.tensor([read[row] for row in rows]))
