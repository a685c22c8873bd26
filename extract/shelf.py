"""What one layer did for all prompts that other prompts take from: donors of lesions, clean runs of patches.

All of it lies in flat tables, a row a token, so that to take something is to index. Here is where each token's row is,
who a prompt's donor is, and which token of the donor stands for which of its own. What is done with it is in `streams`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from extract.task import Task


@dataclass(frozen=True)
class Taken:
    """What one layer took and gave for the tokens of some prompts, each [token, width].

    Attributes:
        entered, left: the stream before and after the layer.
        attention, mlp: what the parts added; None where parts are not wanted.
    """

    entered: Tensor
    left: Tensor
    attention: Tensor | None = None
    mlp: Tensor | None = None


class Shelf:
    """What one layer did, ready to be taken from."""

    def __init__(self, parts: Sequence[Taken], roles: Tensor, averaged: Iterable[str]) -> None:
        """Lay the batches' tokens together.

        Args:
            parts: of the batches, in the order in which `Places` counted them in.
            roles: [token], from `Places.roles`.
            averaged: parts of the layer whose means over prompts are wanted.
        """
        taken = _together(parts)
        self.entered, self.left = taken.entered, taken.left
        self.added = {"layer": taken.left - taken.entered}
        if taken.attention is not None and taken.mlp is not None:
            self.added |= {"attention": taken.attention, "mlp": taken.mlp}
        self.means = {part: means(self.added[part], roles) for part in averaged}
        """For each part, the means [role, width] and each token's role."""


def _together(parts: Sequence[Taken]) -> Taken:
    """The tokens of several batches as one table."""
    attention = [part.attention for part in parts if part.attention is not None]
    mlp = [part.mlp for part in parts if part.mlp is not None]
    return Taken(
        torch.cat([part.entered for part in parts]),
        torch.cat([part.left for part in parts]),
        torch.cat(attention) if attention else None,
        torch.cat(mlp) if mlp else None,
    )


class Places:
    """Where tokens lie in the flat tables: of every layer but the last, or of the last, which has last tokens only."""

    def __init__(self, task: Task, device: torch.device, *, causal: bool = True) -> None:
        """Ready to count in batches.

        Args:
            task: the prompts.
            device: where the indices are.
            causal: whether what stands before a term is the same in every prompt of a template, in all layers.
        """
        prompts = len(task.prompts)
        self._lengths = torch.tensor([len(prompt) for prompt in task.prompts], device=device)
        self._first, self._last = task.term_first.to(device), task.term_last.to(device)
        self._templates = task.templates.to(device)
        self._read = task.read.to(device)
        self._causal = causal
        # Means are over those, whoever else is on the shelf.
        self._averaged = task.givers.to(device)
        self._base = torch.full((prompts,), -1, device=device)
        self._base_last = torch.full((prompts,), -1, device=device)
        self._owner: list[Tensor] = []
        self._place: list[Tensor] = []
        self._rows = self._rows_last = 0

    def add(self, prompts: Tensor, places: Tensor) -> None:
        """Count in one batch, in the order in which its tokens are put into the tables.

        Args:
            prompts: [prompt], numbers of the prompts.
            places: [prompt, token], the place of each token in its prompt; outside of it for padding.
        """
        width = places.shape[1]
        row = torch.arange(len(prompts), device=prompts.device)
        self._base[prompts] = self._rows + row * width - places[:, 0]
        self._base_last[prompts] = self._rows_last + row
        self._owner.append(prompts[:, None].expand(-1, width).reshape(-1))
        self._place.append(places.reshape(-1))
        self._rows += len(prompts) * width
        self._rows_last += len(prompts)

    def index(self, prompts: Tensor, places: Tensor, *, last_layer: bool) -> Tensor:
        """Rows of the tables that hold places [prompt, place] of prompts [prompt]."""
        if last_layer:
            return self._base_last[prompts][:, None].expand(places.shape)
        return self._base[prompts][:, None] + places

    def aligned(self, prompts: Tensor, donors: Tensor, places: Tensor) -> Tensor:
        """The donor's place that stands for each of a prompt's places [prompt, place].

        Tokens of the term stand for each other from the first on, so do those before it from there back; what follows
        it, from the end of the prompt back.
        """
        first, own, theirs = self._first[prompts][:, None], self._lengths[prompts], self._lengths[donors]
        donor_first, donor_last = self._first[donors][:, None], self._last[donors][:, None]
        in_term = torch.minimum(donor_first + places - first, donor_last)
        behind = torch.maximum(places + (theirs - own)[:, None], donor_first)
        chosen = torch.where(places <= self._last[prompts][:, None], in_term, behind)
        return chosen.clamp(min=torch.zeros_like(chosen), max=(theirs - 1)[:, None])

    @cached_property
    def roles(self) -> tuple[Tensor, Tensor]:
        """For each row of the tables, a number for what its token is: of which template, term or so far from the end.

        [row], -1 for tokens that are not averaged: before the term in a causal model, where all prompts of a template
        have the same there; padding; pairs only. Then that of the last layer.
        """
        owner, place = torch.cat(self._owner), torch.cat(self._place)
        lengths, last, first = self._lengths[owner], self._last[owner], self._first[owner]
        longest = int(self._lengths.max()) + 1
        role = torch.where(place <= last, torch.zeros_like(place), lengths - place)
        role = torch.where(place < first, longest + first - place, role)
        begin = first if self._causal else torch.zeros_like(first)
        counted = (place >= begin) & (place < lengths) & self._averaged[owner]
        numbers = torch.where(counted, self._templates[owner] * 2 * longest + role, -1)
        ends = numbers[place == self._read[owner]]
        return numbers, ends


def choose_donors(task: Task) -> Tensor:
    """A donor for each lesioned prompt: another of its template, at random but always the same one.

    Donors have as many tokens, and as many of the term, as the prompt if any has; then tokens stand for each other
    exactly. A prompt that is alone in its template is its own donor, and is reported so by a lesion without effect.

    Returns:
        [prompt], numbers of prompts; -1 for prompts that are not lesioned.
    """
    donors = torch.full((len(task.prompts),), -1)
    spans = (task.term_last - task.term_first).tolist()
    alike: dict[tuple[int, ...], list[int]] = {}
    for prompt in task.givers.nonzero()[:, 0].tolist():
        template = int(task.templates[prompt])
        alike.setdefault((template,), []).append(prompt)
        alike.setdefault((template, len(task.prompts[prompt]), spans[prompt]), []).append(prompt)
    for prompt in task.lesioned.nonzero()[:, 0].tolist():
        template = int(task.templates[prompt])
        exact = alike[template, len(task.prompts[prompt]), spans[prompt]]
        group = exact if len(exact) > 1 else alike[template,]
        # Drawn from what the prompt says, so that another sample of prompts leaves the draw alone as far as it can.
        rng = np.random.default_rng([task.seed, *task.prompts[prompt]])
        others = [other for other in group if other != prompt]
        donors[prompt] = others[rng.integers(len(others))] if others else prompt
    return donors


def means(values: Tensor, roles: Tensor) -> tuple[Tensor, Tensor]:
    """Means of values [row, width] over the rows of the same role.

    Returns:
        The means [role, width] and for each row which of them is its own; that of a row without a role is without
        meaning.
    """
    distinct, own = torch.unique(roles, return_inverse=True)
    sums = torch.zeros(len(distinct), values.shape[1], dtype=torch.float32, device=values.device)
    sums.index_add_(0, own, values.float())
    counts = torch.bincount(own, minlength=len(distinct))
    return (sums / counts[:, None]).to(values.dtype), own
