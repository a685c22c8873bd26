"""Pictures of a model's concepts: one after the other, or several at once in processes of their own where that pays.

UMAP holds Python's lock while it lays points out, so threads gain nothing; and a picture starts from that of the layer
below, so a concept is one piece of work. Belongs here: how many processes there are. How a picture is made is in
`analyses.projection`.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import pyarrow as pa

from dagster_project.profiling import drawn_kind
from extract.job.progress import LineProgress, Progress
from warehouse.store import Store

WORTH_PROCESSES = 200
"""Layers, of all concepts together, from which processes pay: each compiles UMAP anew, which takes as long as ten of
them."""


def project_concepts(
    store: Store, model: str, concepts: Sequence[str], *, layers: int, seed: int, progress: Progress
) -> Iterator[tuple[str, pa.Table]]:
    """Draw some concepts of a model; gives each with its rows of `projections`, as they are done.

    Args:
        store: holds the activations, prompts and terms.
        model: which model.
        concepts: which concepts.
        layers: layers of the model, the embedding output counted in.
        seed: of the layouts; what is drawn does not depend on how many processes there are.
        progress: told of layers, or of concepts where several are drawn at once.
    """
    workers = min(len(concepts), len(os.sched_getaffinity(0)))
    if workers < 2 or layers * len(concepts) < WORTH_PROCESSES:
        yield from (
            (concept, _project(store, model, concept, layers=layers, seed=seed, progress=progress))
            for concept in concepts
        )
        return
    silent = LineProgress(_say_nothing)
    title = f"{model}: UMAP of {workers} concepts at once"
    with (
        progress.stage(title, len(concepts), "concepts") as advance,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        running = {
            pool.submit(_project, store, model, concept, layers=layers, seed=seed, progress=silent): concept
            for concept in concepts
        }
        for done in as_completed(running):
            yield running[done], done.result()
            advance(1)


def _project(store: Store, model: str, concept: str, *, layers: int, seed: int, progress: Progress) -> pa.Table:
    from analyses.projection import project

    with progress.stage(f"{model}, {concept}: UMAP", layers, "layers") as advance:
        return project(
            store.layers("activations", model=model, concept=concept),
            store.read("prompts", concept=concept),
            store.read("terms", concept=concept),
            seed=seed,
            template_kind=drawn_kind(store, concept),
            progress=lambda _: advance(1),
        )


def _say_nothing(line: str) -> None:
    """Progress of one of several processes: only the whole is told."""
