"""Numbers that a term has before any model reads it, and that are no knowledge: its tokens, and how frequent it is.

What they alone make of labels is in `rivals`; whether effects follow them in `effect_correlations`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analyses.resampling import Floats
from warehouse.errors import InputError

TOKEN_COUNT, FREQUENCY = "token_count", "frequency"

_MISSING = {
    TOKEN_COUNT: ("token count", "extract this concept again with its present prompts."),
    FREQUENCY: ("frequency", "write the concept library again, with its present terms."),
}
"""Of each number its name, and what to do where a term has none."""


@dataclass(frozen=True)
class TermNumber:
    """One number a term.

    Attributes:
        name: `token_count` or `frequency`.
        by_term: the number of each term.
    """

    name: str
    by_term: Mapping[str, float]

    def of(self, terms: Sequence[str], concept: str = "") -> Floats:
        """The numbers of some terms, shape (terms,).

        Args:
            terms: in the order in which numbers are wanted.
            concept: theirs, for the message.

        Raises:
            InputError: a term has none.
        """
        missing = [term for term in terms if term not in self.by_term]
        if missing:
            name, mend = _MISSING[self.name]
            of_concept = f" of {concept}" if concept else ""
            raise InputError(
                f"{len(missing)} of {len(terms)} terms{of_concept} have no {name}, {missing[0]!r} among them: {mend}"
            )
        return np.array([self.by_term[term] for term in terms], dtype=np.float64)


def term_numbers(tokens: pa.Table, frequencies: pa.Table) -> tuple[TermNumber, TermNumber]:
    """Token counts and frequencies of the terms of one concept.

    - `token_count`: the term's tokens, averaged over its prompts: a tokenizer may split it otherwise behind another
      word;
    - `frequency`: on the Zipf scale, log10 of uses in 10⁹ words.

    Args:
        tokens: the concept's prompts under the model's tokenizer.
        frequencies: the concept's rows of that table.
    """
    means = tokens.group_by("term").aggregate([("term_tokens", "mean")])
    counts = dict(zip(means["term"].to_pylist(), means["term_tokens_mean"].to_pylist(), strict=True))
    uses = dict(zip(frequencies["term"].to_pylist(), frequencies["zipf_frequency"].to_pylist(), strict=True))
    return TermNumber(TOKEN_COUNT, counts), TermNumber(FREQUENCY, uses)
