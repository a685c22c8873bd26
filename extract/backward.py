"""One layer backwards: the gradient of what entered it, and sums over the gradients of its weights, for each prompt.

A layer is run once with a graph, and each module of a known kind is measured from its two ends. Weights that are not
known to be a matrix or a vector that multiplies (stacked experts, routers, sinks) take an exact and slow way, one
prompt at a time. Belongs here: what is run and watched. The arithmetic is in `gradients`, the order of layers in
`saliency`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from extract.batches import Batch
from extract.gradients import matrix_sums, scaled_by, values_sums, vector_sums
from extract.modules import LayerModules, Owner
from extract.stack import Call, replay

_MATRICES = (nn.Linear.forward, Conv1D.forward)


@dataclass(frozen=True)
class _Visit:
    """One call of a module: what entered it, what left it, and the place in the graph where it left."""

    entered: Tensor
    left: Tensor
    edge: GradientEdge


def backward(
    layer: nn.Module,
    named: LayerModules,
    entered: Tensor,
    call: Call,
    *,
    batch: Batch,
    alone: Callable[[int], Call],
    gradients: dict[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Take gradients down through a layer.

    Args:
        layer: the decoder layer.
        named: its weights.
        entered: [prompt, token, width].
        call: the layer's other arguments.
        batch: the prompts.
        alone: the layer's arguments for one prompt of the batch by itself.
        gradients: by target, of what leaves the layer, [prompt, token, width].

    Returns:
        By target, the gradient of what entered the layer, and the sums [3, row of `named`, prompt] in float64.
    """
    size = (3, len(named.names), len(entered))
    sums = {target: torch.zeros(size, dtype=torch.float64, device=entered.device) for target in gradients}
    below: dict[str, Tensor] = {}
    with torch.enable_grad():
        hidden = entered.detach().requires_grad_()
        with _watched(named.owners) as visits:
            left = replay(layer, hidden, call)
        with torch.no_grad():
            known = [_known(owner, visits.get(owner.path, []), entered.shape[:2]) for owner in named.owners]
        fast = [each for each in known if each is not None]
        ends: list[Any] = [hidden, *(each.edge for each in fast)]
        for number, (target, gradient) in enumerate(gradients.items(), start=1):
            kept = number < len(gradients)
            below[target], *found = torch.autograd.grad(left, ends, gradient, retain_graph=kept, allow_unused=True)
            with torch.no_grad():
                for each, at_end in zip(fast, found, strict=True):
                    if at_end is not None:
                        sums[target][:, each.row] += each.sums(at_end)
            del found
    odd = [owner for owner, each in zip(named.owners, known, strict=True) if each is None]
    if odd:
        for prompt, (start, last) in enumerate(zip(batch.starts.tolist(), batch.last.tolist(), strict=True)):
            part = slice(prompt, prompt + 1), slice(start, last + 1)
            _add_alone(
                layer,
                odd,
                entered[part],
                alone(prompt),
                gradients={target: gradient[part] for target, gradient in gradients.items()},
                sums={target: found[:, :, prompt] for target, found in sums.items()},
            )
    return below, sums


@dataclass(frozen=True)
class _Known:
    """A module that is measured from its two ends.

    Attributes:
        row: where its sums go.
        edge: where in the graph it left.
        sums: [3, prompt] from the gradient there.
    """

    row: int
    edge: GradientEdge
    sums: Callable[[Tensor], Tensor]


@contextmanager
def _watched(owners: Sequence[Owner]) -> Iterator[dict[str, list[_Visit]]]:
    """Keep both ends of all calls of modules that take one tensor and give one."""
    visits: dict[str, list[_Visit]] = {}

    def keep(path: str, _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        given = [*positional, *named.values()]
        if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor) and output.requires_grad:
            # The edge and not the tensor: what is done to the tensor in place afterwards is none of the module's.
            visits.setdefault(path, []).append(_Visit(given[0].detach(), output.detach(), get_gradient_edge(output)))

    hooks = [owner.module.register_forward_hook(partial(keep, owner.path), with_kwargs=True) for owner in owners]
    try:
        yield visits
    finally:
        for hook in hooks:
            hook.remove()


def _known(owner: Owner, visits: Sequence[_Visit], shape: Sequence[int]) -> _Known | None:
    """How to get sums from the gradient of what left a module; None where that is not known.

    Known are matrices that were called once, on [prompt, token, input], and vectors that were found to multiply.
    """
    module, own = owner.module, dict(owner.module.named_parameters(recurse=False))
    rows = {row for rows in owner.rows.values() for row in rows}
    if len(visits) != 1 or len(rows) != 1 or not {"weight"} <= own.keys() <= {"weight", "bias"}:
        return None
    visit, row = visits[0], rows.pop()
    if type(module).forward in _MATRICES and visit.entered.ndim == 3 and visit.entered.shape[:2] == shape:
        return _Known(row, visit.edge, partial(matrix_sums, visit.entered, visit.left, bias="bias" in own))
    if all(values.ndim == 1 for values in own.values()) and visit.entered.shape[:1] == shape[:1]:
        scaled = scaled_by(module, visit.entered, visit.left)
        if scaled is not None:
            return _Known(row, visit.edge, partial(vector_sums, module, scaled))
    return None


def _add_alone(
    layer: nn.Module,
    owners: Sequence[Owner],
    entered: Tensor,
    call: Call,
    *,
    gradients: dict[str, Tensor],
    sums: dict[str, Tensor],
) -> None:
    """Add the sums of some modules for one prompt, [1, token, width], to those by target, [3, row].

    The layer is run with tensors in the place of their weights that share the memory and ask for a gradient.
    """
    rows = {f"{owner.path}.{name}".lstrip("."): rows for owner in owners for name, rows in owner.rows.items()}
    weights = {path: layer.get_parameter(path).detach().requires_grad_() for path in rows}
    with torch.enable_grad():
        left = replay(_Swapped(layer, weights), entered, call)
    for number, (target, gradient) in enumerate(gradients.items(), start=1):
        kept = number < len(gradients)
        of_weights = torch.autograd.grad(left, list(weights.values()), gradient, retain_graph=kept, allow_unused=True)
        with torch.no_grad():
            for path, found in zip(rows, of_weights, strict=True):
                if found is None:
                    continue
                # One expert at a time: copies in float32 then are small.
                pieces = zip(found, weights[path], strict=True) if len(rows[path]) > 1 else [(found, weights[path])]
                for row, (piece, of_piece) in zip(rows[path], pieces, strict=True):
                    sums[target][:, row] += values_sums(piece[None], of_piece)[:, 0]


class _Swapped(nn.Module):
    """A layer with other tensors in the place of some parameters, while it is called and no longer."""

    def __init__(self, layer: nn.Module, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self._run = partial(functional_call, layer, parameters)

    def forward(self, *positional: Any, **named: Any) -> Any:
        """As the layer's own."""
        return self._run(positional, named)
