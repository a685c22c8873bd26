"""The recipes of docs/sql.md run, answer something, and give the columns that the page shows."""

from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from dagster_project import recipes
from dagster_project.cli import app
from dagster_project.defs import resources
from warehouse.query import run_query

PAGE = Path(__file__).parents[1] / "docs" / "sql.md"
RECIPES = recipes.recipes(PAGE.read_text(encoding="utf-8"))
SMALLER = {"'reference'": "'0042'", "'drugs', 5,": "'drugs', 0,", "'drugs', 6,": "'drugs', 1,"}
"""The warehouse of the tests has another second model, and three layers."""

PAGE_OF_ONE = """# Page

### 1. What?

Words.

```sql
SELECT 1 AS one
```

Tail.

<!-- made from sql/analyses by warehouse.sql_files.markdown -->
old
<!-- end -->
<!-- made from sql/views -->
old
<!-- end -->
End.
"""


def test_there_are_twenty_recipes_numbered_in_order() -> None:
    assert [recipe.title.split(".")[0] for recipe in RECIPES] == [str(number) for number in range(1, 21)]
    assert all(recipe.title.endswith("?") for recipe in RECIPES)


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.title for recipe in RECIPES])
def test_a_recipe_runs_and_gives_the_columns_of_the_page(small: Path, recipe: recipes.Recipe) -> None:
    sql = recipe.sql
    for there, here in SMALLER.items():
        sql = sql.replace(there, here)
    found = run_query(small, sql)
    shown = ["0042" if name == "reference" else name for name in recipe.columns]
    assert found.column_names == shown, "run `vesalius recipes`"
    assert found.num_rows


def test_a_result_is_put_behind_its_statement_and_replaced_the_next_time() -> None:
    once = recipes.refreshed(PAGE_OF_ONE, lambda sql: pa.table({"one": [1.0, -0.0]}))
    assert "```sql\nSELECT 1 AS one\n```\n\n```text\none\n  1\n  0\n```\n\nTail." in once
    assert "\nold\n" not in once
    assert "| `best-layers` |" in once
    assert "| `nearest` |" in once
    assert once.endswith("<!-- end -->\nEnd.\n")
    again = recipes.refreshed(once, lambda sql: pa.table({"other": [2]}))
    assert again == once.replace("one\n  1\n  0\n", "other\n    2\n")
    assert recipes.recipes(again)[0].columns == ("other",)


def test_the_page_is_current_but_for_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    results = {}
    for recipe in RECIPES:
        start = text.index(recipe.sql) + len(recipe.sql)
        results[recipe.sql] = text[start:].split("```text\n", 1)[1].split("```", 1)[0]
    # Each statement stands for its rows, so that the page is put together without a warehouse.
    monkeypatch.setattr(recipes, "as_text", lambda sql: results[sql].rstrip("\n"))
    assert recipes.refreshed(text, lambda sql: sql) == text, "run `vesalius recipes`"  # type: ignore[arg-type, return-value]


def test_the_command_writes_the_page(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "sql.md").write_text(PAGE_OF_ONE)
    monkeypatch.setattr(resources, "PROJECT", tmp_path)
    done = CliRunner().invoke(app, ["recipes", "--warehouse", str(small)])
    assert done.exit_code == 0, done.output
    assert "```text\none\n  1\n```" in (tmp_path / "docs" / "sql.md").read_text()
