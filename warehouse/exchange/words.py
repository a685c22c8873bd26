"""The words of an exported folder: its README, and for the layout `datasets` the card that `load_dataset` reads.

What is said of tables and columns comes from the registry; what is exported, and how, is decided elsewhere.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from warehouse.exchange.descriptor import Packed
from warehouse.reference import sections
from warehouse.tables import TABLES
from warehouse.twins import is_twin
from warehouse.versions import CODE_VERSION

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class About:
    """What a README tells of the models and concepts in it.

    Attributes:
        models: rows of the table `models`, each with its slug under `model`.
        concepts: rows of the table `concepts`, each with its name under `concept`.
    """

    models: Sequence[dict[str, object]]
    concepts: Sequence[dict[str, object]]

    @property
    def title(self) -> str:
        """Of the folder."""
        names = [slug for row in self.models if not is_twin(slug := str(row["model"]))]
        few = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return f"What the layers of {few} hold" if names else "A library of medical concepts"

    @property
    def description(self) -> str:
        """Of the folder, in two sentences."""
        return (
            f"Measurements of Vesalius, layer by layer: {len(self.models)} models over {len(self.concepts)} concepts. "
            "What each table and column means stands in tables.md and schemas/."
        )


def readme(about: About, packed: Sequence[Packed]) -> Iterator[str]:
    """The lines of the README of a folder that can be imported."""
    yield from _opening(about)
    yield from (
        "## Read it",
        "",
        "The files are ordinary Parquet, one a partition, under `data/TABLE/model=…/concept=…/`.",
        "",
        "```sh",
        "sha256sum --check SHA256SUMS                 # every file is what was exported",
        "vesalius import .                            # into your own warehouse; what you have already stays",
        "```",
        "",
        "```sql",
        "-- DuckDB, from this folder",
        "SELECT * FROM read_parquet('data/models/model=*/part-0.parquet', hive_types = {'model': 'VARCHAR'})",
        "```",
        "",
        "`datapackage.json` describes each file by the Data Package standard: columns, length, SHA-256, and under",
        "`vesalius` its partition and the fingerprint of all that it was made from.",
        "",
    )
    yield from _contents(about, packed)


def card(about: About, packed: Sequence[Packed]) -> Iterator[str]:
    """The lines of a dataset card: YAML with one configuration a table, then words."""
    rows = sum(one.part.footer.rows for one in packed)
    tables = _by_table(packed)
    first = next((name for name in ("profiles", *tables) if name in tables), None)
    yield from ("---", f"pretty_name: {_yaml(about.title)}", "language:", "- en")
    yield from ("size_categories:", f"- {next((size for most, size in _SIZES if rows < most), '1M<n<10M')}")
    yield from ("tags:", "- interpretability", "- medical", "configs:")
    for name in tables:
        depth = max(len(TABLES[name].partitions), 1)
        pattern = "/".join(["data", name, *["*"] * (depth - 1), "*.parquet"])
        yield from (f"- config_name: {name}", "  data_files:", "  - split: train", f"    path: {_yaml(pattern)}")
        if name == first:
            yield "  default: true"
    yield from ("---", "")
    yield from _opening(about)
    yield from (
        "## Read it",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'rows = load_dataset("PATH OR NAME OF THIS DATASET", "{first}", split="train")',
        "```",
        "",
        "Each table is a configuration; `model` and `concept` are columns. No license is set: name yours in the YAML",
        "above before you publish it. Codes in the concept library are WHO's (ATC/DDD, ICD-10).",
        "",
    )
    yield from _contents(about, packed)


def dictionary(packed: Sequence[Packed]) -> Iterator[str]:
    """The lines of `tables.md`: the reference page of tables, narrowed to those that are there."""
    yield "# Tables"
    yield ""
    yield "A column is never null unless it says so, and never NaN. Partition columns (*path*) stand in the file's path"
    yield "in the layout `warehouse`, and in the file in the layout `datasets`."
    yield from sections(_by_table(packed))


def _opening(about: About) -> Iterator[str]:
    yield from (
        f"# {about.title}",
        "",
        "Where in its layers does a language model keep medical knowledge? This folder holds what was measured with",
        f"Vesalius {CODE_VERSION}, after *Medical Interpretability and Knowledge Maps of Large Language Models*",
        "(arXiv 2510.11390).",
        "",
    )


def _contents(about: About, packed: Sequence[Packed]) -> Iterator[str]:
    yield from ("## What is in it", "", "| model | architecture | layers | width | type |", "|---|---|---:|---:|---|")
    for row in about.models:
        yield f"| `{row['model']}` | {row['architecture']} | {row['layers']} | {row['width']} | {row['dtype']} |"
    yield from ("", "| concept | role | what it holds |", "|---|---|---|")
    for row in about.concepts:
        yield f"| `{row['concept']}` | {row['role']} | {_cell(row['description'])} |"
    yield from ("", "| table | files | rows | bytes | what it holds |", "|---|---:|---:|---:|---|")
    for name, files in _by_table(packed).items():
        rows, size = sum(one.part.footer.rows for one in files), sum(one.bytes for one in files)
        yield f"| `{name}` | {len(files)} | {rows:,} | {size:,} | {_cell(TABLES[name].doc)} |"
    versions = Counter(one.part.footer.code_version for one in packed)
    written = ", ".join(f"{version} ({count} files)" for version, count in sorted(versions.items()))
    yield from ("", f"Written by Vesalius {written}. What each column means: [tables.md](tables.md).")


def _by_table(packed: Sequence[Packed]) -> dict[str, list[Packed]]:
    found: dict[str, list[Packed]] = {}
    for one in packed:
        found.setdefault(one.part.table, []).append(one)
    return found


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
