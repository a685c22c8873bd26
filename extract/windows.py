"""A layer at chosen places of a prompt, while the rest of the prompt stands still.

In a causal model what a token becomes depends on the tokens before it by their keys and values alone. So a stream that
differs from another only from some place on is run from that place on, over the other's keys and values; prompts that
begin alike share their beginning; and of the last layer only the place that is read has to be computed.

A cache of our own is handed to the layer in place of transformers' one: it sees the keys and values that the layer has
just made, and decides with which ones the layer attends. Whether an architecture's layers can do this is tried at load
time (`supported`), never assumed. What is run at which places is decided in `streams`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from extract.memory import ran_out
from extract.offloading import fetched
from extract.stack import Call, Recording, Stack, check_finite, replay

_TIME = {"attention_mask": -2, "position_bias": -2, "position_embeddings": 1, "position_ids": 1, "cache_position": 0}
"""The dimension that counts a layer's own tokens, in the arguments that transformers gives to layers."""


@dataclass(frozen=True)
class KeysValues:
    """The keys and values of one layer, each [row, head, token, width of a head]."""

    keys: Tensor
    values: Tensor

    def rows(self, index: Tensor) -> "KeysValues":
        """Those of some rows, in their order."""
        return KeysValues(self.keys[index], self.values[index])

    def begin(self, new: "KeysValues") -> "KeysValues":
        """These tokens, then new ones; where there are more rows of new ones, these so many times over."""
        return KeysValues(_begun(self.keys, new.keys), _begun(self.values, new.values))

    def first(self, tokens: int) -> "KeysValues":
        """The first tokens of all rows."""
        return KeysValues(self.keys[:, :, :tokens], self.values[:, :, :tokens])

    def with_new(self, new: "KeysValues", places: Tensor) -> "KeysValues":
        """These, but for the places [row, token of `new`], where the new ones stand."""
        copies = len(new.keys) // len(self.keys)
        at_keys = places[:, None, :, None].expand(new.keys.shape)
        at_values = places[:, None, :, None].expand(new.values.shape)
        keys, values = _repeated(self.keys, copies), _repeated(self.values, copies)
        return KeysValues(keys.scatter(2, at_keys, new.keys), values.scatter(2, at_values, new.values))


class Window:
    """Some places of some prompts of a batch, and the arguments of every layer for them.

    Attributes:
        places: [row or 1, place], indices into the batch's tokens, ascending; one row if all rows have the same.
    """

    def __init__(self, recording: Recording, places: Tensor, rows: Tensor | None = None) -> None:
        """Cut the recorded arguments.

        Args:
            recording: of the whole batch.
            places: as the attribute.
            rows: [row], prompts of the batch that the window's rows are; by default all of them.
        """
        self.places = places
        self._tokens = recording.hidden.shape[1]
        self._prompts = len(recording.hidden)
        self._rows = rows
        self._calls = recording.calls
        self._cut: dict[tuple[int, int], Any] = {}
        ends = len(places) == 1 and int(places[0, -1]) == self._tokens - 1
        self._tail = ends and int(places[0, 0]) == self._tokens - places.shape[1]
        """Whether the window is all of the batch's tokens from one on."""

    def replay(
        self, stack: Stack, layer: int, hidden: Tensor, kept: KeysValues | None = None, *, known: bool = False
    ) -> tuple[Tensor, KeysValues | None]:
        """What a layer makes of the places.

        Args:
            stack: the model's layers.
            layer: which one.
            hidden: [copy x row, place, width]: one or more streams of the window, one after the other.
            kept: keys and values, for each of those rows or of one copy of them, of all tokens before the window, or of
                all tokens; None where the window is the whole prompt.
            known: whether `kept` holds those of the window too, as they will be.

        Returns:
            The hidden state after the layer, and the keys and values that it attended to; None where it did not
            attend, or where the stack has no windows, and the window is the whole prompt.
        """
        seen: list[KeysValues] = []

        def attend(new: KeysValues) -> KeysValues:
            seen.append(kept if known and kept is not None else self._attended(new, kept))
            return seen[0]

        call = self._call(stack, layer, hidden, attend)
        return replay(stack.layers[layer], hidden, call), seen[0] if seen else None

    def keys_values(self, stack: Stack, layer: int, hidden: Tensor, kept: KeysValues | None = None) -> KeysValues:
        """Only the keys and values that the layer would attend to; arguments as in `replay`."""

        def stop(new: KeysValues) -> KeysValues:
            raise _Stop(self._attended(new, kept))

        try:
            replay(stack.layers[layer], hidden, self._call(stack, layer, hidden, stop))
        except _Stop as stopped:
            return stopped.found
        raise AssertionError("a layer that attends asks its cache")

    def _attended(self, new: KeysValues, kept: KeysValues | None) -> KeysValues:
        if kept is None:
            return new
        if self._tail:
            return kept.first(self._tokens - self.places.shape[1]).begin(new)
        return kept.with_new(new, _repeated(self.places, len(new.keys) // len(self.places)))

    def _call(self, stack: Stack, layer: int, hidden: Tensor, attend: Callable[[KeysValues], KeysValues]) -> Call:
        rows = self._prompts if self._rows is None else len(self._rows)
        copies = len(hidden) // rows
        recorded = self._calls[layer]
        named = {name: self._argument(name, value, copies, hidden.device) for name, value in recorded.named.items()}
        cache = {} if stack.cache is None else {stack.cache: _Cache(attend)}
        return Call(recorded.positional, named | cache)

    def _argument(self, name: str, value: Any, copies: int, device: torch.device) -> Any:
        if name == "attention_mask" and value is None:
            # The key None stands for the causal mask, of which the recording has nothing.
            return self._once(0, copies, lambda: self._causal(device), spread=True)
        if name not in _TIME or value is None:
            return value
        if isinstance(value, Tensor):
            return self._once(id(value), copies, lambda: self._at(value, _TIME[name]), spread=value.dim() > 1)
        return tuple(self._argument(name, part, copies, device) for part in value)

    def _once(self, key: int, copies: int, cut: Callable[[], Tensor | None], *, spread: bool) -> Tensor | None:
        """Layers are given the same tensors, so each is cut once, and repeated once for so many copies."""
        if (key, 1) not in self._cut:
            self._cut[key, 1] = cut()
        if (key, copies) not in self._cut:
            found = self._cut[key, 1]
            alike = found is None or not spread or len(found) == 1
            self._cut[key, copies] = found if alike else _repeated(found, copies)
        result: Tensor | None = self._cut[key, copies]
        return result

    def _at(self, value: Tensor, dimension: int) -> Tensor:
        if value.dim() == 1:
            return value[self.places[0]]
        if self._rows is not None and len(value) == self._prompts:
            value = value[self._rows]
        if len(self.places) == 1:
            return value.index_select(dimension, self.places[0])
        shape = [1] * value.dim()
        shape[0], shape[dimension] = self.places.shape
        whole = list(value.shape)
        whole[0], whole[dimension] = self.places.shape
        return value.expand(len(self.places), *value.shape[1:]).gather(dimension, self.places.view(shape).expand(whole))

    def _causal(self, device: torch.device) -> Tensor | None:
        """[row or 1, 1, place, token]; None where the model would give none: for the whole, or for the last token."""
        if self.places.shape[1] == self._tokens:
            return None
        if self.places.shape[1] == 1 and bool((self.places == self._tokens - 1).all()):
            return None
        return (torch.arange(self._tokens, device=device) <= self.places[:, :, None])[:, None]


def whole(recording: Recording) -> Window:
    """All places of all prompts."""
    return Window(recording, torch.arange(recording.hidden.shape[1], device=recording.hidden.device)[None])


@torch.inference_mode()
def why_unsupported(stack: Stack, tokens: Tensor, mask: Tensor, tolerance: float) -> str | None:
    """Try whether every layer, run at places of its own over keys and values that are kept, gives what it gives whole.

    Args:
        stack: the model's layers.
        tokens: [prompt, token], a trial batch, padded on the right, with prompts of unequal lengths.
        mask: [prompt, token], 1 for a token of the prompt.
        tolerance: the most by which values may differ, relative to the largest of the layer.

    Returns:
        None if it does, or the reason why windows can't be used.

    Raises:
        ModelError: a layer gives numbers that are not finite.
    """
    if stack.cache is None:
        return "its layers take no cache"
    half = tokens.shape[1] // 2
    recording, begun = stack.record(tokens, mask), whole(stack.record(tokens[:, :half], mask[:, :half]))
    rest = Window(recording, torch.arange(half, tokens.shape[1], device=tokens.device)[None])
    ends = mask.sum(dim=1, keepdim=True) - 1
    hidden, everything, alone = recording.hidden, whole(recording), Window(recording, ends)
    places = ends[:, :, None].expand(-1, 1, hidden.shape[-1])
    for number, layer in enumerate(stack.layers):
        try:
            with fetched(layer):
                expected = replay(layer, hidden, recording.calls[number])
                check_finite(number, expected)
                kept = begun.keys_values(stack, number, hidden[:, :half])
                later, _ = rest.replay(stack, number, hidden[:, half:], kept)
                known = everything.keys_values(stack, number, hidden)
                last, _ = alone.replay(stack, number, hidden.gather(1, places), known, known=True)
                again, _ = alone.replay(stack, number, hidden.gather(1, places), known)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError) as error:
            if ran_out(error):
                raise
            return f"layer {number} can't be run at chosen places ({error})"
        most = tolerance * float(expected.abs().max())
        read = mask[:, half:, None] > 0
        ends_wanted = expected.gather(1, places)
        for found, wanted in ((later * read, expected[:, half:] * read), (last, ends_wanted), (again, ends_wanted)):
            if not float((found - wanted).abs().max()) <= most:
                return f"layer {number}, run at chosen places, gives other numbers than as a whole"
        hidden = expected
    return None


class _Stop(Exception):  # noqa: N818 - nothing went wrong
    def __init__(self, found: KeysValues) -> None:
        super().__init__()
        self.found = found


class _Cache:
    """Stands where transformers expects a cache, for one call of one layer."""

    def __init__(self, attend: Callable[[KeysValues], KeysValues]) -> None:
        self._attend = attend

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        attended = self._attend(KeysValues(keys, values))
        return attended.keys, attended.values


def _begun(kept: Tensor, new: Tensor) -> Tensor:
    """[row, head, token, width], the kept tokens before the new ones."""
    rows, heads, tokens, width = kept.shape
    joined = new.new_empty(len(new), heads, tokens + new.shape[2], width)
    joined.view(-1, rows, heads, joined.shape[2], width)[:, :, :, :tokens] = kept
    joined[:, :, tokens:] = new
    return joined


def _repeated(value: Tensor, copies: int) -> Tensor:
    return value if copies == 1 else value.repeat(copies, *[1] * (value.dim() - 1))
