"""What can be seen of a loaded model without running it: what it is, its tokenizer, whether its weights are numbers.

Belongs here: these checks, their words, and `Check` itself. Those for which the model is run are in `verification`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from extract.extraction import split
from extract.loading import LoadedModel
from extract.tokenization import Tokenized
from warehouse.errors import ModelError

PASSED, FAILED, UNSUPPORTED, NOTED = "passed", "failed", "not supported", "noted"


@dataclass(frozen=True)
class Check:
    """One row: what was checked, what came of it, the number, the most that it may be, and words."""

    aspect: str
    verdict: str
    measured: float | None
    allowed: float | None
    detail: str


def described(loaded: LoadedModel) -> Iterator[Check]:
    """What the model is, as far as that bears on its numbers."""
    kind = str(loaded.model.dtype).removeprefix("torch.")
    architecture = type(loaded.model).__name__
    yield Check("layers", NOTED, loaded.layers, None, f"{architecture} with {loaded.layers} layers of {loaded.width}.")
    if loaded.model.dtype == torch.float16:
        yield Check("dtype", FAILED, None, None, "Run in float16, whose range residual streams leave: take bfloat16.")
    else:
        named = _named_dtype(loaded)
        said = "" if named in {None, kind} else f" Its config names {named}."
        yield Check("dtype", NOTED, None, None, f"Run in {kind}.{said}")
    yield Check("attention", NOTED, None, None, f"Attention is computed with {loaded.attention}.")
    longest = loaded.longest
    words = "The config names no longest text." if longest is None else f"It takes {longest:,} tokens at most."
    yield Check("context", NOTED, longest, None, words)
    model: Any = loaded.model
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    tied = bool(model.all_tied_weights_keys) or embedding.weight is getattr(output, "weight", None)
    words = "Embeddings and head share their weights." if tied else "Embeddings and head have weights of their own."
    yield Check("tied_embeddings", NOTED, float(tied), None, words)


def _named_dtype(loaded: LoadedModel) -> str | None:
    """What the config in the model's folder names; the config in memory tells what the model was loaded in."""
    file = loaded.entry.path / "config.json"
    if not file.is_file():
        return None
    config = json.loads(file.read_text(encoding="utf-8"))
    named: str | None = config.get("dtype") or config.get("torch_dtype")
    return named


def tokenizer_checks(loaded: LoadedModel, prompts: pa.Table) -> tuple[Tokenized | None, list[Check]]:
    """The prompts as tokens, None if that can't be had, and what was checked of the tokenizer."""
    tokenizer = loaded.tokenizer
    model: Any = loaded.model
    rows, size = int(model.get_input_embeddings().weight.shape[0]), len(tokenizer)
    words = f"The tokenizer knows {size:,} tokens, the model has embeddings for {rows:,}."
    found = [Check("vocabulary", PASSED if size <= rows else FAILED, size, rows, words)]
    try:
        tokenized = split(loaded, prompts)
    except ModelError as error:
        return None, [*found, Check("tokenizer_offsets", FAILED, None, None, str(error))]
    words = "Terms and answers are found by the tokenizer's own offsets."
    found.append(Check("tokenizer_offsets", PASSED, None, None, words))
    found.append(_beginning(loaded, tokenized))
    if loaded.entry.chat_template:
        words = "Prompts are put into the tokenizer's chat template."
    elif tokenizer.chat_template:
        words = "There is one; prompts go in as plain text, unless `chat_template = true` is set in models.toml."
    else:
        words = "There is none; prompts go in as plain text."
    found.append(Check("chat_template", NOTED, float(loaded.entry.chat_template), None, words))
    usable = all(token < rows for indices in tokenized.indices for token in indices)
    return tokenized if usable else None, found


def _beginning(loaded: LoadedModel, tokenized: Tokenized) -> Check:
    """Texts begin with one token that begins texts, not with two, as chat template and tokenizer may make together."""
    name, token, begin = "beginning_of_text", loaded.tokenizer.bos_token_id, 0
    if token is None:
        return Check(name, NOTED, 0, 1, "The tokenizer has no token that begins texts.")
    for indices in tokenized.indices:
        run = next((place for place, each in enumerate(indices) if each != token), len(indices))
        begin = max(begin, run)
    if begin > 1:
        words = f"Prompts begin with {begin} tokens that begin texts: tokenizer and chat template both add one."
        return Check(name, FAILED, begin, 1, words)
    words = "Prompts begin with one token that begins texts." if begin else "There is such a token; prompts go without."
    return Check(name, PASSED if begin else NOTED, begin, 1, words)


def finite_weights(loaded: LoadedModel) -> Check:
    """Weights that are no numbers, named with their layer; offloaded ones can't be looked at."""
    faulty, count, away = "", 0, 0
    for name, weights in loaded.model.named_parameters():
        if weights.is_meta:
            away += 1
        elif wrong := int((~torch.isfinite(weights)).sum()):
            layer = next((part for part in name.split(".") if part.isdigit()), None)
            faulty = faulty or f"{name}{f' (layer {layer})' if layer else ''} holds {wrong:,}"
            count += wrong
    if count:
        words = f"{faulty} weights that are NaN or infinite, {count:,} in all. Copy the model's files again."
        return Check("parameters", FAILED, count, 0, words)
    if away:
        words = f"{away:,} tensors of weights are offloaded and were not looked at; the others are finite."
        return Check("parameters", NOTED, 0, 0, words)
    return Check("parameters", PASSED, 0, 0, "All weights are finite.")
