"""`vesalius recommend`: which layers to train to teach, unlearn or edit a concept, how sure that is, and why.

How layers are chosen is in `analyses.recommendation`; here the warehouse is read and the answer laid out.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dagster_project.commands.completing import concept_names, model_slugs
from dagster_project.commands.options import JsonOption, WarehouseOption
from dagster_project.commands.output import print_json

if TYPE_CHECKING:
    from analyses.recommendation import Candidate, Recommendation


def recommend(
    *,
    model: Annotated[
        str, typer.Argument(help="A model that is in the warehouse, by its slug.", autocompletion=model_slugs)
    ],
    concept: Annotated[str, typer.Option(help="The concept, like drugs.", autocompletion=concept_names)],
    purpose: Annotated[str, typer.Option("--for", help="What for: fine-tuning, unlearning or editing.")],
    labelling: Annotated[
        str | None, typer.Option(help="What of the concept, like specialty. Default: the concept as a whole.")
    ] = None,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = None,
) -> None:
    """Say which layers to train for a purpose, with confidence and reasons, from the model's knowledge map."""
    from analyses.recommendation import PURPOSES
    from analyses.recommendation import recommend as recommended
    from dagster_project.defs.resources import Warehouse
    from dagster_project.evidence import read_evidence
    from warehouse.errors import InputError

    if purpose not in PURPOSES:
        raise InputError(f"--for takes {', '.join(PURPOSES)}, not {purpose!r}.")
    places = Warehouse.from_environment(root=warehouse)
    found = recommended(read_evidence(places.store, model), concept, purpose, labelling)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)


def _print(found: "Recommendation") -> None:
    from analyses.recommendation import layer_names, summary
    from dagster_project.terminal import console, plain_table

    out = console()
    out.print(summary(found))
    for title, sentences in (("Why", found.reasons), ("Mind", found.caveats)):
        if sentences:
            out.print(f"\n{title}")
            for sentence in sentences:
                out.print(f"  {sentence}")
    if found.alternatives:
        out.print("\nInstead")
        for other in found.alternatives:
            out.print(f"  {layer_names(other.layers)}: {other.reason}")
    if found.verdict in ("localised", "not localised"):
        columns = ("layer", "holds it", "agreement", "loses over controls", "controls lose", "also holds", "part")
        out.print()
        out.print(plain_table(columns, [_line(one, one.layer in found.layers) for one in found.candidates]))
        out.print("* recommended" if found.layers else "")


def _line(one: "Candidate", is_chosen: bool) -> list[str]:
    also = f"{one.shared_with[0]} {one.shared:.2f}" if one.shared_with and one.shared >= 0.2 else ""
    return [
        f"{one.layer}{' *' if is_chosen else ''}",
        f"{one.confidence:.2f}",
        *("" if share is None else f"{share:.0%}" for share in (one.agreement, one.over_controls, one.damage)),
        also,
        one.part or "",
    ]
