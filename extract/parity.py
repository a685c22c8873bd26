"""Parity: whether each piece of the engine gives what the model's own forward gives, and how exact that forward is.

Each function tries one piece on a trial and tells how far the two ways are apart, the most that they may be, and where.
The slow way is the model's own forward with hooks; gradients are in `saliency_parity`. Verdicts and rows are made of it
in `verification`; what is tried, and how well two ways have to agree, is said in `trial`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from extract.batches import Batch
from extract.hooked import Edit, Forward, one_batch, unpadded
from extract.interventions import Lesion, Patch
from extract.kinds import ENCODER
from extract.offloading import fetched
from extract.stack import replay
from extract.sweep import sweep
from extract.task import Pairs, Task
from extract.trial import Measured, Trial, largest, most, relative

PATCHES = (Patch("resid", "last"), Patch("resid", "term"), Patch("delta", "last"))

BUDGET = 512
"""Tokens that go through a layer at once."""


@dataclass(frozen=True)
class Floor:
    """How much the model's own numbers move when only the company of a prompt in its batch changes.

    Attributes:
        activations: the most that a value of the residual stream moves, relative to the largest after its layer.
        logits: the same of the logits after the last token, relative to the largest.
        difference: the most that the difference of two answers' logits moves, in logits.
    """

    activations: float
    logits: float
    difference: float


def floor(trial: Trial) -> Floor:
    """Measure it: each prompt alone, against itself among copies, and padded on either side in a batch with others.

    A model without a head has no logits, which then don't move.
    """
    own = trial.alone
    companies = [trial.among_copies, *trial.padded.values()]
    if trial.loaded.kind == ENCODER:
        return Floor(most([_streams_apart(own, each).value for each in companies]), 0.0, 0.0)
    moved = [_differences(trial, each.logits) - _differences(trial, own.logits) for each in companies]
    return Floor(
        activations=most([_streams_apart(own, each).value for each in companies]),
        logits=most([relative(each.logits, own.logits) for each in companies]),
        difference=most([float(each.abs().max()) for each in moved]),
    )


def padding_parity(trial: Trial, side: str) -> Measured:
    """Each prompt in a padded batch against itself alone, both by the model's own forward."""
    return _streams_apart(trial.alone, trial.padded[side], trial.allowed())


def replay_parity(trial: Trial, side: str | None, own_floor: Floor) -> Measured:
    """The layers recorded and replayed, each on what the one before it gave, against what they give in the own forward.

    Args:
        trial: the model and its prompts.
        side: where prompts are padded; None for each alone.
        own_floor: of the model.
    """
    groups = [[prompt] for prompt in trial.prompts] if side is None else [trial.prompts]
    own = trial.alone if side is None else trial.padded[side]
    left = [[torch.empty(0)] * len(trial.prompts) for _ in trial.machine.stack.layers]
    first = 0
    for group in groups:
        for number, states in enumerate(_replayed(trial, group, side or "right")):
            left[number][first : first + len(group)] = states
        first += len(group)
    return _streams_apart(own, Forward(own.logits, own.entered, left), trial.allowed(own_floor.activations))


def head_parity(trial: Trial, own_floor: Floor) -> Measured:
    """Logits by the head alone, of the streams that left the last layer, against those of the own forward."""
    dtype, device = trial.loaded.model.dtype, trial.machine.stack.device
    left = zip(trial.alone.left[-1], trial.read, strict=True)
    last = torch.stack([hidden[read] for hidden, read in left]).to(device, dtype)
    with torch.inference_mode(), trial.machine.head.open():
        found = trial.machine.head.logits(last).float().cpu()
    value = relative(found, trial.alone.logits)
    return Measured(value, trial.allowed(own_floor.logits), "logits where prompts are read")


def lesion_parity(trial: Trial) -> Measured:
    """Log-probabilities of the answers under the identity lesion of each layer: the sweep against hooked forwards."""
    effects = sweep(trial.machine, _task(trial, patched=False), budget=BUDGET, workers=trial.workers)
    found = effects.lesions[Lesion("identity")].log_probability

    def slow(layer: int, side: str) -> Tensor:
        skipped: Edit = lambda _, entered, __: entered  # noqa: E731 - a name for its type
        own = trial.forward(trial.prompts, side=side, layer=layer, edit=skipped, read=trial.read)
        return _log_probabilities(trial, own.logits)

    return _against(trial, {"identity lesion": (found, slow)}, _log_probabilities(trial, trial.alone.logits))


def patch_parity(trial: Trial) -> Measured:
    """Logit differences of patched prompts, of `PATCHES` at each layer: the sweep against a forward with a hook."""
    effects = sweep(trial.machine, _task(trial, patched=True), budget=BUDGET, workers=trial.workers)

    def slow(patch: Patch, layer: int, side: str) -> Tensor:
        exchanged = _exchange(trial, patch, layer)
        own = trial.forward(trial.corrupted, side=side, layer=layer, edit=exchanged, read=trial.read)
        return _differences(trial, own.logits)

    pieces = {
        f"patch {patch.site}:{patch.position}": (effects.patches[patch][:, :, 0], partial(slow, patch))
        for patch in PATCHES
    }
    return _against(trial, pieces, trial.alone.logits)


def greedy_parity(trial: Trial, prompt: int, tokens: int, own_floor: Floor) -> tuple[list[int], bool]:
    """The greedy answer to one prompt, by a whole forward without a cache for each token.

    Returns:
        Its tokens, and whether one of them had a rival that is nearer than the model's floor: then another answer
        would be as good.
    """
    answer: list[int] = []
    tied = False
    for _ in range(tokens):
        logits = trial.forward([[*trial.prompts[prompt], *answer]]).logits[0]
        first, second = logits.topk(2).values.tolist()
        tied |= first - second <= trial.allowed(own_floor.logits) * float(logits.abs().max())
        answer.append(int(logits.argmax()))
    return answer, tied


@torch.inference_mode()
def _replayed(trial: Trial, prompts: Sequence[Sequence[int]], side: str) -> Iterator[list[Tensor]]:
    """By layer, what each prompt leaves it as, [token, width], the layers being replayed one after the other."""
    stack = trial.machine.stack
    batch = one_batch(prompts, side).to(stack.device)
    recording = stack.record(batch.tokens, batch.mask)
    hidden = recording.hidden
    for layer, call in zip(stack.layers, recording.calls, strict=True):
        with fetched(layer):
            hidden = replay(layer, hidden, call)
        yield unpadded(batch, hidden)


def _task(trial: Trial, *, patched: bool) -> Task:
    """What the sweep is asked: the identity lesion of each prompt, or the patches of each pair."""
    count = len(trial.prompts)
    prompts = [*trial.prompts, *trial.corrupted] if patched else trial.prompts
    twice = 2 if patched else 1
    numbers = torch.arange(count)
    task = Task(
        prompts=prompts,
        term_first=torch.tensor(trial.term_first * twice),
        term_last=torch.tensor(trial.term_last * twice),
        templates=torch.zeros(len(prompts), dtype=torch.long),
        answers=torch.tensor(trial.answers * twice),
        lesioned=torch.full((len(prompts),), not patched),
        layout=None if trial.layout is None else trial.layout.rows(torch.cat([numbers] * twice)),
    )
    if not patched:
        return replace(task, lesions=(Lesion("identity"),))
    pairs = Pairs(
        clean=numbers,
        corrupted=numbers + count,
        answers=torch.tensor([*zip(trial.answers, trial.rivals, strict=True)]),
        first_difference=torch.tensor(trial.term_last),
        term=torch.tensor(trial.term_last),
        numbers=numbers,
    )
    return replace(task, patches=PATCHES, pairs=pairs)


def _exchange(trial: Trial, patch: Patch, layer: int) -> Edit:
    """Put the clean prompts' stream, or what the layer added to it, into the corrupted ones, at one token of each."""

    def edit(batch: Batch, entered: Tensor, left: Tensor) -> Tensor:
        changed = left.clone()
        for row, pair in enumerate(batch.rows.tolist()):
            token = trial.term_last[pair] if patch.position == "term" else trial.read[pair]
            place = int(batch.starts[row]) + token
            clean_entered, clean_left = (
                states[layer][pair][token].to(left) for states in (trial.alone.entered, trial.alone.left)
            )
            changed[row, place] = clean_left
            if patch.site == "delta":
                changed[row, place] = entered[row, place] + (clean_left - clean_entered)
        return changed

    return edit


def _against(trial: Trial, pieces: dict[str, tuple[Tensor, Any]], scale: Tensor) -> Measured:
    """Values of the sweep, [layer, prompt], against the slow way of a layer; differences relative to the largest value.

    Args:
        trial: the model and its prompts.
        pieces: by name the sweep's values, and what computes those of a layer slowly, [prompt], padded on a side.
        scale: values that count for the largest too.
    """
    sizes, moved = [float(scale.abs().max())], [0.0]
    apart: dict[str, float] = {}
    for name, (found, slow) in pieces.items():
        for layer, values in enumerate(found):
            own = slow(layer, "right")
            sizes.append(float(own.abs().max()))
            apart[f"{name}, layer {layer}"] = float((values - own).abs().max())
            if not trial.is_exact:
                moved.append(float((slow(layer, "left") - own).abs().max()))
    where = largest([*apart.values()])
    return Measured(most([*apart.values()]) / most(sizes), trial.allowed(most(moved) / most(sizes)), [*apart][where])


def _streams_apart(one: Forward, other: Forward, allowed: float = 0.0) -> Measured:
    """How far what the layers returned is apart, relative to the largest value of the layer."""
    apart = [relative(torch.cat(theirs), torch.cat(ours)) for ours, theirs in zip(one.left, other.left, strict=True)]
    worst = largest(apart)
    return Measured(apart[worst], allowed, f"layer {worst}")


def _log_probabilities(trial: Trial, logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=-1).gather(1, torch.tensor(trial.answers)[:, None])[:, 0]


def _differences(trial: Trial, logits: Tensor) -> Tensor:
    ours, theirs = (logits.gather(1, torch.tensor(tokens)[:, None])[:, 0] for tokens in (trial.answers, trial.rivals))
    return ours - theirs
