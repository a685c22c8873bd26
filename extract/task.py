"""What is asked of one sweep: prompts, and what is read, lesioned and patched of them.

Data only. How it is carried out is in `sweep`; which lesions and patches there are, in `interventions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from extract.interventions import Lesion, Patch, needs_parts


@dataclass(frozen=True)
class Layout:
    """Where prompts that are not read as those of a decoder are read; indices count from a prompt's first token.

    Attributes:
        read: [prompt], the token that the position `last` stands for.
        own_first: [prompt], the first token of the prompt's own text, which the position `mean` is taken over.
        own_end: [prompt], the token behind the last of it.
    """

    read: Tensor
    own_first: Tensor
    own_end: Tensor

    def rows(self, rows: Tensor) -> "Layout":
        """That of some prompts."""
        return Layout(self.read[rows], self.own_first[rows], self.own_end[rows])


@dataclass(frozen=True)
class Pairs:
    """Pairs to patch; both prompts of a pair have the same number of tokens.

    Attributes:
        clean, corrupted: [pair], which prompts.
        answers: [pair, 2], first token of the clean and of the corrupted answer.
        first_difference: [pair], the first token in which the prompts differ.
        term: [pair], the token at which the position `term` is patched; -1 for a pair without one.
        numbers: [pair], what each pair is called in the task that this one was cut from.
    """

    clean: Tensor
    corrupted: Tensor
    answers: Tensor
    first_difference: Tensor
    term: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.clean)


def no_pairs() -> Pairs:
    """Pairs for a task without patches."""
    nothing = torch.zeros(0, dtype=torch.long)
    return Pairs(nothing, nothing, nothing.view(0, 2), nothing, nothing, nothing)


@dataclass(frozen=True)
class Task:
    """One sweep's prompts and what is wanted of them.

    Attributes:
        prompts: vocabulary indices of each prompt.
        term_first, term_last: [prompt], index of the first and last token of each prompt's term.
        templates: [prompt], a number for each prompt's template.
        answers: [prompt], first token of each prompt's answer; read of lesioned prompts only.
        reads: whether activations are read, of all prompts.
        contributions: whether what attention and MLP add is read too.
        lesions: which lesions.
        lesioned: [prompt], whether the prompt is lesioned.
        population: [prompt], whether others may get what the layers add for it, as donor or in a mean; by default the
            prompts that are lesioned.
        patches: which patches.
        pairs: of which pairs.
        seed: of the donors of resample lesions.
        numbers: [prompt], what each prompt is called in the task that this one was cut from; None if it was not cut.
        company: [prompt], a number: prompts of two numbers share no batch; by default it follows from what is wanted.
        layout: where prompts are read; None for where those of a decoder are: at the last token, and for the mean at
            all but the first.
    """

    prompts: Sequence[Sequence[int]]
    term_first: Tensor
    term_last: Tensor
    templates: Tensor
    answers: Tensor
    reads: bool = False
    contributions: bool = False
    lesions: tuple[Lesion, ...] = ()
    lesioned: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    population: Tensor | None = None
    patches: tuple[Patch, ...] = ()
    pairs: Pairs = field(default_factory=no_pairs)
    seed: int = 0
    numbers: Tensor | None = None
    company: Tensor | None = None
    layout: Layout | None = None

    @property
    def read(self) -> Tensor:
        """[prompt], the token at which each prompt is read."""
        if self.layout is not None:
            return self.layout.read
        return torch.tensor([len(prompt) - 1 for prompt in self.prompts], dtype=torch.long)

    @property
    def givers(self) -> Tensor:
        """[prompt], whether others get what the layers add for it in a lesion."""
        if not any(lesion.kind != "identity" for lesion in self.lesions):
            return torch.zeros(len(self.prompts), dtype=torch.bool)
        return self.lesioned if self.population is None else self.population | self.lesioned

    @property
    def needs_parts(self) -> bool:
        """Whether attention and MLP have to be told apart."""
        return self.contributions or needs_parts(self.lesions, self.patches)
