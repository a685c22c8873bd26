"""How much of a model is measured, and with which draws: what Dagster's `Settings` and the plain command both say.

Light on purpose: whether there is anything to do is asked without torch. What lesions and patches there are is in
`extract.interventions`; options of the analyses are Dagster's alone.
"""

from dataclasses import dataclass

from extract.interventions import read_lesions, read_patches, read_size
from extract.models import check_dtype, check_placement
from warehouse.errors import InputError


@dataclass(frozen=True)
class Plan:
    """What is taken of each concept.

    Attributes:
        device: where the model runs; by default a GPU where there is one.
        dtype: `float32` or `bfloat16`; by default what the model's entry or config names.
        placement: where weights lie: `none`, `auto` or `offload`; by default what the model's entry says.
        offload_folder: where weights lie that neither device nor memory holds; by default `build/offload`.
        token_budget: tokens of one batch; by default as the device likes.
        seed: of samples and donors.
        lesions: as KIND or KIND:PART.
        sites: patches as SITE or SITE:POSITION.
        contributions: whether what attention and MLP add is kept, as vectors.
        sample: prompts, and pairs, that are intervened on; 0 for all that can be.
        held_out: the same of held-out templates besides.
        answers: prompts that are answered under each lesion.
        new_tokens: tokens of an answer at most.
        memory: what streams may take, like 24GB; by default half of what is free.
        even_if_it_may_not_fit: whether a model is loaded though memory or disk seem too small for it.
    """

    device: str | None = None
    dtype: str | None = None
    placement: str | None = None
    offload_folder: str | None = None
    token_budget: int | None = None
    seed: int = 0
    lesions: tuple[str, ...] = ("identity", "resample")
    sites: tuple[str, ...] = ("resid", "delta")
    contributions: bool = False
    sample: int = 160
    held_out: int = 40
    answers: int = 12
    new_tokens: int = 16
    memory: str | None = None
    even_if_it_may_not_fit: bool = False

    def check(self) -> None:
        """See that all of it can be read, before anything is run.

        Raises:
            InputError: a lesion, a patch, memory, type or placement is written wrong, or a number is too small.
        """
        read_lesions(self.lesions)
        read_patches(self.sites)
        if self.memory is not None:
            read_size(self.memory)
        check_dtype(self.dtype)
        check_placement(self.placement)
        least = {"seed": 0, "sample": 0, "held_out": 0, "answers": 0, "new_tokens": 1, "token_budget": 1}
        for name, minimum in least.items():
            number = getattr(self, name)
            if number is not None and number < minimum:
                raise InputError(f"{name} is {number}; it takes {minimum} or more.")
