"""What a model's logits say of an answer: how likely it is, where it stands, and how far the rest has moved.

Pure functions of logits. Which streams the logits come from is in `sweep`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """The answer of each prompt under each of several streams; every value [stream, prompt], in float32.

    Attributes:
        logit: the answer's logit.
        log_probability: its log-probability, in nats.
        rank: tokens with a higher logit; 0 is the top.
        kl: KL(first stream || stream) over the vocabulary, in nats: sum of p (log p - log q).
    """

    logit: Tensor
    log_probability: Tensor
    rank: Tensor
    kl: Tensor


def blank(*shape: int) -> Outcome:
    """An outcome to be filled in: NaN everywhere."""
    return Outcome(*(torch.full(shape, torch.nan) for _ in range(4)))


def outcomes(logits: Tensor, answers: Tensor) -> Outcome:
    """Read answers off logits.

    Args:
        logits: [stream, prompt, token], the intact stream first.
        answers: [prompt], vocabulary indices.
    """
    values = logits.float()
    log_probabilities = torch.log_softmax(values, dim=-1)
    index = answers[None, :, None].expand(len(values), -1, 1)
    logit = values.gather(-1, index)
    intact = log_probabilities[:1]
    # Rounding can bring the sum a hair below zero, which no divergence is.
    kl = (intact.exp() * (intact - log_probabilities)).sum(dim=-1).clamp(min=0)
    return Outcome(
        logit=logit[..., 0],
        log_probability=log_probabilities.gather(-1, index)[..., 0],
        rank=(values > logit).sum(dim=-1).float(),
        kl=kl,
    )
