"""From what entered a module and the gradient of what left it to sums over its weights' gradients, for each prompt.

The gradient of a weight matrix is never there as a whole: its absolute values are summed in blocks that fit into the
cache, its squares without it. Belongs here: that arithmetic. Where inputs and gradients come from is in `backward`.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_BLOCK = {"cpu": 2**18, "cuda": 2**24}
"""Gradients at a time, by the sort of device: what stays in a processor's cache until it is summed."""

ABSOLUTE, SQUARED, EFFECT = range(3)
"""Places in a tensor of sums, [3, prompt] in float64: of |g|, of g squared, of g times w."""


def matrix_sums(entered: Tensor, left: Tensor, gradient: Tensor, *, bias: bool) -> Tensor:
    """Sums over the gradients of a matrix y = W a (+ bias), which are G = sum over tokens of b aᵀ.

    |g| is summed over blocks of G. For the squares ‖Bᵀ A‖² = ⟨B Bᵀ, A Aᵀ⟩ needs but one number for each two tokens. And
    as sum over tokens of b · y counts W and bias alike, it is the sum of g times w over both.

    Args:
        entered: a, [prompt, token, input].
        left: y, [prompt, token, output].
        gradient: b, the gradient of y, [prompt, token, output].
        bias: whether there is one; its gradients are part of the sums.

    Returns:
        The sums, [3, prompt] in float64.
    """
    entered, left, gradient = _present(entered, left, gradient)
    sums = torch.zeros(3, len(gradient), dtype=torch.float64, device=gradient.device)
    if gradient.shape[1] == 0:
        return sums
    sums[EFFECT] = (gradient * left).sum(dim=-1).double().sum(dim=-1)
    sums[ABSOLUTE] = _absolute(entered, gradient)
    tokens_alike = (entered @ entered.mT).double()
    sums[SQUARED] = (tokens_alike * (gradient @ gradient.mT)).sum(dim=(1, 2)).clamp(min=0)
    if bias:
        of_bias = gradient.sum(dim=1).double()
        sums[ABSOLUTE] += of_bias.abs().sum(dim=1)
        sums[SQUARED] += of_bias.square().sum(dim=1)
    return sums


def vector_sums(module: nn.Module, scaled: Tensor, gradient: Tensor) -> Tensor:
    """Sums over the gradients of a module that multiplies by a vector of weights, and may add one.

    Args:
        module: with a `weight` [width], and perhaps a `bias` [width].
        scaled: what is multiplied by the weights, as `scaled_by` gives it.
        gradient: of what left the module, [prompt, ..., width].

    Returns:
        The sums, [3, prompt] in float64.
    """
    gradient = gradient.float()
    between = tuple(range(1, gradient.ndim - 1))
    gradients = {"weight": (gradient * scaled).sum(dim=between), "bias": gradient.sum(dim=between)}
    return sum(
        (values_sums(gradients[name], weights) for name, weights in module.named_parameters(recurse=False)),
        torch.zeros(3, len(gradient), dtype=torch.float64, device=gradient.device),
    )


def values_sums(gradients: Tensor, weights: Tensor) -> Tensor:
    """Sums over gradients that are there as they are, [prompt, ...], for weights [...]: [3, prompt] in float64."""
    flat = gradients.float().flatten(1)
    rows = (flat.abs().sum(dim=1), flat.square().sum(dim=1), (flat * weights.float().flatten()).sum(dim=1))
    return torch.stack(rows).double()


def scaled_by(module: nn.Module, entered: Tensor, left: Tensor) -> Tensor | None:
    """What a norm multiplies by its weights, in float32: its output at weights of one less that at weights of zero.

    So it needs not be known whether the module takes its weight as it is or adds one to it.

    Returns:
        [prompt, ..., width], or None where the module does something else with its weights.
    """
    weight = module.get_parameter("weight").detach()
    if left.shape[-1:] != weight.shape or left.ndim < 3:
        return None
    values = entered.float()
    nothing = _with_weight(module, torch.zeros_like(weight, dtype=torch.float32))(values)
    scaled: Tensor = _with_weight(module, torch.ones_like(weight, dtype=torch.float32))(values) - nothing
    expected = nothing + weight.float() * scaled
    tolerance = 16 * torch.finfo(left.dtype).eps * float(expected.abs().max())
    return scaled if bool(((left.float() - expected).abs() <= tolerance).all()) else None


def _with_weight(module: nn.Module, weight: Tensor) -> nn.Module:
    """The module with another weight, its other parameters in float32; the module itself is left alone."""
    twin = copy.copy(module)
    others = {name: values.detach().float() for name, values in module.named_parameters(recurse=False)}
    twin.__dict__["_parameters"] = {**module.__dict__["_parameters"], **others, "weight": weight}
    twin.__dict__["_forward_hooks"] = type(module._forward_hooks)()
    # A forward of the instance's own, as offloading puts there, would run the module and not its twin.
    twin.__dict__.pop("forward", None)
    return twin


def _present(entered: Tensor, left: Tensor, gradient: Tensor) -> Sequence[Tensor]:
    """The tokens that have a gradient, in float32; in the last layer, of most modules, it is only each prompt's last.

    Tokens are told apart per prompt; where prompts have different numbers of them some without gradient stay.
    """
    busy = (gradient != 0).any(dim=-1)
    most = int(busy.sum(dim=1).max())
    kept = [entered, left, gradient]
    if most < gradient.shape[1]:
        order = busy.int().argsort(dim=1, descending=True, stable=True)[:, :most, None]
        kept = [values.gather(1, order.expand(-1, -1, values.shape[-1])) for values in kept]
    return [values.float() for values in kept]


def _absolute(entered: Tensor, gradient: Tensor) -> Tensor:
    """Sum of |G|, [prompt] in float64: within a row in float32, which torch sums in pairs, over rows in float64."""
    prompts, tokens, inputs = entered.shape
    outputs = gradient.shape[2]
    if tokens == 1:
        return entered.abs().sum(dim=(1, 2)).double() * gradient.abs().sum(dim=(1, 2)).double()
    block = _BLOCK.get(entered.device.type, _BLOCK["cuda"])
    height = min(outputs, max(1, block // inputs))
    abreast = min(prompts, max(1, block // (height * inputs)))
    space = torch.empty(abreast * height * inputs, device=entered.device)
    sums = torch.zeros(prompts, dtype=torch.float64, device=entered.device)
    for first in range(0, prompts, abreast):
        rows = slice(first, first + abreast)
        taken = entered[rows]
        for low in range(0, outputs, height):
            across = gradient[rows, :, low : low + height].mT
            piece = space[: len(taken) * across.shape[1] * inputs].view(len(taken), across.shape[1], inputs)
            torch.bmm(across, taken, out=piece)
            sums[rows] += piece.abs_().sum(dim=-1).double().sum(dim=-1)
    return sums
