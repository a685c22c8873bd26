"""Small tables of a made-up concept for the tests of effects: its library rows, and measurements that a test gives."""

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from analyses.effects import MeasuredConcept
from analyses.series import Profile, profiles_table
from warehouse.tables import table

Row = dict[str, Any]

TEMPLATES = {"t1": ("asking", "colour", False), "t2": ("asking", "colour", False), "held": ("asking", "colour", True)}
"""Kind, labelling asked for, held out."""


def filled(name: str, rows: Iterable[Row]) -> pa.Table:
    """Rows of a table of the registry; columns that are left out are null, or 0, or empty, as they allow."""
    schema = table(name).schema()
    blank = {
        column.name: None if column.nullable else "" if column.type == pa.string() else 0
        for column in table(name).columns
    }
    blank |= {column.name: False for column in table(name).columns if column.type == pa.bool_()}
    return pa.Table.from_pylist([blank | row for row in rows], schema=schema)


def concept(
    name: str,
    measured: str,
    rows: Callable[[str, str], Iterable[Row]],
    terms: Iterable[str],
    *,
    templates: dict[str, tuple[str, str | None, bool]] = TEMPLATES,
    text: str = "{} has the colour",
    words: Iterable[str] = (),
) -> MeasuredConcept:
    """A concept with what `rows` gives for each template and term; `words` are terms of a control spelling."""
    variants = dict.fromkeys(terms, "") | dict.fromkeys(words, "words")
    prompts = [
        {
            "template": template,
            "term": term,
            "template_kind": kind,
            "labelling": labelling,
            "held_out": held_out,
            "text": text.format(term),
            "answer": "red" if place % 2 else "blue",
            "term_start": text.index("{"),
            "term_end": text.index("{") + len(term),
        }
        for template, (kind, labelling, held_out) in templates.items()
        for place, term in enumerate(variants)
    ]
    found = [
        {"template": prompt["template"], "term": prompt["term"]} | row
        for prompt in prompts
        for row in rows(str(prompt["template"]), str(prompt["term"]))
    ]
    return MeasuredConcept(
        name,
        filled(measured, found),
        filled("prompts", prompts),
        filled("terms", [{"term": term, "spelling": term, "variant": variant} for term, variant in variants.items()]),
    )


def series(profiles: pa.Table, metric: str, **keys: str) -> list[Row]:
    """The rows of one profile, by layer."""
    wanted = {"metric": metric} | keys
    rows = [row for row in profiles.to_pylist() if wanted.items() <= row.items()]
    return sorted(rows, key=lambda row: row["layer"])


def tabled(profiles: Callable[..., list[Profile]]) -> Callable[..., pa.Table]:
    """The same function, giving the rows of `profiles`."""
    return lambda *arguments, **options: profiles_table(profiles(*arguments, **options))
