"""Tables of what is concluded from the measurements: pictures, profiles, regions, maps, findings."""

import pyarrow as pa

from warehouse.columns import (
    BLOCK,
    COUNT,
    FLAG,
    LABELLING,
    LAYER,
    LAYER_TYPE,
    POSITION,
    TEMPLATE_KIND,
    TERM,
    TEXT,
    VARIANT,
    count,
    real,
)
from warehouse.schema import CONCEPT, VECTOR, Column, Table

METRIC = Column("metric", TEXT, "What was measured; `docs/techniques.md` defines each.")
MODE = Column("mode", TEXT, "How the map is drawn.", allowed=("paper", "consensus"))
MAP_LABELLING = Column("labelling", TEXT, "The labelling that is asked for; empty for the concept as a whole.")
PROFILE_KEYS = (
    Column(
        "technique",
        TEXT,
        "The technique that the number comes from.",
        allowed=("activations", "saliency", "lesions", "patches"),
    ),
    METRIC,
    LABELLING,
    TEMPLATE_KIND,
    POSITION,
    VARIANT,
    LAYER,
)
"""What identifies a number of a profile within a model and concept."""

ANALYSES = (
    Table(
        name="projections",
        doc="UMAP pictures: one point a term, aligned from layer to layer.",
        grain="model x concept x template kind x position x layer x term",
        partitions=("model", "concept"),
        keys=(TEMPLATE_KIND, POSITION, VARIANT, LAYER, TERM),
        values=(
            Column("x", pa.float32(), "First coordinate of the picture; no unit, only neighbourhoods mean something."),
            Column("y", pa.float32(), "Second coordinate of the picture."),
            Column(
                "coordinates",
                VECTOR,
                "The same neighbour graph laid out in more dimensions, for metrics in UMAP's space.",
                width=30,
            ),
            real(
                "trustworthiness",
                "How many of the picture's neighbours are neighbours in the model, for this layer.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
            real(
                "continuity",
                "How many of the model's neighbours are neighbours in the picture, for this layer.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
        ),
        version=2,
    ),
    Table(
        name="neighbours",
        doc="The nearest terms of each term in the model's own space, one point a term as in `projections`: by cosine, "
        "not by UMAP. A term whose point is zero (all prompts are the same there, like the embeddings at the last "
        "token) has no direction: it has no neighbours and is nobody's.",
        grain="model x concept x template kind x position x variant x layer x term x rank",
        partitions=("model", "concept"),
        keys=(
            TEMPLATE_KIND,
            POSITION,
            VARIANT,
            LAYER,
            TERM,
            count("rank", "The neighbour's place; 0 is the nearest. Equally near ones in the terms' order.", "rank"),
        ),
        values=(
            Column("neighbour", TEXT, "The neighbour: another term of the concept and variant."),
            real("similarity", "Cosine between the two terms' points.", minimum=-1, maximum=1),
        ),
    ),
    Table(
        name="profiles",
        doc="One number per layer, with its bootstrap interval over terms and its permutation null over labels.",
        grain="model x concept x technique x metric x labelling x template kind x position x variant x layer",
        partitions=("model", "concept"),
        keys=PROFILE_KEYS,
        values=(
            real("value", "The estimate."),
            real("low", "Lower end of the 95% bootstrap interval.", nullable=True),
            real("high", "Upper end of the 95% bootstrap interval.", nullable=True),
            real("null_mean", "Mean under permuted labels.", nullable=True),
            real("null_high", "95th percentile under permuted labels.", nullable=True),
            real(
                "null_p",
                "Fraction of permutations at least as large, the estimate counted in.",
                "probability",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            count("n", "Terms behind the number.", "terms", minimum=1),
        ),
    ),
    Table(
        name="profile_draws",
        doc="The bootstrap draws behind those profiles that maps are drawn from: paired from layer to layer.",
        grain="model x concept x technique x metric x labelling x template kind x position x variant x layer",
        partitions=("model", "concept"),
        keys=PROFILE_KEYS,
        values=(
            real("value", "The estimate, as in `profiles`."),
            Column("draws", VECTOR, "One value a resample of terms, in the order of the resamples."),
            real("null_mean", "Mean under permuted labels, as in `profiles`.", nullable=True),
        ),
    ),
    Table(
        name="rivals",
        doc="What explains a labelling before the first layer: the same metric on spelling, token counts, frequency, "
        "embeddings.",
        grain="model x concept x rival x metric x labelling x template kind x variant",
        partitions=("model", "concept"),
        keys=(
            Column(
                "rival",
                TEXT,
                "What the metric was taken on: the character trigrams of the terms' spelling, the number of their "
                "tokens, their frequency in English, or layer -1 at the term's last token.",
                allowed=("spelling", "token_count", "frequency", "embeddings"),
            ),
            METRIC,
            LABELLING,
            TEMPLATE_KIND,
            VARIANT,
        ),
        values=(
            real("value", "The estimate. Of all but embeddings it is the same for all templates."),
            real("low", "Lower end of the 95% bootstrap interval.", nullable=True),
            real("high", "Upper end of the 95% bootstrap interval.", nullable=True),
            real("null_mean", "Mean under permuted labels.", nullable=True),
            real("null_high", "95th percentile under permuted labels.", nullable=True),
            real(
                "null_p",
                "Fraction of permutations at least as large, the estimate counted in.",
                "probability",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            count("n", "Terms behind the number.", "terms", minimum=1),
        ),
    ),
    Table(
        name="jumps",
        doc="The step from each number to the next, against what its neighbours lead to expect.",
        grain="model x concept x labelling x template kind x position x variant x layer x number",
        partitions=("model", "concept"),
        keys=(
            LABELLING,
            TEMPLATE_KIND,
            POSITION,
            VARIANT,
            LAYER,
            real("number", "The number that the step leads to, from the one before."),
        ),
        values=(
            real("size", "The step, over the mean step of the layer; averaged over strata and templates.", minimum=0),
            real("null_mean", "The step that its neighbours lead to expect.", minimum=0),
            real("null_high", "95th percentile of that step if the course is smooth.", minimum=0),
            real(
                "null_p",
                "How often a step of a smooth course stands out as much.",
                "probability",
                minimum=0,
                maximum=1,
            ),
            real("q", "The same, corrected over all numbers of the layer.", "probability", minimum=0, maximum=1),
            Column("token_split", FLAG, "Whether the two numbers' terms differ in their number of tokens."),
            Column("decade", FLAG, "Whether the tens digit changes."),
        ),
    ),
    Table(
        name="stage_circles",
        doc="Order, circles and loops of the stages of each disease, against stages that are exchanged.",
        grain="model x concept x labelling x staged x measure x template kind x position x variant x layer",
        partitions=("model", "concept"),
        keys=(
            LABELLING,
            Column("staged", TEXT, "What goes through the stages: a disease."),
            Column(
                "measure",
                TEXT,
                "What was measured; `docs/techniques.md` defines each.",
                allowed=("order", "ring", "circularity", "nearest_early", "loop"),
            ),
            TEMPLATE_KIND,
            POSITION,
            VARIANT,
            LAYER,
        ),
        values=(
            real("value", "The estimate."),
            real("low", "Lower end of the 95% bootstrap interval, over terms within stages."),
            real("high", "Upper end of the 95% bootstrap interval."),
            real("null_mean", "Mean under the null: exchanged stages; for `loop` a normal cloud of the same spread."),
            real("null_high", "95th percentile under the null."),
            real(
                "null_p",
                "Fraction of the null at least as large, the estimate counted in.",
                "probability",
                minimum=0,
                maximum=1,
            ),
            real(
                "q",
                "The same, corrected over all that is staged and all layers.",
                "probability",
                minimum=0,
                maximum=1,
            ),
            count("stages", "Stages behind the number.", "stages", minimum=3),
            count("n", "Terms behind the number.", "terms", minimum=3),
        ),
    ),
    Table(
        name="marks",
        doc="What each technique says of each layer on a map, before techniques are put together.",
        grain="model x concept x mode x technique x metric x labelling x position x layer",
        partitions=("model", "concept"),
        keys=(MODE, Column("technique", TEXT, "The technique."), METRIC, LABELLING, POSITION, BLOCK),
        values=(
            real("value", "The profile that was read: smoothed in the mode `paper`.", nullable=True),
            real(
                "marked",
                "In `consensus` the share of resamples in which the layer stands out; in `paper` 1 in a region or 0.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
            real(
                "weight",
                "Log-odds that this adds for the layer, by how well the contrast finds planted layers; 0 in `paper`.",
                "nats",
            ),
        ),
    ),
    Table(
        name="regions",
        doc="Runs of layers that a technique or a map marks.",
        grain="model x concept x mode x technique x labelling x region",
        partitions=("model", "concept"),
        keys=(
            MODE,
            Column("technique", TEXT, "The technique; `all` for what they say together."),
            MAP_LABELLING,
            count("region", "Number of the region, from the lowest layer.", "index"),
        ),
        values=(
            Column("first", LAYER_TYPE, "First layer of the region.", minimum=0),
            Column("last", LAYER_TYPE, "Last layer of the region.", minimum=0),
            real("confidence", "How sure the region is: the mean over its layers.", "fraction", minimum=0, maximum=1),
        ),
    ),
    Table(
        name="knowledge_map",
        doc="The knowledge map: how sure it is that a layer holds a concept.",
        grain="model x concept x mode x labelling x layer",
        partitions=("model", "concept"),
        keys=(MODE, MAP_LABELLING, BLOCK),
        values=(
            real(
                "confidence",
                "In `consensus` the probability that the layer holds the concept; in `paper` the share of techniques "
                "that mark it.",
                "fraction",
                minimum=0,
                maximum=1,
            ),
            real(
                "agreement",
                "Share of the maps made otherwise (half of the terms, other templates, seeds, metrics) that say the "
                "same of this cell; none in `paper`, or where they were not made.",
                "fraction",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
        ),
        version=2,
    ),
    Table(
        name="localisations",
        doc="What a map says of a concept as a whole: localised or not, where, how much hangs on it, and how deep.",
        version=2,
        grain="model x concept x mode x labelling",
        partitions=("model", "concept"),
        keys=(MODE, MAP_LABELLING),
        values=(
            Column(
                "verdict",
                TEXT,
                "Whether the concept sits in some layers; `not known`: the model can't answer, so nothing is there to "
                "find; `not measured`: no causal technique was run.",
                allowed=("localised", "not localised", "not known", "not measured"),
            ),
            real("confidence", "The largest confidence of any layer.", "fraction", minimum=0, maximum=1),
            Column("places", TEXT, "The layers of its regions, like `2-3, 7`; empty where it is not localised."),
            Column("surest_layer", COUNT, "The layer of the largest confidence, of what is localised.", nullable=True),
            *(
                real(name, doc, "share of the right answers", nullable=True)
                for name, doc in (
                    (
                        "lost_answers",
                        "What is lost with the surest layer (`resample` lesion), less what the controls lose: how much "
                        "hangs on it; `confidence` says how sure it is that something does. Of what is localised.",
                    ),
                    ("lost_low", "Lower end of its 95% interval."),
                    ("lost_high", "Upper end of its 95% interval."),
                )
            ),
            real(
                "first_half_share",
                "Share of the concept's weight in the first half of the layers.",
                "fraction",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            real("first_half_low", "Lower end of its 95% interval.", "fraction", nullable=True, minimum=0, maximum=1),
            real("first_half_high", "Upper end of its 95% interval.", "fraction", nullable=True, minimum=0, maximum=1),
            Column("sentence", TEXT, "The same in plain words."),
        ),
    ),
    Table(
        name="stability",
        doc="Maps made again from other data or settings, beside the one that is shown.",
        grain="model x concept x labelling x change x repeat x layer",
        partitions=("model", "concept"),
        keys=(
            MAP_LABELLING,
            Column(
                "change",
                TEXT,
                "What was made otherwise.",
                allowed=("half of the terms", "one template", "held-out templates", "seed", "metric", "umap"),
            ),
            count("repeat", "Number of the repeat.", "index"),
            BLOCK,
        ),
        values=(
            real("confidence", "The confidence that this map gives the layer.", "fraction", minimum=0, maximum=1),
            Column("detail", TEXT, "Which half, template, seed, metric or setting it was."),
        ),
    ),
    Table(
        name="validation",
        doc="How well each contrast finds planted knowledge: one row a planted relation and contrast.",
        grain="model x concept x labelling x technique x metric x position",
        partitions=(),
        keys=(
            Column("model", TEXT, "The planted, spread or untrained model."),
            CONCEPT,
            LABELLING,
            Column("technique", TEXT, "The technique; `consensus` and `paper` for the maps."),
            METRIC,
            POSITION,
        ),
        values=(
            Column(
                "kind",
                TEXT,
                "How the knowledge was planted.",
                allowed=(
                    "one layer",
                    "block of two",
                    "mlp at term",
                    "several concepts",
                    "spread",
                    "untrained",
                    "unknown",
                ),
            ),
            count("layers", "Layers of the model.", "layers", minimum=1),
            count("seed", "Seed of the model.", "index"),
            Column("planted", TEXT, "The planted layers, like `2-3`; empty where no layer holds the knowledge."),
            Column("best_layer", LAYER_TYPE, "The layer of the largest value.", nullable=True, minimum=0),
            real("hit", "1 where the best layer is a planted one, else 0.", nullable=True, minimum=0, maximum=1),
            real("error", "Layers from the best one to the nearest planted one.", "layers", nullable=True, minimum=0),
            real(
                "overlap",
                "Jaccard index of the marked layers and the planted ones.",
                "fraction",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            real(
                "found", "Share of the planted layers that are marked.", "fraction", nullable=True, minimum=0, maximum=1
            ),
            real(
                "false_marks",
                "Share of the other layers that are marked.",
                "fraction",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            Column("localised", pa.bool_(), "Whether any layer is marked.", nullable=True),
        ),
    ),
    Table(
        name="findings",
        doc="The paper's six findings and our own, each with an estimate, an interval, a null and a verdict.",
        grain="model x finding",
        partitions=("model",),
        keys=(Column("finding", TEXT, "The finding's name."),),
        values=(
            Column("claimed_by", TEXT, "Who claims it.", allowed=("the paper", "this project")),
            Column("title", TEXT, "The claim that is put to the test."),
            Column("question", TEXT, "The question that the estimate answers."),
            Column("rule", TEXT, "How the verdict follows from the interval, the threshold and the null."),
            real("estimate", "The estimate; the larger, the more it speaks for the claim.", nullable=True),
            real("low", "Lower end of the 95% interval.", nullable=True),
            real("high", "Upper end of the 95% interval.", nullable=True),
            real("threshold", "The claim is supported by intervals above it, refuted by intervals below it."),
            real("null_mean", "The estimate to be expected under the null.", nullable=True),
            real(
                "null_p",
                "Probability of the estimate under the null.",
                "probability",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            Column("basis", TEXT, "What the estimate rests on: how many concepts, terms, layers; what was chosen."),
            Column("verdict", TEXT, "The verdict.", allowed=("supported", "refuted", "undecided")),
            Column("sentence", TEXT, "The finding in plain words, or what is missing to tell."),
        ),
        version=2,
    ),
    Table(
        name="published",
        doc="Table 1 of the paper, to compare a run with.",
        grain="concept x metric x published model",
        partitions=(),
        keys=(
            CONCEPT,
            Column("metric", TEXT, "The metric, as the paper names it."),
            Column("published_model", TEXT, "The model, as the paper names it."),
        ),
        values=(
            real("value", "The best value over layers."),
            Column("layer", LAYER_TYPE, "The layer of the best value, counted from 0.", minimum=0),
            real("depth", "That layer over the model's last one: 0 is the first layer, 1 the last.", "fraction"),
        ),
        version=2,
    ),
    Table(
        name="edits",
        doc="Models made to answer otherwise by training some layers alone: whether recommended ones do better.",
        grain="model x concept x labelling x task x arm x repeat",
        partitions=(),
        keys=(
            Column("model", TEXT, "The model that was edited."),
            CONCEPT,
            LABELLING,
            Column(
                "task",
                TEXT,
                "`teach`: some facts get another answer; `unlearn`: no fact of the labelling shall be known.",
                allowed=("teach", "unlearn"),
            ),
            Column(
                "arm",
                TEXT,
                "Which layers were trained: those recommended, as many others at random, the first ones, or all.",
                allowed=("recommended", "random", "first", "all"),
            ),
            count("repeat", "Number of the repeat: other facts, sentences and random layers.", "index"),
        ),
        values=(
            Column("places", TEXT, "The layers that were trained, like `2-3, 7`."),
            count("layer_count", "How many they are.", "layers", minimum=1),
            Column(
                "verdict", TEXT, "What the map says of the labelling; only of a localised one is an arm recommended."
            ),
            real("learning_rate", "The rate that did best on taught templates, of those that were tried."),
            count("steps", "Steps of training.", "steps", minimum=1),
            *(
                real(f"{name}_{when}", f"{doc}, {when} the edit.", "fraction", name == "same", minimum=0, maximum=1)
                for name, doc in (
                    ("target", "Prompts of held-out templates that get the target answer (`unlearn`: the right one)"),
                    ("same", "The same of the labelling's other facts, which should stay; none in `unlearn`"),
                    ("others", "The same of other relations, which should stay, a mean over those that were known"),
                )
                for when in ("before", "after")
            ),
            real("target_taught", "As `target_after`, on the taught templates.", "fraction", minimum=0, maximum=1),
            real("kl_neutral", "KL(before || after) of the next token in neutral sentences, a mean.", "nats"),
        ),
    ),
)
