"""One model's extraction shared out to the workers of a Ray cluster, then merged.

    python deploy/ray_extract.py --shards 8 --gpus 1 -- --model planted --warehouse /data/warehouse

What stands behind `--` goes to `python -m extract` as it is. Without a cluster's address Ray starts on this machine
alone. Workers need this project, the models and the warehouse at the same places: a file system that they share.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
PROJECT = Path(__file__).resolve().parents[1]
OBJECT_STORE = 100 * 2**20
"""Bytes: nothing goes through Ray's memory, rows go to the warehouse."""


def extract(words: list[str]) -> str:
    """Run `python -m extract`; what it prints.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", "extract", *words], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"python -m extract {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def main(
    words: Annotated[list[str], typer.Argument(help="Options of `python -m extract run` and `merge`, behind `--`.")],
    shards: Annotated[int, typer.Option(min=1, help="Parts of the work.")] = 2,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a part.")] = 0,
    cpus: Annotated[float, typer.Option(min=0, help="Processors of a part.")] = 1,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster. Default: this machine alone.")] = None,
) -> None:
    """Run all shards, then merge them."""
    import ray

    if address is None:
        ray.init(num_cpus=2, object_store_memory=OBJECT_STORE, include_dashboard=False, log_to_driver=False)
    else:
        ray.init(address=address)
    try:
        worker = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=1)(extract)
        ray.get([worker.remote(["run", f"--shard={number}/{shards}", *words]) for number in range(1, shards + 1)])
    finally:
        ray.shutdown()
    typer.echo(extract(["merge", f"--shards={shards}", *words]), nl=False)


if __name__ == "__main__":
    typer.run(main)
