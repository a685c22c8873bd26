"""`vesalius run`: models over the concept library, from prompts to charts.

How a run goes is in `running`; here the options are read, and what came of it is told.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagster_project.commands.completing import model_slugs
from dagster_project.commands.models import warn_of_unpinned
from dagster_project.commands.options import ConceptsOption, JsonOption, WarehouseOption, names_of
from dagster_project.commands.output import print_json
from extract.job.libraries import quiet_libraries
from warehouse.errors import InputError

if TYPE_CHECKING:
    from dagster_project.defs.resources import Warehouse
    from dagster_project.running import Outcome


def run(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A registered slug, or a model's folder; again for more. Default: all that are here.",
            autocompletion=model_slugs,
        ),
    ] = None,
    concepts: ConceptsOption = None,
    only: Annotated[str | None, typer.Option(help="Only these concepts: names with commas between.")] = None,
    warehouse: WarehouseOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of layouts, resamples and permutations.")] = 0,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples behind each interval.")] = 1000,
    permutations: Annotated[int, typer.Option(min=1, help="Permutations of the labels behind each null.")] = 200,
    lesions: Annotated[
        str, typer.Option(help="Lesions with commas between: identity, mean, resample; of parts like mean:mlp.")
    ] = "identity,resample",
    sites: Annotated[
        str, typer.Option(help="Patches with commas between: resid, delta, attn_out, mlp_out; resid:term, delta:token.")
    ] = "resid,delta",
    contributions: Annotated[bool, typer.Option(help="Keep what attention and MLP add, as vectors.")] = False,
    sample: Annotated[
        int, typer.Option(min=0, help="Prompts, and pairs, of a concept that are intervened on; 0: all that can be.")
    ] = 160,
    held_out: Annotated[
        int,
        typer.Option(
            "--held-out", min=0, help="Prompts, and pairs, of held-out templates besides: for the map's stability."
        ),
    ] = 40,
    answers: Annotated[int, typer.Option(min=0, help="Prompts of a concept that are answered under each lesion.")] = 12,
    memory: Annotated[
        str | None, typer.Option(help="What streams may take, like 24GB. Default: half of what is free.")
    ] = None,
    umap: Annotated[bool, typer.Option(help="Draw UMAP pictures and measure in UMAP's space.")] = True,
    untrained: Annotated[
        bool | None,
        typer.Option(
            "--untrained/--no-untrained",
            help="Measure each model's untrained twin too, activations alone: the same shape and tokenizer, random "
            "weights. Default: for models of less than a billion weights.",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs, as torch names it: cpu, cuda, …")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16. Default: what the model's config names.")
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            help="Where weights lie: none, auto, offload. Default: what models.toml says, or all on the device."
        ),
    ] = None,
    offload: Annotated[
        Path | None,
        typer.Option(help="Folder for weights that neither device nor memory holds. Default: build/offload."),
    ] = None,
    even_if_it_may_not_fit: Annotated[
        bool, typer.Option("--even-if-it-may-not-fit", help="Run though memory or disk seem too small.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run models over the concept library, measure and draw. What is current already costs nothing."""
    quiet_libraries()
    from dagster_project.defs.resources import Settings, Warehouse
    from dagster_project.instance import cancel_own_runs, open_instance
    from dagster_project.interrupts import interruptible, keep_interrupts_from_dagster
    from dagster_project.running import check_settings, chosen_models, run_models
    from dagster_project.terminal import console
    from extract.job.progress import for_console

    places = Warehouse.from_environment(root=warehouse, concepts=concepts)
    settings = Settings(
        concepts=names_of(only or ""),
        seed=seed,
        resamples=resamples,
        permutations=permutations,
        device=device,
        dtype=dtype,
        placement=placement,
        offload_folder=str(offload) if offload else None,
        lesions=names_of(lesions),
        sites=names_of(sites),
        contributions=contributions,
        sample=sample,
        held_out=held_out,
        answers=answers,
        memory=memory,
        even_if_it_may_not_fit=even_if_it_may_not_fit,
    )
    check_settings(settings)
    if only is not None and not settings.concepts:
        raise InputError("--only names no concept: give names with commas between, or leave it out.")
    names = list(places.library(settings.concepts).names)
    entries = chosen_models(places, model or [])
    warn_of_unpinned(entries)
    shown = console(error=True)
    with open_instance() as instance:

        def farewell() -> None:
            shown.show_cursor()
            shown.print("\nInterrupted. What was committed is kept: the same command goes on from there.")
            cancel_own_runs(instance)

        keep_interrupts_from_dagster()
        outcome = interruptible(
            lambda: run_models(instance, places, entries, settings, for_console(shown), umap=umap, untrained=untrained),
            farewell,
        )
    slugs = [entry.slug for entry in entries]
    if as_json:
        print_json(_record(places, slugs, names, outcome))
    else:
        _print_outcome(places, slugs, names, outcome)


def _record(places: "Warehouse", models: list[str], concepts: list[str], outcome: "Outcome") -> dict[str, Any]:
    from dagster_project.atlas_page import PAGE
    from dagster_project.summary import summarize, unmeasured_of
    from warehouse.catalog import catalog_path

    return {
        **asdict(outcome),
        "lines": [asdict(line) for line in summarize(places.store, models, concepts)],
        "unmeasured": list(unmeasured_of(places.store, models)),
        "charts": str(places.charts),
        "atlas": str(places.charts / PAGE) if (places.charts / PAGE).is_file() else None,
        "catalog": str(catalog_path(places.place)),
    }


def _print_outcome(places: "Warehouse", models: list[str], concepts: list[str], outcome: "Outcome") -> None:
    from dagster_project.atlas_page import PAGE
    from dagster_project.defs.charts import KNOWLEDGE_MAP
    from dagster_project.pictures import files_of
    from dagster_project.summary import summarize, unmeasured_of
    from dagster_project.terminal import console, summary_table
    from warehouse.catalog import catalog_path

    out = console()
    out.print(summary_table(summarize(places.store, models, concepts)))
    out.print()
    if outcome.files_written:
        out.print(f"{outcome.forwards:,} prompts went through a model, {outcome.files_written} files were written.")
    else:
        out.print("Everything was current: no forward pass, no file written.")
    for name, description in outcome.failed_checks:
        console(error=True).print(f"warning: the check {name} failed: {description}")
    for line in unmeasured_of(places.store, models):
        out.print(line)
    out.print(f"Map:      {files_of(places.charts / KNOWLEDGE_MAP)['html']}   (vesalius findings)")
    if (places.charts / PAGE).is_file():
        out.print(f"Atlas:    {places.charts / PAGE}   (all of it on one page, offline)")
    out.print(f"Catalog:  {catalog_path(places.place)}   (vesalius sql --list)")
