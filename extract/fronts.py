"""Patched streams: corrupted prompts with something of the clean ones, run from the patched token on.

What stands before the patched token is as in the corrupted prompt, in every layer: a front runs over its keys and
values and holds nothing else. A front is one patch at one token, of all pairs of a batch that have it there; it grows
by a stream a layer. Which pairs there are is decided in `pairing`.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from extract.batches import Batch
from extract.interventions import Patch
from extract.parts import Contributions
from extract.shelf import Shelf
from extract.stack import Recording, Stack
from extract.task import Task
from extract.windows import KeysValues, Window

if TYPE_CHECKING:
    from extract.streams import Engine


@dataclass
class Front:
    """One patch at one token of some pairs.

    Attributes:
        patch: which.
        pairs: [pair], numbers of the pairs.
        token: the patched token's index in its prompt.
        rows: [pair], the corrupted prompts, as rows of their batch.
        clean, corrupted: [pair], the prompts.
        window: the patched token and all after it; all tokens where layers take no cache.
        end: the token that is read.
        column, end_column: [pair], where in the window the patched token and that one are.
        states: a stream [pair, place, width] for each layer at which it was patched.
        layers: those layers.
    """

    patch: Patch
    pairs: Tensor
    token: int
    rows: Tensor
    clean: Tensor
    corrupted: Tensor
    window: Window
    end: Window
    column: Tensor
    end_column: Tensor
    states: list[Tensor] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)

    @property
    def running(self) -> int:
        """Tokens of one stream."""
        return len(self.pairs) * self.window.places.shape[1]

    def advance(self, stack: Stack, layer: int, kept: KeysValues | None, budget: int, *, last: bool) -> None:
        """Run a layer on all streams, over the keys and values of the corrupted prompts."""
        if not self.states:
            return
        theirs = None if kept is None else kept.rows(self.rows)
        together = max(1, budget // self.running)
        after: list[Tensor] = []
        for first in range(0, len(self.states), together):
            group = self.states[first : first + together]
            hidden = torch.cat(group)
            if last and theirs is not None and hidden.shape[1] > 1:
                over = self.window.keys_values(stack, layer, hidden, theirs)
                hidden, _ = self.end.replay(stack, layer, self._at_end(hidden), over, known=True)
            else:
                hidden, _ = self.window.replay(stack, layer, hidden, theirs)
            after.extend(torch.split(self._at_end(hidden) if last else hidden, len(self.pairs)))
        self.states = after

    def join(self, engine: "Engine", layer: int, shelf: Shelf, left: Tensor, shared: int) -> None:
        """Add the stream that is patched at the layer that was just run.

        Args:
            engine: what all batches use.
            layer: that layer.
            shelf: what it did for all prompts in question.
            left: [prompt, token, width], the corrupted batch after the layer, but for its first `shared` tokens; not
                read of the last layer.
            shared: as said.
        """
        last = engine.is_last(layer)
        if last and bool((self.column != self.end_column).any()):
            return
        place = torch.full((len(self.pairs), 1), self.token, device=self.rows.device)
        corrupted = engine.places.index(self.corrupted, place, last_layer=last)[:, 0]
        clean = engine.places.index(self.clean, place, last_layer=last)[:, 0]
        state = self._patched(engine, layer, shelf, corrupted, clean)[:, None]
        if not last:
            around = left[self.rows[:, None], self.window.places - shared]
            here = torch.arange(around.shape[1], device=around.device) == self.column[:, None]
            state = torch.where(here[:, :, None], state, around)
        self.states.append(state)
        self.layers.append(layer)

    def ends(self) -> Tensor:
        """After the last layer: the last token of each stream, [stream, pair, width]."""
        return torch.stack([state[:, 0] for state in self.states])

    def _at_end(self, hidden: Tensor) -> Tensor:
        if hidden.shape[1] == 1:
            return hidden
        columns = self.end_column.repeat(len(hidden) // len(self.pairs))
        return hidden[torch.arange(len(hidden), device=hidden.device), columns][:, None]

    def _patched(self, engine: "Engine", layer: int, shelf: Shelf, corrupted: Tensor, clean: Tensor) -> Tensor:
        """The corrupted stream after the layer at the patched token, [pair, width]."""
        if self.patch.site == "resid":
            return shelf.left[clean]
        if self.patch.site == "delta":
            return shelf.entered[corrupted] + shelf.added["layer"][clean]
        assert engine.parts is not None, "parts are there where a patch needs them"
        attention, mlp = shelf.added["attention"], shelf.added["mlp"]
        if self.patch.site == "attn_out":
            given = Contributions(attention=attention[clean][:, None])
        else:
            given = Contributions(attention=attention[corrupted][:, None], mlp=mlp[clean][:, None])
        with engine.parts.given(given):
            return self.end.replay(engine.stack, layer, shelf.entered[corrupted][:, None])[0][:, 0]


def make_fronts(task: Task, batch: Batch, recording: Recording, stack: Stack) -> list[Front]:
    """The fronts of the pairs whose corrupted prompt is in the batch: one a patch, length and token.

    Args:
        task: the patches and pairs.
        batch: the prompts.
        recording: of the batch.
        stack: the model's layers; where they take no cache, streams are run from the first token on.
    """
    if not task.patches or not len(task.pairs):
        return []
    row_of = {prompt: row for row, prompt in enumerate(batch.rows.tolist())}
    lengths, read = batch.lengths.tolist(), (batch.read - batch.starts).tolist()
    at: dict[tuple[Patch, int, int], list[int]] = defaultdict(list)
    for pair, prompt in enumerate(task.pairs.corrupted.tolist()):
        if prompt not in row_of:
            continue
        length, end = lengths[row_of[prompt]], read[row_of[prompt]]
        for patch in task.patches:
            for token in _tokens(task, patch, pair, length, end, causal=stack.causal):
                at[patch, length, token].append(pair)
    columns = torch.arange(batch.tokens.shape[1], device=batch.rows.device)
    fronts = []
    for (patch, _, token), pairs in sorted(at.items()):
        numbers = torch.tensor(pairs)
        corrupted = task.pairs.corrupted[numbers]
        rows = torch.tensor([row_of[prompt] for prompt in corrupted.tolist()], device=batch.rows.device)
        patched, last = batch.starts[rows] + token, batch.read[rows]
        # Prompts of one length begin at the same column, so the window is the same for all of them.
        places = columns[None] if stack.cache is None else columns[None, int(patched[0]) : int(last[0]) + 1]
        fronts.append(
            Front(
                patch=patch,
                pairs=numbers,
                token=token,
                rows=rows,
                clean=task.pairs.clean[numbers].to(rows.device),
                corrupted=corrupted.to(rows.device),
                window=Window(recording, places, rows),
                end=Window(recording, last[:, None], rows),
                column=patched - places[0, 0],
                end_column=last - places[0, 0],
            )
        )
    return fronts


def _tokens(task: Task, patch: Patch, pair: int, length: int, read: int, *, causal: bool) -> range:
    """The tokens at which a pair is patched; in a causal model there is nothing to patch until the two differ."""
    if patch.position == "last":
        return range(read, read + 1)
    if patch.position == "token":
        return range(int(task.pairs.first_difference[pair]) if causal else 0, length)
    term = int(task.pairs.term[pair])
    return range(term, term + 1) if term >= 0 else range(0)
