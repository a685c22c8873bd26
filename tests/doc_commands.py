"""The commands that the documentation shows, taken out of its fenced blocks one by one, and a check of each one's line.

What is run, and what is only read and why, is said in `test_doc_commands`.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer.main
from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

from dagster_project import cli
from extract.job import command as extract_command

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").glob("*.md")]
)
SHELLS = ("sh", "bash", "shell", "console")

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```\s*$", re.DOTALL | re.MULTILINE
)
UsageError = BadParameter.__mro__[1]
"""What Typer raises at a line that it does not take: the error of the click that it brings along."""

_JOINS = {"&&", "||", "|", ";", "&"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SUBSTITUTION = re.compile(r"\b\w+=\$\((.*)\)")
_PLACEHOLDER = re.compile(r"^\[?[A-Z][A-Z_]+\]?$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands: page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a block: its words, without what it is assigned, joined or redirected to."""

    place: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def program(self) -> str:
        """What is started: `vesalius`, `python -m extract`, `make` …"""
        first = self.words[0]
        if first in ("python", "python3") and self.words[1:2] == ("-m",):
            return " ".join(("python", "-m", self.words[2]))
        return first

    @property
    def arguments(self) -> list[str]:
        """What follows the program."""
        return list(self.words[len(self.program.split()) :])


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        indent = found["indent"]
        lines = [line.removeprefix(indent) for line in found["text"].splitlines()]
        yield Block(page, text.count("\n", 0, found.start()) + 1, found["language"], "\n".join(lines) + "\n")


def commands(block: Block) -> list[Command]:
    """The commands of a block of shell, in order; of `console`, those behind a `$`."""
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found, written = [], ""
    for line in lines:
        written += line + "\n"
        if line.endswith("\\"):
            written = written.removesuffix("\\\n")
            continue
        try:
            shlex.split(written, comments=True)
        except ValueError:
            continue  # A quoted text goes on in the next line.
        found += [Command(block.place, words) for words in _simple(written)]
        written = ""
    assert not written, f"{block.place}: a quotation is never closed"
    return found


def _simple(line: str) -> Iterator[tuple[str, ...]]:
    """The words of each simple command of a line."""
    lexer = shlex.shlex(_SUBSTITUTION.sub(r"\1", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    skipping = False
    for token in [*lexer, ";"]:
        if token in _JOINS:
            while words and _ASSIGNMENT.match(words[0]):
                words = words[1:]
            if words:
                yield (words[0].removeprefix(".venv/bin/"), *words[1:])
            words, skipping = [], False
        elif set(token) <= {"<", ">"}:
            skipping = True
        elif skipping:
            skipping = False
        else:
            words.append(token)


def applications() -> dict[str, TyperCommand | TyperGroup]:
    """What can be parsed here, by the program that starts it."""
    return {
        "vesalius": typer.main.get_command(cli.app),
        "python -m extract": typer.main.get_command(extract_command.app),
    }


def parse(command: Command, application: TyperCommand | TyperGroup) -> None:
    """Read a command line as the program would, without doing what it says.

    Words in capitals stand for what a reader puts there; `[WORD]` may be left out.

    Raises:
        UsageError: there is no such command or option, or its value can't be one.
    """
    arguments = [word for word in command.arguments if not (_PLACEHOLDER.match(word) and word.startswith("["))]
    name = command.program
    if arguments in (["--version"], ["--help"]):
        return  # They answer while they are read.
    while isinstance(application, TyperGroup):
        context = application.make_context(name, arguments)
        rest = [*context._protected_args, *context.args]
        name, found, arguments = application.resolve_command(context, rest)
        assert found is not None
        assert name is not None
        application = found
    application.make_context(name, arguments)
