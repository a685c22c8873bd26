"""`docs/cli.md`: the command line as a page, written from the commands themselves and from the words of their help."""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from dagster_project.commands import manual
from warehouse.exit_codes import ExitCode

_JSON = (
    "`--json` prints one JSON document on standard output and nothing else there: notes, warnings and progress go to "
    "standard error. Numbers are finite, what is missing is `null`, dates are ISO 8601. A command that fails after it "
    "printed still ends with its code: a verdict of `verify`, `doctor` or `estimate` is in both."
)
_COLOURS = (
    "Progress is drawn as bars with rate and time left on a terminal, and as plain lines elsewhere. Tables fit the "
    "terminal; in a pipe or a file a row is a line. Colours and bold type are for terminals, unless `FORCE_COLOR` is "
    "set; with `NO_COLOR` there are no colours."
)
_COMPLETION = (
    "`vesalius --install-completion` makes Tab complete commands, options, models, concepts, charts and named queries, "
    "in bash, zsh, fish and PowerShell; `--show-completion` prints what it would install."
)


def cli_page(app: typer.Typer) -> list[str]:
    """The lines of the page."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# The command line",
        "",
        "Written by `vesalius docs` from the commands themselves; a test fails while they differ.",
        "",
    ]
    for paragraph in manual.SYNOPSIS:
        lines += [paragraph, ""]
    lines += ["## To begin with", "", *_table(("command", ""), [(f"`{name}`", text) for name, text in manual.BEGIN])]
    lines += ["", "## Where things are written", "", *_table(("place", "what"), _coded(manual.PLACES))]
    lines += ["", "## Environment", "", *_table(("variable", "what it says"), _coded(manual.VARIABLES))]
    codes = [(str(int(code)), code.meaning) for code in ExitCode]
    lines += ["", "## Exit codes", "", *_table(("code", "means"), codes)]
    for title, text in (("For scripts", _JSON), ("What is printed", _COLOURS), ("Completion", _COMPLETION)):
        lines += ["", f"## {title}", "", text]
    lines += ["", "## Options of all commands", "", *_parameters(group)]
    panels = (manual.MEASURE, manual.READ, manual.MODELS, manual.JUDGE, manual.MAINTAIN)
    for panel in panels:
        lines += ["", f"## {panel}"]
        for name, command in group.commands.items():
            if command.rich_help_panel == panel and not command.hidden:
                lines += _command(f"vesalius {name}", command)
    return lines


def all_commands(app: typer.Typer) -> "Iterator[tuple[str, Any]]":
    """Each command with how it is typed, those of groups among them; hidden ones are left out."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        if not command.hidden:
            yield f"vesalius {name}", command
            for inner, below in getattr(command, "commands", {}).items():
                yield f"vesalius {name} {inner}", below


def _command(name: str, command: Any) -> list[str]:
    lines = ["", f"### {name}", "", " ".join(command.help.split("\n\n")[0].split())]
    for paragraph in command.help.split("\n\n")[1:]:
        lines += ["", " ".join(paragraph.split())]
    for part in (command.epilog or "").split("\n\n"):
        title, _, text = part.partition(": ")
        if title == "Example":
            lines += ["", f"Example: `{text}`"]
        elif title:
            lines += ["", f"{title}: {text}."]
    shown = [one for one in command.params if one.name != "help"]
    if shown:
        lines += ["", *_parameters(command)]
    for inner, below in getattr(command, "commands", {}).items():
        lines += _command(f"{name} {inner}", below)
    return lines


def _parameters(command: Any) -> list[str]:
    rows = []
    for one in command.params:
        if one.name == "help" or getattr(one, "hidden", False):
            continue
        if one.param_type_name == "argument":
            names = f"`{one.name.upper()}`" + ("" if one.required else " (may be left out)")
        else:
            names = ", ".join(f"`{each}`" for each in (*one.opts, *one.secondary_opts))
            names += " (required)" if one.required else ""
        default = "" if one.default is None or one.default is False or one.default in ("", ()) else f"`{one.default}`"
        rows.append((names, str(getattr(one, "help", "") or ""), default))
    return _table(("option", "what it does", "default"), rows)


def _coded(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(", ".join(f"`{one}`" for one in name.split(", ")), text) for name, text in rows]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
