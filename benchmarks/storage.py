"""What a warehouse over the S3 protocol costs beside one on a disk: the same writes, catalog and queries, in ratios.

The server is moto on 127.0.0.1, in a process of its own, so there is no network in it: the ratios show what requests,
copies and Python cost. A real store adds its latency to each request.

    python -m benchmarks.storage [--models 4] [--rounds 3]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from warehouse.catalog import build_catalog
from warehouse.places import ObjectPlace, place
from warehouse.query import run_query
from warehouse.store import Store
from warehouse.tables import table

_PORT = 53117
_TERMS, _WIDTH, _LAYERS = 256, 256, 8


def activations(layer: int) -> pa.Table:
    """The made-up activations of one layer, 256 terms by 256 numbers."""
    values = np.random.default_rng(layer).normal(size=_TERMS * _WIDTH).astype(np.float32)
    columns = [
        pa.array([layer] * _TERMS, pa.int16()),
        pa.array(["last"] * _TERMS),
        pa.array(["t"] * _TERMS),
        pa.array([f"term-{number}" for number in range(_TERMS)]),
        pa.FixedSizeListArray.from_arrays(pa.array(values), _WIDTH),
    ]
    return pa.table(columns, schema=table("activations").schema(_WIDTH))


def write(root: Path | ObjectPlace, models: int) -> None:
    """One file of 2 MiB a model."""
    layers = [activations(layer) for layer in range(_LAYERS)]
    for model in range(models):
        slug = f"model-{model}"
        with Store(root).writer("activations", fingerprint="x", width=_WIDTH, model=slug, concept="drugs") as writer:
            for layer in layers:
                writer.add(layer)


def skim(root: Path | ObjectPlace, models: int) -> None:
    """Whether each file is current: what a run without work does."""
    assert all(Store(root).is_current("activations", "x", **keys) for keys in Store(root).partitions("activations"))


def ask(root: Path | ObjectPlace, models: int) -> None:
    """One layer of one model."""
    sql = "SELECT count(*) AS n, sum(vector[1]) FROM activations WHERE model = 'model-0' AND layer = 3"
    assert run_query(root, sql)["n"][0].as_py() == _TERMS


def read(root: Path | ObjectPlace, models: int) -> None:
    """One whole file, a layer at a time."""
    layers = [layer for layer, _ in Store(root).layers("activations", model="model-0", concept="drugs")]
    assert layers == list(range(_LAYERS))


def catalog(root: Path | ObjectPlace, models: int) -> None:
    """The catalog of all tables and views."""
    build_catalog(root)


STEPS: tuple[tuple[str, Callable[[Path | ObjectPlace, int], None]], ...] = (
    ("write the files", write),
    ("see that they are current", skim),
    ("build the catalog", catalog),
    ("ask for one layer of one", ask),
    ("read one, layer by layer", read),
)


def main() -> None:
    """Run the steps on both, in turns, and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_PORT}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        command = [sys.executable, "-m", "moto.server", "-p", str(_PORT)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            remote = place("s3://benchmark/warehouse")
            assert isinstance(remote, ObjectPlace)
            remote.files().mkdir("benchmark")
            roots: tuple[Path | ObjectPlace, ...] = (Path(folder) / "warehouse", remote)
            times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name, _ in STEPS}
            for _ in range(given.rounds):
                for name, step in STEPS:
                    for root, taken in zip(roots, times[name], strict=True):
                        started = time.perf_counter()
                        step(root, given.models)
                        taken.append(time.perf_counter() - started)
        finally:
            server.terminate()
            server.wait()
    print(
        f"{given.models} files of {_TERMS * _WIDTH * _LAYERS * 4 / 2**20:.0f} MiB; medians of {given.rounds}, seconds"
    )
    print(f"{'':28}{'disk':>8}{'S3':>8}{'ratio':>8}")
    for name, (disk, s3) in times.items():
        print(f"{name:28}{median(disk):8.3f}{median(s3):8.3f}{median(s3) / median(disk):8.1f}")


if __name__ == "__main__":
    main()
