"""What docs/reviewers.md points to is there: tables, named queries, claims and pages."""

import re

from analyses.findings import CLAIMS
from dagster_project.defs.resources import PROJECT
from warehouse.tables import TABLES

PAGE = (PROJECT / "docs" / "reviewers.md").read_text(encoding="utf-8")


def test_every_query_and_claim_that_is_named_exists() -> None:
    queries = {path.stem for path in (PROJECT / "sql" / "analyses").glob("*.sql")}
    claims = {claim.name for claim in CLAIMS}
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", PAGE))
    assert len(named) > 10
    assert named <= queries | claims
    assert named & queries
    assert named & claims


def test_every_table_that_is_named_exists() -> None:
    asked = set(re.findall(r"\btables? `([a-z_]+)`", PAGE))
    assert {"stability", "validation", "stage_circles", "rivals", "edits", "terms", "published"} <= asked
    assert asked <= set(TABLES)


def test_every_page_that_is_linked_exists() -> None:
    linked = set(re.findall(r"\]\(([a-z-]+\.md)", PAGE))
    assert linked
    assert all((PROJECT / "docs" / page).is_file() for page in linked)


def test_every_question_has_an_answer() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| question")]
    assert len(rows) >= 12
    assert all(line.count("|") == 3 and all(cell.strip() for cell in line.split("|")[1:3]) for line in rows)
