"""The command `python -m extract`: one model's extraction on any machine, in shards if need be, without Dagster.

Belongs here: options, exit codes, and what is printed. Whatever runs processes can run it: Slurm, Kubernetes, Ray, or
Dagster by its Pipes (`reporting`). Exit codes are those of `vesalius`: 2 for what the user can mend, 1 for the
machine's refusals.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extract.job.options import Commands, ConceptsOption, WarehouseOption
from extract.job.plan import Plan
from extract.shards import MOST, read_shard

if TYPE_CHECKING:
    from extract.job.material import Material
    from extract.job.tally import Tally
    from extract.library import Library

PROJECT = Path(__file__).resolve().parents[2]

ModelOption = Annotated[str, typer.Option(help="A slug of models.toml, or a model's folder.")]
OnlyOption = Annotated[str, typer.Option(help="Only these concepts: names with commas between.")]
TablesOption = Annotated[str, typer.Option(help="Only these tables, and what they are read from; commas between.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]
DtypeOption = Annotated[str | None, typer.Option(help="float32 or bfloat16. Default: what the model's config names.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of samples and donors.")]
LesionsOption = Annotated[str, typer.Option(help="Lesions with commas between: identity, mean, resample; mean:mlp.")]
SitesOption = Annotated[str, typer.Option(help="Patches with commas between: resid, delta, attn_out; delta:token.")]
ContributionsOption = Annotated[bool, typer.Option(help="Keep what attention and MLP add, as vectors.")]
SampleOption = Annotated[int, typer.Option(min=0, help="Prompts, and pairs, that are intervened on; 0: all.")]
HeldOutOption = Annotated[int, typer.Option(min=0, help="The same of held-out templates besides.")]
AnswersOption = Annotated[int, typer.Option(min=0, help="Prompts that are answered under each lesion.")]
NewTokensOption = Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")]
DeviceOption = Annotated[str | None, typer.Option(help="Where the model runs, as torch names it: cpu, cuda, …")]
PlacementOption = Annotated[
    str | None, typer.Option(help="Where weights lie: none, auto, offload. Default: what models.toml says.")
]
OffloadOption = Annotated[
    Path | None, typer.Option(help="Folder for weights that neither device nor memory holds. Default: build/offload.")
]
TokenBudgetOption = Annotated[
    int | None, typer.Option(min=1, help="Tokens of one batch; of all shards the same. Default: by device.")
]
MemoryOption = Annotated[
    str | None, typer.Option(help="What streams may take, like 24GB. Default: half of what is free.")
]
FitOption = Annotated[bool, typer.Option("--even-if-it-may-not-fit", help="Run though memory or disk seem too small.")]

_DEFAULT = Plan()
_LESIONS, _SITES = ",".join(_DEFAULT.lesions), ",".join(_DEFAULT.sites)


app = typer.Typer(
    name="python -m extract",
    cls=Commands,
    help="Extract what a model makes of the concept library, on any machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    *,
    model: ModelOption,
    warehouse: WarehouseOption = None,
    concepts: ConceptsOption = None,
    only: OnlyOption = "",
    tables: TablesOption = "",
    shard: Annotated[
        str | None, typer.Option(help="A part of the prompts, like 2/8; `merge` puts the parts together.")
    ] = None,
    as_json: JsonOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    placement: PlacementOption = None,
    offload: OffloadOption = None,
    token_budget: TokenBudgetOption = None,
    seed: SeedOption = _DEFAULT.seed,
    lesions: LesionsOption = _LESIONS,
    sites: SitesOption = _SITES,
    contributions: ContributionsOption = False,
    sample: SampleOption = _DEFAULT.sample,
    held_out: HeldOutOption = _DEFAULT.held_out,
    answers: AnswersOption = _DEFAULT.answers,
    new_tokens: NewTokensOption = _DEFAULT.new_tokens,
    memory: MemoryOption = None,
    even_if_it_may_not_fit: FitOption = False,
) -> None:
    """Extract one model, or a shard of it. What is current already costs nothing."""
    from extract.job.progress import for_console
    from extract.job.reporting import reporting

    plan = Plan(
        device=device,
        dtype=dtype,
        placement=placement,
        offload_folder=str(offload) if offload else None,
        token_budget=token_budget,
        seed=seed,
        lesions=tuple(_names(lesions)),
        sites=tuple(_names(sites)),
        contributions=contributions,
        sample=sample,
        held_out=held_out,
        answers=answers,
        new_tokens=new_tokens,
        memory=memory,
        even_if_it_may_not_fit=even_if_it_may_not_fit,
    )
    part = read_shard(shard) if shard is not None else None
    with reporting() as report:
        _quiet()
        from rich.console import Console

        from extract.job.extracting import chosen_tables, extract_model

        material, library = _material(model, warehouse, concepts, only, plan)
        chosen = chosen_tables(_names(tables), is_untrained=material.entry.is_untrained)
        progress = for_console(Console(stderr=True, highlight=False, markup=False))
        tallies = extract_model(material, library, chosen, progress, part)
        report({name: tally for name, tally in tallies.items() if part is None or tally.store is material.store})
    _print(material, tallies, as_json=as_json)


@app.command()
def merge(
    *,
    model: ModelOption,
    shards: Annotated[int, typer.Option(min=1, max=MOST, help="How many shards there are.")],
    warehouse: WarehouseOption = None,
    concepts: ConceptsOption = None,
    only: OnlyOption = "",
    tables: TablesOption = "",
    as_json: JsonOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    placement: PlacementOption = None,
    offload: OffloadOption = None,
    token_budget: TokenBudgetOption = None,
    seed: SeedOption = _DEFAULT.seed,
    lesions: LesionsOption = _LESIONS,
    sites: SitesOption = _SITES,
    contributions: ContributionsOption = False,
    sample: SampleOption = _DEFAULT.sample,
    held_out: HeldOutOption = _DEFAULT.held_out,
    answers: AnswersOption = _DEFAULT.answers,
    new_tokens: NewTokensOption = _DEFAULT.new_tokens,
    memory: MemoryOption = None,
    even_if_it_may_not_fit: FitOption = False,
) -> None:
    """Put the shards of a model together, once all are there. Takes the options that the shards were run with.

    Those that change no row are taken too, so that both commands can be given the same ones; no model is loaded.
    """
    from extract.job.reporting import reporting

    plan = Plan(
        device=device,
        dtype=dtype,
        placement=placement,
        offload_folder=str(offload) if offload else None,
        token_budget=token_budget,
        seed=seed,
        lesions=tuple(_names(lesions)),
        sites=tuple(_names(sites)),
        contributions=contributions,
        sample=sample,
        held_out=held_out,
        answers=answers,
        new_tokens=new_tokens,
        memory=memory,
        even_if_it_may_not_fit=even_if_it_may_not_fit,
    )
    with reporting() as report:
        _quiet()
        from extract.job.extracting import chosen_tables, merge_model

        material, library = _material(model, warehouse, concepts, only, plan)
        chosen = chosen_tables(_names(tables), is_untrained=material.entry.is_untrained)
        tallies = merge_model(material, library, chosen, shards)
        report(tallies)
    _print(material, tallies, as_json=as_json)


def _material(
    model: str, warehouse: str | None, concepts: Path | None, only: str, plan: Plan
) -> "tuple[Material, Library]":
    """The model and the concepts that are meant, where they lie."""
    from extract.inbox import INBOX, read_inbox, whole_models
    from extract.job.extracting import refuse_taken_slug
    from extract.job.material import Material
    from extract.library import CONCEPTS, load_library
    from extract.loading import offload_folder
    from extract.models import load_registry, resolve
    from warehouse.places import place
    from warehouse.store import Store
    from warehouse.twins import original_slug

    plan.check()
    root = place(warehouse or os.environ.get("VESALIUS_WAREHOUSE") or PROJECT / "warehouse" / "data")
    store = Store(root.expanduser().resolve() if isinstance(root, Path) else root)
    models = _place(None, "VESALIUS_MODELS", PROJECT / "models.toml")
    registry = load_registry(models)
    registry |= whole_models(read_inbox(_place(None, "VESALIUS_INBOX", models.parent / INBOX), registry))
    entry = resolve(model, registry)
    if original_slug(entry.slug) not in registry:
        refuse_taken_slug(store, entry)
    library = load_library(_place(concepts, "VESALIUS_CONCEPTS", CONCEPTS))
    names = _names(only)
    material = Material(store, entry, plan, offload_folder(models, entry.slug, plan.offload_folder))
    return material, library.select(names) if names else library


def _place(given: Path | None, variable: str, default: Path) -> Path:
    return (given or Path(os.environ.get(variable) or default)).expanduser().resolve()


def _names(written: str) -> list[str]:
    return [name.strip() for name in written.split(",") if name.strip()]


def _quiet() -> None:
    from extract.job.libraries import quiet_libraries

    quiet_libraries()


def _print(material: "Material", tallies: "dict[str, Tally]", *, as_json: bool) -> None:
    done = {name: tally.numbers() for name, tally in tallies.items()}
    if as_json:
        typer.echo(json.dumps({"model": material.entry.slug, "tables": done}))
        return
    for name, numbers in done.items():
        typer.echo(
            f"{name}: {numbers['rows']:,} rows; {numbers['files_written']} files written, "
            f"{numbers['files_current']} current"
        )
