"""Which prompts and pairs an intervention takes, where all of them would cost too much: an even, seeded draw.

A lesion or a patch costs about as many forwards as there are layers, so a run takes some prompts of a concept. They are
drawn one after the other, each from those that the draw has used least so far; a lot, a hash of the seed and of the
prompt's own keys, decides between equals. No order of rows and no generator's state comes in: the draw is the same for
every model that can answer the same prompts.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from extract.pairing import pair_rows
from warehouse.errors import InputError
from warehouse.tables import table


def sample_prompts(
    prompts: pa.Table,
    labels: pa.Table,
    tokens: pa.Table,
    *,
    terms: pa.Table,
    count: int,
    seed: int,
    variants: bool = False,
    held_out: bool = False,
) -> pa.Table:
    """Choose prompts for lesions, saliency and answers under lesion.

    Eligible is a prompt that asks, of a template that is not held out (or only of such), has an answer that fits the
    tokenizer, and is about a main term. No term comes a second time before every other eligible one has come once, and
    so on. Within that, templates come equally often; within that, the labels that they ask for.

    Args:
        prompts: a concept's rows of the table `prompts`.
        labels: its rows of `labels`.
        tokens: a model's rows of `tokens` for these prompts.
        terms: the concept's rows of `terms`: they tell control spellings from main terms.
        count: prompts to choose at most; 0 for all that are eligible.
        seed: another seed draws other prompts.
        variants: whether control spellings are eligible too.
        held_out: whether held-out templates are drawn from, instead of the others.

    Returns:
        The chosen rows of `prompts`, by template and term.

    Raises:
        InputError: the count is negative.
    """
    able = tokens.filter(pc.is_valid(tokens["answer_token"])).select(["template", "term"])
    able_keys = {*zip(able["template"].to_pylist(), able["term"].to_pylist(), strict=True)}
    wanted = pc.and_(pc.equal(prompts["template_kind"], "asking"), pc.equal(prompts["held_out"], held_out))
    asking = prompts.filter(wanted)
    main = _main(terms, variants)
    keys = [*zip(asking["template"].to_pylist(), asking["term"].to_pylist(), strict=True)]
    eligible = asking.filter(pa.array([key in able_keys and key[1] in main for key in keys], pa.bool_()))
    sorted_by = zip(labels["labelling"].to_pylist(), labels["term"].to_pylist(), strict=True)
    label_of = dict(zip(sorted_by, labels["label"].to_pylist(), strict=True))
    asked = zip(eligible["labelling"].to_pylist(), eligible["term"].to_pylist(), strict=True)
    called_for = [(key[0], label_of.get(key)) for key in asked]
    uses = [eligible["term"].to_pylist(), eligible["template"].to_pylist(), called_for]
    return _chosen("prompts", eligible, uses, count, seed)


def sample_pairs(
    pair_tokens: pa.Table,
    prompts: pa.Table,
    *,
    terms: pa.Table,
    count: int,
    seed: int,
    variants: bool = False,
    held_out: bool = False,
) -> pa.Table:
    """Choose pairs for patching.

    Eligible is a pair that was not dropped, of a template that is not held out (or only of such), of main terms. No
    clean prompt comes a second time before every other eligible one has come once, and so on. Within that, templates
    come equally often; within that, clean terms; within that, corrupting terms.

    Args:
        pair_tokens: a model's rows of the table `pair_tokens` for one concept.
        prompts: the concept's rows of `prompts`.
        terms: its rows of `terms`: they tell control spellings from main terms.
        count: pairs to choose at most; 0 for all that are eligible.
        seed: another seed draws other pairs.
        variants: whether control spellings are eligible too.
        held_out: whether held-out templates are drawn from, instead of the others.

    Returns:
        The chosen rows of `pair_tokens`, by template, term and corrupting term.

    Raises:
        InputError: the count is negative, or the prompt of a pair is not among the prompts.
    """
    kept = pair_tokens.filter(pc.is_null(pair_tokens["dropped"]))
    clean, _ = pair_rows(kept, prompts)
    of_held_out = prompts["held_out"].to_numpy(zero_copy_only=False)[clean].astype(bool)
    main = pa.array(sorted(_main(terms, variants)), pa.string())
    of_main = pc.and_(pc.is_in(kept["term"], main), pc.is_in(kept["corrupting_term"], main))
    eligible = kept.filter(pc.and_(of_main, pa.array(of_held_out == held_out)))
    templates, clean_terms, corrupting = (
        eligible[name].to_pylist() for name in ("template", "term", "corrupting_term")
    )
    uses = [[*zip(templates, clean_terms, strict=True)], templates, clean_terms, corrupting]
    return _chosen("pair_tokens", eligible, uses, count, seed)


def _main(terms: pa.Table, variants: bool) -> set[str]:
    names, variant = terms["term"].to_pylist(), terms["variant"].to_pylist()
    return {name for name, of in zip(names, variant, strict=True) if variants or not of}


def _chosen(name: str, eligible: pa.Table, uses: Sequence[Sequence[object]], count: int, seed: int) -> pa.Table:
    """At most `count` of the eligible rows, spread evenly over what they use, in the order of their keys."""
    if count < 0:
        raise InputError(f"{count} rows of {name} can't be drawn. Ask for a positive number, or for 0 to take all.")
    keys = table(name).key_names
    if 0 < count < eligible.num_rows:
        lots = [
            hashlib.blake2b("\0".join((str(seed), *row)).encode(), digest_size=8).digest()
            for row in zip(*(eligible[key].to_pylist() for key in keys), strict=True)
        ]
        eligible = eligible.take(pa.array(spread(uses, lots, count)))
    return eligible.sort_by([(key, "ascending") for key in keys])


def spread(uses: Sequence[Sequence[object]], lots: Sequence[bytes], count: int) -> NDArray[np.int64]:
    """Draw rows one after the other, each time the one that uses what has been used least.

    Args:
        uses: for each kind of thing, the most important first, what each row uses of it. A row is preferred whose thing
            of the first kind was drawn less often; among equals the second kind decides, and so on.
        lots: what decides last, one for each row: the smallest wins.
        count: rows to draw, no more than there are.

    Returns:
        [drawn], places of the rows, in the order in which they were drawn.
    """
    order = np.array(sorted(range(len(lots)), key=lots.__getitem__), dtype=np.int64)
    things = [_numbered(kind)[order] for kind in uses]
    drawn_before = [np.zeros(len(lots), dtype=np.int64) for _ in things]
    waiting = np.ones(len(lots), dtype=bool)
    drawn = []
    for _ in range(count):
        best = np.flatnonzero(waiting)
        for thing, times in zip(things, drawn_before, strict=True):
            times_of = times[thing[best]]
            best = best[times_of == times_of.min()]
        drawn.append(best[0])
        waiting[best[0]] = False
        for thing, times in zip(things, drawn_before, strict=True):
            times[thing[best[0]]] += 1
    return order[drawn]


def _numbered(things: Sequence[object]) -> NDArray[np.int64]:
    """A number for each of some things, the same for equal ones."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(thing, len(numbers)) for thing in things], dtype=np.int64)
