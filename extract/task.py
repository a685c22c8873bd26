"""What is asked of one sweep: prompts, and what is read, lesioned and patched of them.

Data only. How it is carried out is in `sweep`; how prompts and pairs are chosen, in `sampling`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

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
    position: str


@dataclass(frozen=True)
class Pairs:
    """Pairs to patch; both prompts of a pair have the same number of tokens.

    Attributes:
        clean, corrupted: [pair], which prompts.
        answers: [pair, 2], first token of the clean and of the corrupted answer.
        first_difference: [pair], the first token in which the prompts differ.
        term: [pair], the token at which the position `term` is patched; -1 for a pair without one.
    """

    clean: Tensor
    corrupted: Tensor
    answers: Tensor
    first_difference: Tensor
    term: Tensor

    def __len__(self) -> int:
        return len(self.clean)


def no_pairs() -> Pairs:
    """Pairs for a task without patches."""
    nothing = torch.zeros(0, dtype=torch.long)
    return Pairs(nothing, nothing, nothing.view(0, 2), nothing, nothing)


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

    @property
    def givers(self) -> Tensor:
        """[prompt], whether others get what the layers add for it in a lesion."""
        if not any(lesion.kind != "identity" for lesion in self.lesions):
            return torch.zeros(len(self.prompts), dtype=torch.bool)
        return self.lesioned if self.population is None else self.population | self.lesioned

    @property
    def needs_parts(self) -> bool:
        """Whether attention and MLP have to be told apart."""
        return (
            self.contributions
            or any(lesion.part != "layer" for lesion in self.lesions)
            or any(patch.site in {"attn_out", "mlp_out"} for patch in self.patches)
        )
