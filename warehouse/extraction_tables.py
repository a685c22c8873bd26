"""Tables of what a model makes of the prompts: what it is, how it splits them, what its layers do."""

import pyarrow as pa

from warehouse.columns import (
    BIG,
    BLOCK,
    FLAG,
    LABELLING,
    LAYER,
    LAYER_TYPE,
    POSITION,
    PROMPT_KEYS,
    TEXT,
    count,
    real,
)
from warehouse.schema import CONCEPT, VECTOR, Column, Table

_LESION_KIND = Column(
    "lesion", TEXT, "What took the place of the layer's work.", allowed=("identity", "mean", "resample")
)
_ANSWER_KEYS = (
    Column(
        "lesion", TEXT, "What took the place of the layer's work.", allowed=("none", "identity", "mean", "resample")
    ),
    Column("layer", LAYER_TYPE, "The lesioned layer; -1 for the intact model.", minimum=-1),
    *PROMPT_KEYS,
)
_FIRST_TOKEN = count("first_token", "Vocabulary index of the first token, often a beginning of text.", "index")
_PAIR_KEYS = (*PROMPT_KEYS, Column("corrupting_term", TEXT, "The term of the corrupted prompt."))
PLANT_KINDS = ("one layer", "block of two", "mlp at term", "several concepts", "spread")
"""Kinds of plants. A `spread` one sits in all of its layers and in none: no map shall name one."""

_PART = Column("part", TEXT, "How much of the layer was lesioned.", allowed=("layer", "attention", "mlp"))

EXTRACTION = (
    Table(
        name="models",
        doc="What was run: one row for each model that landed.",
        grain="one row a model",
        partitions=("model",),
        keys=(),
        values=(
            Column("source", TEXT, "Where the weights come from, as registered; of an untrained twin, what made them."),
            Column("revision", TEXT, "The commit of the weights, or a hash of them where there is no commit."),
            Column("architecture", TEXT, "The class that the model's config names."),
            count("layers", "Decoder layers.", "layers", minimum=1),
            count("width", "Width of the residual stream.", "values", minimum=1),
            count("vocabulary", "Rows of the output layer.", "tokens", minimum=1),
            Column("parameters", BIG, "Weights, tied ones counted once.", unit="weights", minimum=1),
            Column("dtype", TEXT, "The type that the weights were run in."),
            Column(
                "quantization",
                TEXT,
                "What the weights are held as, or were stored as, where that is not their type: `8bit`, `4bit`; "
                "`mxfp4, dequantized` was stored in four bits and is run in `dtype`; null for others.",
                nullable=True,
            ),
            Column("landed_at", pa.timestamp("us", tz="UTC"), "When the model was first recorded."),
            Column(
                "fingerprint",
                TEXT,
                "Hash of config, tokenizer and weights; of an untrained twin the seed instead of these.",
            ),
            Column(
                "untrained_of",
                TEXT,
                "The model whose untrained twin this is (same shape and tokenizer, random weights); null for others.",
                nullable=True,
            ),
        ),
        version=3,
    ),
    Table(
        name="plants",
        doc="Where knowledge is known to sit, for planted models: the truth that maps are judged against.",
        grain="model x concept x labelling x planted layer",
        partitions=("model",),
        keys=(CONCEPT, LABELLING, BLOCK),
        values=(
            real("recall", "Answers recalled with the plant in place.", "fraction", minimum=0, maximum=1),
            real(
                "recall_reverted",
                "Answers recalled with this layer's weights put back.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
            Column("kind", TEXT, "How the plant was made, and what was proved of it.", allowed=PLANT_KINDS),
        ),
        version=2,
    ),
    Table(
        name="unmeasured",
        doc="What does not apply to a model: tables that stay empty for it, and why; no rows where everything applies.",
        grain="model x table",
        partitions=("model",),
        keys=(Column("table_name", TEXT, "The table that holds nothing of this model."),),
        values=(Column("reason", TEXT, "Why it can't be measured."),),
    ),
    Table(
        name="tokens",
        doc="How each prompt is split under a model's tokenizer: the confounds, and what positions resolve to.",
        grain="model x concept x prompt",
        partitions=("model", "concept"),
        keys=PROMPT_KEYS,
        values=(
            count("tokens", "Tokens of the prompt, special ones included.", "tokens", minimum=1),
            count("term_tokens", "Tokens that the term covers.", "tokens", minimum=1),
            count("term_first", "Index of the term's first token.", "index"),
            count("term_last", "Index of the term's last token: what the position `term` reads.", "index"),
            count("answer_tokens", "Tokens of the answer.", "tokens", minimum=1, nullable=True),
            count(
                "answer_token",
                "Vocabulary index of the answer's first token; null where a blank would need more than one.",
                "index",
                nullable=True,
            ),
            Column("term_last_text", TEXT, "The term's last token, decoded: for people to check the position."),
            Column("answer_text", TEXT, "The answer's first token, decoded.", nullable=True),
            _FIRST_TOKEN,
        ),
        version=3,
    ),
    Table(
        name="pair_tokens",
        doc="What becomes of each pair under a model's tokenizer: kept for patching, or dropped and why.",
        grain="model x concept x pair",
        partitions=("model", "concept"),
        keys=_PAIR_KEYS,
        values=(
            count("tokens", "Tokens of the clean prompt.", "tokens", minimum=1),
            count("corrupted_tokens", "Tokens of the corrupted prompt.", "tokens", minimum=1),
            count(
                "first_difference",
                "Index of the first token in which the two differ; null where lengths differ or nothing does.",
                "index",
                nullable=True,
            ),
            count("answer_token", "First token of the clean answer.", "index", nullable=True),
            count("corrupting_answer_token", "First token of the corrupted answer.", "index", nullable=True),
            Column(
                "dropped",
                TEXT,
                "Why the pair can't be patched; null where it can.",
                nullable=True,
                allowed=("lengths differ", "answers begin alike", "no answer token", "prompts are the same"),
            ),
        ),
    ),
    Table(
        name="activations",
        doc="The residual stream after every layer, at three positions of every prompt.",
        grain="model x concept x layer x position x prompt",
        partitions=("model", "concept"),
        keys=(LAYER, POSITION, *PROMPT_KEYS),
        values=(Column("vector", VECTOR, "The residual stream, before any final norm.", unit="activation"),),
    ),
    Table(
        name="first_tokens",
        doc="The residual stream at the first token of a concept's prompts, which the position `mean` leaves out.",
        grain="model x concept x layer x first token",
        partitions=("model", "concept"),
        keys=(LAYER, _FIRST_TOKEN),
        values=(
            Column(
                "vector",
                VECTOR,
                "The residual stream there: the same in all prompts that begin so, for nothing comes before it.",
                unit="activation",
            ),
            count("prompts", "Prompts of the concept that begin with this token.", "prompts", minimum=1),
        ),
    ),
    Table(
        name="contributions",
        doc="What attention and MLP each add to the residual stream, at three positions of every prompt; on request.",
        grain="model x concept x layer x site x position x prompt",
        partitions=("model", "concept"),
        keys=(
            BLOCK,
            Column("site", TEXT, "Which part of the layer added it.", allowed=("attn_out", "mlp_out")),
            POSITION,
            *PROMPT_KEYS,
        ),
        values=(Column("vector", VECTOR, "What was added, behind any norm of its own.", unit="activation"),),
    ),
    Table(
        name="lesions",
        doc="What the loss of a layer does to the answer of a prompt.",
        grain="model x concept x lesion x part x layer x prompt",
        partitions=("model", "concept"),
        keys=(_LESION_KIND, _PART, BLOCK, *PROMPT_KEYS),
        values=(
            real("logit", "The answer's logit under the lesion.", "logit"),
            real("log_probability", "The answer's log-probability under the lesion.", "nats", maximum=0),
            count("rank", "The answer's rank under the lesion; 0 is the top.", "rank"),
            real("kl", "KL(intact || lesioned) over the vocabulary.", "nats"),
            Column("correct", FLAG, "Whether the answer is the top token under the lesion."),
            real("intact_logit", "The answer's logit in the intact model.", "logit"),
            real("intact_log_probability", "The answer's log-probability in the intact model.", "nats", maximum=0),
            count("intact_rank", "The answer's rank in the intact model.", "rank"),
            Column("intact_correct", FLAG, "Whether the answer is the intact model's top token."),
        ),
    ),
    Table(
        name="patches",
        doc="What the clean run's activation restores in the corrupted run, as the three raw logit differences.",
        grain="model x concept x site x position x layer x token x pair",
        partitions=("model", "concept"),
        keys=(
            Column("site", TEXT, "What was patched.", allowed=("resid", "delta", "attn_out", "mlp_out")),
            Column("position", TEXT, "Where it was patched.", allowed=("last", "term", "token")),
            BLOCK,
            count("token", "Index of the patched token.", "index"),
            *_PAIR_KEYS,
        ),
        values=(
            real("ld_clean", "Logit of the clean answer minus that of the corrupted one, clean run.", "logit"),
            real("ld_corrupted", "The same difference in the corrupted run.", "logit"),
            real("ld_patched", "The same difference in the patched run.", "logit"),
        ),
    ),
    Table(
        name="saliency",
        doc="Gradients of the answer's loss with respect to each module's weights.",
        grain="model x concept x layer x module x target x prompt",
        partitions=("model", "concept"),
        keys=(
            BLOCK,
            Column(
                "module",
                TEXT,
                "The module by its role (q, k, v, o, gate, up, down, router, …), or its name in the layer.",
            ),
            Column("target", TEXT, "What was differentiated.", allowed=("loss", "logit_difference")),
            *PROMPT_KEYS,
        ),
        values=(
            real("mean_abs_gradient", "Mean of |g| over the module's weights.", "target per weight", minimum=0),
            real("rms_gradient", "Root mean square of g.", "target per weight", minimum=0),
            real("first_order_effect", "Sum of g times w: the signed first-order effect of the weights.", "target"),
            Column("weights", BIG, "Weights counted.", unit="weights", minimum=1),
            Column("part", TEXT, "What the module belongs to.", allowed=("attention", "mlp", "norm", "other")),
        ),
    ),
    Table(
        name="responses",
        doc="What the model answers, intact and under each layer's lesion.",
        grain="model x concept x lesion x layer x prompt",
        partitions=("model", "concept"),
        keys=(*_ANSWER_KEYS,),
        values=(
            Column("response", TEXT, "The greedy answer."),
            count("tokens", "Tokens of the answer, the end of the text included.", "tokens"),
            Column("exact", FLAG, "Whether the answer is the intact model's, token by token."),
            real(
                "token_agreement",
                "Places in which both answers have the same token, over the longer answer's tokens.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
            real("chrf", "chrF of the answer against the intact model's.", "percent", minimum=0, maximum=100),
            real(
                "intact_answer_nll",
                "Negative log-likelihood of the intact model's answer under the lesion, summed over its tokens.",
                "nats",
                minimum=0,
            ),
        ),
    ),
    Table(
        name="judgements",
        doc="How far each answer under a lesion degraded, as a language model judged it.",
        grain="model x concept x lesion x layer x prompt x judge x repeat",
        partitions=("model", "concept"),
        keys=(
            *_ANSWER_KEYS,
            Column("judge", TEXT, "The model that judged."),
            count("repeat", "0 for the first judgement of an answer, 1 for the same answer judged again.", "index"),
        ),
        values=(
            real("score", "Degradation, 1 (no change) to 10 (gibberish).", "points", minimum=1, maximum=10),
            Column("reason", TEXT, "The judge's reason."),
            Column("rubric", TEXT, "Hash of the instructions that the judge was given."),
            count("prompt_tokens", "Tokens that the judge read.", "tokens"),
            count("completion_tokens", "Tokens that the judge wrote.", "tokens"),
        ),
    ),
    Table(
        name="verifications",
        doc="What was checked of a model before its numbers are believed: parity, floors, what is supported.",
        grain="model x aspect",
        partitions=("model",),
        keys=(Column("aspect", TEXT, "What was checked."),),
        values=(
            Column("verdict", TEXT, "What came of it.", allowed=("passed", "failed", "not supported", "noted")),
            real("measured", "The number that the check is about.", nullable=True),
            real("allowed", "The most that it may be.", nullable=True),
            Column("detail", TEXT, "The check and its outcome in words."),
        ),
    ),
)
