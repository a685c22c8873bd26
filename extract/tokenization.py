"""Prompts under a model's tokenizer: how long they are, where the term lies, and with which token the answer begins.

Everything is an absolute index from the tokenizer's own offsets, never "from the end": padding can't move it.
"""

from dataclasses import dataclass

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from warehouse.errors import ModelError
from warehouse.tables import table


@dataclass(frozen=True)
class Tokenized:
    """Prompts as tokens.

    Attributes:
        indices: the vocabulary indices of each prompt, special tokens included.
        table: the rows of the table `tokens`, in the order of the prompts.
    """

    indices: list[list[int]]
    table: pa.Table


def tokenize(tokenizer: PreTrainedTokenizerBase, prompts: pa.Table, *, longest: int | None = None) -> Tokenized:
    """Split prompts, and find the term and the answer in them.

    Args:
        tokenizer: a fast tokenizer: only those tell offsets.
        prompts: rows of the table `prompts`.
        longest: tokens that the model takes at most.

    Raises:
        ModelError: the tokenizer tells no offsets, makes nothing of a term, or a prompt is too long for the model.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} does not tell the offsets of its tokens. "
            "Save the model with a fast tokenizer (a tokenizer.json file)."
        )
    texts = prompts["text"].to_pylist()
    split = tokenizer(texts, return_offsets_mapping=True)
    starts, ends = prompts["term_start"].to_pylist(), prompts["term_end"].to_pylist()
    spans = []
    for text, tokens, offsets, start, end in zip(
        texts, split["input_ids"], split["offset_mapping"], starts, ends, strict=True
    ):
        covering = [place for place, (low, high) in enumerate(offsets) if low < end and high > max(start, low)]
        if not covering:
            raise ModelError(
                f"The tokenizer makes nothing of the term {text[start:end]!r} in the prompt {text!r}. "
                "Leave the term out of the concept, or use a tokenizer that knows its characters."
            )
        if longest is not None and len(tokens) > longest:
            raise ModelError(f"The prompt {text!r} has {len(tokens)} tokens; the model takes {longest}. Shorten it.")
        spans.append((covering[0], covering[-1]))
    answers = _answers(tokenizer, texts, prompts["answer"].to_pylist())
    columns = [
        prompts["template"],
        prompts["term"],
        [len(tokens) for tokens in split["input_ids"]],
        [last - first + 1 for first, last in spans],
        [first for first, _ in spans],
        [last for _, last in spans],
        [answer[0] if answer else None for answer in answers],
        [answer[1] if answer else None for answer in answers],
    ]
    schema = table("tokens").schema()
    arrays = [
        column if isinstance(column, pa.ChunkedArray) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return Tokenized(split["input_ids"], pa.table(arrays, schema=schema))


def _answers(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], answers: list[str | None]
) -> list[tuple[int, int] | None]:
    """For each prompt the answer's number of tokens and its first token, as the model would have to say it.

    The answer is split together with its prompt: alone it could begin with another token.
    """
    asked = [place for place, answer in enumerate(answers) if answer is not None]
    found: list[tuple[int, int] | None] = [None] * len(texts)
    if not asked:
        return found
    whole = tokenizer([f"{texts[place]} {answers[place]}" for place in asked], return_offsets_mapping=True)
    for place, tokens, offsets in zip(asked, whole["input_ids"], whole["offset_mapping"], strict=True):
        said = [token for token, (low, high) in zip(tokens, offsets, strict=True) if high > max(len(texts[place]), low)]
        if said:
            found[place] = (len(said), said[0])
    return found
