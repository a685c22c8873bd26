"""How benchmarks measure: workloads taken in turns in one process, compared by processor time.

Needs nothing but the standard library and torch, so that it also runs in a peer's own environment.
"""

import gc
import statistics
import time
from collections.abc import Callable


def paired_seconds(workloads: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each workload, all of them once a round and in turn, after one round to warm up.

    Args:
        workloads: what to run, by name.
        rounds: how many times each counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    for number in range(rounds + 1):
        for name, work in workloads.items():
            gc.collect()
            start = time.process_time()
            work()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, base: str) -> float:
    """Median over the rounds of one workload's time over another's in the same round."""
    return statistics.median(mine / theirs for mine, theirs in zip(seconds[name], seconds[base], strict=True))
