"""What gradients, answers and the trials before them would put through a model, for the batches that a run would make.

The sweep's counts come from `hollow`; here are those of what goes batch by batch. What it costs is in `costs`.
"""

from collections.abc import Sequence

from extract.answers import TOKEN_BUDGETS as OF_ANSWERS
from extract.batches import make_batches
from extract.costs import Work, answers_work, saliency_work
from extract.extraction import rows_of
from extract.outline import Outline
from extract.planned import Choices, Plan
from extract.saliency import TOKEN_BUDGETS as OF_GRADIENTS
from extract.saliency import asked_of
from extract.sizes import rows_in


def saliency_of(plan: Plan, shape: Outline, choices: Choices, device: str) -> tuple[Work, int]:
    """The cost of gradients, and the tokens of the largest batch."""
    if not plan.subject.sample.num_rows:
        return Work(), 0
    _, asked = asked_of(plan.subject.tokenized.take(rows_in(plan)), plan.pair_tokens)
    made = make_batches(asked.indices, budget=choices.token_budget or OF_GRADIENTS[device])
    batches = [(len(batch.rows), batch.tokens.shape[1], bool((asked.rivals[batch.rows] >= 0).any())) for batch in made]
    return saliency_work(batches, shape, groups=len(batches)), max(rows * tokens for rows, tokens, _ in batches)


def answers_of(plan: Plan, shape: Outline, choices: Choices, device: str) -> tuple[Work, int, int]:
    """The cost of answers, and the rows and tokens of the largest batch."""
    if not plan.answered.num_rows:
        return Work(), 0, 0
    rows = rows_of(plan.answered, plan.subject.prompts)
    lengths = [plan.subject.tokenized.indices[row] for row in rows]
    filled = [[*tokens, *[0] * choices.new_tokens] for tokens in lengths]
    budget = choices.token_budget or OF_ANSWERS[device]
    made = make_batches(filled, budget=max(budget // (len(shape.layers) + 1), 1))
    batches = [(len(batch.rows), batch.tokens.shape[1] - choices.new_tokens) for batch in made]
    prompts, tokens = max(batches, key=lambda batch: batch[0] * batch[1])
    work = answers_work(batches, shape, choices.new_tokens)
    return work, prompts * (len(shape.layers) + 1), tokens + choices.new_tokens


def preparation_of(chosen: Sequence[Plan], shape: Outline) -> Work:
    """The trials before anything is measured: of the stack, of windows, of parts; again, by concept."""
    parts = any(plan.wanted.needs_parts for plan in chosen)
    again = sum(2 + bool(plan.subject.sample.num_rows) for plan in chosen)
    passes = 2 + parts + again
    calls = len(shape.layers) * (1 + 7 + 4 * parts + again)
    tokens = 2 + 7 * 10 + 40 * parts + 2 * again
    flops = 2.0 * tokens * sum(layer.multiplied for layer in shape.layers)
    return Work(0, flops, calls, passes, 0.0)
