"""How benchmarks measure: workloads taken in turns in one process, compared by processor time, at equal results.

Needs nothing but the standard library and torch, so that it also runs in a peer's own environment.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping

import torch

TOLERANCE = 1e-5
"""By how much logits may differ from one tool to another, in float32."""


def paired_seconds(
    workloads: Mapping[str, Callable[[], object]], rounds: int, *, base: str | None = None, warm_up: bool = True
) -> dict[str, list[float]]:
    """Processor seconds of each workload, all of them once a round and in turn.

    Args:
        workloads: what to run, by name.
        rounds: how many times each counts.
        base: a short workload that others are compared with: it is run before each of them, and its mean in a round
            counts.
        warm_up: whether a round that does not count comes first; where workloads take long, it is only `base`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    if base is not None:
        workloads[base]()
    for number in range(rounds + warm_up):
        of_base = []
        for name, work in workloads.items():
            if name == base:
                continue
            if base is not None:
                of_base.append(_seconds(workloads[base]))
            taken = _seconds(work)
            if number >= warm_up:
                seconds[name].append(taken)
        if base is not None and number >= warm_up:
            seconds[base].append(statistics.mean(of_base))
    return seconds


def ratio(
    seconds: Mapping[str, list[float]], name: str, base: str, *, times: float = 1.0, plus: str | None = None
) -> float:
    """Median over the rounds of one workload's time over another's in the same round.

    Args:
        seconds: as `paired_seconds` gives them.
        name: the workload.
        base: what it is compared with.
        times: how many times the workload counts, where it is a sample.
        plus: a workload that counts too, once.
    """
    more = seconds[plus] if plus is not None else [0.0] * len(seconds[name])
    each = zip(seconds[name], more, seconds[base], strict=True)
    return statistics.median((mine * times + beside) / theirs for mine, beside, theirs in each)


def check_equal(name: str, theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """End the benchmark where another tool does not find the same logits: then there is nothing to compare.

    Args:
        name: the other tool.
        theirs, ours: of the same shape.
    """
    if theirs.shape != ours.shape:
        raise SystemExit(f"{name} gives {tuple(theirs.shape)} logits, ours are {tuple(ours.shape)}.")
    worst = float((theirs - ours).abs().max())
    if not worst <= TOLERANCE:
        raise SystemExit(f"The logits of {name} differ from ours by {worst:.1e}: nothing to compare.")


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start
