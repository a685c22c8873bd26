"""Parity of gradients: the pass down the stack against autograd through the whole model, for one prompt's loss.

The slow way keeps the graph of the whole model and takes one layer's gradients at a time, as they are. The other pieces
of the engine are in `parity`, the pass itself in `descent`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from extract.batches import make_batches
from extract.descent import Asked, Descent
from extract.gradients import ABSOLUTE
from extract.modules import LayerModules, layer_modules
from extract.parity import BUDGET
from extract.stack import positions
from extract.trial import Incomparable, Measured, Trial, largest, most, relative

_EXACT = 1e-4
"""The most by which gradients in float32 may differ, relative to the largest of their layer: sums over tokens of what
came back through all layers above, they round ten times as much as a logit."""


def saliency_parity(trial: Trial) -> Measured:
    """The mean |g| of every module, of one prompt's loss: the pass down the stack against autograd through the model.

    Raises:
        Incomparable: weights are offloaded, so that no graph can hold them, or autograd refuses them.
    """
    named = [layer_modules(layer) for layer in trial.machine.stack.layers]
    if any(weights.is_meta for layer in trial.machine.stack.layers for weights in layer.parameters()):
        raise Incomparable("autograd through the whole model needs all of its weights at once, and they are offloaded")
    try:
        own = _own_gradients(trial, named, trial.prompts[:1])
    except (RuntimeError, NotImplementedError) as error:
        raise Incomparable(str(error)) from error
    asked = Asked(trial.prompts[:1], torch.tensor(trial.answers[:1]), torch.tensor([-1]), trial.read[:1])
    batches = make_batches(asked.indices, budget=BUDGET, read=asked.read)
    with torch.inference_mode(mode=False):
        sums = Descent(trial.loaded, trial.machine.stack, named, asked, lambda _: None).run(batches, None)
    found = [
        of_layer["loss"][ABSOLUTE, :, 0] / torch.tensor(each.weights)
        for of_layer, each in zip(sums, named, strict=True)
    ]
    moved = [0.0]
    if not trial.is_exact:
        # The same prompt twice, and the mean of both losses: the gradients would be the same if numbers were exact.
        again = _own_gradients(trial, named, trial.prompts[:1] * 2)
        moved = [relative(other, one) for other, one in zip(again, own, strict=True)]
    apart = [relative(fast, slow) for fast, slow in zip(found, own, strict=True)]
    worst = largest(apart)
    module = named[worst].names[largest((found[worst] - own[worst]).abs().tolist())]
    allowed = _EXACT if trial.is_exact else trial.allowed(most(moved))
    return Measured(apart[worst], allowed, f"layer {worst}, {module}")


def _own_gradients(trial: Trial, named: Sequence[LayerModules], prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """By layer, mean |g| of each row of its modules, by autograd through the whole model; one layer's at a time."""
    layers = trial.machine.stack.layers
    tokens = torch.tensor(prompts, device=trial.machine.stack.device)
    found = []
    with torch.inference_mode(mode=False), torch.enable_grad(), _differentiable(layers):
        places = positions(tokens, None, trial.machine.stack.first_position)
        given = {"input_ids": tokens, "position_ids": places, "use_cache": False}
        logits = trial.loaded.model(**given).logits[:, trial.read[0]].float()
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
