"""What the analyses cost, fitted: a part that every run has, and a part for each layer, by how large a concept is.

Concepts of unlike size are analysed at some depths, each in a process of its own (`deep_analyses`); the constants of
`dagster_project/commands/analysed.py` are what this prints. Profiles grow with prompts x labellings, maps with
layers, UMAP and its pictures with terms. Seconds are of the clock, on a machine that does nothing else: layers are
taken side by side, and threads that wait for each other make processor seconds longer, not the run. The fit makes
errors least as shares of what was measured, and the worst of them is printed too.

Run with `python -m benchmarks.analyses_fit`, some five minutes; `--lines FILE` fits what `deep_analyses` printed
before, a JSON object a line. `--lines benchmarks/analyses.jsonl` fits what the constants come from.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from dagster_project.defs.resources import PROJECT

CONCEPTS = ("animals", "drugs", "age")
DEPTHS = (4, 16)

Line = Mapping[str, float]


def _profiles(line: Line) -> float:
    return (line["layers"] + 1) * line["labelled_prompts"]


def _concepts(line: Line) -> float:
    return (line["layers"] + 1) * line["concepts"]


def _terms(line: Line) -> float:
    return (line["layers"] + 1) * line["terms"]


GROWS: dict[tuple[str, ...], Callable[[Line], float]] = {
    ("profiles",): _profiles,
    ("maps", "findings", "neighbours"): _concepts,
    ("umap", "pictures"): _terms,
}
"""By what stages grow."""


def fitted(lines: Sequence[Line]) -> dict[str, float]:
    """Seconds of the clock: `<stage>_fixed`, `<stage>_each` and `<stage>_worst`, the ratio furthest from 1.

    Stages that grow alike are taken together, under the name of the first.

    Args:
        lines: what `deep_analyses` found, with UMAP; of two depths or more.
    """
    found: dict[str, float] = {}
    for stages, grows in GROWS.items():
        stage = stages[0]
        whole = [line for line in quietest(lines) if all(f"{each}_seconds" in line for each in stages)]
        seconds = np.array([sum(line[f"{each}_seconds"] for each in stages) for line in whole])
        counted = np.array([[1.0, grows(line)] for line in whole])
        scale = counted.max(axis=0)
        solved: NDArray[np.float64]
        solved, _ = nnls(counted / scale / seconds[:, None], np.ones(len(whole)))
        ratios = counted @ (solved / scale) / seconds
        found[f"{stage}_fixed"], found[f"{stage}_each"] = (float(each) for each in solved / scale)
        found[f"{stage}_worst"] = float(max(ratios, key=lambda ratio: max(ratio, 1 / ratio)))
    return found


def quietest(lines: Sequence[Line]) -> list[Line]:
    """One line for each concept and depth: of what was measured more than once, the least of each stage's seconds."""
    found: dict[tuple[float, float, float], dict[str, float]] = {}
    for line in lines:
        kept = found.setdefault((line["concepts"], line["terms"], line["layers"]), dict(line))
        for name, value in line.items():
            kept[name] = min(kept.get(name, value), value)
    return list(found.values())


def main() -> None:
    """Analyse or read, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warehouse", type=Path, default=PROJECT / "warehouse" / "data", help="where it was measured")
    parser.add_argument("--lines", type=Path, help="a file of lines that were printed before")
    options = parser.parse_args()
    if options.lines:
        printed = options.lines.read_text(encoding="utf-8").splitlines()
    else:
        printed = [_analysed(options.warehouse, concept, layers) for concept in CONCEPTS for layers in DEPTHS]
    print(json.dumps(fitted([json.loads(line) for line in printed])))


def _analysed(warehouse: Path, concept: str, layers: int) -> str:
    words = [sys.executable, "-m", "benchmarks.deep_analyses", "--umap", "--warehouse", str(warehouse)]
    words += ["--concepts", concept, "--layers", str(layers)]
    line = subprocess.run(words, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout.splitlines()[-1]
    print(line, flush=True)
    return line


if __name__ == "__main__":
    main()
