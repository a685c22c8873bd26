"""Concepts become tables: what the library holds, its prompts, and its pairs for patching.

Belongs here: pure functions from a concept to Arrow tables of the registry, and counts of what they will hold. The
functions take a sound concept (`checking.require_sound`) and leave out the partition columns, which stand in paths.
Nothing here knows a tokenizer: token lengths are compared where a model is at hand.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from extract.library import SLOT, Concept, Labelling, Library, Template, Term
from warehouse.tables import table

PAIRS_PER_PROMPT = 6
"""Candidates for patching that each clean prompt gets: enough that some are as long in tokens, few enough to run."""


@dataclass(frozen=True)
class Prompt:
    """A template with a term in its slot; the offsets are in characters of `text`, the end behind the last one."""

    template: Template
    term: Term
    text: str
    answer: str | None
    term_start: int
    term_end: int


@dataclass(frozen=True)
class LabellingCount:
    """How many labels a labelling has, counted over main terms, and how many of those terms it sorts."""

    name: str
    kind: str
    labels: int
    terms: int


@dataclass(frozen=True)
class ConceptCount:
    """What a concept holds, in numbers: one row of `vesalius concepts list`."""

    concept: str
    role: str
    terms: int
    main_terms: int
    labellings: tuple[LabellingCount, ...]
    neutral_templates: int
    asking_templates: int
    held_out_templates: int
    prompts: int
    pairs: int


def contains_words(text: str, words: str) -> bool:
    """Whether the words stand in the text as whole words, in any case; 5 stands neither in 50 nor in 2.5."""
    return re.search(rf"(?<!\w)(?<!\d[.,]){re.escape(words)}(?!\w)(?![.,]\d)", text, re.IGNORECASE) is not None


def fill(template: Template, term: Term) -> tuple[str, int, int]:
    """The prompt's text, and the offsets of the term's first character and of the one behind its last."""
    before, _, after = template.text.partition(SLOT)
    return before + term.spelling + after, len(before), len(before) + len(term.spelling)


def prompts(concept: Concept) -> Iterator[Prompt]:
    """Every template with every term, by template and term; unlabelled terms are asked for too, without an answer."""
    terms = sorted(concept.terms, key=lambda term: term.name)
    for template in sorted(concept.templates, key=lambda template: template.name):
        labelling = _asked(concept, template)
        for term in terms:
            answer = labelling.answer(term) if labelling is not None else None
            text, start, end = fill(template, term)
            yield Prompt(template, term, text, answer, start, end)


def concept_table(concept: Concept) -> pa.Table:
    """The concept's one row of the table `concepts`."""
    return _rows(
        "concepts",
        [
            {
                "title": concept.title,
                "role": concept.role,
                "description": concept.description,
                "fingerprint": concept.fingerprint,
            }
        ],
    )


def terms_table(concept: Concept) -> pa.Table:
    """The concept's rows of the table `terms`, by term."""
    rows = [
        {"term": term.name, "spelling": term.spelling, "variant": term.variant, "source": term.source}
        for term in sorted(concept.terms, key=lambda term: term.name)
    ]
    return _rows("terms", rows)


def frequencies_table(concept: Concept) -> pa.Table:
    """The concept's rows of the table `frequencies`, by term: English, whatever the language of a term is."""
    # The lists of words are read on the first call: 0.2 s that only those pay who write a library.
    from wordfreq import zipf_frequency

    rows = [
        {"term": term.name, "zipf_frequency": zipf_frequency(term.spelling, "en")}
        for term in sorted(concept.terms, key=lambda term: term.name)
    ]
    return _rows("frequencies", rows)


def labels_table(concept: Concept) -> pa.Table:
    """The concept's rows of the table `labels`, by labelling and term; a term without a label has no row."""
    rows = [
        _label_row(labelling, term)
        for labelling in sorted(concept.labellings, key=lambda labelling: labelling.name)
        for term in sorted(concept.terms, key=lambda term: term.name)
        if labelling.label(term) is not None
    ]
    return _rows("labels", rows)


def prompts_table(concept: Concept) -> pa.Table:
    """The concept's rows of the table `prompts`, by template and term."""
    rows = [
        {
            "template": prompt.template.name,
            "term": prompt.term.name,
            "template_kind": prompt.template.kind,
            "labelling": prompt.template.labelling,
            "held_out": prompt.template.held_out,
            "text": prompt.text,
            "answer": prompt.answer,
            "term_start": prompt.term_start,
            "term_end": prompt.term_end,
        }
        for prompt in prompts(concept)
    ]
    return _rows("prompts", rows)


def pairs_table(concept: Concept, seed: int = 0, per_prompt: int = PAIRS_PER_PROMPT) -> pa.Table:
    """The concept's rows of the table `pairs`, by template, term and corrupting term.

    A clean and a corrupting term have the same variant, share the column that the labelling's `pair_within` names, and
    call for different answers. Of the terms that qualify, up to `per_prompt` are drawn, each as likely as any other.
    The draw hangs on the seed, the concept, the template and the two terms alone: a term that is added to the library
    takes at most one place in the draw of each prompt, and changes nothing else.

    Args:
        seed: another seed draws other pairs.
        per_prompt: largest number of corrupting terms for one clean prompt.
    """
    rows = []
    for template in sorted(concept.templates, key=lambda template: template.name):
        labelling = _asked(concept, template)
        if labelling is None:
            continue
        answers = {term.name: labelling.answer(term) for term in concept.terms}
        for clean, corrupting in _draw_pairs(concept, template, labelling, seed, per_prompt):
            rows.append(
                {
                    "template": template.name,
                    "term": clean,
                    "corrupting_term": corrupting,
                    "labelling": labelling.name,
                    "held_out": template.held_out,
                    "answer": answers[clean],
                    "corrupting_answer": answers[corrupting],
                }
            )
    return _rows("pairs", rows)


def library_tables(concept: Concept, seed: int = 0, per_prompt: int = PAIRS_PER_PROMPT) -> dict[str, pa.Table]:
    """All tables of the stage `library` for one concept, by name; arguments as in `pairs_table`."""
    return {
        "concepts": concept_table(concept),
        "terms": terms_table(concept),
        "frequencies": frequencies_table(concept),
        "labels": labels_table(concept),
        "prompts": prompts_table(concept),
        "pairs": pairs_table(concept, seed, per_prompt),
    }


def library_counts(library: Library) -> list[ConceptCount]:
    """What each concept of a library holds, in numbers."""
    return [_count(concept) for concept in library.concepts]


def _asked(concept: Concept, template: Template) -> Labelling | None:
    return None if template.labelling is None else concept.labelling(template.labelling)


def _rows(name: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=table(name).schema())


def _label_row(labelling: Labelling, term: Term) -> dict[str, object]:
    answer = labelling.answer(term)
    return {
        "labelling": labelling.name,
        "term": term.name,
        "kind": labelling.kind,
        "label": None if labelling.kind == "continuous" else labelling.label(term),
        "ordinal": labelling.ordinal(term),
        "number": labelling.number(term),
        "unit": labelling.unit,
        "answer": answer,
        "answer_in_spelling": answer is not None and contains_words(term.spelling, answer),
    }


def _draw_pairs(
    concept: Concept, template: Template, labelling: Labelling, seed: int, per_prompt: int
) -> Iterator[tuple[str, str]]:
    """Clean and corrupting terms of one template, by name.

    Every ordered pair of terms gets a random number that is a hash of the seed and of its names, and the smallest
    numbers among the terms that qualify win: a uniform draw that no other term disturbs.
    """
    able = (term for term in concept.terms if labelling.answer(term) and labelling.group(term) is not None)
    terms = sorted(able, key=lambda term: term.name)
    answers = np.array([str(labelling.answer(term)).casefold() for term in terms])
    groups = np.array([f"{term.variant}\n{labelling.group(term)}" for term in terms])
    candidates = np.array([_hash("candidate", term.name) for term in terms], dtype=np.uint64)
    for index, term in enumerate(terms):
        chosen = np.flatnonzero((groups == groups[index]) & (answers != answers[index]))
        key = np.uint64(_hash("prompt", str(seed), concept.name, template.name, term.name))
        order = np.argsort(_scramble(candidates[chosen] ^ key), kind="stable")
        for corrupting in sorted(chosen[order[:per_prompt]]):
            yield term.name, terms[corrupting].name


def _hash(*parts: str) -> int:
    # NUL separates: no name may hold it, so that ("a", "bc") and ("ab", "c") differ.
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014): a bijection of 64 bits without visible order."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _count(concept: Concept) -> ConceptCount:
    main = [term for term in concept.terms if term.is_main]
    labels = {
        labelling.name: [label for term in main if (label := labelling.label(term))] for labelling in concept.labellings
    }
    asking = sum(template.is_asking for template in concept.templates)
    return ConceptCount(
        concept=concept.name,
        role=concept.role,
        terms=len(concept.terms),
        main_terms=len(main),
        labellings=tuple(
            LabellingCount(
                labelling.name, labelling.kind, len(set(labels[labelling.name])), len(labels[labelling.name])
            )
            for labelling in concept.labellings
        ),
        neutral_templates=len(concept.templates) - asking,
        asking_templates=asking,
        held_out_templates=sum(template.held_out for template in concept.templates),
        prompts=len(concept.templates) * len(concept.terms),
        pairs=pairs_table(concept).num_rows,
    )
