"""The one list of charts: what each is called, what it shows and of what, which tables it reads, and what draws it.

The assets (`defs.charts`, `defs.atlas`), the page of all maps and `vesalius chart` follow this list. What a chart looks
like is in `analyses`, imported only to draw; how it is saved is in `pictures` and `figures`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import altair as alt
    import pyarrow as pa

Tables = Mapping[str, "pa.Table"]

Scope = Literal["all", "model", "concept"]
"""One chart of all models, one of each model, or one of each model and concept."""


@dataclass(frozen=True)
class Subject:
    """What a chart is drawn of.

    Attributes:
        model: its slug; empty for all.
        concept: its name; empty for all.
        labelling: what terms are coloured by, where a chart colours them.
    """

    model: str = ""
    concept: str = ""
    labelling: str = ""


Draw = Callable[[Tables, Subject], "alt.TopLevelMixin"]


@dataclass(frozen=True)
class Chart:
    """A chart that can be drawn from a warehouse.

    Attributes:
        name: what it is called by `vesalius chart`; also its file's name without suffix.
        shows: what it shows, in words.
        reads: the tables that it is drawn from, with their keys as columns.
        draw: what draws it.
        scope: what there is one of it of.
        asset: the asset that keeps it current; empty where none does.
    """

    name: str
    shows: str
    reads: tuple[str, ...]
    draw: Draw
    scope: Scope = "all"
    asset: str = ""


def _consensus(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    return _map(tables, "consensus")


def _paper(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    return _map(tables, "paper")


def _map(tables: Tables, mode: str) -> "alt.TopLevelMixin":
    from analyses.map_charts import knowledge_map_chart

    return knowledge_map_chart(*(tables[name] for name in _MAPPED), mode=mode)


def _profiles(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    from analyses.charts import knowledge_profile_map
    from warehouse.errors import InputError

    profiles = tables["profiles"]
    if not profiles.num_rows:
        raise InputError("There are no profiles to draw: run a model first (`vesalius run --model reference`).")
    kinds = set(profiles["template_kind"].to_pylist())
    kind = "asking" if "asking" in kinds else "neutral"
    return knowledge_profile_map(profiles, tables["plants"], tables["concepts"], template_kind=kind)


def _validity(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    from analyses.validity_charts import validity_chart

    return validity_chart(tables["validation"])


def _edits(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    from analyses.edit_charts import closed_loop_chart

    return closed_loop_chart(tables["edits"])


def _published(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    from analyses.finding_charts import published_chart
    from analyses.published import beside_published

    return published_chart(beside_published(tables["published"], tables["profiles"], tables["models"]))


def _findings(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    from analyses.finding_charts import findings_chart

    return findings_chart(tables["findings"])


def _stability(tables: Tables, _: Subject) -> "alt.TopLevelMixin":
    from analyses.mark_charts import stability_chart

    return stability_chart(tables["stability"], tables["knowledge_map"], tables["concepts"])


def _relations(tables: Tables, subject: Subject) -> "alt.TopLevelMixin":
    from analyses.finding_charts import relations_chart

    return relations_chart(tables["knowledge_map"], tables["localisations"], model=subject.model)


def _rivals(tables: Tables, subject: Subject) -> "alt.TopLevelMixin":
    from analyses.rival_charts import rivals_chart
    from analyses.rows import frame

    return rivals_chart(frame(tables["profiles"]), frame(tables["rivals"]), subject.model)


def _marks(tables: Tables, subject: Subject) -> "alt.TopLevelMixin":
    from analyses.mark_charts import marks_chart

    return marks_chart(
        tables["marks"],
        subject.concept,
        model=subject.model,
        knowledge_map=tables["knowledge_map"],
        plants=tables["plants"],
    )


def _umap(tables: Tables, subject: Subject) -> "alt.TopLevelMixin":
    import polars as pl

    from analyses.charts import umap_multiples
    from analyses.rows import frame

    main = frame(tables["projections"]).filter(pl.col("variant") == "", pl.col("concept") == subject.concept)
    labels = frame(tables["labels"]).filter(pl.col("concept") == subject.concept)
    return umap_multiples(main.drop("model", "concept"), labels.drop("concept"), subject.labelling)


_MAPPED = ("knowledge_map", "localisations", "regions", "plants", "concepts")

CHARTS = {
    chart.name: chart
    for chart in (
        Chart(
            "knowledge-map",
            "The knowledge map of all models: concept x layer, by consensus.",
            _MAPPED,
            _consensus,
            asset="knowledge_map_chart",
        ),
        Chart("paper-map", "The same by the paper's rules.", _MAPPED, _paper, asset="paper_map_chart"),
        Chart(
            "profile-map",
            "The profile map: concept x layer, a panel a model, of all models in the warehouse.",
            ("profiles", "plants", "concepts"),
            _profiles,
            asset="profile_map",
        ),
        Chart(
            "published",
            "Runs beside the paper's Table 1.",
            ("published", "profiles", "models"),
            _published,
            asset="published_chart",
        ),
        Chart(
            "validity",
            "How well each technique finds planted knowledge.",
            ("validation",),
            _validity,
            asset="validity_chart",
        ),
        Chart(
            "edits",
            "What training the layers of a map did, beside other layers.",
            ("edits",),
            _edits,
            asset="edits_chart",
        ),
        Chart(
            "findings",
            "Every claim about a model with its estimate and verdict.",
            ("findings",),
            _findings,
            "model",
            "findings_chart",
        ),
        Chart(
            "stability",
            "How far a model's maps hold when they are made otherwise.",
            ("stability", "knowledge_map", "concepts"),
            _stability,
            "model",
            "stability_chart",
        ),
        Chart(
            "relations",
            "How far the maps of each two concepts of a model overlap.",
            ("knowledge_map", "localisations"),
            _relations,
            "model",
        ),
        Chart(
            "rivals",
            "How a model's layers sort terms, beside what their spelling alone gives.",
            ("profiles", "rivals"),
            _rivals,
            "model",
        ),
        Chart(
            "marks",
            "What each technique says of a concept, layer by layer, before they are put together.",
            ("marks", "knowledge_map", "plants"),
            _marks,
            "concept",
        ),
        Chart(
            "umap",
            "UMAP small multiples: a concept's pictures layer by layer, coloured by a labelling.",
            ("projections", "labels"),
            _umap,
            "concept",
            "umap_pictures",
        ),
    )
}
"""Every chart by its name."""
