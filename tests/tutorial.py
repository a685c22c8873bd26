"""Writes what the commands of `docs/tutorial.md` print, each into the block behind it.

`make tutorial` does it, after `make atlas`; with `--check` it only says whether the page is what would be printed.
Digits can differ between machines, so it is no test: that the commands run is held by `test_doc_commands`.
"""

import argparse
import re
import sys

from doc_commands import ROOT, Block, commands
from typer.testing import CliRunner

from dagster_project.cli import app

PAGE = ROOT / "docs" / "tutorial.md"
_PRINTED = re.compile(r"```sh\n(?P<typed>[^`]*?)```\n\n```text\n[^`]*?```\n")


def _shown(found: re.Match[str]) -> str:
    """A block of commands with what they print now behind it."""
    printed = ""
    for command in commands(Block(PAGE, 0, "sh", found["typed"])):
        done = CliRunner().invoke(app, command.arguments, env={"COLUMNS": "120"})
        assert done.exit_code == 0, f"{command}: {done.output}"
        printed += "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"
    return f"```sh\n{found['typed']}```\n\n```text\n{printed}```\n"


def main() -> int:
    """Write the page anew, or say that it is another; the exit code is 1 then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    chosen = parser.parse_args()
    written = PAGE.read_text(encoding="utf-8")
    renewed = _PRINTED.sub(_shown, written)
    if chosen.check:
        return int(renewed != written)
    PAGE.write_text(renewed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
