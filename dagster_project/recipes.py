"""`docs/sql.md` kept true: the recipes' results, and the lists of named queries, views and macros, written anew.

A recipe is a statement in the page with its result in a block behind it; the statement is written by people, the result
by `vesalius recipes`. What the page says otherwise is not touched.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from dagster_project.terminal import rows_table
from warehouse.sql_files import VIEWS, markdown, named_queries

_RECIPE = re.compile(
    r"^### (?P<title>\d+\. [^\n]+)\n(?P<words>(?:(?!```|### )[^\n]*\n)*)```sql\n(?P<sql>(?:(?!```)[^\n]*\n)*)```\n",
    re.MULTILINE,
)
_RESULT = re.compile(r"\n```text\n(?P<result>(?:(?!```)[^\n]*\n)*)```\n")
_LISTS: dict[str, Callable[[], list[str]]] = {
    "<!-- made from sql/analyses by warehouse.sql_files.markdown -->": lambda: list(markdown(named_queries())),
    "<!-- made from sql/views -->": lambda: [
        "| name | what it is |",
        "|---|---|",
        *(f"| `{view.name}` | {view.purpose} |" for view in named_queries(VIEWS).values()),
    ],
}
_END = "<!-- end -->"


@dataclass(frozen=True)
class Recipe:
    """A question with its statement.

    Attributes:
        title: number and question.
        sql: the statement.
        columns: names of the columns in the result that stands in the page; none if there is no result.
    """

    title: str
    sql: str
    columns: tuple[str, ...]


def recipes(page: str) -> list[Recipe]:
    """The recipes of a page, in order."""
    found = []
    for match in _RECIPE.finditer(page):
        result = _RESULT.match(page, match.end())
        heading = result["result"].split("\n", 1)[0] if result else ""
        found.append(Recipe(match["title"], match["sql"], tuple(heading.split())))
    return found


def refreshed(page: str, ask: Callable[[str], pa.Table]) -> str:
    """The page with the result of every recipe, and every list, written anew."""
    parts, end = [], 0
    for match in _RECIPE.finditer(page):
        parts.append(page[end : match.end()])
        parts.append(f"\n```text\n{as_text(ask(match['sql']))}\n```\n")
        result = _RESULT.match(page, match.end())
        end = result.end() if result else match.end()
    page = "".join([*parts, page[end:]])
    for marker, lines in _LISTS.items():
        before, _, rest = page.partition(marker)
        _, _, after = rest.partition(_END)
        page = "\n".join([f"{before}{marker}", *lines(), f"{_END}{after}"])
    return page


def as_text(rows: pa.Table) -> str:
    """Rows as they stand in the page: as on a terminal that is as wide as it needs to be."""
    # What is rounded to nothing is 0, from whichever side.
    columns = [pc.add(column, 0.0) if pa.types.is_floating(column.type) else column for column in rows.columns]
    rows = pa.table(columns, names=rows.column_names)
    out = io.StringIO()
    Console(file=out, width=10_000, color_system=None, markup=False, highlight=False).print(rows_table(rows))
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").split("\n"))
