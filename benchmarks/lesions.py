"""What all identity lesions cost: every layer left out in turn, and the answer read at the end.

The measure is a bare forward of the same batch, without head and cache: Llamas of 12 and of 32 layers with random
weights in float32, 16 prompts of 32 random tokens, one thread, processor seconds, workloads in turn. Ours computes all
values of the table (logit, log-probability, rank and KL over the vocabulary), the others the answer's logit; all must
find the same. `shared_prefix` is ours where the prompts begin with the same 16 tokens, and `with_activations` ours with
all layers' activations in the same sweep: both over ours without.
"""

import sys
import tempfile
from pathlib import Path

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import torch
from torch import Tensor

from benchmarks import naive
from benchmarks.models import SHAPES, Shape, build_model, lesion_task, random_tokens, show
from benchmarks.paired import check_equal, paired_seconds, ratio
from benchmarks.peers import PACKAGES, run_peer
from extract.extraction import TOKEN_BUDGETS
from extract.interventions import Lesion
from extract.machine import make_machine
from extract.sweep import sweep

ROUNDS = 2
PROMPTS, TOKENS, SHARED = 16, 32, 16

_IDENTITY = Lesion("identity")


def measure(folder: Path, shape: Shape, *, rounds: int = ROUNDS, peers: tuple[str, ...] = ()) -> dict[str, float]:
    """The ratios of ours, of the naive loop and of each peer; the benchmark ends where their logits differ."""
    model = build_model(folder, shape).model
    machine = make_machine(model, parts=False)
    tokens = random_tokens(shape, PROMPTS, TOKENS)
    answers = random_tokens(shape, PROMPTS, 1, seed=1)[:, 0]
    alone = lesion_task(tokens, answers, lesions=[_IDENTITY])
    read = lesion_task(tokens, answers, lesions=[_IDENTITY], reads=True)
    alike = random_tokens(shape, PROMPTS, TOKENS, shared=SHARED)
    shared = lesion_task(alike, answers, lesions=[_IDENTITY], shared=SHARED)
    budget = TOKEN_BUDGETS["cpu"]
    found: dict[str, Tensor] = {}

    def ours() -> None:
        found["ours"] = sweep(machine, alone, budget=budget).lesions[_IDENTITY].logit

    def with_activations() -> None:
        found["with_activations"] = sweep(machine, read, budget=budget).lesions[_IDENTITY].logit

    def one_by_one() -> None:
        found["naive"] = naive.lesions(model, tokens, answers)

    seconds = paired_seconds(
        {
            "bare": lambda: naive.bare(model, tokens),
            "ours": ours,
            "naive": one_by_one,
            "shared_prefix": lambda: sweep(machine, shared, budget=budget),
            "with_activations": with_activations,
        },
        rounds,
        base="bare",
        warm_up=False,
    )
    ratios = {name: ratio(seconds, name, "bare") for name in ("ours", "naive")}
    request = {"model": str(folder), "rounds": rounds, "bare": [tokens.tolist()], "answers": answers.tolist()}
    for peer in peers:
        answer = run_peer(peer, "lesions", request)
        ratios |= answer.ratios
        found |= {name: torch.tensor(logits) for name, logits in answer.logits.items()}
    for name, logits in found.items():
        check_equal(name, logits, found["ours"])
    return ratios | {name: ratio(seconds, name, "ours") for name in ("shared_prefix", "with_activations")}


def main() -> None:
    """Print a table, and the ratios as one JSON object in the last line."""
    torch.set_num_threads(1)
    ratios = {}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            ratios[name] = measure(Path(folder), shape, peers=tuple(PACKAGES))
    rows = {f"{name}: {way}": value for name, found in ratios.items() for way, value in found.items()}
    show("All identity lesions", "bare forwards; the last two of each model: over ours", rows, ratios)


if __name__ == "__main__":
    main()
