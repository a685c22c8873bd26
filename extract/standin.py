"""What stands in for a model, and for a run's prompts, in the trials of a probe.

A model of the same kind with a few layers of random weights, and parts of the plan that a run would follow. What is
tried with them is in `trials`.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from extract.models import ModelEntry
from extract.outline import Outline
from extract.planned import Plan
from extract.tokenization import Tokenized

LARGEST_VOCABULARY = 65_536
"""Tokens of a stand-in, at most: more are not worth drawing."""


def stand_in(entry: ModelEntry, shape: Outline, device: str) -> Any:
    """The model with as many layers as the shape has, random weights, and not more tokens than are worth drawing."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from extract.untrained import plain_config

    config = plain_config(AutoConfig.from_pretrained(entry.path, local_files_only=True, trust_remote_code=False))
    text = config.get_text_config(decoder=True)
    text.num_hidden_layers = len(shape.layers)
    text.vocab_size = min(text.vocab_size, LARGEST_VOCABULARY)
    for token in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, token, None)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: len(shape.layers)]
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config,
            dtype=getattr(torch, shape.dtype),
            attn_implementation=entry.attention,
            trust_remote_code=False,
        )
    model.train(False)
    return model


def within(plan: Plan, vocabulary: int) -> Plan:
    """The plan with tokens that a small vocabulary has."""
    tokenized = plan.subject.tokenized
    indices = [[token % vocabulary for token in tokens] for tokens in tokenized.indices]
    rows = _modulo(tokenized.table, "answer_token", vocabulary)
    pairs = _modulo(plan.subject.pairs, "answer_token", vocabulary)
    pairs = _modulo(pairs, "corrupting_answer_token", vocabulary)
    fates = _modulo(_modulo(plan.pair_tokens, "answer_token", vocabulary), "corrupting_answer_token", vocabulary)
    subject = replace(plan.subject, tokenized=Tokenized(indices, rows), pairs=pairs)
    return replace(plan, subject=subject, pair_tokens=fates)


def _modulo(rows: pa.Table, column: str, vocabulary: int) -> pa.Table:
    values = [None if value is None else value % vocabulary for value in rows[column].to_pylist()]
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(place), pa.array(values, rows.schema.field(place).type))


def of_one_template(plan: Plan, count: int) -> Plan:
    """So many of the lesioned prompts and of the pairs, all of the template that most of the lesioned have.

    Prompts of one template share batches, which are then as full as those of a long run.
    """
    ((chosen, _),) = Counter(plan.subject.sample["template"].to_pylist()).most_common(1)

    def some(rows: pa.Table) -> pa.Table:
        return rows.filter(pc.equal(rows["template"], chosen)).slice(0, count)

    subject = replace(plan.subject, sample=some(plan.subject.sample), pairs=some(plan.subject.pairs))
    return replace(plan, subject=subject)


def of_first_templates(plan: Plan, least: int) -> Plan:
    """The prompts of as many templates as give so many, or all: their batches are as full as those of all."""
    prompts = plan.subject.prompts
    templates = prompts["template"].to_pylist()
    taken: set[str] = set()
    for template in dict.fromkeys(templates):
        if sum(each in taken for each in templates) >= least:
            break
        taken.add(template)
    rows = [row for row, template in enumerate(templates) if template in taken]
    subject = replace(plan.subject, prompts=prompts.take(rows), tokenized=plan.subject.tokenized.take(rows))
    return replace(plan, subject=subject)
