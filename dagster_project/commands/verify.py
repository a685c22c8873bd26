"""`vesalius verify`: try a model piece by piece before its numbers are believed, print what came of it, and store it.

Which checks there are is in `extract.verification`; here a model is found as `run` finds it, and the report laid out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dagster_project.commands.completing import model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json
from extract.job.libraries import quiet_libraries
from warehouse.exit_codes import ExitCode

if TYPE_CHECKING:
    import pyarrow as pa

    from extract.loading import LoadedModel
    from warehouse.places import Place

VERSION = 1
"""Raised when the same model would get other rows than before."""


def verify(
    model: Annotated[str, typer.Argument(help="A registered slug, or a model's folder.", autocompletion=model_slugs)],
    warehouse: WarehouseOption = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16. Default: what the model's config names.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs, as torch names it: cpu, cuda, …")] = None,
    as_json: JsonOption = False,
) -> None:
    """Try a model against its own forward: parity, numerical floor, what is supported. Code 1 if a check fails."""
    from extract.models import check_dtype, model_fingerprint

    check_dtype(dtype)
    quiet_libraries()
    from dagster_project.defs.resources import Warehouse
    from dagster_project.running import chosen_models
    from dagster_project.terminal import console

    places = Warehouse.from_environment(root=warehouse)
    (entry,) = chosen_models(places, [model])
    import torch

    from extract.loading import load_model, offload_place
    from extract.verification import verify as checked

    with console(error=True).status(f"{entry.slug}: load") as status:
        loaded = load_model(
            entry,
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            dtype=dtype,
            offload_folder=offload_place(entry, None, places.offload_folder(entry.slug)),
        )
        rows = checked(loaded, progress=lambda done: status.update(f"{entry.slug}: {done} is done"))
    revision = model_fingerprint(entry)
    commit = places.store.write(
        "verifications", rows, fingerprint=_depends_on(loaded, revision), revision=revision, model=entry.slug
    )
    failed = sum(check["verdict"] == "failed" for check in rows.to_pylist())
    if as_json:
        print_json({"model": entry.slug, "failed": failed, "checks": rows.to_pylist(), "path": str(commit.path)})
    else:
        _print_report(loaded, rows, commit.path)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _depends_on(loaded: "LoadedModel", revision: str) -> str:
    """The fingerprint of a verification: another machine, library or type may come to another verdict."""
    import torch
    import transformers

    from warehouse.tables import table
    from warehouse.versions import fingerprint

    return fingerprint(
        table="verifications",
        schema=table("verifications").version,
        code=VERSION,
        model=revision,
        dtype=str(loaded.model.dtype),
        device=str(loaded.device),
        libraries=[torch.__version__, transformers.__version__],
    )


def _print_report(loaded: "LoadedModel", rows: "pa.Table", path: "Place") -> None:
    """Print the checks and what they come to."""
    from dagster_project.terminal import console, plain_table

    out, checks = console(), rows.to_pylist()
    kind = str(loaded.model.dtype).removeprefix("torch.")
    out.print(f"{loaded.entry.slug}: {type(loaded.model).__name__} in {kind} on {loaded.device}, {loaded.entry.path}")
    out.print()
    columns = ("check", "verdict", "measured", "allowed", "what was found")
    out.print(plain_table(columns, [_line(check) for check in checks]))
    out.print()
    failed = [check["aspect"] for check in checks if check["verdict"] == "failed"]
    out.print(_summary(failed, [check["aspect"] for check in checks if check["verdict"] == "not supported"]))
    out.print(f"Stored: {path}")


def _line(check: dict[str, Any]) -> list[str]:
    numbers = (_number(check[name]) for name in ("measured", "allowed"))
    return [check["aspect"].replace("_", " "), check["verdict"], *numbers, check["detail"]]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.2g}"


def _summary(failed: Sequence[str], unsupported: Sequence[str]) -> str:
    without = f" Not supported: {', '.join(unsupported)}." if unsupported else ""
    if failed:
        return f"Failed: {', '.join(failed)}. Don't believe this model's numbers before that is mended.{without}"
    return f"Nothing failed.{without}"
