"""Pairs of prompts under a model's tokenizer: which of them can be patched, and at which tokens.

A patch puts what the clean prompt made of a token in the place of what the corrupted prompt made of it, so the two have
to have as many tokens; and what is read is one answer's logit against another's, so the two have to begin differently.
Every pair gets a row, the dropped ones with the reason. Candidates come from `prompts`, tokens from `tokenization`;
which pairs a run takes is drawn in `sampling`.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from extract.tokenization import Tokenized
from warehouse.errors import InputError
from warehouse.tables import table


def pair_tokens(pairs: pa.Table, prompts: pa.Table, tokenized: Tokenized) -> pa.Table:
    """What becomes of each pair under a tokenizer.

    A pair has at most one reason to be dropped, the first that holds: its prompts differ in length; they are the same,
    token by token; one of its answers has no token of its own; both answers begin with the same one.

    The first token of the corrupted answer is that of the corrupted prompt, read off its own row. In the clean prompt's
    context it would be the same, because the template is: a tokenizer that cuts texts into words, as nearly all do,
    can't see the term from there. Where the table shows that a tokenizer does see it, because one answer begins with
    several tokens within a template, that answer counts as one without a token.

    Args:
        pairs: rows of the table `pairs`.
        prompts: rows of the table `prompts`, with those of both sides of each pair.
        tokenized: these prompts, split.

    Returns:
        Rows of the table `pair_tokens`, one for each pair, by template, term and corrupting term. `first_difference` is
        null where there is none: the lengths differ, or the prompts are the same.

    Raises:
        InputError: a prompt of a pair is not among the prompts.
    """
    pairs = pairs.sort_by([(name, "ascending") for name in table("pair_tokens").key_names])
    clean, corrupted = pair_rows(pairs, prompts)
    padded = _padded(tokenized.indices)
    lengths = np.array([len(tokens) for tokens in tokenized.indices], dtype=np.int32)
    answers, unsure = _answers(prompts, tokenized.table)

    same_length = lengths[clean] == lengths[corrupted]
    differs = padded[clean] != padded[corrupted]
    differing = differs.any(axis=1)
    no_answer = (answers[clean] < 0) | (answers[corrupted] < 0) | unsure[clean] | unsure[corrupted]
    reasons = {
        "lengths differ": ~same_length,
        "prompts are the same": ~differing,
        "no answer token": no_answer,
        "answers begin alike": answers[clean] == answers[corrupted],
    }
    dropped = np.select([*reasons.values()], [*reasons], default="")
    columns = [
        *(pairs[name].combine_chunks() for name in table("pair_tokens").key_names),
        pa.array(lengths[clean]),
        pa.array(lengths[corrupted]),
        pa.array(differs.argmax(axis=1).astype(np.int32), mask=~(same_length & differing)),
        pa.array(answers[clean], mask=answers[clean] < 0),
        pa.array(answers[corrupted], mask=answers[corrupted] < 0),
        pa.array(dropped, pa.string(), mask=dropped == ""),
    ]
    return pa.table(columns, schema=table("pair_tokens").schema())


def term_token(pairs: pa.Table, tokens: pa.Table) -> pa.Array:
    """Where the position `term` of each pair is patched: the last token of the term, if it is the same in both prompts.

    Prompts of one length may still have terms that end at different tokens: at a token that ends one term and lies
    within the other, or behind it, a patch would bring together what the two prompts read at different places. Such a
    pair has no patch at `term`; at `last` and in the grid over all tokens it has.

    Args:
        pairs: rows with the keys of a pair, of `pairs` or `pair_tokens`.
        tokens: rows of the table `tokens`, with those of both sides of each pair.

    Returns:
        [pair], index of the token; null where the terms end at different ones.

    Raises:
        InputError: a prompt of a pair is not among the rows.
    """
    clean, corrupted = pair_rows(pairs, tokens)
    last = tokens["term_last"].to_numpy()
    return pa.array(last[clean], pa.int32(), mask=last[clean] != last[corrupted])


def pair_rows(pairs: pa.Table, prompts: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the clean and the corrupted prompt of each pair stand among some rows keyed by template and term.

    Raises:
        InputError: one of them is not there.
    """
    places = {
        key: place
        for place, key in enumerate(zip(prompts["template"].to_pylist(), prompts["term"].to_pylist(), strict=True))
    }
    templates = pairs["template"].to_pylist()
    return _places(places, templates, pairs["term"]), _places(places, templates, pairs["corrupting_term"])


def _places(places: dict[tuple[str, str], int], templates: list[str], terms: pa.ChunkedArray) -> NDArray[np.int64]:
    try:
        found = [places[key] for key in zip(templates, terms.to_pylist(), strict=True)]
    except KeyError as error:
        template, term = error.args[0]
        raise InputError(
            f"A pair names the prompt of template {template!r} and term {term!r}, which is not among the prompts. "
            "Materialize `prompts`, `pairs` and `tokens` from the same library."
        ) from error
    return np.array(found, dtype=np.int64)


def _padded(indices: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """[prompt, token], vocabulary indices, filled up with -1."""
    padded = np.full((len(indices), max(map(len, indices), default=0)), -1, dtype=np.int32)
    for row, tokens in zip(padded, indices, strict=True):
        row[: len(tokens)] = tokens
    return padded


def _answers(prompts: pa.Table, tokens: pa.Table) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """First token of each prompt's answer, -1 for none; and whether the same answer begins otherwise elsewhere.

    Elsewhere: after another term in the same template.
    """
    first = tokens["answer_token"]
    said = pa.table({"template": prompts["template"], "answer": prompts["answer"], "token": first})
    kinds = said.group_by(["template", "answer"]).aggregate([("token", "count_distinct")])
    several = kinds.filter(pc.greater(kinds["token_count_distinct"], 1))
    unsure = {*zip(several["template"].to_pylist(), several["answer"].to_pylist(), strict=True)}
    keys = zip(prompts["template"].to_pylist(), prompts["answer"].to_pylist(), strict=True)
    return (
        pc.fill_null(first, -1).to_numpy().astype(np.int32),
        np.array([key in unsure for key in keys], dtype=bool) if unsure else np.zeros(prompts.num_rows, dtype=bool),
    )
