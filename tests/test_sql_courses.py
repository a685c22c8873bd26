"""What is asked of jumps between ages and of stages in SQL, against the made-up rows."""

from pathlib import Path

import pytest
import warehouse_courses as courses
from warehouse_fixture import LAYERS, build_warehouse, named

from warehouse.catalog import build_catalog


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warehouse")
    build_warehouse(root)
    build_catalog(root)
    return root


def test_jumps_are_shown_with_the_step_that_is_asked_for(root: Path) -> None:
    found = named(root, "age-jumps", model="planted")
    assert [(row["layer"], row["number"]) for row in found] == [
        (layer, age) for layer in range(-1, LAYERS["planted"]) for age in (18.0, 30.0)
    ]
    assert [row["is_jump"] for row in found[:2]] == [False, True]
    assert [row["times"] for row in found[:2]] == [1.5, 8.0]
    assert [row["decade"] for row in found[:2]] == [False, True]
    assert {row["number"] for row in named(root, "age-jumps", number=2.0, template_kind="neutral")} == {2.0}


def test_a_circle_is_told_from_what_only_looks_like_one(root: Path) -> None:
    found = named(root, "stage-circles", model="planted")
    assert len(found) == 2 * (LAYERS["planted"] + 1)
    circular = [(row["staged"], row["layer"]) for row in found if row["is_circular"]]
    assert circular == [("anemia", courses.CIRCULAR_LAYER)]
    anemia, burns = found[0], found[-1]
    assert (anemia["staged"], burns["staged"]) == ("anemia", "burns")
    assert anemia["in_order"] == pytest.approx(-0.3)
    assert anemia["nearest_early_by_chance"] == pytest.approx(0.15)
    assert anemia["longest_loop"] == pytest.approx(0.1)
    assert burns["longest_loop"] is None
