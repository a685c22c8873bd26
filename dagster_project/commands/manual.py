"""The words of `vesalius --help` that belong to no command alone: what it is, how to begin, where things go.

`docs/cli.md` is written from these words and from the commands themselves (`reference_page`).
"""

import textwrap
from collections.abc import Iterable

from warehouse.exit_codes import ExitCode

SYNOPSIS = (
    "Find where in its layers a language model keeps medical knowledge.",
    "A model is run over a library of medical concepts; activations, lesions, patches and gradients of every layer go "
    "into a warehouse of open tables, and become knowledge maps that say how sure they are. Everything stays on this "
    "machine; what is current already is not measured again.",
)

BEGIN = (
    ("vesalius run --model reference", "measure a model that comes along, and draw its maps: some minutes"),
    ("vesalius open", "look at all maps on one page, offline"),
    ("vesalius findings", "read what was found, claim by claim, with intervals"),
)

PLACES = (
    ("warehouse/data", "tables (Parquet), catalog.duckdb, charts/ with atlas.html; or where --warehouse says"),
    ("models.toml", "the registry of models; a folder named inbox beside it takes models without an entry"),
    ("build/", "weights that are offloaded, models that `validate` trains"),
    (".dagster", "Dagster's record of runs; or where DAGSTER_HOME says"),
)

VARIABLES = (
    ("VESALIUS_WAREHOUSE", "the warehouse: a folder, or a URL like s3://bucket/prefix"),
    ("VESALIUS_CONCEPTS", "folder of the concept library"),
    ("VESALIUS_MODELS", "the registry, models.toml"),
    ("VESALIUS_INBOX", "folder of models without an entry"),
    ("VESALIUS_JUDGE_URL, _MODEL, _KEY", "an endpoint that judges answers; without it rules do (docs/judge.md)"),
    ("DAGSTER_HOME", "where Dagster keeps its record of runs"),
    ("HF_HOME, HF_TOKEN", "a hub's cache, and a token for gated models; only `add --download` asks a network"),
    ("OMP_NUM_THREADS", "threads of linear algebra"),
    ("NO_COLOR, FORCE_COLOR", "no colours at all; colours though output goes to a pipe"),
)

MEASURE, READ, MODELS, JUDGE, MAINTAIN = (
    "Measure",
    "Read",
    "Models and concepts",
    "How far to trust it",
    "Keep and share",
)
"""The panels of `--help`, in order."""


def help_text() -> str:
    """What `vesalius --help` begins with."""
    return "\n\n".join((*SYNOPSIS, _block("To begin with", BEGIN)))


def epilog() -> str:
    """What it ends with."""
    codes = [(str(int(code)), code.meaning) for code in ExitCode]
    parts = (("Written to", PLACES), ("Environment", VARIABLES), ("Exit codes", codes))
    said = [_block(title, rows) for title, rows in parts]
    return "\n\n".join((*said, "`vesalius COMMAND --help` has an example of each; docs/cli.md has all of it."))


def command_epilog(example: str, codes: str = "") -> str:
    """What a command's help ends with: an example, and its exit codes where they mean something of their own."""
    lines = [("Example", example)] + ([("Exit codes", codes)] if codes else [])
    return "\n\n".join(f"{title}: {text}" for title, text in lines)


def _block(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """A title and rows in two columns that fit 80; a paragraph that begins with a backspace stays as it is."""
    rows = list(rows)
    wide = max(len(name) for name, _ in rows)
    lines = [f"{title}:"]
    for name, text in rows:
        first, *more = textwrap.wrap(text, 74 - wide)
        lines += [f"  {name:<{wide}}  {first}", *(f"{'':<{wide + 4}}{line}" for line in more)]
    return "\b" + "\n".join(lines)
