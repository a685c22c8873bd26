"""`vesalius add` and `vesalius models`: the registry, written and read.

Belongs here: which way of adding a name means, what is printed, and in which order. The file is the affair of
`extract.registry`, a hub that of `extract.hub`, the states that of `model_states`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json

if TYPE_CHECKING:
    from dagster_project.model_states import ModelState
    from extract.models import ModelEntry

_COLUMNS = ("model", "state", "size", "revision", "last run", "from", "description")
_WIDE_ENOUGH = 120
"""Columns of a terminal from which on the last two of the table find room."""

_SHORT = 8
"""Digits of a commit that are printed."""


def add(
    model: Annotated[
        str, typer.Argument(help="A model's folder, a name on the hub like owner/model, or a slug that is registered.")
    ],
    slug: Annotated[str | None, typer.Option(help="The model's name. Default: made from the folder's.")] = None,
    revision: Annotated[
        str | None, typer.Option(help="Of a hub's model: a commit, a branch, a tag, or refs/pr/NUMBER.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a hub's model now: config, tokenizer and safetensors alone.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Register a model in models.toml, under a name; fetch it from the hub if asked to."""
    from dagster_project.defs.partitions import register_models
    from dagster_project.defs.resources import Warehouse
    from dagster_project.instance import open_instance
    from dagster_project.model_states import model_states
    from extract.models import local_models

    places = Warehouse.from_environment()
    entry = _added(Path(places.models), model, slug, revision, of_hub=download or revision is not None)
    typer.echo(f"{entry.slug} is registered: {entry.source}", err=as_json)
    if download:
        entry = _fetched(Path(places.models), entry, notes=as_json)
        typer.echo(f"{entry.slug} has landed: {entry.path}", err=as_json)
    with open_instance() as instance:
        register_models(instance, local_models(places.registry()))
    if as_json:
        (state,) = model_states([entry], places.store)
        print_json(_record(state))
    elif entry.hub_id is not None and not download:
        _say_what_next(entry)


def models(
    warehouse: WarehouseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered models: whether they are here, whole, and mapped."""
    from dagster_project.defs.resources import Warehouse
    from dagster_project.model_states import STATES, model_states
    from dagster_project.terminal import console, plain_table

    places = Warehouse.from_environment(root=warehouse)
    states = model_states(places.registry().values(), places.store)
    if as_json:
        print_json([_record(each) for each in states])
        return
    out = console()
    shown = len(_COLUMNS) if out.width >= _WIDE_ENOUGH else -2
    out.print(plain_table(_COLUMNS[:shown], [_row(each)[:shown] for each in states]))
    out.print()
    for state, meaning in STATES.items():
        out.print(f"{state:<7} {meaning}")
    for each in states:
        if each.state == "partly":
            console(error=True).print(f"{each.entry.slug} is not complete: {each.reason} ({each.entry.path})")


def warn_of_unpinned(entries: Sequence["ModelEntry"]) -> None:
    """Say of which models of a hub no one could tell later what they were."""
    for entry in entries:
        if entry.hub_id is not None and not entry.is_pinned:
            typer.echo(
                f"warning: {entry.slug} has no commit in models.toml, only {entry.revision or 'main'!r}. Hashes of its "
                f"files are kept with what is measured; `vesalius add {entry.slug} --download` pins it.",
                err=True,
            )


def _added(registry_file: Path, name: str, slug: str | None, revision: str | None, *, of_hub: bool) -> "ModelEntry":
    """The entry of a folder, of a registered slug, or of a hub's model; a folder that is there comes first."""
    from extract.entries import is_hub_id
    from extract.models import add_hub_model, add_model, load_registry
    from warehouse.errors import InputError

    folder = Path(name).expanduser()
    if folder.is_dir():
        if of_hub:
            raise InputError(f"{name} is a folder here: --download and --revision are for models of a hub.")
        return add_model(registry_file, folder, slug)
    registered = load_registry(registry_file).get(name)
    if registered is not None and registered.hub_id is not None:
        return add_hub_model(registry_file, registered.hub_id, name, revision)
    if is_hub_id(name):
        return add_hub_model(registry_file, name, slug, revision)
    if of_hub:
        raise InputError(f"{name!r} is no name of a model on a hub (owner/model), and no registered slug of one.")
    return add_model(registry_file, folder, slug)


def _fetched(registry_file: Path, entry: "ModelEntry", *, notes: bool) -> "ModelEntry":
    """Fetch a hub's model into the hub's cache, after its revision is pinned to a commit in the registry.

    Args:
        notes: how much is fetched is told as a note, on standard error.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from dagster_project.terminal import console
    from extract.hub import download, look
    from extract.models import load_registry, pin

    offer = look(entry)
    if not entry.is_pinned:
        typer.echo(
            f"warning: {entry.hub_id} had no commit, only {entry.revision or 'main'!r}: models.toml now says "
            f"{offer.commit}, so that what is measured stays what it is.",
            err=True,
        )
        entry = pin(registry_file, entry.slug, offer.commit)
    typer.echo(f"{entry.hub_id}: {len(offer.files)} files, {offer.bytes / 1e9:,.1f} GB", err=notes)
    if not console(error=True).file.isatty():  # The client's bars are for terminals alone.
        disable_progress_bars()
    folder = download(entry, offer)
    return replace(load_registry(registry_file)[entry.slug], path=folder)


def _say_what_next(entry: "ModelEntry") -> None:
    from extract.completeness import completeness

    if completeness(entry.path).is_landed:
        typer.echo(f"It is on this machine already: {entry.path}")
        return
    if entry.gated:
        typer.echo(f"It is gated: {entry.gated}")
    typer.echo(
        f"It is not here. Fetch it with `vesalius add {entry.slug} --download`, or put its files in {entry.path}"
    )


def _row(each: "ModelState") -> list[str]:
    entry = each.entry
    return [
        entry.slug,
        each.state,
        _size(each),
        _revision(entry),
        each.last_run.strftime("%Y-%m-%d %H:%M") if each.last_run else "",
        entry.source,
        entry.description,
    ]


def _size(each: "ModelState") -> str:
    """Of the weights: found, or found of expected, or what the registry lets one expect."""
    if each.state == "partly" and each.bytes_expected:
        return f"{_bytes(each.bytes_found)} of {_bytes(each.bytes_expected)}"
    if each.bytes_found:
        return _bytes(each.bytes_found)
    return f"({each.entry.parameters / 1e9:,.1f}B weights)" if each.entry.parameters else ""


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _revision(entry: "ModelEntry") -> str:
    if entry.hub_id is None:
        return ""
    if entry.is_pinned:
        return str(entry.revision)[:_SHORT]
    return f"{entry.revision or 'main'} (not pinned)"


def _record(each: "ModelState") -> dict[str, Any]:
    entry = each.entry
    return {
        "model": entry.slug,
        "state": each.state,
        "reason": each.reason,
        "path": str(entry.path),
        "hub_id": entry.hub_id,
        "revision": entry.revision,
        "is_pinned": entry.is_pinned,
        "bytes_found": each.bytes_found,
        "bytes_expected": each.bytes_expected,
        "last_run": each.last_run.isoformat() if each.last_run else None,
        "architecture": entry.architecture,
        "parameters": entry.parameters,
        "dtype": entry.dtype,
        "attention": entry.attention,
        "placement": entry.placement,
        "quantization": entry.quantization,
        "chat_template": entry.chat_template,
        "license": entry.license,
        "gated": entry.gated,
        "description": entry.description,
    }
