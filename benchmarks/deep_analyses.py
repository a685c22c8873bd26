"""What the analyses of a deep model cost: profiles, maps, findings, and UMAP by itself.

They read the warehouse alone, so no model of that depth has to run. A model that was measured over the whole concept
library (`make atlas`) is stretched: between two of its layers come more, whose activations are steps on the way from
one to the other, and whose lesions, patches and gradients are those of the nearest. Terms, prompts, templates and draws
stay what they are in any run. Then each stage runs through the job of `vesalius run`, and its seconds are taken: of the
clock, and of all processors, which is what counts where other work goes on beside it.

Run with `python -m benchmarks.deep_analyses`; prints seconds by stage and, as its last line, one JSON object.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa

from benchmarks.models import most_resident
from dagster_project.definitions import build_defs
from dagster_project.defs.analyses import PROFILED
from dagster_project.defs.jobs import MEASURE
from dagster_project.defs.maps import TABLES as MAPPED
from dagster_project.defs.partitions import register_models
from dagster_project.defs.resources import PROJECT, Settings, Warehouse
from extract.library import CONCEPTS
from warehouse.store import Store
from warehouse.tables import table

WITHOUT_LAYERS = ("models", "tokens")
WITH_LAYERS = ("activations", "first_tokens", "lesions", "patches", "saliency")
STAGES = {"profiles": PROFILED, "maps": MAPPED, "findings": ("findings",), "neighbours": ("neighbours",)}
DRAWN = {"umap": ("projections",), "pictures": ("umap_pictures",)}


def main() -> None:
    """Stretch a model, run each stage, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--model", default="reference", help="the measured model that is stretched")
    parser.add_argument("--warehouse", type=Path, default=PROJECT / "warehouse" / "data", help="where it was measured")
    parser.add_argument("--concepts", nargs="*", default=[], help="these concepts alone; by default all")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--umap", action="store_true", help="UMAP too, after all else and timed apart")
    options = parser.parse_args()
    settings = Settings(
        concepts=options.concepts, resamples=options.resamples, permutations=options.permutations, lesions=["identity"]
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = measure(place, options.warehouse, options.model, options.layers, settings, umap=options.umap)
    print(json.dumps(found))


def measure(
    place: Path, source: Path, model: str, layers: int, settings: Settings, *, umap: bool
) -> dict[str, float | int]:
    """Seconds of each stage, `seconds` of the clock and `cpu_seconds` of all processors, over a stretched model.

    Beside them stand what was analysed, and the bytes that this process held at its most by the end of each stage.

    Args:
        place: an empty folder, for a warehouse of its own.
        source: the warehouse that the model was measured into.
        model: which model.
        layers: how many it shall have.
        settings: concepts and draws.
        umap: whether UMAP is timed as well.
    """
    # In another process, so that what this one holds is what the analyses take.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(stretch_model, Store(source), Store(place), model, layers, settings.concepts).result()
    warehouse = Warehouse(root=str(place), concepts=str(CONCEPTS))
    library = warehouse.library(settings.concepts)
    (width,) = Store(source).read("models", columns=["width"], model=model)["width"].to_pylist()
    found: dict[str, float | int] = {
        "layers": layers,
        "width": width,
        "concepts": len(library.names),
        "terms": sum(len(concept.terms) for concept in library.concepts),
        "prompts": sum(len(each.terms) * len(each.templates) for each in library.concepts),
        "labelled_prompts": sum(
            len(each.terms) * len(each.templates) * len(each.labellings) for each in library.concepts
        ),
        "program_memory": most_resident(),
    }
    stages = STAGES | (DRAWN if umap else {})
    with dg.DagsterInstance.ephemeral() as instance:
        register_models(instance, [model])
        for stage, tables in stages.items():
            since, cpu_since = time.monotonic(), _processor_seconds()
            _run(instance, warehouse, settings, model, tables)
            found[f"{stage}_seconds"] = round(time.monotonic() - since, 1)
            found[f"{stage}_cpu_seconds"] = round(_processor_seconds() - cpu_since, 1)
            found[f"{stage}_memory"] = most_resident()
            print(
                f"{stage}: {found[f'{stage}_seconds']} s, {found[f'{stage}_cpu_seconds']} processor seconds", flush=True
            )
    found["seconds"] = round(sum(found[f"{stage}_seconds"] for stage in STAGES), 1)
    found["cpu_seconds"] = round(sum(found[f"{stage}_cpu_seconds"] for stage in STAGES), 1)
    return found


def _processor_seconds() -> float:
    """Seconds that this process and those that it began and saw end have computed."""
    return sum(os.times()[:4])


def stretch_model(source: Store, target: Store, model: str, layers: int, concepts: Sequence[str] = ()) -> None:
    """Write what was measured of a model, and the library, into another warehouse, as of a model of more layers.

    Args:
        source, target: where from, and where to.
        model: which model; it must have two layers or more.
        layers: how many it gets.
        concepts: these alone, with all of the library; by default all.
    """
    for name in ("concepts", "terms", "frequencies", "labels", "prompts", "pairs"):
        shutil.copytree(Path(str(source.root)) / name, Path(str(target.root)) / name)
    (had,) = source.read("models", columns=["layers"], model=model)["layers"].to_pylist()
    for name in (*WITHOUT_LAYERS, *WITH_LAYERS):
        for keys in source.partitions(name):
            if keys["model"] != model or (concepts and "concept" in keys and keys["concept"] not in concepts):
                continue
            footer = source.footer(name, **keys)
            assert footer is not None
            fingerprint, revision = footer.fingerprint, footer.revision
            if name in WITH_LAYERS:
                parts = dict(source.layers(name, **keys))
                vector = table(name).vector
                first = next(iter(parts.values()))
                width = first.schema.field(vector.name).type.list_size if vector else None
                with target.writer(
                    name, fingerprint=fingerprint, revision=revision, rows=None, width=width, **keys
                ) as writer:
                    for rows in stretched(parts, had, layers, vector.name if vector else None):
                        writer.add(rows.cast(table(name).schema(width)))
                continue
            rows = source.read(name, columns=None, **keys)
            if name == "models":
                rows = _with_layer(rows, "layers", layers)
            target.write(name, rows, fingerprint=fingerprint, revision=revision, **keys)


def stretched(parts: Mapping[int, pa.Table], had: int, layers: int, vector: str | None) -> Iterator[pa.Table]:
    """A partition's rows layer by layer: of vectors a mixture of two neighbours, of all else the nearest.

    Args:
        parts: the rows of each layer that the model had, of the embedding output too where it was measured.
        had: how many layers that were.
        layers: how many there shall be.
        vector: the column of vectors, if there is one.
    """
    if -1 in parts:
        yield parts[-1]
    for layer in range(layers):
        place = layer * (had - 1) / (layers - 1)
        low, share = int(place), place - int(place)
        rows = parts[round(place)]
        if vector is not None and share > 0:
            mixed = (1 - share) * _vectors(parts[low], vector) + share * _vectors(parts[low + 1], vector)
            values = pa.FixedSizeListArray.from_arrays(pa.array(mixed.ravel()), mixed.shape[1])
            rows = parts[low].set_column(rows.schema.get_field_index(vector), vector, values)
        yield _with_layer(rows, "layer", layer)


def _vectors(rows: pa.Table, name: str) -> np.ndarray:
    column = rows[name].combine_chunks()
    values: np.ndarray = column.flatten().to_numpy().reshape(len(rows), -1)
    return values


def _with_layer(rows: pa.Table, name: str, value: int) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(
        place, rows.schema.field(name), pa.repeat(pa.scalar(value, rows.schema.field(name).type), len(rows))
    )


def _run(
    instance: dg.DagsterInstance, warehouse: Warehouse, settings: Settings, model: str, tables: Sequence[str]
) -> None:
    config = {
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "resources": {"settings": {"config": settings.model_dump(exclude_none=True)}},
    }
    done = (
        build_defs(warehouse)
        .resolve_job_def(MEASURE)
        .execute_in_process(
            instance=instance,
            partition_key=model,
            asset_selection=[dg.AssetKey(name) for name in tables],
            run_config=config,
        )
    )
    failed = [evaluation.check_name for evaluation in done.get_asset_check_evaluations() if not evaluation.passed]
    if failed:
        raise SystemExit(f"Checks failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
