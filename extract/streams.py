"""One batch on its way up the stack: the intact stream, and the streams that join it at every layer.

At each layer the intact stream and all that have joined go through it together (`advance`); then new ones join: copies
of the intact stream that did without the layer, or with what it adds for another prompt (lesions), and corrupted
prompts that got something of the clean ones (patches). Once joined, a stream needs nothing but the layers above.

What does not differ is not run: prompts of a batch share the tokens with which they begin alike, a patched stream
starts at the patched token (`fronts`), and of the last layer only the token that is read is computed. In a model whose
tokens look ahead none of this holds, and streams are whole. Layers are run by `windows` and `parts`; what other batches
know is on the `shelf`; the order is `sweep`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from extract.batches import Batch
from extract.fronts import Front, make_fronts
from extract.interventions import Lesion
from extract.parts import Contributions, Parts
from extract.shelf import Places, Shelf, Taken
from extract.stack import Stack
from extract.task import Task
from extract.windows import KeysValues, Window, whole

_WORTH = 16
"""Tokens that a shared beginning has to save to be worth calls of its own."""


@dataclass(frozen=True)
class Engine:
    """What all batches of a sweep use.

    Attributes:
        stack, parts: the model's layers; parts are None where the task needs none.
        task: what is wanted.
        budget: tokens of one call of a layer, at most, unless a batch alone has more.
        places: where tokens lie on the shelf.
        donors: [prompt], who the donor of each lesioned prompt is.
    """

    stack: Stack
    parts: Parts | None
    task: Task
    budget: int
    places: Places
    donors: Tensor

    def is_last(self, layer: int) -> bool:
        """Whether nothing but the last token is wanted of what the layer gives."""
        return layer == len(self.stack.layers) - 1


@dataclass
class _Intact:
    """What the layer that was run last took and gave in the intact model: its beginning, and the rest."""

    entered: Tensor
    left: Tensor
    begun_entered: Tensor | None = None
    begun_left: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)
    begun_parts: dict[str, Tensor] = field(default_factory=dict)


class Streams:
    """The streams of one batch."""

    def __init__(self, engine: Engine, batch: Batch, *, shelved: bool) -> None:
        """Embed the batch.

        Args:
            engine: what all batches use.
            batch: the prompts, on the stack's device.
            shelved: whether other prompts take from these.
        """
        task, stack = engine.task, engine.stack
        self.batch = batch
        self.shelved = shelved
        """Whether other prompts take from these."""
        self._engine = engine
        tokens = batch.tokens.shape[1]
        rows = batch.rows.cpu()
        self.term_first = batch.starts + task.term_first[rows].to(stack.device)
        self.term_last = batch.starts + task.term_last[rows].to(stack.device)
        self.own = _own(task, batch, rows)
        """The prompts' own text, which their means are over: the first token [prompt], and the one behind the last."""
        self._shared = _shared_tokens(batch, self.term_first) if stack.cache is not None else 0
        recording = stack.record(batch.tokens, batch.mask)
        columns = torch.arange(tokens, device=stack.device)
        self._rest = Window(recording, columns[None, self._shared :])
        self._end = Window(recording, batch.read[:, None])
        if self._shared:
            begun = stack.record(batch.tokens[:1, : self._shared])
            self._begun = whole(begun)
            self._beginnings = begun.hidden
        rest = recording.hidden[:, self._shared :]
        # A view would hold the shared tokens of every prompt until the second layer.
        self._states = [rest.clone() if self._shared else rest]
        self._owners = [0]
        self._lesions: list[tuple[Lesion, int]] = []
        self._now = _Intact(self._states[0], self._states[0])
        if self._shared:
            self._now.begun_left = self._beginnings
        self._lesioned = bool(task.lesions) and bool(task.lesioned[rows].any())
        self._places = columns[None, self._shared :] - batch.starts[:, None]
        self._kept: KeysValues | None = None
        self.fronts: list[Front] = make_fronts(task, batch, recording, stack)
        if shelved:
            engine.places.add(batch.rows, self._places)

    def work(self, layer: int) -> float:
        """What a layer costs, in prompts that go through it whole."""
        joined = len(self._engine.task.lesions) * layer if self._lesioned else 0
        tokens = self.batch.tokens.shape[1]
        return len(self.batch.rows) * (1 + joined) + sum(front.running for front in self.fronts) * layer / tokens

    @property
    def intact(self) -> Tensor:
        """The intact stream at all tokens, [prompt, token, width], after the layer that was run last."""
        return self._assembled(self._now.begun_left, self._now.left)

    @property
    def last_tokens(self) -> Tensor:
        """The intact stream at the tokens that are read, [prompt, 1, width], after the layer that was run last."""
        return self._at_end(self._now.left)

    def contribution(self, part: str) -> Tensor:
        """What attention or MLP of that layer added, [prompt, token, width]."""
        return self._assembled(self._now.begun_parts.get(part), self._now.parts[part])

    def advance(self, layer: int) -> None:
        """Run a layer on all streams."""
        engine, last = self._engine, self._engine.is_last(layer)
        now = self._now = _Intact(self._states[0], self._states[0])
        kept = self._advance_beginnings(layer, now) if self._shared else None
        alone = bool(self.fronts) or engine.task.needs_parts or (last and engine.task.reads)
        after: list[Tensor] = [self._advance_intact(layer, now, kept)] if alone else []
        together = max(1, engine.budget // (len(self.batch.rows) * self._states[0].shape[1]))
        for first in range(len(after), len(self._states), together):
            group = self._states[first : first + together]
            hidden = group[0] if len(group) == 1 else torch.cat(group)
            owners = self._owners[first : first + together]
            out = self._through(layer, hidden, self._beginnings_for(kept, owners), last=last)
            after.extend(torch.split(out, len(self.batch.rows)))
        if not alone:
            now.left = after[0]
        self._states = after
        for front in self.fronts:
            front.advance(engine.stack, layer, self._kept, engine.budget, last=last)
        # Fronts that join run over those of the next layer: held on, they would be twice a stream's tokens a batch.
        self._kept = None

    def taken(self, layer: int) -> Taken:
        """For the shelf: what the layer took and gave here, a row a token."""
        now = self._cut(layer)
        parts = {part: _rows(values) for part, values in now.parts.items()}
        return Taken(_rows(now.entered), _rows(now.left), parts.get("attention"), parts.get("mlp"))

    def join(self, layer: int, shelf: Shelf | None) -> None:
        """Let the lesions and patches of the layer that was just run join.

        Args:
            layer: that layer.
            shelf: what it did for all prompts that others take from; None if no one takes anything.
        """
        now = self._cut(layer)
        if self._lesioned:
            for lesion in self._engine.task.lesions:
                self._lesions.append((lesion, layer))
                self._owners.append(self._beginning_of(lesion, layer))
                self._states.append(self._lesion(lesion, layer, now, shelf))
        if self.fronts:
            assert shelf is not None, "patches take from the shelf"
            for front in self.fronts:
                front.join(self._engine, layer, shelf, now.left, self._shared)

    def ends(self) -> Iterator[tuple[tuple[Lesion, int] | None, Tensor]]:
        """At the top: lesion and layer of each stream, the intact one first, and its last tokens [prompt, width]."""
        for key, state in zip([None, *self._lesions], self._states, strict=True):
            yield key, state[:, 0]

    def _advance_beginnings(self, layer: int, now: _Intact) -> KeysValues:
        """Run the shared tokens of every stream; their keys and values are what the rest is run over."""
        engine = self._engine
        now.begun_entered = now.begun_left = self._beginnings[:1]
        if engine.is_last(layer) and not (engine.task.reads or engine.task.needs_parts):
            return self._begun.keys_values(engine.stack, layer, self._beginnings)
        if engine.parts is not None:
            with engine.parts.taking() as made:
                self._begun.replay(engine.stack, layer, self._beginnings[:1])
            now.begun_parts = made
        self._beginnings, kept = self._begun.replay(engine.stack, layer, self._beginnings)
        now.begun_left = self._beginnings[:1]
        assert kept is not None, "beginnings are shared only where layers take a cache"
        return kept

    def _advance_intact(self, layer: int, now: _Intact, kept: KeysValues | None) -> Tensor:
        """Run the intact stream alone and whole, and keep what others need of it."""
        engine = self._engine
        mine = self._beginnings_for(kept, [0])
        if engine.is_last(layer) and engine.stack.cache and not (engine.task.reads or engine.task.needs_parts):
            self._kept = self._rest.keys_values(engine.stack, layer, now.entered, mine)
            now.left, _ = self._end.replay(engine.stack, layer, self._at_end(now.entered), self._kept, known=True)
            return now.left
        if engine.parts is None:
            now.left, self._kept = self._rest.replay(engine.stack, layer, now.entered, mine)
        else:
            with engine.parts.taking() as made:
                now.left, self._kept = self._rest.replay(engine.stack, layer, now.entered, mine)
            now.parts = made
        return self._at_end(now.left) if engine.is_last(layer) else now.left

    def _through(self, layer: int, hidden: Tensor, kept: KeysValues | None, *, last: bool) -> Tensor:
        stack = self._engine.stack
        if not last:
            return self._rest.replay(stack, layer, hidden, kept)[0]
        if stack.cache is None:
            return self._at_end(self._rest.replay(stack, layer, hidden)[0])
        attended = self._rest.keys_values(stack, layer, hidden, kept)
        return self._end.replay(stack, layer, self._at_end(hidden), attended, known=True)[0]

    def _beginnings_for(self, kept: KeysValues | None, owners: list[int]) -> KeysValues | None:
        """The keys and values of each stream's beginning, for each of its prompts."""
        if kept is None:
            return None
        index = torch.tensor(owners, device=self.batch.rows.device).repeat_interleave(len(self.batch.rows))
        return kept.rows(index)

    def _beginning_of(self, lesion: Lesion, layer: int) -> int:
        """Number of the beginning that a lesion runs over: one of its own, or that of the intact stream.

        The tokens before the term are the same in every prompt of a template, and so is what a layer adds to them: only
        the identity lesion changes them.
        """
        if not self._shared or lesion.kind != "identity":
            return 0
        now = self._now
        assert now.begun_entered is not None
        own = now.begun_entered
        if lesion.part != "layer":
            nothing = torch.zeros_like(own)
            own = self._exchanged(self._begun, layer, own, lesion.part, (nothing, now.begun_parts))
        self._beginnings = torch.cat([self._beginnings, own])
        return len(self._beginnings) - 1

    def _lesion(self, lesion: Lesion, layer: int, now: _Intact, shelf: Shelf | None) -> Tensor:
        """The intact stream as it leaves the layer under the lesion."""
        if lesion.kind == "identity":
            if lesion.part == "layer":
                return now.entered
            instead = torch.zeros_like(now.entered)
        else:
            assert shelf is not None, "the work of other prompts is on the shelf"
            instead, touched = self._instead(lesion, layer, shelf)
            if lesion.part == "layer":
                return torch.where(touched, now.entered + instead, now.left)
            instead = torch.where(touched, instead, now.parts[lesion.part])
        window = self._end if self._engine.is_last(layer) else self._rest
        return self._exchanged(window, layer, now.entered, lesion.part, (instead, now.parts))

    def _instead(self, lesion: Lesion, layer: int, shelf: Shelf) -> tuple[Tensor, Tensor]:
        """What stands for the layer's own work [prompt, token, width], and at which tokens it does."""
        engine, last = self._engine, self._engine.is_last(layer)
        places = (self.batch.read - self.batch.starts)[:, None] if last else self._places
        # What stands before the term is the same in all prompts of a template, and so is its work, if nothing looks on.
        first = (self.term_first - self.batch.starts)[:, None] if engine.stack.causal else torch.zeros_like(places)
        touched = (places >= first) & (places < self.batch.lengths[:, None])
        if lesion.kind == "mean":
            values, roles = shelf.means[lesion.part]
            return values[roles[engine.places.index(self.batch.rows, places, last_layer=last)]], touched[:, :, None]
        donors = engine.donors[self.batch.rows]
        theirs = engine.places.aligned(self.batch.rows, donors, places)
        return shelf.added[lesion.part][engine.places.index(donors, theirs, last_layer=last)], touched[:, :, None]

    def _exchanged(
        self, window: Window, layer: int, entered: Tensor, part: str, adds: tuple[Tensor, dict[str, Tensor]]
    ) -> Tensor:
        """What the layer makes of a stream if one part of it adds the first of `adds` instead of the second."""
        parts, (instead, own) = self._engine.parts, adds
        assert parts is not None, "parts are there where a lesion or patch needs them"
        given = Contributions(instead) if part == "attention" else Contributions(own["attention"], instead)
        with parts.given(given):
            return window.replay(self._engine.stack, layer, entered)[0]

    def _cut(self, layer: int) -> _Intact:
        """What the layer took and gave, of the last layer at the last token only."""
        now = self._now
        if not self._engine.is_last(layer):
            return now
        return _Intact(
            self._at_end(now.entered),
            self._at_end(now.left),
            now.begun_entered,
            now.begun_left,
            {part: self._at_end(values) for part, values in now.parts.items()},
            now.begun_parts,
        )

    def _at_end(self, hidden: Tensor) -> Tensor:
        """The tokens that are read, [row, 1, width], of [row, token, width] without the shared ones, or of such."""
        if hidden.shape[1] == 1:
            return hidden
        columns = (self.batch.read - self._shared).repeat(len(hidden) // len(self.batch.rows))
        return hidden[torch.arange(len(hidden), device=hidden.device), columns][:, None]

    def _assembled(self, begun: Tensor | None, rest: Tensor) -> Tensor:
        if not self._shared:
            return rest
        assert begun is not None
        return torch.cat([begun.expand(len(rest), -1, -1), rest], dim=1)


def _own(task: Task, batch: Batch, rows: Tensor) -> tuple[Tensor, Tensor]:
    if task.layout is None:
        return (batch.lengths > 1).long(), batch.lengths
    layout = task.layout.rows(rows)
    return layout.own_first.to(batch.rows.device), layout.own_end.to(batch.rows.device)


def _shared_tokens(batch: Batch, term_first: Tensor) -> int:
    """How many tokens all prompts begin with, none of them of a term; 0 where it is not worth while."""
    if len(batch.tokens) == 1 or bool(batch.starts.any()):
        return 0
    same = (batch.tokens == batch.tokens[:1]).all(dim=0).long().cumprod(dim=0).sum()
    shared = min(int(same), int(term_first.min()), int(batch.lengths.min()) - 1)
    return shared if shared * (len(batch.tokens) - 1) >= _WORTH else 0


def _rows(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])
