"""Verification: what is to be known of a model before its numbers are believed, as rows of the table `verifications`.

Belongs here: which checks there are, in which order, what a failure of one means for the others, and their words. What
can be seen without running the model is in `inspection`; the pieces of the engine are tried in `parity`.
"""

import math
from collections.abc import Callable, Iterator

import pyarrow as pa
import torch

from extract.answers import extract_responses
from extract.extraction import threads
from extract.inspection import (
    FAILED,
    NOTED,
    PASSED,
    UNSUPPORTED,
    Check,
    described,
    finite_weights,
    tokenizer_checks,
)
from extract.kinds import ENCODER, unmeasured
from extract.loading import LoadedModel
from extract.machine import Machine, make_machine
from extract.parity import (
    Floor,
    floor,
    greedy_parity,
    head_parity,
    lesion_parity,
    padding_parity,
    patch_parity,
    replay_parity,
)
from extract.saliency_parity import saliency_parity
from extract.tokenization import Tokenized
from extract.trial import Incomparable, Measured, Trial, plain_trial
from warehouse.errors import ModelError
from warehouse.tables import table

_TEXTS = (
    ("Aspirin is used for", "Aspirin", "pain"),
    ("A fever and a cough", "cough", "and"),
    ("Insulin is for", "Insulin", "diabetes"),
    ("At the age of 47", "47", "years"),
)
"""Text, term and answer of the prompts that a model is tried on: short, and of unequal lengths. What is answered does
not matter, only that the fast and the slow way agree on it."""

_TROUBLE = (ModelError, TypeError, ValueError, RuntimeError, AttributeError, IndexError)
"""What the code of an architecture raises where it can't do what it is asked, beside our own refusals."""

_TABLES = {"head": "lesions", "lesions": "lesions", "patches": "patches"}
"""The table that each piece is for: what a kind of model has none of is not tried."""

_ANSWERED = 2
_NEW_TOKENS = 4


def few_prompts() -> pa.Table:
    """A few prompts to try a model on, as rows of the table `prompts`."""
    rows = [
        {
            "template": f"verification-{number}",
            "term": term,
            "template_kind": "asking",
            "held_out": False,
            "text": text,
            "answer": answer,
            "term_start": text.index(term),
            "term_end": text.index(term) + len(term),
        }
        for number, (text, term, answer) in enumerate(_TEXTS)
    ]
    return pa.Table.from_pylist(rows, schema=table("prompts").schema())


def verify(
    loaded: LoadedModel, prompts: pa.Table | None = None, progress: Callable[[str], None] = lambda _: None
) -> pa.Table:
    """Try a model, piece by piece, against its own forward.

    A check that fails is a row, not an error: the others go on, as far as they don't build on it.

    Args:
        loaded: the model.
        prompts: rows of the table `prompts`, a few; by default ours.
        progress: called with the name of each check, once it is done.

    Returns:
        The rows of the table `verifications`, in the order of the checks.
    """
    rows = []
    for each in checks(loaded, few_prompts() if prompts is None else prompts):
        rows.append(vars(each))
        progress(each.aspect)
    return pa.Table.from_pylist(rows, schema=table("verifications").schema())


def checks(loaded: LoadedModel, prompts: pa.Table) -> Iterator[Check]:
    """The checks of `verify`, one after the other."""
    yield from described(loaded)
    tokenized, found = tokenizer_checks(loaded, prompts)
    yield from found
    finite = finite_weights(loaded)
    yield finite
    if finite.verdict == FAILED:
        return
    try:
        machine = make_machine(loaded.model)
    except _TROUBLE as error:
        yield Check("stack", FAILED, None, None, _first_line(error))
        return
    yield Check("stack", PASSED, None, None, f"Its {loaded.layers} layers are called once each and in order.")
    yield from _supported(machine)
    with threads(loaded) as workers:
        trial = _trial(loaded, machine, tokenized, workers)
        try:
            own = floor(trial)
        except _TROUBLE as error:
            yield Check("floor_activations", FAILED, None, None, _first_line(error))
            return
        yield from _floors(own, speaks=loaded.kind != ENCODER)
        yield from _parities(trial, own)
        yield _answers(trial, own, prompts, tokenizable=tokenized is not None)


def _supported(machine: Machine) -> Iterator[Check]:
    """What the engine can do with the layers."""
    for name, words in (
        ("windows", "Prompts share their beginnings, and patches are run from their token on."),
        ("parts", "Attention and MLP can be told apart in every layer: each can be lesioned and patched alone."),
    ):
        reason = machine.without.get(name)
        yield Check(
            name, UNSUPPORTED if reason else PASSED, None, None, f"Done without: {reason}." if reason else words
        )


def _trial(loaded: LoadedModel, machine: Machine, tokenized: Tokenized | None, workers: int) -> Trial:
    if tokenized is None:
        return plain_trial(loaded, machine, workers)
    columns = (tokenized.table[name].to_pylist() for name in ("term_first", "term_last", "answer_token"))
    first, last, answers = columns
    indices = tokenized.indices
    any_token = [
        prompt[-1] if answer is None or answer >= machine.head.vocabulary else answer
        for prompt, answer in zip(indices, answers, strict=True)
    ]
    return Trial(loaded, machine, indices, first, last, any_token, workers, tokenized.layout)


def _floors(own: Floor, *, speaks: bool) -> Iterator[Check]:
    """How exact the model is by itself; without a head it has no logits."""
    company = "when a prompt's company in its batch changes"
    floors = (
        ("floor_activations", own.activations, "Residual streams move by {:.2g} of a layer's largest value"),
        ("floor_logits", own.logits, "Logits move by {:.2g} of the largest"),
        ("floor_logit_differences", own.difference, "The difference of two answers' logits moves by {:.2g}"),
    )
    for name, value, words in floors if speaks else floors[:1]:
        if math.isfinite(value):
            yield Check(name, NOTED, value, None, f"{words.format(value)} {company}.")
        else:
            yield Check(name, FAILED, None, None, "The model's own forward gives numbers that are not finite.")


def _parities(trial: Trial, own: Floor) -> Iterator[Check]:
    """The engine's pieces against the model's own forward."""
    padded = "by the model's own forward, against itself alone"
    tried: dict[str, tuple[str, Callable[[], Measured]]] = {
        "padding_right": (f"A prompt padded on the right, {padded}", lambda: padding_parity(trial, "right")),
        "padding_left": (f"A prompt padded on the left, {padded}", lambda: padding_parity(trial, "left")),
        "replay": ("Layers replayed, without padding", lambda: replay_parity(trial, None, own)),
        "replay_right": ("Layers replayed, padded on the right", lambda: replay_parity(trial, "right", own)),
        "replay_left": ("Layers replayed, padded on the left", lambda: replay_parity(trial, "left", own)),
        "head": ("Logits by the head alone", lambda: head_parity(trial, own)),
        "lesions": ("Identity lesions in one sweep", lambda: lesion_parity(trial)),
        "patches": ("Patches in one sweep", lambda: patch_parity(trial)),
    }
    missing = unmeasured(trial.loaded.kind)
    for name, (words, measure) in tried.items():
        reason = missing.get(_TABLES.get(name, ""))
        if reason is not None:
            yield Check(name, UNSUPPORTED, None, None, reason)
            continue
        # What padding does in another type than float32 belongs to the model's floor.
        yield _tried(name, words, measure, judged=trial.is_exact or not name.startswith("padding"))
    if "saliency" in missing:
        yield Check("saliency", UNSUPPORTED, None, None, missing["saliency"])
    else:
        yield _tried("saliency", "Gradients layer by layer", lambda: saliency_parity(trial))


def _tried(name: str, words: str, measure: Callable[[], Measured], *, judged: bool = True) -> Check:
    """What came of a piece.

    Args:
        name, words: of the check.
        measure: tries it.
        judged: whether the numbers are held to what is allowed, or only noted.
    """
    try:
        found = measure()
    except ModelError as error:
        return Check(name, FAILED, None, None, f"{words}: {error}")
    except (Incomparable, torch.OutOfMemoryError) as error:
        return Check(name, UNSUPPORTED, None, None, f"{words}: can't be compared here ({_first_line(error)}).")
    except _TROUBLE as error:
        return Check(name, FAILED, None, None, f"{words}: refused ({_first_line(error)}).")
    if not math.isfinite(found.value):
        return Check(name, FAILED, None, None, f"{words}: numbers that are not finite, at {found.where}.")
    apart = (
        f"{found.value:.2g} of the largest value apart, most at {found.where}" if found.value else "equal to the bit"
    )
    verdict = PASSED if found.value <= found.allowed else FAILED
    allowed = found.allowed if judged else None
    return Check(name, verdict if judged else NOTED, found.value, allowed, f"{words}: {apart}.")


def _answers(trial: Trial, own: Floor, prompts: pa.Table, *, tokenizable: bool) -> Check:
    """Answers with a cache of keys and values, all lesions in one batch, against one whole forward a token."""
    name, other = "answers", 0
    missing = unmeasured(trial.loaded.kind)
    if "responses" in missing:
        return Check(name, UNSUPPORTED, None, None, missing["responses"])
    if not tokenizable:
        return Check(name, UNSUPPORTED, None, None, "Answers need a tokenizer that fits the model.")
    try:
        asked = prompts.slice(0, _ANSWERED)
        intact = next(extract_responses(trial.loaded, asked, new_tokens=_NEW_TOKENS)).to_pylist()
        for number, row in enumerate(intact):
            tokens, tied = greedy_parity(trial, number, row["tokens"], own)
            text = trial.loaded.tokenizer.decode(tokens, skip_special_tokens=True)
            other += text != row["response"] and not tied
    except _TROUBLE as error:
        return Check(name, FAILED, None, None, f"Greedy answers with a cache: {_first_line(error)}.")
    words = f"Greedy answers with a cache: {len(intact) - other} of {len(intact)} as by a whole forward for each token."
    return Check(name, FAILED if other else PASSED, other, 0, words)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0].rstrip(".")
