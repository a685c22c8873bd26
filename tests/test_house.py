"""The house keeps its own rules: imports one way, modules that say what belongs in them, reference pages up to date."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from warehouse import reference
from warehouse.tables import TABLES, table

ROOT = Path(__file__).parents[1]
PACKAGES = ("warehouse", "extract", "analyses", "dagster_project", "benchmarks")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_imports_go_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


def test_an_import_the_wrong_way_is_caught(tmp_path: Path) -> None:
    for package, text in {"upper": "", "lower": "import upper\n"}.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(text)
    contract = '[tool.importlinter]\nroot_packages = ["upper", "lower"]\n[[tool.importlinter.contracts]]\nname = "x"\n'
    (tmp_path / "pyproject.toml").write_text(contract + 'type = "layers"\nlayers = ["upper", "lower"]\n')
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_in_its_first_ten_lines_what_belongs_there(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    words = ast.get_docstring(tree) or ""
    assert len(words.split()) >= 12, f"{module} opens with too little"
    assert tree.body[0].end_lineno is not None
    assert tree.body[0].end_lineno <= 14


def test_the_reference_page_of_tables_is_what_the_registry_says() -> None:
    expected = "\n".join(reference.markdown()) + "\n"
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == expected, "run `vesalius docs`"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_tells_its_grain_and_every_column_its_meaning(name: str) -> None:
    entry = table(name)
    assert entry.doc.endswith(".")
    assert entry.grain
    names = [column.name for column in entry.all_columns]
    assert len(set(names)) == len(names)
    for column in entry.all_columns:
        assert column.doc.endswith("."), f"{name}.{column.name}"
    assert len(entry.schema(width=4)) == len(entry.columns)


def test_a_column_of_one_name_has_one_type_and_unit_everywhere() -> None:
    seen: dict[str, tuple[object, object]] = {}
    for entry in TABLES.values():
        for column in entry.all_columns:
            kind = (column.type, column.unit)
            if column.name in {"vector", "value", "first", "last", "version"}:
                continue
            assert seen.setdefault(column.name, kind) == kind, f"{entry.name}.{column.name}"
