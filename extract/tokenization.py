"""Prompts under a model's tokenizer: how long they are, where the term lies, and with which token the answer begins.

Everything is an absolute index from the tokenizer's own offsets, never "from the end": padding can't move it. What
joins a prompt to the model and to its answer is settled here and nowhere else: the token that begins a text, the chat
template, the space before the answer, the blank that an encoder fills in. Which pairs fit a tokenizer is said in
`pairing`, what goes into one batch in `batches`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from extract.kinds import DECODER, MASKED
from extract.task import Layout
from warehouse.errors import ModelError
from warehouse.tables import table

_TODAY = datetime(2025, 1, 1, tzinfo=UTC)
"""The day that chat templates are told: those of Llama 3 and GPT-OSS write it into every prompt, which would be another
text tomorrow."""

_DAY = re.compile(r"""strftime_now\(\s*(["'])(.+?)\1\s*\)""")
"""How a chat template asks for the day; transformers lets nobody else answer."""


@dataclass(frozen=True)
class Tokenized:
    """Prompts as tokens.

    Attributes:
        indices: the vocabulary indices of each prompt, special tokens included.
        table: the rows of the table `tokens`, in the order of the prompts.
        layout: where an encoder's prompts are read; None for a decoder's, which are read at their last tokens.
    """

    indices: list[list[int]]
    table: pa.Table
    layout: Layout | None = None

    def take(self, rows: Sequence[int]) -> "Tokenized":
        """Some of the prompts, by their place; what was split once needs no splitting again."""
        layout = None if self.layout is None else self.layout.rows(torch.tensor(rows, dtype=torch.long))
        return Tokenized([self.indices[row] for row in rows], self.table.take(pa.array(rows, pa.int64())), layout)


@dataclass(frozen=True)
class _Texts:
    """What the tokenizer is given.

    Attributes:
        texts: each prompt as the model reads it.
        shifts: [prompt], characters that come before the prompt's own text.
        separators: what stands between each text and its answer.
        special: whether the tokenizer adds its special tokens, or the texts hold them already.
        closed: whether the tokens that the tokenizer ends every text with stay: where a model reads both ways.
        blanks: what stands for the answer in each text, and behind it; empty where the answer is to follow.
    """

    texts: list[str]
    shifts: NDArray[np.int64]
    separators: list[str]
    special: bool
    closed: bool = False
    blanks: list[tuple[str, str]] = field(default_factory=list)


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    prompts: pa.Table,
    *,
    longest: int | None = None,
    chat: bool = False,
    kind: str = DECODER,
) -> Tokenized:
    """Split prompts, and find the term and the answer in them.

    Plain, a prompt is a text that the model goes on with: the tokenizer adds what it begins texts with, and the answer
    follows after one space. As chat, the prompt is the user's message in the tokenizer's own template, which brings all
    special tokens along, and the answer follows at once, as an assistant's reply begins. Spaces at the end of a prompt
    are left out: the space belongs to the answer's first token. A token that ends texts is left out too.

    The answer's first token is the one that the model would have to say after exactly the prompt's tokens. Where prompt
    and answer, split as one text, don't begin with the tokens of the prompt alone, there is no such token: any other
    would stand for a text that the model was not given. The prompt then counts as one without an answer.

    An encoder reads both ways, so its prompts are whole texts: what the tokenizer ends texts with stays. For a masked
    language model an asking prompt goes on with a blank (the mask token) in the answer's place and a full stop; the
    position `last` is the blank, and an answer has to be one token, for one blank is filled with one. Everywhere else
    `last` is the last token of the prompt's own text, which is where a decoder is read too. The position `mean` is over
    the prompt's own text.

    Args:
        tokenizer: a fast tokenizer: only those tell offsets.
        prompts: rows of the table `prompts`.
        longest: tokens that the model takes at most.
        chat: whether prompts go into the tokenizer's chat template.
        kind: which kind of model it is, one of those in `kinds`.

    Raises:
        ModelError: the tokenizer tells no offsets, makes nothing of a term, or a prompt is too long for the model; as
            chat also: there is no template, it does not hold the prompt once and unchanged, or the model is an encoder;
            for a masked language model also: there is no mask token.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} does not tell the offsets of its tokens. "
            "Save the model with a fast tokenizer (a tokenizer.json file)."
        )
    schema = table("tokens").schema()
    if not prompts.num_rows:
        return Tokenized([], schema.empty_table())
    if chat and kind != DECODER:
        raise ModelError("An encoder takes no chat template. Take `chat_template` out of its table in models.toml.")
    own = [text.rstrip(" ") for text in prompts["text"].to_pylist()]
    given = _as_chat(tokenizer, own) if chat else _as_text(own)
    if kind != DECODER:
        asking = [kind == MASKED and each == "asking" for each in prompts["template_kind"].to_pylist()]
        given = _with_blanks(tokenizer, given, asking)
    indices, encodings = _split(tokenizer, given)
    lengths = np.array([len(tokens) for tokens in indices])
    if longest is not None and lengths.max() > longest:
        row = int(lengths.argmax())
        raise ModelError(
            f"The prompt {given.texts[row]!r} has {lengths[row]} tokens; the model takes {longest}. Shorten it."
        )
    offsets = [encoding.offsets[:length] for encoding, length in zip(encodings, lengths, strict=True)]
    starts, ends = (prompts[name].to_numpy() + given.shifts for name in ("term_start", "term_end"))
    first, last = _covering(lengths, offsets, starts, ends)
    if (first < 0).any():
        row = int((first < 0).argmax())
        raise ModelError(
            f"The tokenizer makes nothing of the term {given.texts[row][starts[row] : ends[row]]!r} in the prompt "
            f"{given.texts[row]!r}. Leave the term out of the concept, or use a tokenizer that knows its characters."
        )
    layout = _layout(tokenizer, given, indices, encodings[0]) if given.closed else None
    answers = prompts["answer"].to_pylist()
    counts, tokens = _answers(tokenizer, given, indices, answers, None if layout is None else layout.read.tolist())
    term_last = [row[place] for row, place in zip(indices, last.tolist(), strict=True)]
    columns: list[Any] = [
        prompts["template"].combine_chunks(),
        prompts["term"].combine_chunks(),
        lengths,
        last - first + 1,
        first,
        last,
        counts,
        tokens,
        _decoded(tokenizer, term_last),
        _decoded(tokenizer, tokens),
        [row[0] for row in indices],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return Tokenized(indices, pa.table(arrays, schema=schema), layout)


def _as_text(own: list[str]) -> _Texts:
    # After a line break, or whatever else white space a prompt may end in, the answer begins without a space.
    separators = ["" if text[-1:].isspace() else " " for text in own]
    return _Texts(own, np.zeros(len(own), np.int64), separators, special=True)


def _with_blanks(tokenizer: PreTrainedTokenizerBase, given: _Texts, asking: list[bool]) -> _Texts:
    """The texts as an encoder is given them: whole, and with a blank where one asks and the model can fill it in.

    A blank that nothing follows would be read as the place of the full stop.
    """
    if any(asking) and tokenizer.mask_token is None:
        raise ModelError(
            "The tokenizer has no mask token, and the model is a masked language model: save the tokenizer that it was "
            "trained with."
        )
    blanks = [(str(tokenizer.mask_token), ".") if asks else ("", "") for asks in asking]
    texts = [
        f"{text}{separator}{blank}{end}" if blank else text
        for text, separator, (blank, end) in zip(given.texts, given.separators, blanks, strict=True)
    ]
    return replace(given, texts=texts, closed=True, blanks=blanks)


def _layout(tokenizer: PreTrainedTokenizerBase, given: _Texts, indices: list[list[int]], encoding: Encoding) -> Layout:
    """Where the prompts of an encoder are read."""
    opening, closing = _added(encoding)
    ends = [len(tokens) - closing for tokens in indices]
    # The last of them: a term could be spelled like a blank.
    places = [
        _last_index(tokens, tokenizer.mask_token_id) if blank else end - 1
        for tokens, end, (blank, _) in zip(indices, ends, given.blanks, strict=True)
    ]
    own_ends = [place if blank else end for place, end, (blank, _) in zip(places, ends, given.blanks, strict=True)]
    return Layout(torch.tensor(places), torch.full((len(indices),), opening), torch.tensor(own_ends))


def _last_index(tokens: list[int], token: Any) -> int:
    return len(tokens) - 1 - tokens[::-1].index(token)


def _added(encoding: Encoding) -> tuple[int, int]:
    """How many tokens the tokenizer begins and ends every text with: what is added is the same for all."""
    added = encoding.special_tokens_mask
    opening = next((place for place, each in enumerate(added) if not each), 0)
    return opening, next((place for place, each in enumerate(reversed(added)) if not each), 0)


def _as_chat(tokenizer: PreTrainedTokenizerBase, own: list[str]) -> _Texts:
    if not tokenizer.chat_template:
        raise ModelError(
            "The tokenizer has no chat template, and `chat_template` asks for one. Take it out of the model's table in "
            "models.toml, or save the tokenizer with a template (chat_template.jinja)."
        )
    try:
        texts: Any = tokenizer.apply_chat_template(
            [[{"role": "user", "content": text}] for text in own],
            chat_template=_DAY.sub(lambda asked: repr(_TODAY.strftime(asked[2])), tokenizer.get_chat_template()),
            add_generation_prompt=True,
            tokenize=False,
        )
    except (ValueError, TypeError, TemplateError) as error:
        raise ModelError(f"The tokenizer's chat template can't be filled with a user's message: {error}") from error
    for text, message in zip(texts, own, strict=True):
        times = text.count(message)
        if times != 1:
            raise ModelError(
                f"The chat template holds the prompt {message!r} {times} times as it stands, not once: where its term "
                "lies can't be told. Take `chat_template` out of the model's table in models.toml, or write a "
                "template that leaves messages as they are."
            )
    shifts = np.array([text.index(message) for text, message in zip(texts, own, strict=True)])
    return _Texts(texts, shifts, [""] * len(texts), special=False)


def _split(
    tokenizer: PreTrainedTokenizerBase, given: _Texts, texts: list[str] | None = None
) -> tuple[list[list[int]], list[Encoding]]:
    """Vocabulary indices of each text, and its encoding.

    If the answer is to follow, they are without the tokens that the tokenizer ends every text with: those (BERT's
    [SEP], an end of text) would stand between prompt and answer.

    Args:
        tokenizer: splits.
        given: how texts are given.
        texts: which; by default the prompts.
    """
    split = tokenizer(
        given.texts if texts is None else texts,
        add_special_tokens=given.special,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    indices, encodings = split["input_ids"], split.encodings
    closing = 0 if given.closed else _added(encodings[0])[1]
    return [tokens[:-closing] for tokens in indices] if closing else indices, encodings


def _covering(
    lengths: NDArray[np.int64], offsets: Iterable[Sequence[tuple[int, int]]], starts: NDArray[Any], ends: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last token that share a character with a stretch of each text; -1 where none does.

    Args:
        lengths: [prompt], tokens of each prompt.
        offsets: for each prompt and token, its first character and the one behind its last.
        starts: [prompt], the stretch's first character.
        ends: [prompt], the one behind its last.
    """
    low, high = np.array([*chain.from_iterable(offsets)]).reshape(-1, 2).T
    prompt = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(prompt)) - np.repeat(lengths.cumsum() - lengths, lengths)
    found = np.flatnonzero((low < ends[prompt]) & (high > np.maximum(starts[prompt], low)))
    before, behind = (np.searchsorted(prompt[found], np.arange(len(lengths)), side) for side in ("left", "right"))
    none = before == behind
    covering = np.append(place[found], -1)
    return np.where(none, -1, covering[np.where(none, -1, before)]), np.where(none, -1, covering[behind - 1])


def _answers(
    tokenizer: PreTrainedTokenizerBase,
    given: _Texts,
    indices: list[list[int]],
    answers: list[str | None],
    read: list[int] | None,
) -> tuple[list[int | None], list[int | None]]:
    """For each prompt the answer's number of tokens and its first token; None where it has none.

    The answer is split together with its prompt: alone it could begin with another token. What fills a blank is one
    token: of a longer answer the first would stand for another word, so it is None there.
    """
    counts: list[int | None] = [None] * len(answers)
    firsts: list[int | None] = [None] * len(answers)
    asked = [row for row, answer in enumerate(answers) if answer and (not given.closed or given.blanks[row][0])]
    if not asked:
        return counts, firsts
    if read is not None:
        blanks = ["".join(given.blanks[row]) for row in asked]
        filled = [f"{answers[row]}{given.blanks[row][1]}" for row in asked]
        texts = [
            f"{given.texts[row].removesuffix(blank)}{fill}"
            for row, blank, fill in zip(asked, blanks, filled, strict=True)
        ]
        for row, whole in zip(asked, _split(tokenizer, given, texts)[0], strict=True):
            before, behind = indices[row][: read[row]], indices[row][read[row] + 1 :]
            count = len(whole) - len(before) - len(behind)
            if count > 0 and whole[: len(before)] == before and whole[len(before) + count :] == behind:
                counts[row], firsts[row] = count, whole[len(before)] if count == 1 else None
        return counts, firsts
    texts = [f"{given.texts[row]}{given.separators[row]}{answers[row]}" for row in asked]
    for row, whole in zip(asked, _split(tokenizer, given, texts)[0], strict=True):
        prompt = indices[row]
        if len(whole) > len(prompt) and whole[: len(prompt)] == prompt:
            counts[row], firsts[row] = len(whole) - len(prompt), whole[len(prompt)]
    return counts, firsts


def _decoded(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int | None]) -> list[str | None]:
    """Each token as text of its own."""
    texts: dict[int | None, Any] = {None: None}
    for token in {*tokens}:
        if token is not None:
            texts[token] = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    return [texts[token] for token in tokens]
