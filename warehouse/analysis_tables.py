"""Tables of what is concluded from the measurements: pictures, profiles, regions, maps, findings."""

import pyarrow as pa

from warehouse.columns import (
    BLOCK,
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
                TEXT,
                "The technique that the number comes from.",
                allowed=("activations", "saliency", "lesions", "patches"),
            ),
            Column("metric", TEXT, "What was measured; `docs/tables.md` and `docs/techniques.md` define each."),
            LABELLING,
            TEMPLATE_KIND,
            POSITION,
            VARIANT,
            LAYER,
        ),
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
        name="regions",
        doc="Runs of layers that a profile marks.",
        grain="model x concept x mode x technique x labelling x region",
        partitions=("model", "concept"),
        keys=(
            Column("mode", TEXT, "How the map is drawn.", allowed=("paper", "consensus")),
            Column("technique", TEXT, "The technique."),
            LABELLING,
            count("region", "Number of the region, from the lowest layer.", "index"),
        ),
        values=(
            Column("first", LAYER_TYPE, "First layer of the region.", minimum=0),
            Column("last", LAYER_TYPE, "Last layer of the region.", minimum=0),
            real("confidence", "How sure the region is.", "fraction", minimum=0, maximum=1),
        ),
    ),
    Table(
        name="knowledge_map",
        doc="The knowledge map: how sure it is that a layer holds a concept.",
        grain="model x concept x mode x layer",
        partitions=("model", "concept"),
        keys=(Column("mode", TEXT, "How the map is drawn.", allowed=("paper", "consensus")), BLOCK),
        values=(
            real("confidence", "Confidence that the layer holds the concept.", "fraction", minimum=0, maximum=1),
            real(
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
        keys=(Column("finding", TEXT, "The finding's name."),),
        values=(
            real("estimate", "The estimate.", nullable=True),
            real("low", "Lower end of the 95% interval.", nullable=True),
            real("high", "Upper end of the 95% interval.", nullable=True),
            real(
                "null_p",
                "Probability of the estimate under the null.",
                "probability",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
            Column("verdict", TEXT, "The verdict.", allowed=("supported", "refuted", "undecided")),
            Column("sentence", TEXT, "The finding in plain words."),
        ),
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
        ),
    ),
)
