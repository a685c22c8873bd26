"""What a model answers, intact and with each of its layers lesioned, and how far the two answers are apart.

All answers to a batch of prompts come from one `generate`: every lesion is a row of the batch, and in its row a hook
puts the layer's input in the place of its output. The layer computes and its output is dropped, so that the cache of
keys and values stays as the model expects it. The measures here are computed; what a language model thinks of an answer
is in `judge`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import torch
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig

from extract.batches import Batch, make_batches
from extract.loading import LoadedModel
from extract.memory import ran_out
from extract.stack import Stack, positions
from extract.tokenization import tokenize
from warehouse.errors import InputError, ModelError
from warehouse.tables import table

INTACT = -1
"""Stands for no lesion where a layer is asked for, as in the column `layer`."""

TOKEN_BUDGETS = {"cpu": 2048, "cuda": 16_384}
"""Tokens of a batch, by the sort of device. On a processor more than where prompts are read once: a step of decoding
takes one token of each row, and small batches are mostly overhead."""

_IGNORED = -100
_T = TypeVar("_T")

Stream = tuple[int, int]
"""A row of a batch: which prompt it asks, and which layer is lesioned in it."""


@dataclass(frozen=True)
class _Asked:
    """A model and what it is asked.

    Attributes:
        loaded: the model.
        layers: its decoder layers.
        prompts: the vocabulary indices of each prompt.
        new_tokens: tokens of an answer at most.
        ends: the vocabulary indices that end an answer.
        padding: the index that fills up a shorter prompt.
    """

    loaded: LoadedModel
    layers: tuple[nn.Module, ...]
    prompts: list[list[int]]
    new_tokens: int
    ends: frozenset[int]
    padding: int


def extract_responses(
    loaded: LoadedModel,
    prompts: pa.Table,
    *,
    new_tokens: int = 16,
    token_budget: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[pa.Table]:
    """The rows of the table `responses`, one table a layer: the intact model as layer -1, then each layer's lesion.

    No prompts, no tables.

    Args:
        loaded: the model.
        prompts: rows of the table `prompts`.
        new_tokens: tokens of an answer at most, the end of the text included.
        token_budget: tokens of a batch, over prompts and lesions; by default what suits the device. All lesions of one
            prompt share a batch, even where they exceed it.
        progress: called with the number of prompts that were answered under all lesions.

    Raises:
        InputError: there is no room for an answer.
        ModelError: as `tokenize`; prompt and answer are too long for the model; its layers are no plain stack; one
            answer alone needs more memory than there is.
    """
    if new_tokens < 1:
        raise InputError(f"An answer of {new_tokens} tokens is none: ask for 1 or more.")
    chat = loaded.entry.chat_template
    indices = tokenize(loaded.tokenizer, prompts, longest=loaded.longest, chat=chat).indices
    _check_room(loaded, prompts, indices, new_tokens)
    ends = _ends(loaded)
    padding = _padding(loaded, ends)
    asked = _Asked(loaded, Stack.of(loaded.model).layers, indices, new_tokens, ends, padding)
    lesions = range(INTACT, len(asked.layers))
    answers: dict[Stream, list[int]] = {}
    surprise: dict[Stream, float] = {}
    for batch in answer_batches(loaded, indices, new_tokens, token_budget):
        streams = [(prompt, lesion) for lesion in lesions for prompt in batch.rows.tolist()]
        answers |= zip(streams, _halving(partial(_answer, asked), streams), strict=True)
        intact = {prompt: answers[prompt, INTACT] for prompt, _ in streams}
        surprise |= zip(streams, _halving(partial(_surprise, asked, intact), streams), strict=True)
        progress(len(batch.rows))
    for lesion in lesions if indices else ():
        yield _rows(asked, prompts, answers, surprise, lesion)


def answer_batches(
    loaded: LoadedModel, indices: Sequence[Sequence[int]], new_tokens: int, token_budget: int | None = None
) -> list[Batch]:
    """The batches in which prompts are answered; only their rows count, for each lesion pads them anew."""
    budget = token_budget or TOKEN_BUDGETS.get(loaded.device.type, TOKEN_BUDGETS["cuda"])
    with_answers = [[*tokens, *[0] * new_tokens] for tokens in indices]
    return make_batches(with_answers, budget=max(budget // (loaded.layers + 1), 1))


def token_agreement(answer: Sequence[int], intact: Sequence[int]) -> float:
    """Places in which two answers have the same token, over the longer one's tokens, 0 to 1; 1 for two empty ones."""
    longer = max(len(answer), len(intact))
    return sum(mine == other for mine, other in zip(answer, intact, strict=False)) / longer if longer else 1.0


def chrf(answer: str, intact: str) -> float:
    """chrF of an answer against the intact model's, 0 to 100: the F-score (β = 2) of their character n-grams, n to 6.

    Source: Popović, chrF: character n-gram F-score for automatic MT evaluation (WMT 2015), as sacrebleu computes it. A
    text has no n-grams where it is empty or blank; the same text is 100 all the same, as it is for any other.
    """
    return 100.0 if answer == intact else min(100.0, float(CHRF().sentence_score(answer, [intact]).score))


@contextmanager
def lesioned(layers: Sequence[nn.Module], lesions: Sequence[int]) -> Iterator[None]:
    """Until the block ends, replace the output of each layer by its input in the rows whose lesion it is.

    Args:
        layers: the decoder layers.
        lesions: [row], the layer that a row of the batch goes without; -1 for none.
    """
    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            rows = [row for row, lesion in enumerate(lesions) if lesion == number]
            if rows:
                drop = partial(_drop_output, torch.tensor(rows))
                hooks.callback(layer.register_forward_hook(drop, with_kwargs=True).remove)
        yield


def _drop_output(rows: Tensor, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
    entering = positional[0] if positional else named["hidden_states"]
    hidden = output if isinstance(output, Tensor) else output[0]
    kept = hidden.index_copy(0, rows.to(hidden.device), entering.to(hidden)[rows.to(hidden.device)])
    return kept if isinstance(output, Tensor) else (kept, *output[1:])


@torch.inference_mode()
def _answer(asked: _Asked, streams: Sequence[Stream]) -> list[list[int]]:
    """The greedy answer of each stream, with the token that ends it, if it came to that."""
    tokens, mask = _left_padded(asked, [asked.prompts[prompt] for prompt, _ in streams])
    with _greedy(asked) as model, lesioned(asked.layers, [lesion for _, lesion in streams]):
        written = model.generate(input_ids=tokens, attention_mask=mask)
    return [_ended(row, asked.ends) for row in written[:, tokens.shape[1] :].tolist()]


@torch.inference_mode()
def _surprise(asked: _Asked, intact: dict[int, list[int]], streams: Sequence[Stream]) -> list[float]:
    """The negative log-likelihood of the intact model's answer in each stream, in nats, over all its tokens.

    Without a cache and in one forward: token after token is forced on the model, and what it gives to each is summed.
    """
    tokens, mask = _left_padded(asked, [asked.prompts[prompt] + intact[prompt] for prompt, _ in streams])
    lengths = torch.tensor([len(intact[prompt]) for prompt, _ in streams], device=tokens.device)
    longest = int(lengths.max())
    with lesioned(asked.layers, [lesion for _, lesion in streams]):
        logits = asked.loaded.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions(tokens, mask),
            use_cache=False,
            logits_to_keep=longest + 1,
        ).logits
    total = torch.zeros(len(streams), dtype=torch.float64, device=tokens.device)
    # One place after the other: all of them in float32 would double the largest tensor there is.
    for left in range(longest, 0, -1):
        target = torch.where(lengths >= left, tokens[:, -left], _IGNORED)
        total += cross_entropy(logits[:, -left - 1].float(), target, ignore_index=_IGNORED, reduction="none")
    found: list[float] = total.tolist()
    return found


def _rows(
    asked: _Asked, prompts: pa.Table, answers: dict[Stream, list[int]], surprise: dict[Stream, float], lesion: int
) -> pa.Table:
    """The rows of one lesion, in the order of the prompts."""
    rows = []
    for prompt, (template, term) in enumerate(
        zip(prompts["template"].to_pylist(), prompts["term"].to_pylist(), strict=True)
    ):
        intact, answer = answers[prompt, INTACT], answers[prompt, lesion]
        response, intact_response = _text(asked, answer), _text(asked, intact)
        rows.append(
            {
                "lesion": "none" if lesion == INTACT else "identity",
                "layer": lesion,
                "template": template,
                "term": term,
                "response": response,
                "tokens": len(answer),
                "exact": answer == intact,
                "token_agreement": token_agreement(answer, intact),
                "chrf": chrf(response, intact_response),
                "intact_answer_nll": surprise[prompt, lesion],
            }
        )
    return pa.Table.from_pylist(rows, schema=table("responses").schema())


def _text(asked: _Asked, tokens: list[int]) -> str:
    return str(asked.loaded.tokenizer.decode(tokens, skip_special_tokens=True))


@contextmanager
def _greedy(asked: _Asked) -> Iterator[Any]:
    """The model, made to answer greedily; its own ways of generating are put back when the block ends.

    They can't be overruled by arguments: what those leave open, a penalty for repetition say, `generate` takes from the
    model.
    """
    model: Any = asked.loaded.model
    before = model.generation_config
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=asked.new_tokens,
        eos_token_id=sorted(asked.ends) or None,
        pad_token_id=asked.padding,
    )
    try:
        yield model
    finally:
        model.generation_config = before


def _ends(loaded: LoadedModel) -> frozenset[int]:
    """The indices that end an answer, from the model's generation config, else its config, else its tokenizer."""
    text_config = loaded.model.config.get_text_config(decoder=True)
    for place in (loaded.model.generation_config, text_config, loaded.tokenizer):
        found = getattr(place, "eos_token_id", None)
        if found is not None:
            return frozenset([found] if isinstance(found, int) else found)
    return frozenset()


def _padding(loaded: LoadedModel, ends: frozenset[int]) -> int:
    """An index to fill up with; it is masked, so any that the embedding has a row for will do where none is named."""
    embedding: Any = loaded.model.get_input_embeddings()
    rows = embedding.weight.shape[0]
    for place in (loaded.model.generation_config, loaded.tokenizer):
        found = getattr(place, "pad_token_id", None)
        if found is not None and 0 <= found < rows:
            return int(found)
    return min(ends, default=0)


def _ended(tokens: list[int], ends: frozenset[int]) -> list[int]:
    """An answer up to the first token that ends it; what comes after is filling."""
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[: place + 1]
    return tokens


def _left_padded(asked: _Asked, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Sequences as [row, token], filled up on the left, and their mask, 1 for a token of the sequence."""
    longest = max(len(tokens) for tokens in sequences)
    device = asked.loaded.device
    filled = [[asked.padding] * (longest - len(tokens)) + list(tokens) for tokens in sequences]
    counted = [[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in sequences]
    return torch.tensor(filled, device=device), torch.tensor(counted, device=device)


def _halving(work: Callable[[Sequence[Stream]], list[_T]], streams: Sequence[Stream]) -> list[_T]:
    """The results of some streams; where memory does not do for all of them, of one half and then of the other.

    Raises:
        ModelError: it does not do for one.
    """
    try:
        return work(streams)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        if len(streams) == 1:
            raise ModelError(
                f"One answer needs more memory than there is ({error}). Ask for shorter answers, or run the model on "
                "another device."
            ) from error
    torch.cuda.empty_cache()
    half = len(streams) // 2
    return _halving(work, streams[:half]) + _halving(work, streams[half:])


def _check_room(loaded: LoadedModel, prompts: pa.Table, indices: list[list[int]], new_tokens: int) -> None:
    if loaded.longest is None:
        return
    for text, tokens in zip(prompts["text"].to_pylist(), indices, strict=True):
        if len(tokens) + new_tokens > loaded.longest:
            raise ModelError(
                f"The prompt {text!r} has {len(tokens)} tokens and its answer up to {new_tokens}; the model takes "
                f"{loaded.longest} in all. Shorten the prompt, or ask for shorter answers."
            )
