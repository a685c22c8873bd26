"""`vesalius validate`: planted models are trained, measured like any other, and every technique is held to the truth.

Belongs here: the order of the work, which is resumable at each model, and where its results are kept. Which models are
trained is in `extract.zoo` and `extract.zoo_lists`, how they are judged in `analyses.validity`.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
import pyarrow as pa

from analyses.validity import ASIDE_FILE, VALIDATION_FILE
from dagster_project.defs.analyses import PROFILED
from dagster_project.defs.resources import PROJECT, Settings, Warehouse
from dagster_project.profiling import measured_concept, model_layers
from dagster_project.progress import LogProgress
from dagster_project.running import run_models, write_library
from extract.job.extracting import TABLES as EXTRACTED
from extract.job.progress import Progress
from extract.library import CONCEPTS
from extract.models import ModelEntry
from warehouse.atomic import replacing
from warehouse.errors import InputError, ModelError
from warehouse.versions import CODE_VERSION

if TYPE_CHECKING:
    from analyses.contrasts import Contrast
    from analyses.validity import Case
    from extract.zoo import ZooModel
    from extract.zoo_jobs import Outcome
    from extract.zoo_lists import ZooList

MEASURED = Settings(
    lesions=["identity", "mean", "resample"],
    sites=["resid", "delta", "resid:term", "delta:term"],
    sample=96,
    resamples=200,
    permutations=20,
    answers=0,
    held_out=0,
)
"""What is measured of each model."""

_READ = [name for name in EXTRACTED if name not in {"contributions", "responses"}] + ["projections", *PROFILED]
"""The tables that the techniques are judged by, and those that they are made from."""


@dataclass(frozen=True)
class Places:
    """Where the work lies: a folder that can be deleted, and made again.

    Attributes:
        folder: that folder.
        list: which models may lie there, and what they are taught.
    """

    folder: Path
    list: "ZooList"

    @property
    def models(self) -> Path:
        """One folder a model."""
        return self.folder / "models"

    @property
    def library(self) -> Path:
        """The small concept library."""
        return self.folder / "library"

    @property
    def warehouse(self) -> Warehouse:
        """A warehouse of its own."""
        return Warehouse(
            root=str(self.folder / "warehouse"), concepts=str(self.library), models=str(self.folder / "models.toml")
        )


def run_validation(
    places: Places,
    models: Sequence["ZooModel"],
    *,
    jobs: int,
    keep: bool,
    told: Callable[[str], None],
    progress: Progress,
) -> list[str]:
    """Train, measure and judge models of the zoo; what is there already is not made again.

    Args:
        places: where the work lies.
        models: which.
        jobs: processes at once.
        keep: whether results are kept in the project: those of the zoo for `validation` and as the contrasts of every
            map, those of models held aside as rows of their own that nothing is fitted to.
        told: called with a line as each model is trained or measured.
        progress: is shown how far training and measuring are.

    Returns:
        What came out, as lines of Markdown.

    Raises:
        ModelError: no model could be trained, or one could not be measured.
        ConceptError, StoreError: the library can't be made.
    """
    from analyses.contrasts import write_contrasts
    from analyses.validity_summary import validity_markdown
    from extract.small_library import write_small_library
    from extract.zoo_jobs import train_zoo

    if not places.library.exists():
        cut = places.list.cut
        write_small_library(CONCEPTS, places.library, labels=cut.labels, terms=cut.terms, last=cut.last)

    with progress.stage("train", len(models), "models") as advance:
        ended = 0

        def trained(outcome: "Outcome", done: int, count: int) -> None:
            nonlocal ended
            fault = outcome.fault and f": {outcome.fault}"
            told(f"{done}/{count} trained: {outcome.name}, {outcome.seconds:.0f} s{fault}")
            advance(done - ended)  # None for a base, several where a base failed.
            ended = done

        outcomes = train_zoo(models, places.library, places.models, jobs, trained)
    slugs = sorted(outcome.name for outcome in outcomes if not outcome.fault)
    if not slugs:
        raise ModelError(f"No model could be trained. {outcomes[0].fault}")
    with progress.stage("measure", len(slugs), "models") as advance:
        for number, slug in enumerate(measure_side_by_side(places, slugs, jobs), start=1):
            told(f"{number}/{len(slugs)} measured: {slug}")
            advance(1)
    found = cases(places, [model for model in models if model.slug in set(slugs)])
    kept_out = [outcome for outcome in outcomes if outcome.fault]
    if places.list.judges_only:
        rows = judge_aside(found)
        if keep:
            keep_results(rows, slugs, kept_out, ASIDE_FILE, listed=len(places.list.models()))
    else:
        rows, contrasts = judge(found)
        if keep:
            keep_results(rows, slugs, kept_out)
            write_contrasts(contrasts)
    return validity_markdown(pl.DataFrame(rows))


def measure_side_by_side(places: Places, slugs: Sequence[str], jobs: int) -> Iterator[str]:
    """Run models of the zoo through the pipeline, in several processes; gives a model's name as it is done.

    Raises:
        ModelError: a model can't be measured; the others are.
    """
    with dg.DagsterInstance.ephemeral() as instance:
        # Before several processes would all write it.
        write_library(instance, places.warehouse, MEASURED)
    failed = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(measure, places, slug): slug for slug in slugs}
        for done in as_completed(running):
            if (error := done.exception()) is None:
                yield running[done]
            else:
                failed.append(f"{running[done]}: {error}")
    if failed:
        raise ModelError(f"{len(failed)} of {len(slugs)} models could not be measured. {failed[0]}")


def measure(places: Places, slug: str) -> None:
    """Run a model of the zoo through the pipeline, in this process; what is current costs nothing."""
    entry = ModelEntry(slug, places.models / slug)
    # Models that judge the consensus alone need no pictures: it reads none.
    read = [name for name in _READ if name != "projections" or not places.list.judges_only]
    with dg.DagsterInstance.ephemeral() as instance:
        run_models(instance, places.warehouse, [entry], MEASURED, LogProgress(), untrained=False, only=read)


def cases(places: Places, models: Sequence["ZooModel"]) -> list["Case"]:
    """All that was measured of the relations of some models, with the truth from their cards.

    Raises:
        InputError: a model was not measured.
    """
    return [case for model in models for case in _cases(places, model)]


def judge(found: Sequence["Case"]) -> tuple[pa.Table, list["Contrast"]]:
    """The rows of `validation`, and the contrasts fitted to all cases."""
    from analyses.contrasts import CANDIDATES
    from analyses.validity import fit, validation_table

    return validation_table(found, CANDIDATES), fit(found, CANDIDATES)


def judge_aside(found: Sequence["Case"]) -> pa.Table:
    """The rows of models held aside, with the consensus that every map is drawn by: nothing is fitted to them."""
    from analyses.contrasts import CANDIDATES, best_contrasts, contrasts
    from analyses.validity import validation_table

    return validation_table(found, CANDIDATES, chosen=best_contrasts(contrasts()))


def keep_results(
    rows: pa.Table,
    slugs: Sequence[str],
    kept_out: Sequence["Outcome"],
    path: Path = VALIDATION_FILE,
    listed: int | None = None,
) -> None:
    """Write the rows as CSV, and beside them, in JSON, how they were made and which models missed their gates.

    Args:
        rows: of `validation`.
        slugs: the models that were judged.
        kept_out: those that missed their gates.
        path: the CSV.
        listed: how many models the whole list has, if that is told: a part of it may have been made.
    """
    made = {
        "models": len(slugs),
        "listed": listed or len(slugs) + len(kept_out),
        "kept_out": {outcome.name: outcome.fault for outcome in kept_out},
        "commit": _commit(),
        "code_version": CODE_VERSION,
        "date": datetime.now(UTC).date().isoformat(),
        "settings": MEASURED.model_dump(exclude_none=True),
    }
    with replacing(path) as temporary:
        pl.DataFrame(rows).write_csv(temporary)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def _cases(places: Places, model: "ZooModel") -> Iterator["Case"]:
    from analyses.concept_map import evidence
    from analyses.validity import Case
    from extract.cards import CARD_FILE
    from extract.zoo import EMPTY_KINDS, RELATIONS, UNKNOWN

    slug, warehouse = model.slug, places.warehouse
    store, card = warehouse.store, json.loads((places.models / slug / CARD_FILE).read_text(encoding="utf-8"))
    planted: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in card["plants"]:
        planted.setdefault((row["concept"], row["labelling"]), []).append(row)
    for concept, labelling in RELATIONS.items():
        if store.footer("profile_draws", model=slug, concept=concept) is None:
            raise InputError(f"{slug} was not measured on {concept}: run `vesalius validate` again.")
        rows = planted.get((concept, labelling), [])
        kind = rows[0]["kind"] if rows else (model.kind if model.kind in EMPTY_KINDS else UNKNOWN)
        lesioned = measured_concept(warehouse, "lesions", slug, concept)
        found = evidence(
            concept,
            model_layers(warehouse, slug),
            store.read("profile_draws", model=slug, concept=concept),
            store.read("prompts", concept=concept),
            lesioned,
        )
        yield Case(
            model=slug,
            concept=concept,
            labelling=labelling,
            kind=kind,
            # Models of one shape and seed share what they learned before anything was planted.
            group=f"l{model.shape.layers}-s{model.seed}",
            seed=model.seed,
            planted=() if kind == "spread" else tuple(sorted(int(row["layer"]) for row in rows)),
            evidence=found,
            profiles=pl.DataFrame(store.read("profiles", model=slug, concept=concept)),
        )


def _commit() -> str:
    """The commit of the code, with a plus where files were changed since; empty outside of a repository."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
    )
    return asked.stdout.strip()
