"""Checks of what is read: the concept library, the registry of models, and what a hub's models would need."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.doctor.report import Finding

if TYPE_CHECKING:
    from dagster_project.model_states import ModelState


def library(folder: Path) -> Iterator[Finding]:
    """Whether the concept library is sound."""
    from extract.checking import check_folder

    faults = check_folder(folder)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        remedy = "vesalius concepts check names each fault with its line."
        yield Finding("concepts", "fail", f"{faults[0]}{more}", remedy)
    else:
        yield Finding("concepts", "ok", str(folder))


def registry(states: Sequence["ModelState"]) -> Iterator[Finding]:
    """Which models are here, and which are here in part.

    Args:
        states: of all that are registered.
    """
    counts = {state: sum(each.state == state for each in states) for state in sorted({one.state for one in states})}
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    for each in states:
        if each.state == "partly":
            yield Finding(
                "models",
                "warn",
                f"{each.entry.slug} is not complete: {each.reason} ({each.entry.path})",
                "Let the copy end, or fetch it again: vesalius add SLUG --download goes on where it stopped.",
            )
    yield Finding("models", "ok", f"{len(states)} registered: {told}")


def hub(environment: Mapping[str, str], gated: Sequence[str]) -> Iterator[Finding]:
    """Whether gated models could be fetched; nothing is asked of the network.

    Args:
        environment: the variables.
        gated: slugs of models that are gated and not here.
    """
    if environment.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        yield Finding("hub", "ok", "HF_HUB_OFFLINE is set: nothing will be fetched.")
        return
    kept = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser() / "token"
    has_token = bool(environment.get("HF_TOKEN")) or kept.is_file()
    if gated and not has_token:
        names = ", ".join(gated[:3]) + (" and others" if len(gated) > 3 else "")
        remedy = "To fetch them, accept their terms on the hub and set HF_TOKEN; all else works without."
        yield Finding("hub", "ok", f"No token, which gated models need: {names}", remedy)
    else:
        yield Finding("hub", "ok", "A token is set." if has_token else "No token is needed.")
