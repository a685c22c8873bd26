"""The sweep: one pass up the stack of layers that takes activations, lesions and patches on the way.

All prompts go through a layer before any goes through the next: the weights of a layer are read once for everything,
and what was measured at a layer is complete, and can be written, before the next one begins. What goes through a layer
is in `streams`, what is wanted in `task`; what becomes of the numbers, in `extraction` and `effects`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from extract.batches import make_batches
from extract.head import Head
from extract.interventions import Lesion, Patch
from extract.machine import Machine
from extract.offloading import fetched
from extract.outcomes import Outcome, blank, outcomes
from extract.parts import Parts
from extract.shelf import Places, Shelf, choose_donors
from extract.stack import check_finite
from extract.streams import Engine, Streams
from extract.task import Task
from warehouse.errors import ModelError
from warehouse.tables import POSITIONS

_LOGITS = 2**24
"""Logits that are held at once, at most, unless one prompt has more."""

FIRST = "first"
"""Where else the stream is read: at the first token, which is no position of the warehouse's, but has its own table."""

SITES = ("resid", "attn_out", "mlp_out")
"""Where activations are read: the stream after a layer, and what attention and MLP added to it."""

Vectors = dict[str, dict[str, Tensor]]
"""By site and position, the stream also at FIRST: [prompt, width] in float32 on the CPU."""


@dataclass(frozen=True)
class Effects:
    """What lesions and patches did.

    Attributes:
        intact: of the lesioned prompts, values [prompt].
        lesions: for each lesion, values [layer, prompt].
        clean, corrupted: the logit difference of each pair's answers in its two prompts, [pair].
        patches: for each patch, the logit difference in the patched prompt, [layer, pair, 1]; of every token in turn
            [layer, pair, token], NaN behind the end of shorter prompts.
    """

    intact: Outcome
    lesions: dict[Lesion, Outcome]
    clean: Tensor
    corrupted: Tensor
    patches: dict[Patch, Tensor]


@torch.inference_mode()
def sweep(
    machine: Machine,
    task: Task,
    *,
    budget: int,
    workers: int = 1,
    side: str = "right",
    reading: Callable[[int, Vectors], None] = lambda layer, vectors: None,
    progress: Callable[[float], None] = lambda share: None,
) -> Effects:
    """Go up the stack once.

    Args:
        machine: the model.
        task: what is wanted.
        budget: tokens that go through a layer at once.
        workers: batches that go through a layer side by side; more than one pays where a batch can't fill a processor.
        side: where shorter prompts of a batch are padded.
        reading: called with each layer, from the embedding output (-1) up, and the activations there, if the task reads
            any; what it is given is the next layer's too, so it uses it before it returns.
        progress: called with the share of the work that was done since the last call.

    Raises:
        ModelError: numbers are not finite, or the task needs parts that this model's layers don't have.
    """
    if task.needs_parts and machine.parts is None:
        raise ModelError("Attention and MLP can't be told apart in this model: ask for whole layers and `resid`.")
    parts = machine.parts if task.needs_parts else None
    with ThreadPoolExecutor(workers) as pool:
        climb = _Climb(machine, parts, task, budget, side)
        climb.read(-1, reading)
        for number, layer in enumerate(machine.stack.layers):
            with fetched(layer), nullcontext() if parts is None else parts.open(number):
                for share in pool.map(partial(climb.advance, number), climb.batches):
                    progress(share)
                climb.join(number, pool)
            climb.read(number, reading)
        with machine.head.open():
            return climb.effects(machine.head, pool)


class _Climb:
    """All batches of one sweep."""

    def __init__(self, machine: Machine, parts: Parts | None, task: Task, budget: int, side: str) -> None:
        device = machine.stack.device
        self._task = task
        self._layers = len(machine.stack.layers)
        self._places = Places(task, device, causal=machine.stack.causal)
        donors = choose_donors(task) if bool(task.givers.any()) else torch.zeros(0, dtype=torch.long)
        engine = Engine(machine.stack, parts, task, budget, self._places, donors.to(device))
        taken_from = _taken_from(task)
        self.batches = [
            Streams(engine, batch.to(device), shelved=bool(taken_from[batch.rows].any()))
            for batch in make_batches(
                task.prompts, budget=budget, kinds=kinds(task), side=side, read=task.read.tolist()
            )
        ]
        self._into: Vectors = {}
        self._work = sum(streams.work(layer) for streams in self.batches for layer in range(self._layers))
        self._averaged = {lesion.part for lesion in task.lesions if lesion.kind == "mean"}

    @torch.inference_mode()
    def advance(self, layer: int, streams: Streams) -> float:
        """Run a layer on one batch; how much of all work that was."""
        streams.advance(layer)
        check_finite(layer, streams.last_tokens)
        return streams.work(layer) / self._work

    def join(self, layer: int, pool: ThreadPoolExecutor) -> None:
        """Let the layer's lesions and patches join, once it was run on all batches."""
        shelved = [streams.taken(layer) for streams in self.batches if streams.shelved]
        shelf = None
        if shelved:
            every, of_last = self._places.roles
            shelf = Shelf(shelved, of_last if layer == self._layers - 1 else every, self._averaged)
        list(pool.map(torch.inference_mode()(lambda streams: streams.join(layer, shelf)), self.batches))

    def read(self, layer: int, reading: Callable[[int, Vectors], None]) -> None:
        """Hand out the activations after a layer."""
        if not self._task.reads:
            return
        sites = SITES if self._task.contributions and layer >= 0 else SITES[:1]
        for streams in self.batches:
            for site in sites:
                hidden = streams.intact if site == "resid" else streams.contribution(_PART[site])
                found = read_positions(hidden, streams)
                if site == "resid":
                    rows = torch.arange(len(hidden), device=hidden.device)
                    found[FIRST] = hidden[rows, streams.batch.starts].float()
                for position, values in found.items():
                    into = self._into.setdefault(site, {})
                    if position not in into:
                        into[position] = torch.empty(len(self._task.prompts), values.shape[1])
                    into[position][streams.batch.rows.cpu()] = values.cpu()
        reading(layer, {site: self._into[site] for site in sites})

    def effects(self, head: Head, pool: ThreadPoolExecutor) -> Effects:
        """Read answers off the streams that have reached the top."""
        task = self._task
        lesioned = task.lesioned.nonzero()[:, 0] if task.lesions else torch.zeros(0, dtype=torch.long)
        place = torch.full((len(task.prompts),), -1)
        place[lesioned] = torch.arange(len(lesioned))
        intact = blank(len(lesioned))
        lesions = {lesion: blank(self._layers, len(lesioned)) for lesion in task.lesions}

        @torch.inference_mode()
        def answer(streams: Streams) -> None:
            rows = streams.batch.rows.cpu()
            if not task.lesions or not bool(task.lesioned[rows].any()):
                return
            keys, states = zip(*streams.ends(), strict=True)
            for some, found in _answers(head, torch.stack(states), task.answers[rows]):
                for number, key in enumerate(keys):
                    into, at = (intact, ()) if key is None else (lesions[key[0]], (key[1],))
                    for name, values in vars(found).items():
                        getattr(into, name)[(*at, place[rows[some]])] = values[number]

        list(pool.map(answer, self.batches))
        clean, corrupted, patches = self._differences(head, pool)
        return Effects(intact, lesions, clean, corrupted, patches)

    def _differences(self, head: Head, pool: ThreadPoolExecutor) -> tuple[Tensor, Tensor, dict[Patch, Tensor]]:
        """Logit differences: clean answer minus corrupted one."""
        task, pairs = self._task, self._task.pairs
        if not task.patches or not len(pairs):
            return torch.zeros(0), torch.zeros(0), {}
        intact: dict[int, Tensor] = {}
        for streams in self.batches:
            if streams.shelved:
                _, ends = next(streams.ends())
                intact |= dict(zip(streams.batch.rows.tolist(), ends, strict=True))
        clean, corrupted = (
            _difference(head, torch.stack([intact[prompt] for prompt in prompts.tolist()]), pairs.answers)
            for prompts in (pairs.clean, pairs.corrupted)
        )
        longest = max(len(task.prompts[prompt]) for prompt in pairs.corrupted.tolist())
        patches = {}
        for patch in task.patches:
            # A token before the first difference restores nothing, if nothing looks ahead; nor does the last layer at
            # any but the token that is read.
            tokens = longest if patch.position == "token" else 1
            patches[patch] = corrupted[None, :, None].repeat(self._layers, 1, tokens)
            if patch.position == "token":
                for pair, prompt in enumerate(pairs.corrupted.tolist()):
                    patches[patch][:, pair, len(task.prompts[prompt]) :] = torch.nan
            elif patch.position == "term":
                patches[patch][:, pairs.term < 0] = torch.nan

        @torch.inference_mode()
        def differ(streams: Streams) -> None:
            for front in streams.fronts:
                if not front.layers:
                    continue
                ends = front.ends()
                answers = pairs.answers[front.pairs].repeat(len(ends), 1)
                found = _difference(head, ends.flatten(0, 1), answers).view(len(ends), -1)
                token = front.token if front.patch.position == "token" else 0
                patches[front.patch][torch.tensor(front.layers)[:, None], front.pairs[None], token] = found

        list(pool.map(differ, self.batches))
        return clean, corrupted, patches


_PART = {"attn_out": "attention", "mlp_out": "mlp"}


def read_positions(hidden: Tensor, streams: Streams) -> dict[str, Tensor]:
    """Activations at the three positions.

    Args:
        hidden: [prompt, token, width].
        streams: which prompts these are, and where their terms end.

    Returns:
        `last`, `term` and `mean`, each [prompt, width] in float32. `mean` leaves the first token out, an attention sink
        of enormous norm in most models; of a prompt of one token it is that token. Of an encoder's prompt it leaves out
        all that is not the prompt's own text.
    """
    batch = streams.batch
    rows = torch.arange(len(hidden), device=hidden.device)
    place = torch.arange(hidden.shape[1], device=hidden.device) - batch.starts[:, None]
    own_first, own_end = streams.own
    counted = (place >= own_first[:, None]) & (place < own_end[:, None])
    weights = counted.float() / counted.sum(dim=1, keepdim=True)
    values = hidden.float()
    found = {
        "last": values[rows, batch.read],
        "term": values[rows, streams.term_last],
        "mean": torch.bmm(weights[:, None], values)[:, 0],
    }
    return {position: found[position] for position in POSITIONS}


def _taken_from(task: Task) -> Tensor:
    """[prompt], whether its layers' work is wanted for other prompts."""
    taken = task.givers.clone()
    if task.patches:
        taken[task.pairs.clean] = True
        taken[task.pairs.corrupted] = True
    return taken


def kinds(task: Task) -> list[int]:
    """[prompt], a number for its template and for what is done with it: prompts of two kinds share no batch."""
    if task.company is not None:
        company: list[int] = task.company.tolist()
        return company
    lesioned = task.lesioned.long() if task.lesions else torch.zeros(len(task.prompts), dtype=torch.long)
    found: list[int] = (task.templates * 4 + lesioned * 2 + _taken_from(task).long()).tolist()
    return found


def _answers(head: Head, states: Tensor, answers: Tensor) -> Iterator[tuple[slice, Outcome]]:
    """What streams [stream, prompt, width] answer, some prompts at a time, on the CPU."""
    streams, prompts = states.shape[:2]
    step = max(1, _LOGITS // (streams * head.vocabulary))
    for first in range(0, prompts, step):
        some = slice(first, first + step)
        logits = head.logits(states[:, some].flatten(0, 1))
        read = outcomes(logits.view(streams, -1, logits.shape[-1]), answers[some].to(logits.device))
        yield some, Outcome(*(values.cpu() for values in vars(read).values()))


def _difference(head: Head, hidden: Tensor, answers: Tensor) -> Tensor:
    """Logit of the first minus that of the second answer [vector, 2], for vectors [vector, width]; on the CPU."""
    chosen = head.chosen(hidden, answers.to(hidden.device)).float().cpu()
    return chosen[:, 0] - chosen[:, 1]
