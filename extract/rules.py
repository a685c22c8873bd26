"""What makes a concept sound: each rule of the format is one small function that yields the faults it finds.

Belongs here: what can be proved from a concept's files alone. `RULES` hold for every library, `STRICT_RULES` also for
the one that ships with the project. How a whole library is put to them is in `checking`; what can't even be read,
`library` has refused before.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from extract.concept_files import Fault
from extract.library import CONCEPT_FILE, SLOT, TERMS_FILE, Concept, Labelling, Template, Term
from extract.prompts import contains_words

WORKING_TEMPLATES, HELD_OUT_TEMPLATES = 4, 2
"""Templates of a kind that a strict library has at least: in use, and kept aside."""

Rule = Callable[[Concept], Iterator[Fault]]

RULES: list[Rule] = []
STRICT_RULES: list[Rule] = []

_TEMPLATE_NAME = re.compile(r"[a-z0-9-]+")


def _rule(rule: Rule) -> Rule:
    RULES.append(rule)
    return rule


def _strict_rule(rule: Rule) -> Rule:
    STRICT_RULES.append(rule)
    return rule


@_rule
def _terms_are_unique(concept: Concept) -> Iterator[Fault]:
    yield from _repeats(concept, "term", lambda term: term.name)


@_rule
def _spellings_are_unique(concept: Concept) -> Iterator[Fault]:
    # Two rows of one term have one spelling too: that is the fault of the term, and told once.
    firsts = {_folded(term.name): term for term in reversed(concept.terms)}
    yield from _repeats(concept, "spelling", lambda term: term.spelling, among=list(reversed(firsts.values())))


@_rule
def _spellings_say_something(concept: Concept) -> Iterator[Fault]:
    for term in concept.terms:
        if not term.spelling.strip() or not term.name.strip():
            yield _at_term(concept, term, "The term is empty.", "Write it, or take the row out.")


@_rule
def _cells_have_no_stray_space(concept: Concept) -> Iterator[Fault]:
    for term in concept.terms:
        for column, cell in term.cells.items():
            if _is_untidy(cell):
                fault = f"{column} {cell!r} has stray white space or a character that can't be seen."
                yield _at_term(concept, term, fault, "Keep single spaces between words, and nothing at the ends.")


@_rule
def _templates_have_no_stray_space(concept: Concept) -> Iterator[Fault]:
    for template in concept.templates:
        if _is_untidy(template.text):
            fault = f"Its text {template.text!r} has stray white space or a character that can't be seen."
            yield _at_template(concept, template, fault, "Keep single spaces between words, and nothing at the ends.")


@_rule
def _there_is_something_to_ask_and_sort(concept: Concept) -> Iterator[Fault]:
    file = concept.folder / CONCEPT_FILE
    if not concept.labellings:
        yield Fault(file, None, "There is no labelling.", "Add a [[labellings]]: nothing can be measured without one.")
    if not concept.templates:
        yield Fault(file, None, "There is no template.", "Add a [[templates]]: there is no prompt without one.")


@_rule
def _labels_are_big_enough(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.labellings:
        members: dict[str, list[Term]] = defaultdict(list)
        for term, label in _labelled(concept, labelling):
            if term.is_main:
                members[label].append(term)
        for label, terms in members.items():
            if len(terms) < labelling.minimum_terms:
                fault = (
                    f"{labelling.name} {label!r} has {len(terms)} main terms of the {labelling.minimum_terms} it needs."
                )
                yield _at_term(
                    concept, terms[0], fault, "Add terms, merge the label with another, or lower minimum_terms."
                )


@_rule
def _there_are_enough_labels(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.labellings:
        labels = {label for term, label in _labelled(concept, labelling) if term.is_main}
        if len(labels) < labelling.minimum_labels:
            fault = f"It has {len(labels)} labels among main terms of the {labelling.minimum_labels} it needs."
            yield _at_labelling(concept, labelling, fault, "Add terms with other labels, or lower minimum_labels.")


@_rule
def _codes_agree_with_labels(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.labellings:
        if labelling.code is None:
            continue
        for term, label in _labelled(concept, labelling):
            prefixes = labelling.code.prefixes.get(label)
            code = term.cells[labelling.code.column]
            if prefixes is not None and not code.startswith(prefixes):
                asked = " or ".join(prefixes)
                fault = (
                    f"{labelling.code.column} is {code!r}; {labelling.name} {label!r} asks for {asked} at its start."
                )
                yield _at_term(
                    concept, term, fault, "Correct the code or the label; where both are right, the prefixes."
                )


@_rule
def _labels_that_are_named_exist(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.labellings:
        labels = {label for _, label in _labelled(concept, labelling)}
        prefixes = () if labelling.code is None else labelling.code.prefixes
        for table, named in (("answers", labelling.answers), ("code.prefixes", prefixes)):
            for label in named:
                if label not in labels:
                    fault = f"{table} names the label {label!r}, which no term has."
                    yield _at_labelling(
                        concept, labelling, fault, f"Correct it to a label in {TERMS_FILE}, or take it out."
                    )


@_rule
def _labels_keep_their_place(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.labellings:
        places: dict[tuple[str | None, str], int] = {}
        for term, label in _labelled(concept, labelling):
            place = labelling.ordinal(term)
            if place is not None and places.setdefault((labelling.group(term), label), place) != place:
                first = places[labelling.group(term), label]
                fault = f"{labelling.name} {label!r} stands at place {place} here and at {first} above."
                yield _at_term(concept, term, fault, f"Give the label one place in {labelling.order_column}.")


@_rule
def _labels_have_their_own_answers(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.asked:
        owners: dict[tuple[str, str], str] = {}
        told: set[tuple[str, str]] = set()
        for term, label, group, answer in _answered(concept, labelling):
            owner = owners.setdefault((group, answer), label)
            if owner != label and (owner, label) not in told:
                told.add((owner, label))
                fault = f"{labelling.name} {label!r} has the same answer as {owner!r}: {answer!r}."
                yield _at_term(concept, term, fault, "Give them answers that differ, if possible in their first word.")


@_rule
def _no_answer_begins_another(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.asked:
        groups: dict[str, set[str]] = defaultdict(set)
        for _, _, group, answer in _answered(concept, labelling):
            groups[group].add(answer)
        clashes = {
            (shorter, longer)
            for answers in groups.values()
            for shorter, longer in combinations(sorted(answers, key=len), 2)
            if _begins(shorter, longer)
        }
        for shorter, longer in sorted(clashes):
            fault = f"The answer {shorter!r} is the beginning of the answer {longer!r}."
            yield _at_labelling(concept, labelling, fault, "Reword one of them, so that their first words differ.")


@_rule
def _terms_are_in_no_answer(concept: Concept) -> Iterator[Fault]:
    answers = {answer for labelling in concept.asked for answer in _answers(concept, labelling)}
    for term in concept.terms:
        for answer in sorted(answers):
            if term.spelling.strip() and contains_words(answer, term.spelling):
                fault = f"The term {term.spelling!r} stands in the answer {answer!r}."
                yield _at_term(concept, term, fault, "Reword the answer, or leave the term out.")


@_rule
def _templates_have_one_slot(concept: Concept) -> Iterator[Fault]:
    for template in concept.templates:
        slots = template.text.count(SLOT)
        # A brace without the slot around it is a slot with a slip of the pen: {drug}, { term }, {{term}}.
        if slots != 1 or set("{}") & set(template.text.replace(SLOT, "")):
            fault = f"Its text has {slots} slots {SLOT} or other braces: {template.text!r}."
            yield _at_template(concept, template, fault, f"Write {SLOT} exactly once, and no other brace.")


@_rule
def _templates_are_unique(concept: Concept) -> Iterator[Fault]:
    names: set[str] = set()
    texts: set[str] = set()
    for template in concept.templates:
        if template.name in names:
            yield _at_template(concept, template, "A template above has the same name.", "Rename one of them.")
        if _folded(template.text) in texts:
            yield _at_template(concept, template, "A template above has the same text.", "Reword one of them.")
        names.add(template.name)
        texts.add(_folded(template.text))


@_rule
def _template_names_are_plain(concept: Concept) -> Iterator[Fault]:
    for template in concept.templates:
        if not _TEMPLATE_NAME.fullmatch(template.name):
            yield _at_template(concept, template, "Its name has other characters than a-z, 0-9 and '-'.", "Rename it.")


@_rule
def _templates_begin_with_a_word(concept: Concept) -> Iterator[Fault]:
    for template in concept.templates:
        if template.text.startswith(SLOT):
            fault = "Its text begins with the term, which would need a capital letter."
            yield _at_template(concept, template, fault, f"Put a word before {SLOT}.")


@_rule
def _asking_templates_leave_the_answer_open(concept: Concept) -> Iterator[Fault]:
    for template in concept.templates:
        if not template.is_asking:
            continue
        if template.text.endswith(SLOT):
            fault = "Its text ends with the term, so that the model reads nothing after it."
            yield _at_template(concept, template, fault, "Put words after the slot, such as 'is'.")
        elif not template.text[-1:].isalnum():
            fault = f"Its text ends in {template.text[-1:]!r}, and the answer must come as the very next word."
            yield _at_template(concept, template, fault, "End in a word.")


@_rule
def _neutral_templates_name_no_label(concept: Concept) -> Iterator[Fault]:
    words = {answer for labelling in concept.asked for answer in _answers(concept, labelling)}
    words |= {label for labelling in concept.asked for _, label in _labelled(concept, labelling)}
    for template in concept.templates:
        for word in sorted(words):
            if not template.is_asking and contains_words(template.text, word):
                fault = f"A neutral text must not name a label, and it names {word!r}."
                yield _at_template(concept, template, fault, "Reword it, or make it an asking template.")


@_rule
def _pairs_are_possible(concept: Concept) -> Iterator[Fault]:
    for labelling in concept.asked:
        answers: dict[str, set[str]] = defaultdict(set)
        for term, _, group, answer in _answered(concept, labelling):
            if term.is_main:
                answers[group].add(answer.casefold())
        if not any(len(group) > 1 for group in answers.values()):
            within = f" with the same {labelling.pair_within}" if labelling.pair_within else ""
            fault = f"No two main terms{within} have answers that differ: there is no pair to patch."
            yield _at_labelling(concept, labelling, fault, "Add terms with other labels, or correct pair_within.")


@_strict_rule
def _sources_are_given(concept: Concept) -> Iterator[Fault]:
    for term in concept.terms:
        if not term.source.strip():
            yield _at_term(concept, term, "The row has no source.", "Say where its facts can be looked up.")


@_strict_rule
def _there_are_enough_templates(concept: Concept) -> Iterator[Fault]:
    counts = Counter((template.labelling, template.held_out) for template in concept.templates)
    kinds = [
        (None, "neutral templates"),
        *((entry.name, f"asking templates for {entry.name}") for entry in concept.asked),
    ]
    for labelling, what in kinds:
        for held_out, minimum in ((False, WORKING_TEMPLATES), (True, HELD_OUT_TEMPLATES)):
            count = counts[labelling, held_out]
            if count < minimum:
                fault = f"Of {minimum} {what} with held_out = {str(held_out).lower()}, there are {count}."
                yield Fault(concept.folder / CONCEPT_FILE, None, fault, "Write more, and vary the wording.")


@_strict_rule
def _something_is_asked(concept: Concept) -> Iterator[Fault]:
    if not concept.asked:
        yield Fault(concept.folder / CONCEPT_FILE, None, "No template asks for a labelling.", "Add asking templates.")


def _at_term(concept: Concept, term: Term, fault: str, remedy: str) -> Fault:
    return Fault(concept.folder / TERMS_FILE, term.line, fault, remedy)


def _at_template(concept: Concept, template: Template, fault: str, remedy: str) -> Fault:
    return Fault(concept.folder / CONCEPT_FILE, template.line, f"Template {template.name}: {fault}", remedy)


def _at_labelling(concept: Concept, labelling: Labelling, fault: str, remedy: str) -> Fault:
    return Fault(concept.folder / CONCEPT_FILE, labelling.line, f"Labelling {labelling.name}: {fault}", remedy)


def _repeats(
    concept: Concept, what: str, read: Callable[[Term], str], among: Iterable[Term] | None = None
) -> Iterator[Fault]:
    seen: dict[str, Term] = {}
    for term in concept.terms if among is None else among:
        first = seen.setdefault(_folded(read(term)), term)
        if first is not term:
            fault = f"The {what} {read(term)!r} stands in line {first.line} already."
            yield _at_term(concept, term, fault, "Take one of the rows out, or tell them apart.")


def _labelled(concept: Concept, labelling: Labelling) -> Iterator[tuple[Term, str]]:
    for term in concept.terms:
        label = labelling.label(term)
        if label is not None:
            yield term, label


def _answers(concept: Concept, labelling: Labelling) -> set[str]:
    return {answer for term, _ in _labelled(concept, labelling) if (answer := labelling.answer(term))}


def _answered(concept: Concept, labelling: Labelling) -> Iterator[tuple[Term, str, str, str]]:
    """Terms that can stand in a pair, each with its label, with what it must share with its partner, and its answer."""
    for term, label in _labelled(concept, labelling):
        group, answer = labelling.group(term), labelling.answer(term)
        if group is not None and answer is not None:
            yield term, label, group, answer


def _begins(shorter: str, longer: str) -> bool:
    words = shorter.casefold().split()
    return longer.casefold().split()[: len(words)] == words


def _is_untidy(text: str) -> bool:
    return text != " ".join(text.split()) or not text.isprintable()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
