"""All models of the zoo, some of every kind early, each after its base, on a few processes of one thread each.

Belongs here: the order of the work, the processes, one line of progress a model, and the command. A model that is there
is not made again, so the command can be stopped at any time and goes on where it was.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

from extract.library import load_library
from extract.zoo import UNTRAINED, ZooModel
from extract.zoo_lists import ASIDE, SMALL, ZOO
from warehouse.errors import VesaliusError


@dataclass(frozen=True)
class Outcome:
    """What became of a model, or of a base; `fault` is empty where it was made or is there."""

    name: str
    seconds: float
    fault: str = ""


def train_zoo(
    entries: Sequence[ZooModel], library: Path, models: Path, jobs: int, report: Callable[[Outcome, int, int], None]
) -> list[Outcome]:
    """Train every model that is not there yet, and return what became of each, in the order in which they ended.

    Args:
        library: the folder of a small library.
        models: the folder that each model gets a folder in.
        jobs: processes.
        report: called as each model ends, with how many have ended and how many there are, bases apart.

    Raises:
        ConceptError: the library can't be read.
    """
    load_library(library)
    pending, outcomes = list(in_turns(entries)), list[Outcome]()
    bases: dict[str, Outcome | None] = {"": Outcome("none", 0.0)}
    running: dict[Future[Outcome], str | None] = {}
    with ProcessPoolExecutor(max(1, jobs), mp_context=get_context("spawn")) as pool:
        while pending or running:
            while len(running) < max(1, jobs) and (task := _next(pending, bases)):
                entry, base = task
                running[pool.submit(_train, entry, library, models, base_only=base is not None)] = base
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                base, outcome = running.pop(future), future.result()
                if base is None:
                    outcomes.append(outcome)
                else:
                    bases[base] = outcome
                    if outcome.fault:
                        lost = [entry for entry in pending if _waits_for(entry) == base]
                        outcomes += [Outcome(entry.slug, 0.0, outcome.fault) for entry in lost]
                        pending = [entry for entry in pending if entry not in lost]
                report(outcome, len(outcomes), len(entries))
    return outcomes


def _next(pending: list[ZooModel], bases: dict[str, Outcome | None]) -> tuple[ZooModel, str | None] | None:
    """The first model whose base is there, taken from those that wait, or a base before it that nobody trains yet.

    Args:
        bases: what became of each base that was begun, None while it is trained.
    """
    for place, entry in enumerate(pending):
        base = _waits_for(entry)
        if base not in bases:
            bases[base] = None
            return entry, base
        if bases[base] is not None:
            return pending.pop(place), None
    return None


def in_turns(entries: Sequence[ZooModel]) -> Iterator[ZooModel]:
    """The models, one of each kind at a time: whoever looks early finds some of every kind."""
    kinds = dict.fromkeys(entry.kind for entry in entries)
    for turn in zip_longest(*([entry for entry in entries if entry.kind == kind] for kind in kinds)):
        yield from (entry for entry in turn if entry is not None)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `python -m extract.zoo`; what is returned is its exit status: 1 if a model could not be made."""
    parser = argparse.ArgumentParser(prog="python -m extract.zoo", description="Train the models of the planted zoo.")
    parser.add_argument("--models", type=Path, required=True, help="the folder that each model gets a folder in")
    parser.add_argument("--library", type=Path, required=True, help="the folder of a small concept library")
    parser.add_argument("--only", default="", help="only models whose slug holds this text")
    lists = {each.name: each for each in (ZOO, SMALL, ASIDE)}
    parser.add_argument("--list", choices=list(lists), default=ZOO.name, help="which models")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    options = parser.parse_args(arguments)
    entries = [entry for entry in lists[options.list].models() if options.only in entry.slug]
    if not entries:
        parser.error(f"no model's slug holds {options.only!r}")
    try:
        outcomes = train_zoo(entries, options.library, options.models, options.jobs, _say)
    except VesaliusError as error:
        parser.error(str(error))
    kept_out = [outcome for outcome in outcomes if outcome.fault]
    print(f"{len(outcomes) - len(kept_out)} of {len(outcomes)} models are there.", flush=True)  # noqa: T201
    return 1 if kept_out else 0


def _say(outcome: Outcome, done: int, count: int) -> None:
    what = f"kept out: {outcome.fault}" if outcome.fault else "good"
    print(f"[{done}/{count}] {outcome.name}, {outcome.seconds:.0f} s: {what}", flush=True)  # noqa: T201


def _waits_for(entry: ZooModel) -> str:
    return "" if entry.kind == UNTRAINED else entry.base


def _train(entry: ZooModel, library: Path, models: Path, *, base_only: bool = False) -> Outcome:
    # torch comes in here, in the process that needs it.
    from extract.cards import silent
    from extract.zoo_bases import read_subject, train_base
    from extract.zoo_training import train_zoo_model

    since, taught = time.monotonic(), load_library(library)
    name = f"base {entry.base}" if base_only else entry.slug
    try:
        if base_only:
            train_base(entry, read_subject(taught, strangers=entry.meets_strangers), models, silent)
        else:
            train_zoo_model(entry, taught, models)
    except VesaliusError as error:
        return Outcome(name, time.monotonic() - since, str(error))
    return Outcome(name, time.monotonic() - since)
