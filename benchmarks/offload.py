"""How often a model whose layers lie on disk is read for all its lesions, and what that costs in time.

The measure is the bytes of the offloaded layers: 12 of width 768 in float32, kept on disk by accelerate, which loads a
layer's weights when it is called. `ours` is one sweep, `naive` a forward a layer with a hook on that layer, over the
same batch; both must find the same logits. `checks` is what is read once, when the model is made ready, before anything
is measured. `time` is ours over the naive loop, in processor seconds; files are in the system's cache, so that a slow
disk would make the naive loop worse.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import torch
from torch import Tensor

from benchmarks import naive
from benchmarks.models import SHAPES, Shape, build_model, lesion_task, random_tokens, show
from benchmarks.paired import check_equal, paired_seconds, ratio
from extract.extraction import TOKEN_BUDGETS
from extract.interventions import Lesion
from extract.loading import load_model
from extract.machine import make_machine
from extract.models import ModelEntry
from extract.sweep import sweep

ROUNDS = 2
PROMPTS, TOKENS = 16, 32

_IDENTITY = Lesion("identity")


class Loads:
    """Counts the bytes that accelerate loads for a model's offloaded modules."""

    def __init__(self, model: Any) -> None:
        self.loaded = 0
        self.offloaded = 0
        """Bytes of all weights that are offloaded."""
        for module in model.modules():
            hook = getattr(module, "_hf_hook", None)
            for each in getattr(hook, "hooks", [hook]):
                if getattr(each, "offload", False):
                    # Weights that are offloaded have their size, though they are nowhere.
                    self.offloaded += sum(weights.nbytes for weights in module.parameters(recurse=False))
                    each.weights_map = _Counted(each.weights_map, self)

    def take(self) -> float:
        """How many times all offloaded weights were loaded since this was asked last."""
        times = self.loaded / self.offloaded
        self.loaded = 0
        return times


class _Counted(Mapping[str, Tensor]):
    """A hook's weights, each counted when it is read."""

    def __init__(self, weights: Mapping[str, Tensor], loads: Loads) -> None:
        self._weights = weights
        self._loads = loads

    def __getitem__(self, name: str) -> Tensor:
        weights = self._weights[name]
        self._loads.loaded += weights.nbytes
        return weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def measure(folder: Path, shape: Shape, *, rounds: int = ROUNDS) -> dict[str, float]:
    """Models loaded for all lesions by ours and by the naive loop, and by the checks before; and ours over its time."""
    entry = ModelEntry("benchmark", folder / "model")
    build_model(entry.path, shape)
    model = load_model(entry, device_map="offload", offload_folder=folder / "offloaded").model
    loads = Loads(model)
    machine = make_machine(model, parts=False)
    times = {"checks": loads.take()}
    tokens = random_tokens(shape, PROMPTS, TOKENS)
    answers = random_tokens(shape, PROMPTS, 1, seed=1)[:, 0]
    task = lesion_task(tokens, answers, lesions=[_IDENTITY])
    found: dict[str, Tensor] = {}

    def ours() -> None:
        found["ours"] = sweep(machine, task, budget=TOKEN_BUDGETS["cpu"]).lesions[_IDENTITY].logit

    def one_by_one() -> None:
        found["naive"] = naive.lesions(model, tokens, answers)

    for name, work in {"ours": ours, "naive": one_by_one}.items():
        work()
        times[name] = loads.take()
    check_equal("the naive loop", found["naive"], found["ours"])
    seconds = paired_seconds({"ours": ours, "naive": one_by_one}, rounds, warm_up=False)
    return {"ours": times["ours"], "naive": times["naive"], "checks": times["checks"]} | {
        "time": ratio(seconds, "ours", "naive")
    }


def main() -> None:
    """Print a table, and the numbers as one JSON object in the last line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), SHAPES["L12"])
    show("All identity lesions of an offloaded model", "models loaded; `time`: ours over naive", found, found)


if __name__ == "__main__":
    main()
