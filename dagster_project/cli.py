"""The `vesalius` command: reads what the user typed, calls what does the work, prints what came of it.

Everything heavy is imported by the command that needs it, so that help shows at once. Errors of ours become one message
on standard error: exit code 2 for what the user can mend, 1 for the machine's refusals. The commands around SQL are in
`cli_sql`, those around the registry in `cli_models`, those that train models in `cli_reference`.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagster_project.cli_estimate import estimate
from dagster_project.cli_findings import findings
from dagster_project.cli_models import add, models, warn_of_unpinned
from dagster_project.cli_recipes import recipes
from dagster_project.cli_recommend import recommend
from dagster_project.cli_reference import reference
from dagster_project.cli_rivals import rivals
from dagster_project.cli_share import export, import_
from dagster_project.cli_sql import SqlCommand, sql
from dagster_project.cli_validate import validate
from dagster_project.cli_verify import verify
from dagster_project.options import ConceptsOption, WarehouseOption
from extract.job.command import Commands
from extract.job.libraries import quiet_libraries
from warehouse.errors import InputError

if TYPE_CHECKING:
    from dagster_project.defs.resources import Warehouse

app = typer.Typer(
    name="vesalius",
    cls=Commands,
    help="Find where in its layers a language model keeps medical knowledge.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
concepts_app = typer.Typer(help="The concept library: prove one sound, or list what it holds.", no_args_is_help=True)
app.add_typer(concepts_app, name="concepts")
app.add_typer(reference, name="reference")


def main() -> None:
    """The console command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        from warehouse.versions import CODE_VERSION

        typer.echo(f"vesalius {CODE_VERSION}")
        raise typer.Exit


@app.callback()
def vesalius(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def run(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A registered slug, or a model's folder; again for more. Default: all that are here."),
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
) -> None:
    """Run models over the concept library, measure and draw. What is current already costs nothing."""
    places = _places(warehouse, concepts)
    quiet_libraries()
    from dagster_project.defs.resources import Settings
    from dagster_project.instance import cancel_own_runs, open_instance
    from dagster_project.interrupts import interruptible
    from dagster_project.running import check_settings, chosen_models, run_models
    from dagster_project.terminal import console
    from extract.job.progress import for_console

    settings = Settings(
        concepts=_names(only or ""),
        seed=seed,
        resamples=resamples,
        permutations=permutations,
        device=device,
        dtype=dtype,
        placement=placement,
        offload_folder=str(offload) if offload else None,
        lesions=_names(lesions),
        sites=_names(sites),
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

        outcome = interruptible(
            lambda: run_models(instance, places, entries, settings, for_console(shown), umap=umap, untrained=untrained),
            farewell,
        )
    _print_outcome(places, [entry.slug for entry in entries], names, outcome)


@concepts_app.command("check")
def concepts_check(
    folder: Annotated[Path | None, typer.Argument(help="The library's folder. Default: ours.")] = None,
) -> None:
    """Prove a concept library sound, or name file, line, fault and remedy of all that is wrong."""
    from extract.checking import check_folder
    from extract.library import load_library

    place = Path(_places(None, folder).concepts)
    faults = check_folder(place)
    for fault in faults:
        typer.echo(str(fault), err=True)
    if faults:
        typer.echo(f"error: {place} has {len(faults)} faults.", err=True)
        raise typer.Exit(2)
    typer.echo(f"{place} is sound: {len(load_library(place).concepts)} concepts.")


@concepts_app.command("list")
def concepts_list(
    folder: Annotated[Path | None, typer.Argument(help="The library's folder. Default: ours.")] = None,
) -> None:
    """Count terms, labels, templates, prompts and pairs of each concept."""
    from dagster_project.terminal import concepts_table, console
    from extract.prompts import library_counts

    console().print(concepts_table(library_counts(_places(None, folder).library([]))))


@app.command()
def ui(
    warehouse: WarehouseOption = None,
    concepts: ConceptsOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Open Dagster's UI on this machine, for the same instance and warehouse."""
    from dagster_project.defs.partitions import register_models
    from dagster_project.defs.resources import PROJECT
    from dagster_project.instance import fail_dead_runs, open_instance
    from extract.models import local_models

    places = _places(warehouse, concepts)
    with open_instance() as instance:
        fail_dead_runs(instance)
        register_models(instance, local_models(places.registry()))
    program = Path(sys.executable).with_name("dg")
    typer.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    sys.stdout.flush()
    quiet_libraries()
    os.chdir(PROJECT)
    os.execve(
        program,
        [str(program), "dev", "--host", "127.0.0.1", "--port", str(port)],
        # The sensor may have to hash a weight file of many gigabytes in one go.
        {"DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "600", **os.environ, **places.environment, "VIRTUAL_ENV": sys.prefix},
    )


@app.command(hidden=True)
def docs() -> None:
    """Write the generated pages anew: tables, Dagster's definitions, validity results, architectures by trying."""
    from analyses.validity_summary import results_page
    from dagster_project.definitions import build_defs
    from dagster_project.defs.resources import PROJECT
    from dagster_project.inventory import inventory
    from extract.capabilities import architectures_markdown
    from warehouse.atomic import replacing
    from warehouse.reference import markdown

    pages = {
        "tables": markdown(),
        "dagster": inventory(build_defs()),
        "validity-results": results_page(),
        "architectures": architectures_markdown(),
    }
    for name, lines in pages.items():
        path = PROJECT / "docs" / f"{name}.md"
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        typer.echo(str(path))


app.command(cls=SqlCommand)(sql)
app.command()(add)
app.command()(models)
app.command()(estimate)
app.command()(verify)
app.command()(findings)
app.command()(recommend)
app.command()(rivals)
app.command()(validate)
app.command()(export)
app.command(hidden=True)(recipes)
app.command("import")(import_)


def _names(written: str) -> list[str]:
    return [name.strip() for name in written.split(",") if name.strip()]


def _places(warehouse: str | None, concepts: Path | None) -> "Warehouse":
    from dagster_project.defs.resources import Warehouse

    return Warehouse.from_environment(root=warehouse, concepts=concepts)


def _print_outcome(places: "Warehouse", models: list[str], concepts: list[str], outcome: Any) -> None:
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
    out.print(f"Catalog:  {catalog_path(places.place)}   (vesalius sql --list)")
