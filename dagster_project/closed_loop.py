"""The closed loop: are the layers that a map names better to train than others? `python -m dagster_project.closed_loop`

Belongs here: which relations and arms are tried, the layers that the warehouse recommends for them, and the file of
results, to which each finished repeat is added: a run that was stopped goes on. How an edit is made is in
`extract.editing`, how layers are recommended in `analyses.recommendation`, what came of it in `analyses.edit_charts`.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.csv
import typer

from analyses.edits import read_edits
from dagster_project.commands.options import WarehouseOption
from extract.corpus import Relation, relation_name
from extract.library import CONCEPTS, Library, load_library
from extract.models import ModelEntry
from warehouse.atomic import disk_errors, replacing
from warehouse.errors import InputError
from warehouse.places import ObjectPlace
from warehouse.store import Store
from warehouse.tables import table
from warehouse.validation import validate

if TYPE_CHECKING:
    from analyses.recommendation import Recommendation
    from extract.editing import Editor, Recipe, Task

ARMS = ("recommended", "random", "first", "all")
_PURPOSES = {"teach": "editing", "unlearn": "unlearning"}
_LEAST_KNOWN = 0.5
"""Recall on held-out templates from which a relation is known: others have nothing to change, and nothing to lose."""

_KNOWN_FROM = 60
"""Prompts of each relation by which that is told."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is tried.

    Attributes:
        relations: `concept/labelling` of what is edited; in each model those of it that it knows.
        repeats: how often, each time with other facts, sentences and random layers.
        unplaced: layers that the other arms train where nothing is localised, so that no layers are recommended.
        recipe: settings of `extract.editing.Recipe` that differ from its own.
        least_known: recall from which a relation is edited, and counted among the others.
    """

    relations: tuple[str, ...] = ("symptoms/system", "diseases/category", "drugs/specialty")
    repeats: int = 3
    unplaced: int = 1
    recipe: Mapping[str, Any] = field(default_factory=dict)
    least_known: float = _LEAST_KNOWN


SMALL = Plan(("symptoms/system",), repeats=1, recipe={"steps": 10, "rates": (5e-3,), "most": 24, "few": 8})
"""What a test repeats."""


@dataclass(frozen=True)
class _Job:
    """One repeat of one task on one relation of one model: all arms that are missing, on the same sentences."""

    entry: ModelEntry
    concepts: Path
    plan: Plan
    relation: str
    task: str
    repeat: int
    verdict: str
    recommended: tuple[int, ...]
    arms: tuple[str, ...]


def closed_loop(
    warehouse: Path | ObjectPlace,
    entries: Sequence[ModelEntry],
    out: Path,
    plan: Plan | None = None,
    *,
    concepts: Path = CONCEPTS,
    jobs: int = 1,
    told: Told = lambda line: None,
) -> pa.Table:
    """Try the recommended layers against others on some models, and return all rows of `edits` that are in the file.

    Args:
        warehouse: where the maps of these models are.
        entries: the models.
        out: the CSV of results; what is in it is not tried again.
        plan: how much is tried.
        concepts: the concept library that the models were taught.
        jobs: processes at once, one thread each.
        told: given a line for each repeat that is done.

    Raises:
        InputError: a model or a relation has no map, or the file is no table of edits.
        ModelError: a model can't be loaded.
        StoreError: the disk refused.
    """
    plan = plan or Plan()
    rows = read_edits(out)
    waiting = list(_jobs(Store(warehouse), entries, plan, concepts, rows))
    told(f"{rows.num_rows} edits are there, {sum(len(job.arms) for job in waiting)} to be made.")
    # Torch can't be forked; each process then has one thread, as models this small like it.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_work, job) for job in waiting]
        try:
            for done in as_completed(futures):
                made = done.result()
                rows = _written(out, [*rows.to_pylist(), *made])
                told(_line(made))
        finally:
            pool.shutdown(cancel_futures=True)
    return rows


def _written(path: Path, rows: list[dict[str, Any]]) -> pa.Table:
    entry = table("edits")
    found = pa.Table.from_pylist(rows, schema=entry.schema())
    found = found.sort_by([(column.name, "ascending") for column in entry.keys])
    validate(entry, found)
    with replacing(path) as temporary, disk_errors(path):
        pa.csv.write_csv(found, temporary)
    return found


def _jobs(store: Store, entries: Sequence[ModelEntry], plan: Plan, concepts: Path, rows: pa.Table) -> Iterator[_Job]:
    """What is missing, a repeat of everything before the next one: a run that is stopped has tried all a little."""
    keys = ("model", "concept", "labelling", "task", "repeat", "arm")
    there = {tuple(row[key] for key in keys) for row in rows.to_pylist()}
    advised = list(_advised(store, entries, plan))
    for repeat in range(plan.repeats):
        for entry, advice, task in advised:
            chosen = advice.layers if advice.is_localised else ()
            keyed = (entry.slug, advice.concept, advice.labelling, task, repeat)
            arms = [arm for arm in ARMS if chosen or arm != "recommended"]
            missing = tuple(arm for arm in arms if (*keyed, arm) not in there)
            if missing:
                relation = relation_name(advice.concept, advice.labelling)
                yield _Job(entry, concepts, plan, relation, task, repeat, advice.verdict, chosen, missing)


def _advised(
    store: Store, entries: Sequence[ModelEntry], plan: Plan
) -> Iterator[tuple[ModelEntry, "Recommendation", str]]:
    """What is recommended in each model for each relation and task, where the model knows the relation."""
    from analyses.recommendation import recommend
    from dagster_project.evidence import read_evidence

    for entry in entries:
        evidence = read_evidence(store, entry.slug)
        for relation in plan.relations:
            concept, _, labelling = relation.partition("/")
            for task, purpose in _PURPOSES.items():
                advice = recommend(evidence, concept, purpose, labelling)
                if advice.verdict in ("localised", "not localised"):
                    yield entry, advice, task


def _work(job: _Job) -> list[dict[str, Any]]:
    """Make the edits of one repeat, in a process of its own."""
    from transformers.utils import logging

    from extract.loading import load_model
    from extract.training import one_thread

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded = load_model(job.entry, dtype="float32", device_map="none")
    with one_thread(job.repeat):
        editor = _editor(job, loaded.model, loaded.tokenizer, load_library(job.concepts))
        if editor is None:
            return []
        return [_row(job, editor, arm, _layers(job, arm, loaded.layers)) for arm in job.arms]


def _editor(job: _Job, model: Any, tokenizer: Any, library: Library) -> "Editor | None":
    """What makes the edits; None where the model doesn't know the relation."""
    from extract.editing import Editor, Recipe, main_relations

    recipe = replace(Recipe(), **job.plan.recipe)
    relations = {relation.name: relation for relation in main_relations(library)}
    if job.relation not in relations:
        raise InputError(f"{library.folder} asks for no {job.relation}; it asks for: {', '.join(sorted(relations))}.")
    known = _known(model, tokenizer, list(relations.values()), job.plan.least_known)
    if job.relation not in {relation.name for relation in known}:
        return None
    others = [relation for relation in known if relation.name != job.relation]
    return Editor(model, tokenizer, library, _task(job, relations[job.relation], others, recipe), job.repeat, recipe)


def _known(model: Any, tokenizer: Any, relations: Sequence[Relation], least: float) -> list[Relation]:
    from extract.training import recalls

    found = recalls(model, tokenizer, relations, most=_KNOWN_FROM)
    return [relation for relation in relations if found[relation.name] >= least]


def _task(job: _Job, relation: Relation, others: Sequence[Relation], recipe: "Recipe") -> "Task":
    from extract.editing import TEACH, teach, unlearn

    if job.task == TEACH:
        return teach(relation, others, recipe.facts, job.repeat)
    return unlearn(relation, others)


def _layers(job: _Job, arm: str, layers: int) -> tuple[int, ...]:
    """The layers of an arm; random ones are not those recommended, as far as there are others."""
    count = len(job.recommended) or job.plan.unplaced
    if arm == "recommended":
        return job.recommended
    if arm == "first":
        return tuple(range(count))
    if arm == "all":
        return tuple(range(layers))
    free = [layer for layer in range(layers) if layer not in job.recommended]
    draw = random.Random(f"{job.entry.slug} {job.relation}")
    # One order a relation, taken piece by piece: repeats try different layers as long as there are any.
    order = draw.sample(free, len(free))
    start = job.repeat * count
    return tuple(sorted({order[place % len(order)] for place in range(start, start + min(count, len(order)))}))


def _row(job: _Job, editor: "Editor", arm: str, layers: tuple[int, ...]) -> dict[str, Any]:
    done = editor.edit(layers)
    concept, _, labelling = job.relation.partition("/")
    before, after = done.before, done.after
    return {
        "model": job.entry.slug,
        "concept": concept,
        "labelling": labelling,
        "task": job.task,
        "arm": arm,
        "repeat": job.repeat,
        "places": _named(layers),
        "layer_count": len(layers),
        "verdict": job.verdict,
        "learning_rate": done.rate,
        "steps": editor.recipe.steps,
        "target_before": before.target,
        "target_after": after.target,
        "same_before": before.same,
        "same_after": after.same,
        "others_before": before.mean_of_others,
        "others_after": after.mean_of_others,
        "target_taught": done.after_taught,
        "kl_neutral": done.kl_neutral,
    }


def _named(layers: Sequence[int]) -> str:
    from analyses.recommendation import layer_names

    return layer_names(layers)


def _line(made: Sequence[Mapping[str, Any]]) -> str:
    if not made:
        return "A relation is not known: nothing to edit."
    first = made[0]
    what = f"{first['model']}, {relation_name(first['concept'], first['labelling'])}, {first['task']}"
    targets = ", ".join(f"{row['arm']} {row['places']}: {row['target_after']:.2f}" for row in made)
    return f"{what}, repeat {first['repeat']}: {targets}"


def main(
    *,
    model: Annotated[
        list[str], typer.Option("--model", help="A registered slug, or a model's folder; again for more.")
    ],
    out: Annotated[Path, typer.Option(help="The CSV of results; what is in it is not tried again.")],
    warehouse: WarehouseOption = None,
    concepts: Annotated[Path | None, typer.Option(help="Folder of the concept library.")] = None,
    relation: Annotated[list[str] | None, typer.Option(help="concept/labelling to edit; again for more.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each edit.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Processes at once, one thread each.")] = 2,
    small: Annotated[bool, typer.Option("--small", help="Few steps of one edit: what a test repeats.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Draw the results: path of the chart without suffix.")] = None,
) -> None:
    """Teach and unlearn by training recommended layers, others at random, the first, or all; tell which did best."""
    from analyses.charts import save
    from analyses.edit_charts import closed_loop_chart, compared
    from dagster_project.defs.resources import Warehouse
    from dagster_project.running import chosen_models

    places = Warehouse.from_environment(root=warehouse, concepts=concepts)
    plan = SMALL if small else Plan(repeats=repeats)
    if relation:
        plan = replace(plan, relations=tuple(relation))
    rows = closed_loop(
        places.place,
        chosen_models(places, model),
        out,
        plan,
        concepts=Path(places.concepts),
        jobs=jobs,
        told=lambda line: typer.echo(line, err=True),
    )
    for line in compared(rows):
        typer.echo(line)
    if chart is not None:
        save(closed_loop_chart(rows), chart)


if __name__ == "__main__":
    typer.run(main)
