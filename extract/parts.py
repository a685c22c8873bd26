"""What attention and MLP each add to the residual stream within a layer, and a layer run with that exchanged.

Which modules do the work is not known by name of architecture: in each layer the one child with matrices that calls
itself attention is attention, the other is the MLP, and what they return goes through further children of the layer
(norms behind attention in Gemma and OLMo, dropout) until it is added to the stream. `Parts.of` follows it there in a
real forward and proves it: with both contributions exchanged for zero the layer must give back what it took, and with
both put back, what it gave. A layer for which that does not hold is refused.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from extract.offloading import fetched
from extract.stack import Recording, Stack, by_passed, replay
from warehouse.errors import ModelError

PARTS = ("attention", "mlp")


@dataclass(frozen=True)
class Contributions:
    """What was added to the stream, each [row, token, width]; None for what is to be computed."""

    attention: Tensor | None = None
    mlp: Tensor | None = None


@dataclass
class _Plan:
    """What one call of a layer is to do: which contributions it is given, and those that it made."""

    given: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Chain:
    """The children of a layer that a contribution comes from and goes through.

    Attributes:
        modules: the first computes it, the others change it on its way.
        returned: how many things the first returns, or 0 for a tensor alone.
    """

    modules: tuple[nn.Module, ...]
    returned: int


class Parts:
    """Attention and MLP of every layer of a stack. Made by `of`."""

    def __init__(self, chains: Sequence[dict[str, _Chain]]) -> None:
        self._chains = chains
        self._local = threading.local()

    @classmethod
    @torch.inference_mode()
    def of(cls, name: str, stack: Stack, recording: Recording) -> "Parts":
        """Find the parts of every layer, and prove them on a recorded batch.

        Args:
            name: what the model is called in errors.
            stack: its layers.
            recording: a trial batch of a few tokens.

        Raises:
            ModelError: a layer has no two such parts, or does not simply add what they return.
        """
        hidden, chains = recording.hidden, []
        for number, layer in enumerate(stack.layers):
            where = f"{name}, layer {number}"
            with fetched(layer):
                chains.append(_chains(where, layer, hidden, recording, number))
                parts = cls(chains)
                with parts.open(number):
                    hidden = parts._proved(where, layer, hidden, recording, number)
        return parts

    @contextmanager
    def open(self, layer: int) -> Iterator[None]:
        """Within the block, a layer heeds `taking` and `given`; what was replaced for that is put back at its end."""
        with ExitStack() as closing:
            for part, chain in self._chains[layer].items():
                heeding = [
                    partial(self._heed, part, chain, place, module.forward)
                    for place, module in enumerate(chain.modules)
                ]
                closing.enter_context(by_passed(chain.modules, *heeding))
            yield

    @contextmanager
    def taking(self) -> Iterator[dict[str, Tensor]]:
        """Within the block, the contributions of the layer that this thread runs: [row, token, width] by part."""
        with self._planned(_Plan()) as plan:
            yield plan.made

    @contextmanager
    def given(self, contributions: Contributions) -> Iterator[None]:
        """Within the block, layers that this thread runs are given contributions and compute only the others."""
        values = {part: getattr(contributions, part) for part in PARTS}
        with self._planned(_Plan({part: value for part, value in values.items() if value is not None})):
            yield

    @contextmanager
    def _planned(self, plan: _Plan) -> Iterator[_Plan]:
        self._local.plan = plan
        try:
            yield plan
        finally:
            self._local.plan = None

    def _heed(self, part: str, chain: _Chain, place: int, own: Any, *positional: Any, **named: Any) -> Any:
        plan: _Plan | None = getattr(self._local, "plan", None)
        if plan is None:
            return own(*positional, **named)
        if part in plan.given:
            value = plan.given[part]
            return value if place or not chain.returned else (value, *[None] * (chain.returned - 1))
        output = own(*positional, **named)
        plan.made[part] = _first(output)
        return output

    def _proved(self, where: str, layer: nn.Module, hidden: Tensor, recording: Recording, number: int) -> Tensor:
        call = recording.calls[number]
        with self.taking() as made:
            expected = replay(layer, hidden, call)
        attention, mlp = made["attention"], made["mlp"]
        with self.given(Contributions(torch.zeros_like(hidden), torch.zeros_like(hidden))):
            nothing = replay(layer, hidden, call)
        with self.given(Contributions(attention, mlp)):
            again = replay(layer, hidden, call)
        if not torch.equal(nothing, hidden) or not torch.equal(again, expected):
            raise ModelError(
                f"{where} does more than add what attention and MLP return: its parts can't be told apart."
            )
        difference = float((hidden.float() + attention.float() + mlp.float() - expected.float()).abs().max())
        if not difference <= _rounding(expected):
            raise ModelError(f"{where} scales what attention or MLP return before adding it; parts are not supported.")
        return expected


def _chains(where: str, layer: nn.Module, hidden: Tensor, recording: Recording, number: int) -> dict[str, _Chain]:
    """The chains of one layer, found by running it on a trial batch."""
    heavy = {
        name: child
        for name, child in layer.named_children()
        if any(weights.dim() > 1 for weights in child.parameters())
    }
    attention = [name for name in heavy if "att" in name]
    others = [name for name in heavy if "att" not in name]
    if len(attention) != 1 or len(others) != 1:
        raise ModelError(
            f"{where} has the parts {sorted(heavy)} where one attention and one MLP were expected: lesions and patches "
            "of parts are not supported for it."
        )
    seen: list[tuple[nn.Module, Tensor, Any]] = []
    hooks = [
        child.register_forward_hook(
            lambda module, positional, named, output: seen.append(
                (module, positional[0] if positional else next(iter(named.values())), output)
            ),
            with_kwargs=True,
        )
        for child in layer.children()
    ]
    try:
        replay(layer, hidden, recording.calls[number])
    finally:
        for hook in hooks:
            hook.remove()
    return {part: _followed(heavy[names[0]], seen) for part, names in (("attention", attention), ("mlp", others))}


def _followed(module: nn.Module, seen: list[tuple[nn.Module, Tensor, Any]]) -> _Chain:
    place, output = next((place, out) for place, (called, _, out) in enumerate(seen) if called is module)
    modules, value = [module], _first(output)
    for called, taken, returned in seen[place + 1 :]:
        if taken is value:
            modules.append(called)
            value = _first(returned)
    return _Chain(tuple(modules), len(output) if isinstance(output, tuple) else 0)


def _first(output: Any) -> Tensor:
    found: Tensor = output if isinstance(output, Tensor) else output[0]
    return found


def _rounding(values: Tensor) -> float:
    """The most by which sums of three in another order may differ."""
    return 8 * torch.finfo(values.dtype).eps * float(values.abs().max())
