"""What patching costs: the clean run's residual stream into the corrupted run, at every layer and token.

`grid` is every layer and token, 12 x 32 patches of each pair; `last` the last token at every layer. The measure is a
bare forward of the corrupted prompts, without head and cache, 16 pairs of 32 tokens in one batch: the 12-layer Llama
of the other benchmarks, one thread, processor seconds, workloads in turn. Prompts of a pair differ in two tokens behind
the first 10, as those of a template do: ours computes no patches before these, which change nothing. Each other way
runs a forward a patch, after one of the clean prompts; measured are as many patches as there are layers, one at each,
and counted for all tokens. The logit differences of these patches must be ours.
"""

import sys
import tempfile
from pathlib import Path

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import torch
from torch import Tensor

from benchmarks import naive
from benchmarks.models import SHAPES, Shape, build_model, patch_task, random_pairs, show
from benchmarks.paired import check_equal, paired_seconds, ratio
from benchmarks.peers import PACKAGES, run_peer
from extract.extraction import TOKEN_BUDGETS
from extract.interventions import Patch
from extract.machine import make_machine
from extract.sweep import sweep

ROUNDS = 2
PAIRS, TOKENS, TERM = 16, 32, 10

_GRID, _LAST = Patch("resid", "token"), Patch("resid", "last")


def sampled_cells(layers: int) -> list[tuple[int, int]]:
    """A token at every layer: the last one at every other, and tokens from the first difference on between."""
    return [(layer, TERM + layer * 7 % (TOKENS - TERM) if layer % 2 else TOKENS - 1) for layer in range(layers)]


def measure(
    folder: Path, shape: Shape, *, rounds: int = ROUNDS, peers: tuple[str, ...] = ()
) -> dict[str, dict[str, float]]:
    """For `grid` and `last`, the ratios of ours, of the naive loop and of each peer."""
    model = build_model(folder, shape).model
    machine = make_machine(model, parts=False)
    clean, corrupted, answers = random_pairs(shape, PAIRS, TOKENS, term=TERM)
    cells = sampled_cells(shape.layers)
    tasks = {patch: patch_task(clean, corrupted, answers, term=TERM, patches=[patch]) for patch in (_GRID, _LAST)}
    found: dict[Patch, Tensor] = {}
    theirs: dict[str, Tensor] = {}
    remembered: list[Tensor] = []

    def ours(patch: Patch) -> None:
        found[patch] = sweep(machine, tasks[patch], budget=TOKEN_BUDGETS["cpu"]).patches[patch]

    def remember() -> None:
        remembered[:] = naive.remember(model, clean)

    def one_by_one() -> None:
        theirs["naive"] = naive.patches(model, corrupted, remembered, answers, cells)

    seconds = paired_seconds(
        {
            "bare": lambda: naive.bare(model, corrupted),
            "clean": remember,
            "cells": one_by_one,
            "grid": lambda: ours(_GRID),
            "last": lambda: ours(_LAST),
        },
        rounds,
        base="bare",
        warm_up=False,
    )
    ratios = {
        "grid": {
            "ours": ratio(seconds, "grid", "bare"),
            "naive": ratio(seconds, "cells", "bare", times=TOKENS, plus="clean"),
        },
        "last": {"ours": ratio(seconds, "last", "bare"), "naive": ratio(seconds, "cells", "bare", plus="clean")},
    }
    request = {
        "model": str(folder),
        "rounds": rounds,
        "bare": [corrupted.tolist()],
        "clean": clean.tolist(),
        "answers": answers.tolist(),
        "cells": cells,
        "scale": TOKENS,
    }
    for peer in peers:
        answer = run_peer(peer, "patches", request)
        for name, value in answer.ratios.items():
            way, _, part = name.partition(":")
            ratios[part][way] = value
        theirs |= {name: torch.tensor(differences) for name, differences in answer.logits.items()}
    grid, last = found[_GRID], found[_LAST]
    check_equal("our patches at the last token", last[:, :, 0], grid[:, :, -1])
    expected = torch.stack([grid[layer, :, token] for layer, token in cells])
    for name, differences in theirs.items():
        check_equal(name, differences, expected)
    return ratios


def main() -> None:
    """Print a table, and the ratios as one JSON object in the last line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        ratios = measure(Path(folder), SHAPES["L12"], peers=tuple(PACKAGES))
    rows = {f"{what}: {way}": value for what, found in ratios.items() for way, value in found.items()}
    title = f"Patches of the residual stream, 12 layers, {TOKENS} tokens; the grids of others from one token a layer"
    show(title, "bare forwards", rows, ratios)


if __name__ == "__main__":
    main()
