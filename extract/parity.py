"""Parity: whether each piece of the engine gives what the model's own forward gives, and how exact that forward is.

Each function tries one piece on a trial and tells how far the two ways are apart, the most that they may be, and where.
The slow way is the model's own forward with hooks, or plain autograd. Verdicts, words and rows are made of it in
`verification`; what is tried, and how exact it has to be, is in `trial`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from extract.batches import Batch, make_batches
from extract.descent import Asked, Descent
from extract.gradients import ABSOLUTE
from extract.hooked import Edit, Forward, one_batch, unpadded
from extract.interventions import Lesion, Patch
from extract.modules import LayerModules, layer_modules
from extract.offloading import fetched
from extract.stack import positions, replay
from extract.sweep import sweep
from extract.task import Pairs, Task
from extract.trial import Trial

PATCHES = (Patch("resid", "last"), Patch("resid", "term"), Patch("delta", "last"))

_BUDGET = 512


@dataclass(frozen=True)
class Measured:
    """What came of trying one piece.

    Attributes:
        value: how far the two ways are apart, relative to the largest value.
        allowed: the most that they may be.
        where: where they are furthest apart.
    """

    value: float
    allowed: float
    where: str


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
    """Measure it: each prompt alone, against itself among copies, and padded on either side in a batch with others."""
    activations = logits = difference = 0.0
    for company in (trial.among_copies, *trial.padded.values()):
        activations = max(activations, _streams_apart(trial.alone, company).value)
        logits = max(logits, _relative(company.logits, trial.alone.logits))
        moved = _differences(trial, company.logits) - _differences(trial, trial.alone.logits)
        difference = max(difference, float(moved.abs().max()))
    return Floor(activations, logits, difference)


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
    last = torch.stack([hidden[-1] for hidden in trial.alone.left[-1]]).to(device, dtype)
    with torch.inference_mode(), trial.machine.head.open():
        found = trial.machine.head.logits(last).float().cpu()
    value = _relative(found, trial.alone.logits)
    return Measured(value, trial.allowed(own_floor.logits), "logits after the last token")


def lesion_parity(trial: Trial) -> Measured:
    """The answers' log-probabilities under the identity lesion of each layer: the sweep against a forward with a hook."""
    effects = sweep(trial.machine, _task(trial, patched=False), budget=_BUDGET, workers=trial.workers)
    found = effects.lesions[Lesion("identity")].log_probability

    def slow(layer: int, side: str) -> Tensor:
        own = trial.forward(trial.prompts, side=side, layer=layer, edit=lambda _, entered, __: entered)
        return _log_probabilities(trial, own.logits)

    return _against(trial, {"identity lesion": (found, slow)}, _log_probabilities(trial, trial.alone.logits))


def patch_parity(trial: Trial) -> Measured:
    """Logit differences of patched prompts, of `PATCHES` at each layer: the sweep against a forward with a hook."""
    effects = sweep(trial.machine, _task(trial, patched=True), budget=_BUDGET, workers=trial.workers)

    def slow(patch: Patch, layer: int, side: str) -> Tensor:
        own = trial.forward(trial.corrupted, side=side, layer=layer, edit=_exchange(trial, patch, layer))
        return _differences(trial, own.logits)

    pieces = {
        f"patch {patch.site}:{patch.position}": (effects.patches[patch][:, :, 0], partial(slow, patch))
        for patch in PATCHES
    }
    return _against(trial, pieces, trial.alone.logits)


def saliency_parity(trial: Trial) -> Measured:
    """The mean |g| of every module, of one prompt's loss: the pass down the stack against autograd through the model.

    Raises:
        RuntimeError: the model's own weights can't be differentiated: they are offloaded, or no real numbers.
    """
    named = [layer_modules(layer) for layer in trial.machine.stack.layers]
    own = _own_gradients(trial, named, trial.prompts[:1])
    asked = Asked(trial.prompts[:1], torch.tensor(trial.answers[:1]), torch.tensor([-1]))
    batches = make_batches(asked.indices, budget=_BUDGET)
    with torch.inference_mode(mode=False):
        sums = Descent(trial.loaded, trial.machine.stack, named, asked, lambda _: None).run(batches, None)
    found = [
        of_layer["loss"][ABSOLUTE, :, 0] / torch.tensor(each.weights)
        for of_layer, each in zip(sums, named, strict=True)
    ]
    moved = 0.0
    if not trial.is_exact:
        # The same prompt twice: of each the loss is halved, so that the gradients are those of one.
        again = _own_gradients(trial, named, trial.prompts[:1] * 2)
        moved = max(_relative(other, one) for other, one in zip(again, own, strict=True))
    apart = [_relative(fast, slow) for fast, slow in zip(found, own, strict=True)]
    worst = _largest(apart)
    module = named[worst].names[_largest((found[worst] - own[worst]).abs().tolist())]
    return Measured(apart[worst], trial.allowed(moved), f"layer {worst}, {module}")


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
    )
    if not patched:
        return Task(**{**vars(task), "lesions": (Lesion("identity"),)})
    pairs = Pairs(
        clean=numbers,
        corrupted=numbers + count,
        answers=torch.tensor([*zip(trial.answers, trial.rivals, strict=True)]),
        first_difference=torch.tensor(trial.term_last),
        term=torch.tensor(trial.term_last),
        numbers=numbers,
    )
    return Task(**{**vars(task), "patches": PATCHES, "pairs": pairs})


def _exchange(trial: Trial, patch: Patch, layer: int) -> Edit:
    """Put the clean prompts' stream, or what the layer added to it, into the corrupted ones, at one token of each."""

    def edit(batch: Batch, entered: Tensor, left: Tensor) -> Tensor:
        changed = left.clone()
        for row, pair in enumerate(batch.rows.tolist()):
            token = trial.term_last[pair] if patch.position == "term" else len(trial.prompts[pair]) - 1
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
    largest, worst, moved, where = float(scale.abs().max()), 0.0, 0.0, ""
    for name, (found, slow) in pieces.items():
        for layer, values in enumerate(found):
            own = slow(layer, "right")
            largest = max(largest, float(own.abs().max()))
            apart = float((values - own).abs().max())
            if not where or not apart <= worst:
                worst, where = apart, f"{name}, layer {layer}"
            if not trial.is_exact:
                moved = max(moved, float((slow(layer, "left") - own).abs().max()))
    return Measured(worst / largest, trial.allowed(moved / largest), where)


def _own_gradients(trial: Trial, named: Sequence[LayerModules], prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """By layer, mean |g| of each row of its modules, by autograd through the whole model; one layer's at a time."""
    layers = trial.machine.stack.layers
    tokens = torch.tensor(prompts, device=trial.machine.stack.device)
    found = []
    with torch.inference_mode(mode=False), torch.enable_grad(), _differentiable(layers):
        given = {"input_ids": tokens, "position_ids": positions(tokens, None), "use_cache": False}
        logits = trial.loaded.model(**given).logits[:, -1].float()
        loss = -logits.log_softmax(dim=-1)[:, trial.answers[0]].mean()
        for layer, each in zip(layers, named, strict=True):
            weights = dict(layer.named_parameters())
            of_weights = torch.autograd.grad(loss, list(weights.values()), retain_graph=True, allow_unused=True)
            gradients = dict(zip(weights, of_weights, strict=True))
            sums = torch.zeros(len(each.names), dtype=torch.float64)
            for owner in each.owners:
                for name, rows in owner.rows.items():
                    gradient = gradients[f"{owner.path}.{name}".lstrip(".")]
                    if gradient is not None:
                        pieces = gradient if len(rows) > 1 else [gradient]
                        for row, piece in zip(rows, pieces, strict=True):
                            sums[row] += float(piece.double().abs().sum())
            found.append(sums / torch.tensor(each.weights))
    return found


@contextmanager
def _differentiable(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block all weights of the layers ask for gradients, if they did not."""
    frozen = [weights for layer in layers for weights in layer.parameters() if not weights.requires_grad]
    try:
        for weights in frozen:
            weights.requires_grad_()
        yield
    finally:
        for weights in frozen:
            weights.requires_grad_(False)


def _streams_apart(one: Forward, other: Forward, allowed: float = 0.0) -> Measured:
    """How far what the layers returned is apart, relative to the largest value of the layer."""
    apart = [_relative(torch.cat(theirs), torch.cat(ours)) for ours, theirs in zip(one.left, other.left, strict=True)]
    worst = _largest(apart)
    return Measured(apart[worst], allowed, f"layer {worst}")


def _relative(found: Tensor, expected: Tensor) -> float:
    largest = float(expected.abs().max())
    apart = float((found - expected).abs().max())
    return apart / largest if largest else apart


def _largest(values: Sequence[float]) -> int:
    """Where the largest stands; a NaN is larger than all."""
    return max(range(len(values)), key=lambda place: (values[place] != values[place], values[place]))


def _log_probabilities(trial: Trial, logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=-1).gather(1, torch.tensor(trial.answers)[:, None])[:, 0]


def _differences(trial: Trial, logits: Tensor) -> Tensor:
    ours, theirs = (logits.gather(1, torch.tensor(tokens)[:, None])[:, 0] for tokens in (trial.answers, trial.rivals))
    return ours - theirs
