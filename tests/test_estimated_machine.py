"""What an estimate asks of this machine: memory of the program itself, room, and how long trials take."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_library import write_library
from tiny_models import save_tiny

from benchmarks.one_box import ended_by_signals
from dagster_project.standing import standing
from extract.costs import Work
from extract.estimation import TWIN, Estimate, estimate
from extract.holding import HOLES, LIBRARIES
from extract.library import load_library
from extract.models import ModelEntry
from extract.planned import Choices
from extract.room import Room, refusals
from extract.speed import EFFECTS, Pace, Speed, technique_seconds
from extract.trials import in_turns

CHOICES = Choices(sample=4, held_out=0, answers=1, new_tokens=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A concept library and a tiny model."""
    place = tmp_path_factory.mktemp("machine")
    write_library(place / "concepts")
    save_tiny(place / "tiny", "llama")
    return place


def _estimated(folder: Path, *, shared: bool) -> Estimate:
    concepts = load_library(folder / "concepts").concepts
    return estimate(ModelEntry("tiny", folder / "tiny"), concepts, CHOICES, shared=shared)


def test_the_program_itself_is_measured_in_a_process_of_its_own(folder: Path) -> None:
    with standing(folder / "tiny", folder / "concepts", "colours") as measuring:
        found = measuring.bytes()
    assert found != LIBRARIES
    assert LIBRARIES / 2 < found < 2 * LIBRARIES


def test_where_the_program_can_not_be_measured_it_is_what_it_was_elsewhere(folder: Path) -> None:
    with standing(folder / "nothing", folder / "concepts", "colours") as measuring:
        assert measuring.bytes() == LIBRARIES
        assert measuring.is_assumed


def test_a_measurement_that_nobody_waits_for_ends_with_its_block(folder: Path) -> None:
    with standing(folder / "tiny", folder / "concepts", "colours") as measuring:
        process = measuring._process
    assert process.poll() is not None


def test_the_program_is_counted_once_and_not_on_a_device_with_memory_of_its_own(folder: Path) -> None:
    made = _estimated(folder, shared=True)
    need, program = made.memory, 1000
    room = Room("main memory", need.least + program, 0, shared=True, program=program)
    assert not refusals(need, 0, made.shape, room)
    assert refusals(need, 0, made.shape, replace(room, memory=room.memory - 1))
    apart = _estimated(folder, shared=False).memory
    assert not refusals(apart, 0, made.shape, Room("a GPU", apart.least, 0, shared=False))
    assert apart.floor < need.floor
    assert apart.least <= need.least
    assert apart.host > LIBRARIES


def test_holes_of_the_heap_are_in_what_is_taken_of_main_memory_at_most(folder: Path) -> None:
    need, apart = (_estimated(folder, shared=shared).memory for shared in (True, False))
    held = max(max(need.streams, need.floor) + need.work, need.alone)
    assert need.peak == need.weights + int(HOLES * held)
    assert need.least == need.weights + max(need.floor + need.least_work, need.least_alone)
    assert apart.peak == apart.weights + max(max(apart.streams, apart.floor) + apart.work, apart.alone)


def test_trials_take_turns_and_the_quartile_of_each_counts_without_its_first_round() -> None:
    now = 0.0
    order: list[str] = []

    def trial(name: str, seconds: list[float]) -> Callable[[], None]:
        rounds = iter(seconds)

        def run() -> None:
            nonlocal now
            order.append(name)
            now += next(rounds)

        return run

    one, other = trial("one", [0.01, 1.0, 0.3, 0.5, 2.0]), trial("other", [0.02, 0.4, 0.2, 0.6, 3.0])
    assert in_turns([one, other], lambda: now) == pytest.approx([0.75, 0.5])
    assert order == ["one", "other"] * 5


def test_long_trials_are_run_twice() -> None:
    now = 0.0
    rounds = iter([1.0, 9.0, 8.0])

    def run() -> None:
        nonlocal now
        now += next(rounds)

    assert in_turns([run], lambda: now) == pytest.approx([8.5])


def test_a_technique_takes_what_is_counted_at_its_own_pace(folder: Path) -> None:
    made = _estimated(folder, shared=True)
    work = Work(forwards=10, flops=100.0, calls=2.0, passes=1, equivalents=1.0, batches=3.0)
    made = replace(made, work=dict.fromkeys(("activations", "lesions", "answers", TWIN), work), tables={})
    paces = {EFFECTS: Pace(0.5, 3.0, 50.0), "activations": Pace(1.0, 6.0, 25.0), "answers": Pace(0.0, 15.0, 10.0)}
    found = technique_seconds(made, Speed(paces, 1.0, 0.25, None, tried=True))
    middle = {name: (low * high) ** 0.5 for name, (low, high) in found.items()}
    written = 0.25 * made.concepts * len(made.shape.layers)
    read = 3 * 1.0 + 2 * 6.0 + 100 / 25 + 2 * written
    lesioned = 3 * 0.5 + 2 * 3.0 + 100 / 50 + written
    assert middle == pytest.approx(
        {"activations": read, "lesions": lesioned, "answers": 2 * 15.0 + 100 / 10 + written, TWIN: read}
    )


def test_where_the_engine_was_not_tried_the_longer_of_operations_and_reads_counts() -> None:
    work = Work(flops=100.0, calls=2.0, batches=3.0)
    speed = Speed({EFFECTS: Pace(0.0, 3.0, 50.0)}, 1.0, 0.0, 10.0, tried=False)
    assert speed.seconds("lesions", work, layer_bytes=5.0) == pytest.approx(2 * 3.0 + 100 / 50)
    assert speed.seconds("lesions", work, layer_bytes=50.0) == pytest.approx(2 * 3.0 + 2 * 50 / 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_that_is_told_to_end_leaves_as_an_exception_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, ended_by_signals():
        os.kill(os.getpid(), number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == before
