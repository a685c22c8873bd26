"""Tables of the concept library: concepts, their terms, frequencies and labels, the prompts and pairs made of them."""

from warehouse.columns import (
    COUNT,
    FLAG,
    LABEL_KINDS,
    LABELLING,
    PROMPT_KEYS,
    TEMPLATE_KINDS,
    TERM,
    TEXT,
    VARIANT,
    count,
    real,
)
from warehouse.schema import Column, Table

LIBRARY = (
    Table(
        name="concepts",
        doc="The concept library: what each concept is, and whether it is medical or a control.",
        grain="one row a concept",
        partitions=("concept",),
        keys=(),
        values=(
            Column("title", TEXT, "The concept's name for people."),
            Column(
                "role", TEXT, "Medical, or a control to read the medical ones against.", allowed=("medical", "control")
            ),
            Column("description", TEXT, "What the concept holds and where its facts come from."),
            Column("fingerprint", TEXT, "Hash of the concept's files: the same hash means the same prompts."),
        ),
    ),
    Table(
        name="terms",
        doc="The terms of each concept, and where the facts about them can be looked up.",
        grain="concept x term",
        partitions=("concept",),
        keys=(TERM,),
        values=(
            Column("spelling", TEXT, "What a template's slot is filled with."),
            VARIANT,
            Column("source", TEXT, "Where the facts of this row can be looked up."),
        ),
    ),
    Table(
        name="frequencies",
        doc="How often each term stands in English texts, as `wordfreq` 3.1 tells (Wikipedia, subtitles, news, books, "
        "web, Twitter, Reddit; data under CC BY-SA 4.0): what a model met often it may know for that alone.",
        grain="concept x term",
        partitions=("concept",),
        keys=(TERM,),
        values=(
            real(
                "zipf_frequency",
                "Frequency of the spelling on the Zipf scale; 0 where a word of it is rarer than 10 in 10⁹. Of several "
                "words, the inverse of the sum of their inverse frequencies: never more than the rarest.",
                "log10 of uses in 10⁹ words",
                minimum=0,
            ),
        ),
    ),
    Table(
        name="labels",
        doc="What each term is under each labelling, and the answer that it calls for.",
        grain="concept x labelling x term",
        partitions=("concept",),
        keys=(LABELLING, TERM),
        values=(
            Column("kind", TEXT, "What sort of labelling it is.", allowed=LABEL_KINDS),
            Column("label", TEXT, "The label; null for a continuous labelling.", nullable=True),
            Column("ordinal", COUNT, "The label's place in the order, for an ordinal labelling.", nullable=True),
            real("number", "The value, for a continuous labelling.", nullable=True),
            Column("unit", TEXT, "The unit of `number`.", nullable=True),
            Column("answer", TEXT, "The words that an asking prompt of this labelling calls for.", nullable=True),
            Column(
                "answer_in_spelling", FLAG, "Whether the answer stands in the term itself: then it needs no knowledge."
            ),
        ),
    ),
    Table(
        name="prompts",
        doc="Every prompt: a template with a term in its slot.",
        grain="concept x template x term",
        partitions=("concept",),
        keys=PROMPT_KEYS,
        values=(
            Column("template_kind", TEXT, "Whether the prompt calls for a label.", allowed=TEMPLATE_KINDS),
            Column("labelling", TEXT, "The labelling that answers an asking prompt.", nullable=True),
            Column(
                "held_out", FLAG, "Whether the template is kept aside for checks: no embedded model was trained on it."
            ),
            Column("text", TEXT, "The prompt."),
            Column("answer", TEXT, "The next words that it calls for.", nullable=True),
            count("term_start", "Offset of the term's first character in the text.", "characters"),
            count("term_end", "Offset behind the term's last character.", "characters", minimum=1),
        ),
    ),
    Table(
        name="pairs",
        doc="Candidates for patching: two prompts of one template whose answers differ, of any token length.",
        grain="concept x template x term x corrupting term",
        partitions=("concept",),
        keys=(*PROMPT_KEYS, Column("corrupting_term", TEXT, "The term of the corrupted prompt.")),
        values=(
            LABELLING,
            Column("held_out", FLAG, "Whether the template is kept aside for checks."),
            Column("answer", TEXT, "The answer of the clean prompt."),
            Column("corrupting_answer", TEXT, "The answer of the corrupted prompt."),
        ),
    ),
)
