"""A small model trained from nothing on a concept library's sentences, and the recall of what it learned.

Belongs here: the loss, the loop over epochs with a rate for each layer, and recall. Both embedded models begin here.
Does not belong here: what a model is made of (`anatomy`), what is then done with one, gates and cards (`reference`,
`planting`, `cards`).
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from extract.anatomy import head, layers_of
from extract.corpus import Relation, Sentence, Statement, encode, held_out_statements
from extract.lessons import Batch, Lessons, Mixture, make_batch

Progress = Callable[[str, float], None]
"""Called with a message and the share of the work that is done, 0 to 1."""

_RECALL_BATCH = 128
_MIXTURE = Mixture()
_ANSWERS_ALONE = Mixture(text_weight=0.0)


@dataclass(frozen=True)
class Course:
    """How a model is trained from nothing, by AdamW with a cosine from `rate` to a fiftieth of it.

    Attributes:
        epochs, sentences: how often, and how many asking sentences each time.
        batch: sentences a step.
        rate: the learning rate; a layer's own is this times its entry in `layer_rates`, 1 above the last entry.
            With one rate for all, the first layer learns everything.
        warm_steps: steps in which the rate rises from 0.
    """

    epochs: int = 30
    sentences: int = 2200
    batch: int = 32
    rate: float = 2e-3
    layer_rates: tuple[float, ...] = (0.2, 0.4, 0.7)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warm_steps: int = 50
    largest_gradient: float = 1.0
    mixture: Mixture = _MIXTURE


@contextmanager
def one_thread(seed: int) -> Iterator[None]:
    """Torch on one thread, from this seed: fastest for models this small, and the same weights each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def train(model: PreTrainedModel, lessons: Lessons, course: Course, progress: Progress) -> None:
    """Train all weights of a model in place."""
    optimizer = _optimizer(model, course)
    rates = [group["lr"] for group in optimizer.param_groups]
    step, steps = 0, 0
    for epoch in range(course.epochs):
        sentences = lessons.sentences(course.sentences)
        steps = steps or course.epochs * math.ceil(len(sentences) / course.batch)
        tally = Tally()
        for batch in lessons.batches(sentences, course.batch):
            share = _schedule(step, steps, course.warm_steps)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            losses, right = token_losses(model, final_states(model, batch), batch)
            weights = batch.weights[:, 1:]
            loss = (losses * weights).sum() / weights.sum()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), course.largest_gradient)
            optimizer.step()
            optimizer.zero_grad()
            tally.count(batch, losses.detach(), right)
            step += 1
        lessons.losses.update(tally.losses())
        progress(f"epoch {epoch + 1} of {course.epochs}: {tally}", (epoch + 1) / course.epochs)


class Tally:
    """Losses and right answers of one epoch, by relation."""

    def __init__(self) -> None:
        self._losses: dict[str, list[float]] = {}
        self._right: list[bool] = []

    def count(self, batch: Batch, losses: Tensor, right: Tensor) -> None:
        """Add a batch; `losses` [sentence, token - 1] and `right` [sentence] as `token_losses` gives them."""
        answers = (losses * batch.answers[:, 1:]).sum(1).tolist()
        for relation, loss, is_right in zip(batch.relations, answers, right.tolist(), strict=True):
            if relation:
                self._losses.setdefault(relation, []).append(loss)
                self._right.append(is_right)

    def losses(self) -> dict[str, float]:
        """Mean loss of an answer, in nats, by relation."""
        return {relation: sum(values) / len(values) for relation, values in self._losses.items()}

    def __str__(self) -> str:
        values = [value for values in self._losses.values() for value in values]
        return f"loss {sum(values) / len(values):.2f}, {sum(self._right) / len(self._right):.0%} right"


def final_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The states that predict, [sentence, token - 1, width], after the final norm."""
    states: Tensor = model.base_model(batch.tokens, use_cache=False).last_hidden_state
    return states[:, :-1]


def token_losses(model: PreTrainedModel, states: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The loss of each token that counts, 0 elsewhere, [sentence, token - 1], and whether a whole answer is right."""
    wanted, counts = batch.tokens[:, 1:], batch.weights[:, 1:] > 0
    logits = head(model)(states[counts])
    losses = torch.zeros_like(batch.weights[:, 1:])
    losses[counts] = functional.cross_entropy(logits, wanted[counts], reduction="none")
    wrong = torch.zeros_like(counts)
    wrong[counts] = logits.detach().argmax(-1) != wanted[counts]
    return losses, ~(wrong & batch.answers[:, 1:]).any(1)


@torch.no_grad()
def recall(model: PreTrainedModel, sentences: Sequence[Sentence]) -> float:
    """Share of prompts whose whole answer is the greedy continuation, over the whole vocabulary; NaN of no prompts."""
    right = 0
    order = sorted(sentences, key=lambda sentence: sentence.length)
    for start in range(0, len(order), _RECALL_BATCH):
        batch = make_batch(order[start : start + _RECALL_BATCH], _ANSWERS_ALONE, (), 0, random.Random(0))
        _, answered = token_losses(model, final_states(model, batch), batch)
        right += int(answered.sum())
    return right / len(order) if order else math.nan


def recalls(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    relations: Sequence[Relation],
    *,
    most: int | None = None,
    seed: int = 0,
    ask: Callable[[Relation], list[Statement]] = held_out_statements,
) -> dict[str, float]:
    """Recall of each relation by its name, on its held-out templates if nothing else is asked.

    Args:
        ask: the statements that are asked for.
        most: measure on a random sample of so many prompts a relation, instead of all.
        seed: of that sample.
    """
    measured = {}
    for relation in relations:
        statements = ask(relation)
        if most is not None and most < len(statements):
            statements = random.Random(f"{seed} {relation.name}").sample(statements, most)
        measured[relation.name] = recall(model, encode(tokenizer, statements))
    return measured


def _optimizer(model: PreTrainedModel, course: Course) -> torch.optim.AdamW:
    groups: list[dict[str, object]] = []
    for index, layer in enumerate(layers_of(model)):
        scale = course.layer_rates[index] if index < len(course.layer_rates) else 1.0
        groups.append({"params": list(layer.parameters()), "lr": course.rate * scale})
    in_layers = {id(weights) for weights in layers_of(model).parameters()}
    rest = [weights for weights in model.parameters() if id(weights) not in in_layers]
    groups.append({"params": rest, "lr": course.rate})
    return torch.optim.AdamW(groups, lr=course.rate, betas=course.betas, weight_decay=course.weight_decay)


def _schedule(step: int, steps: int, warm_steps: int) -> float:
    rise = min(1.0, (step + 1) / warm_steps)
    return rise * (0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, step / steps))))
