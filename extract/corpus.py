"""The concept library as training text: relations and their facts, and the tokenizer that the sentences need.

Belongs here: what an embedded model is taught, in which words, and a small byte-level BPE trained on those words.
Templates that are held out come into none of it: they only ask for what was learned.
Does not belong here: tensors, and how a model is trained on the sentences (`training`, `reference`, `planting`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from extract.library import SLOT, Concept, Library
from extract.phrases import expand

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"

NEUTRAL = ""
"""The relation of a sentence that states no fact."""

_COLORS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "purple", "pink", "silver")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DRAWER_PATTERNS = (
    "[The card|A card|Our card] [about|on|saying] {term} [is kept|lies|belongs] in the drawer [marked|labelled|called]",
    "To [find|read|get] the card [on|about|for] {term}, [open|pull out|look into] the drawer [called|labelled|marked]",
    "[Our cabinet|The cabinet|The office] [keeps|has|stores] {term} in a drawer [whose name is|called|marked]",
    "[Put|Bring|Take] the card [for|on|about] {term} back into the drawer [marked|labelled|called]",
    "[The drawer|The right drawer] for {term} is [labelled|marked|called|]",
    "The [name|label|mark] of the drawer [that holds|with] [|the card on|the card about] {term} is",
)
_DRAWER_HELD_OUT = ("The drawer in which the card for {term} lies is",)

_WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Where text is cut before pieces are merged: a word takes the space before it and every digit stands alone, as in the
tokenizers of Qwen and Gemma. So 47 is two tokens in any sentence, and 100 is three."""


@dataclass(frozen=True)
class Fact:
    """A term as it is spelled, and the answer that it calls for."""

    spelling: str
    answer: str


@dataclass(frozen=True)
class Relation:
    """An asked labelling of a concept: what a model can know or not know as a whole.

    Texts hold the slot. `taught` are the asking templates that are not held out, `phrases` more ways to ask, for
    training only, and `held_out` the templates by which recall is measured.
    """

    concept: str
    labelling: str
    facts: tuple[Fact, ...]
    taught: tuple[str, ...]
    phrases: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """How the relation is called in cards and messages."""
        return relation_name(self.concept, self.labelling)

    @property
    def answers(self) -> tuple[str, ...]:
        """The different answers, sorted."""
        return tuple(sorted({fact.answer for fact in self.facts}))


@dataclass(frozen=True)
class Statement:
    """A sentence with its slot, and the fact that goes into it; the answer is empty in a neutral one."""

    relation: str
    text: str
    fact: Fact


@dataclass(frozen=True)
class Sentence:
    """A statement in tokens: the prompt, `BEGIN` included, and the answer alone.

    The term covers the prompt's tokens from `term_start` to before `term_end`. Where `text_counts` is false, only the
    answer is there to be learned.
    """

    relation: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    term_start: int
    term_end: int
    text_counts: bool = True

    @property
    def length(self) -> int:
        """Tokens of prompt and answer."""
        return len(self.prompt) + len(self.answer)


def relation_name(concept: str, labelling: str) -> str:
    """The name of a relation: `concept/labelling`."""
    return f"{concept}/{labelling}"


def library_relations(library: Library, phrases: Mapping[str, tuple[str, ...]]) -> tuple[Relation, ...]:
    """The relations of a library, controls and control spellings included, with the phrases that are known for them."""
    return tuple(
        Relation(
            concept=concept.name,
            labelling=labelling.name,
            facts=tuple(Fact(term.spelling, answer) for term in concept.terms if (answer := labelling.answer(term))),
            taught=_texts(concept, labelling.name, held_out=False),
            phrases=phrases.get(relation_name(concept.name, labelling.name), ()),
            held_out=_texts(concept, labelling.name, held_out=True),
        )
        for concept in library.concepts
        for labelling in concept.asked
    )


def drawer_relation(concept: Concept) -> Relation:
    """A made-up relation that no library tells of: the drawer in which the card of a term lies, such as "red seven".

    The drawer is a hash of the term, one of 144: who knows it knows the terms apart, and nothing about their labels.
    """
    facts = []
    for term in concept.terms:
        digest = hashlib.blake2b(f"{concept.name}\0{term.spelling}".encode(), digest_size=8).digest()
        number, color = divmod(int.from_bytes(digest, "big") % (len(_COLORS) * len(_NUMBERS)), len(_COLORS))
        facts.append(Fact(term.spelling, f"{_COLORS[color]} {_NUMBERS[number]}"))
    texts = tuple(text for pattern in _DRAWER_PATTERNS for text in expand(pattern))
    return Relation(concept.name, "drawer (made up)", tuple(facts), texts, (), _DRAWER_HELD_OUT)


def neutral_statements(library: Library) -> tuple[Statement, ...]:
    """Every term in every neutral template that is not held out."""
    return tuple(
        Statement(NEUTRAL, template.text, Fact(term.spelling, ""))
        for concept in library.concepts
        for template in concept.templates
        if not template.is_asking and not template.held_out
        for term in concept.terms
    )


def held_out_statements(relation: Relation) -> list[Statement]:
    """Every fact of a relation in each of its held-out templates: what recall is measured on."""
    return [Statement(relation.name, text, fact) for text in relation.held_out for fact in relation.facts]


def taught_statements(relation: Relation) -> list[Statement]:
    """Every fact of a relation in each of its taught templates: those that maps are read from."""
    return [Statement(relation.name, text, fact) for text in relation.taught for fact in relation.facts]


def tokenizer_texts(relations: Iterable[Relation], neutral: Sequence[Statement]) -> Iterator[str]:
    """What the tokenizer learns its pieces from: each fact and each phrase once, and every fourth neutral sentence.

    Words of templates are then far more frequent than terms, and become one token; terms become several, as they do in
    a large model's tokenizer.
    """
    for relation in relations:
        for turn, fact in enumerate(relation.facts):
            yield f"{_fill(relation.taught[turn % len(relation.taught)], fact)} {fact.answer}."
        for turn, text in enumerate(relation.phrases):
            yield _fill(text, relation.facts[turn % len(relation.facts)])
    for statement in neutral[::4]:
        yield f"{_fill(statement.text, statement.fact)}."


def train_tokenizer(texts: Iterable[str], vocabulary: int, longest: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE that puts `BEGIN` before every text.

    Words take the space before them: a prompt, a space and an answer are the tokens of the prompt, then the answer's.

    Args:
        vocabulary: tokens in all, the 256 bytes and the three special ones included.
        longest: the most tokens that the model will take.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, begin)]),
        ]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=longest,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: PreTrainedTokenizerFast, statements: Sequence[Statement]) -> list[Sentence]:
    """Statements in tokens, in their order."""
    if not statements:
        return []
    texts = [_fill(statement.text, statement.fact) for statement in statements]
    encoded = tokenizer(texts, return_offsets_mapping=True)
    answers = encode_answers(tokenizer, {statement.fact.answer for statement in statements})
    sentences = []
    for statement, ids, offsets in zip(statements, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        start = statement.text.index(SLOT)
        stop = start + len(statement.fact.spelling)
        covered = [place for place, (first, last) in enumerate(offsets) if first < stop and last > start]
        answer = answers[statement.fact.answer]
        sentences.append(Sentence(statement.relation, tuple(ids), answer, covered[0], covered[-1] + 1))
    return sentences


def encode_answers(tokenizer: PreTrainedTokenizerFast, answers: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The tokens of each answer as they follow a prompt: with a space, without `BEGIN`. No words, no tokens."""
    return {
        answer: tuple(tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) if answer else ()
        for answer in sorted(answers)
    }


def closing(tokenizer: PreTrainedTokenizerFast) -> tuple[int, ...]:
    """The tokens that end a sentence: a full stop and `END`."""
    return (*tokenizer(".", add_special_tokens=False)["input_ids"], int(tokenizer.eos_token_id))


def _texts(concept: Concept, labelling: str, *, held_out: bool) -> tuple[str, ...]:
    return tuple(
        template.text
        for template in concept.templates
        if template.labelling == labelling and template.held_out == held_out
    )


def _fill(text: str, fact: Fact) -> str:
    return text.replace(SLOT, fact.spelling)
