"""The one registry of tables: names, grain, columns, types, units, keys and the words that describe them.

Everything that knows about a column learns it here: the Arrow schema, the validation before a commit, Dagster's column
schema, the comments in the DuckDB catalog and `docs/tables.md`. Paths and files belong to `store`.

A table is partitioned by `model`, by `concept`, by both or by neither. Partition columns live in the path, not in the
file. Keys come first, then values; the keys (with the partition) identify a row.
"""

import pyarrow as pa

from warehouse.errors import InputError
from warehouse.schema import CONCEPT, VECTOR, Column, Table

_TEXT, _FLAG, _REAL = pa.string(), pa.bool_(), pa.float64()
_LAYER, _COUNT, _BIG = pa.int16(), pa.int32(), pa.int64()

TEMPLATE_KINDS = ("neutral", "asking")
POSITIONS = ("last", "term", "mean")
LABEL_KINDS = ("categorical", "ordinal", "continuous")

_TERM = Column("term", _TEXT, "The term, unique in its concept.")
_TEMPLATE = Column("template", _TEXT, "The template's name, unique in its concept.")
_LABELLING = Column("labelling", _TEXT, "The labelling: a way to sort the concept's terms.")
_LAYER_COLUMN = Column(
    "layer",
    _LAYER,
    "The decoder layer, 0 to L-1: the residual stream after it; -1 is the embedding output.",
    minimum=-1,
)
_BLOCK = Column("layer", _LAYER, "The decoder layer, 0 to L-1.", minimum=0)
_POSITION = Column(
    "position",
    _TEXT,
    "Where the prompt is read: its last token, the last token of the term, or the mean over its tokens but the first.",
    allowed=POSITIONS,
)
_TEMPLATE_KIND = Column("template_kind", _TEXT, "Which templates were read.", allowed=TEMPLATE_KINDS)
_VARIANT = Column("variant", _TEXT, "Empty for main terms; otherwise the name of the control spelling they belong to.")
_PROMPT_KEYS = (_TEMPLATE, _TERM)
_LESION_KIND = Column(
    "lesion", _TEXT, "What took the place of the layer's work.", allowed=("identity", "mean", "resample")
)
_ANSWER_KEYS = (
    Column(
        "lesion", _TEXT, "What took the place of the layer's work.", allowed=("none", "identity", "mean", "resample")
    ),
    Column("layer", _LAYER, "The lesioned layer; -1 for the intact model.", minimum=-1),
    *_PROMPT_KEYS,
)
_PART = Column("part", _TEXT, "How much of the layer was lesioned.", allowed=("layer", "attention", "mlp"))


def _real(name: str, doc: str, unit: str | None = None, nullable: bool = False, **bounds: float) -> Column:
    return Column(name, _REAL, doc, unit=unit, nullable=nullable, **bounds)  # type: ignore[arg-type]


def _count(name: str, doc: str, unit: str, minimum: int = 0, nullable: bool = False) -> Column:
    return Column(name, _COUNT, doc, unit=unit, minimum=minimum, nullable=nullable)


_LIBRARY = (
    Table(
        name="concepts",
        doc="The concept library: what each concept is, and whether it is medical or a control.",
        grain="one row a concept",
        partitions=("concept",),
        keys=(),
        values=(
            Column("title", _TEXT, "The concept's name for people."),
            Column(
                "role", _TEXT, "Medical, or a control to read the medical ones against.", allowed=("medical", "control")
            ),
            Column("description", _TEXT, "What the concept holds and where its facts come from."),
            Column("fingerprint", _TEXT, "Hash of the concept's files: the same hash means the same prompts."),
        ),
    ),
    Table(
        name="terms",
        doc="The terms of each concept, and where the facts about them can be looked up.",
        grain="concept x term",
        partitions=("concept",),
        keys=(_TERM,),
        values=(
            Column("spelling", _TEXT, "What a template's slot is filled with."),
            _VARIANT,
            Column("source", _TEXT, "Where the facts of this row can be looked up."),
        ),
    ),
    Table(
        name="labels",
        doc="What each term is under each labelling, and the answer that it calls for.",
        grain="concept x labelling x term",
        partitions=("concept",),
        keys=(_LABELLING, _TERM),
        values=(
            Column("kind", _TEXT, "What sort of labelling it is.", allowed=LABEL_KINDS),
            Column("label", _TEXT, "The label; null for a continuous labelling.", nullable=True),
            Column("ordinal", _COUNT, "The label's place in the order, for an ordinal labelling.", nullable=True),
            _real("number", "The value, for a continuous labelling.", nullable=True),
            Column("unit", _TEXT, "The unit of `number`.", nullable=True),
            Column("answer", _TEXT, "The words that an asking prompt of this labelling calls for.", nullable=True),
            Column(
                "answer_in_spelling", _FLAG, "Whether the answer stands in the term itself: then it needs no knowledge."
            ),
        ),
    ),
    Table(
        name="prompts",
        doc="Every prompt: a template with a term in its slot.",
        grain="concept x template x term",
        partitions=("concept",),
        keys=_PROMPT_KEYS,
        values=(
            Column("template_kind", _TEXT, "Whether the prompt calls for a label.", allowed=TEMPLATE_KINDS),
            Column("labelling", _TEXT, "The labelling that answers an asking prompt.", nullable=True),
            Column(
                "held_out", _FLAG, "Whether the template is kept aside for checks: no embedded model was trained on it."
            ),
            Column("text", _TEXT, "The prompt."),
            Column("answer", _TEXT, "The next words that it calls for.", nullable=True),
            _count("term_start", "Offset of the term's first character in the text.", "characters"),
            _count("term_end", "Offset behind the term's last character.", "characters", minimum=1),
        ),
    ),
    Table(
        name="pairs",
        doc="Candidates for patching: two prompts of one template whose answers differ, of any token length.",
        grain="concept x template x term x corrupting term",
        partitions=("concept",),
        keys=(*_PROMPT_KEYS, Column("corrupting_term", _TEXT, "The term of the corrupted prompt.")),
        values=(
            _LABELLING,
            Column("held_out", _FLAG, "Whether the template is kept aside for checks."),
            Column("answer", _TEXT, "The answer of the clean prompt."),
            Column("corrupting_answer", _TEXT, "The answer of the corrupted prompt."),
        ),
    ),
)

_EXTRACTION = (
    Table(
        name="models",
        doc="What was run: one row for each model that landed.",
        grain="one row a model",
        partitions=("model",),
        keys=(),
        values=(
            Column("source", _TEXT, "Where the weights come from, as registered."),
            Column("revision", _TEXT, "The commit of the weights, or a hash of them where there is no commit."),
            Column("architecture", _TEXT, "The class that the model's config names."),
            _count("layers", "Decoder layers.", "layers", minimum=1),
            _count("width", "Width of the residual stream.", "values", minimum=1),
            _count("vocabulary", "Rows of the output layer.", "tokens", minimum=1),
            Column("parameters", _BIG, "Weights, tied ones counted once.", unit="weights", minimum=1),
            Column("dtype", _TEXT, "The type that the weights were run in."),
            Column("landed_at", pa.timestamp("us", tz="UTC"), "When the model was first recorded."),
            Column("fingerprint", _TEXT, "Hash of config, tokenizer and weights."),
        ),
    ),
    Table(
        name="plants",
        doc="Where knowledge is known to sit, for planted models: the truth that maps are judged against.",
        grain="model x concept x labelling x planted layer",
        partitions=("model",),
        keys=(CONCEPT, _LABELLING, _BLOCK),
        values=(
            _real("recall", "Answers recalled with the plant in place.", "fraction", minimum=0, maximum=1),
            _real(
                "recall_reverted",
                "Answers recalled with this layer's weights put back.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
        ),
    ),
    Table(
        name="tokens",
        doc="How each prompt is split under a model's tokenizer: the confounds, and what positions resolve to.",
        grain="model x concept x prompt",
        partitions=("model", "concept"),
        keys=_PROMPT_KEYS,
        values=(
            _count("tokens", "Tokens of the prompt, special ones included.", "tokens", minimum=1),
            _count("term_tokens", "Tokens that the term covers.", "tokens", minimum=1),
            _count("term_first", "Index of the term's first token.", "index"),
            _count("term_last", "Index of the term's last token: what the position `term` reads.", "index"),
            _count("answer_tokens", "Tokens of the answer.", "tokens", minimum=1, nullable=True),
            _count("answer_token", "Vocabulary index of the answer's first token.", "index", nullable=True),
        ),
    ),
    Table(
        name="activations",
        doc="The residual stream after every layer, at three positions of every prompt.",
        grain="model x concept x layer x position x prompt",
        partitions=("model", "concept"),
        keys=(_LAYER_COLUMN, _POSITION, *_PROMPT_KEYS),
        values=(Column("vector", VECTOR, "The residual stream, before any final norm.", unit="activation"),),
    ),
    Table(
        name="lesions",
        doc="What the loss of a layer does to the answer of a prompt.",
        grain="model x concept x lesion x part x layer x prompt",
        partitions=("model", "concept"),
        keys=(_LESION_KIND, _PART, _BLOCK, *_PROMPT_KEYS),
        values=(
            _real("logit", "The answer's logit under the lesion.", "logit"),
            _real("log_probability", "The answer's log-probability under the lesion.", "nats", maximum=0),
            _count("rank", "The answer's rank under the lesion; 0 is the top.", "rank"),
            _real("kl", "KL(intact || lesioned) over the vocabulary.", "nats"),
            Column("correct", _FLAG, "Whether the answer is the top token under the lesion."),
            _real("intact_logit", "The answer's logit in the intact model.", "logit"),
            _real("intact_log_probability", "The answer's log-probability in the intact model.", "nats", maximum=0),
            _count("intact_rank", "The answer's rank in the intact model.", "rank"),
            Column("intact_correct", _FLAG, "Whether the answer is the intact model's top token."),
        ),
    ),
    Table(
        name="patches",
        doc="What the clean run's activation restores in the corrupted run, as the three raw logit differences.",
        grain="model x concept x site x position x layer x token x pair",
        partitions=("model", "concept"),
        keys=(
            Column("site", _TEXT, "What was patched.", allowed=("resid", "delta", "attn_out", "mlp_out")),
            Column("position", _TEXT, "Where it was patched.", allowed=("last", "term", "token")),
            _BLOCK,
            _count("token", "Index of the patched token.", "index"),
            *_PROMPT_KEYS,
            Column("corrupting_term", _TEXT, "The term of the corrupted prompt."),
        ),
        values=(
            _real("ld_clean", "Logit of the clean answer minus that of the corrupted one, clean run.", "logit"),
            _real("ld_corrupted", "The same difference in the corrupted run.", "logit"),
            _real("ld_patched", "The same difference in the patched run.", "logit"),
        ),
    ),
    Table(
        name="saliency",
        doc="Gradients of the answer's loss with respect to each module's weights.",
        grain="model x concept x layer x module x target x prompt",
        partitions=("model", "concept"),
        keys=(
            _BLOCK,
            Column("module", _TEXT, "The module, by its role in the layer."),
            Column("target", _TEXT, "What was differentiated.", allowed=("loss", "logit_difference")),
            *_PROMPT_KEYS,
        ),
        values=(
            _real("mean_abs_gradient", "Mean of |g| over the module's weights.", "target per weight", minimum=0),
            _real("rms_gradient", "Root mean square of g.", "target per weight", minimum=0),
            _real("first_order_effect", "Sum of g times w: the signed first-order effect of the weights.", "target"),
            Column("weights", _BIG, "Weights counted.", unit="weights", minimum=1),
        ),
    ),
    Table(
        name="responses",
        doc="What the model answers, intact and under each layer's lesion.",
        grain="model x concept x lesion x layer x prompt",
        partitions=("model", "concept"),
        keys=(*_ANSWER_KEYS,),
        values=(Column("response", _TEXT, "The greedy answer."),),
    ),
    Table(
        name="judgements",
        doc="How far each answer under a lesion degraded, as a judge saw it.",
        grain="model x concept x lesion x layer x prompt x judge",
        partitions=("model", "concept"),
        keys=(
            *_ANSWER_KEYS,
            Column("judge", _TEXT, "The measure, or the model that judged."),
        ),
        values=(
            _real("score", "Degradation, 1 (none) to 10 (gibberish); deterministic measures have their own range."),
            Column("reason", _TEXT, "The judge's reason.", nullable=True),
        ),
    ),
)

_ANALYSES = (
    Table(
        name="projections",
        doc="UMAP pictures: one point a term, aligned from layer to layer.",
        grain="model x concept x template kind x position x layer x term",
        partitions=("model", "concept"),
        keys=(_TEMPLATE_KIND, _POSITION, _VARIANT, _LAYER_COLUMN, _TERM),
        values=(
            Column("x", pa.float32(), "First coordinate of the picture; no unit, only neighbourhoods mean something."),
            Column("y", pa.float32(), "Second coordinate of the picture."),
            Column(
                "coordinates",
                VECTOR,
                "The same neighbour graph laid out in more dimensions, for metrics in UMAP's space.",
                width=30,
            ),
            _real(
                "trustworthiness",
                "How many of the picture's neighbours are neighbours in the model, for this layer.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
        ),
    ),
    Table(
        name="profiles",
        doc="One number per layer, with its bootstrap interval over terms and its permutation null over labels.",
        grain="model x concept x technique x metric x labelling x template kind x position x variant x layer",
        partitions=("model", "concept"),
        keys=(
            Column(
                "technique",
                _TEXT,
                "The technique that the number comes from.",
                allowed=("activations", "saliency", "lesions", "patches"),
            ),
            Column("metric", _TEXT, "What was measured; `docs/tables.md` and `docs/techniques.md` define each."),
            _LABELLING,
            _TEMPLATE_KIND,
            _POSITION,
            _VARIANT,
            _LAYER_COLUMN,
        ),
        values=(
            _real("value", "The estimate."),
            _real("low", "Lower end of the 95% bootstrap interval.", nullable=True),
            _real("high", "Upper end of the 95% bootstrap interval.", nullable=True),
            _real("null_mean", "Mean under permuted labels.", nullable=True),
            _real("null_high", "95th percentile under permuted labels.", nullable=True),
            _real(
                "null_p",
                "Fraction of permutations at least as large, the estimate counted in.",
                "probability",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            _count("n", "Terms behind the number.", "terms", minimum=1),
        ),
    ),
    Table(
        name="regions",
        doc="Runs of layers that a profile marks.",
        grain="model x concept x mode x technique x labelling x region",
        partitions=("model", "concept"),
        keys=(
            Column("mode", _TEXT, "How the map is drawn.", allowed=("paper", "consensus")),
            Column("technique", _TEXT, "The technique."),
            _LABELLING,
            _count("region", "Number of the region, from the lowest layer.", "index"),
        ),
        values=(
            Column("first", _LAYER, "First layer of the region.", minimum=0),
            Column("last", _LAYER, "Last layer of the region.", minimum=0),
            _real("confidence", "How sure the region is.", "fraction", minimum=0, maximum=1),
        ),
    ),
    Table(
        name="knowledge_map",
        doc="The knowledge map: how sure it is that a layer holds a concept.",
        grain="model x concept x mode x layer",
        partitions=("model", "concept"),
        keys=(Column("mode", _TEXT, "How the map is drawn.", allowed=("paper", "consensus")), _BLOCK),
        values=(
            _real("confidence", "Confidence that the layer holds the concept.", "fraction", minimum=0, maximum=1),
            _real(
                "agreement",
                "Agreement with maps from half of the terms, other templates and other seeds.",
                "fraction",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
        ),
    ),
    Table(
        name="findings",
        doc="The paper's six findings and our own, each with an estimate, an interval, a null and a verdict.",
        grain="model x finding",
        partitions=("model",),
        keys=(Column("finding", _TEXT, "The finding's name."),),
        values=(
            _real("estimate", "The estimate.", nullable=True),
            _real("low", "Lower end of the 95% interval.", nullable=True),
            _real("high", "Upper end of the 95% interval.", nullable=True),
            _real(
                "null_p",
                "Probability of the estimate under the null.",
                "probability",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            Column("verdict", _TEXT, "The verdict.", allowed=("supported", "refuted", "undecided")),
            Column("sentence", _TEXT, "The finding in plain words."),
        ),
    ),
    Table(
        name="published",
        doc="Table 1 of the paper, to compare a run with.",
        grain="concept x metric x published model",
        partitions=(),
        keys=(
            CONCEPT,
            Column("metric", _TEXT, "The metric, as the paper names it."),
            Column("published_model", _TEXT, "The model, as the paper names it."),
        ),
        values=(
            _real("value", "The best value over layers."),
            Column("layer", _LAYER, "The layer of the best value, counted from 0.", minimum=0),
        ),
    ),
)

STAGES: dict[str, tuple[Table, ...]] = {"library": _LIBRARY, "extraction": _EXTRACTION, "analyses": _ANALYSES}
"""Tables by the stage that writes them, in the order in which they are made."""

TABLES: dict[str, Table] = {table.name: table for stage in STAGES.values() for table in stage}


def table(name: str) -> Table:
    """The table of that name.

    Raises:
        InputError: there is none.
    """
    try:
        return TABLES[name]
    except KeyError:
        raise InputError(f"There is no table {name!r}. The tables are: {', '.join(TABLES)}.") from None
