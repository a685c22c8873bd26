"""What an estimate asks of this machine: memory of the program itself, room, and how long trials take."""

import os
import signal
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
from extract.probing import _fastest
from extract.room import Room, refusals
from extract.speed import Speed, technique_seconds

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


def test_a_trial_takes_its_fastest_round_and_the_first_does_not_count() -> None:
    now = 0.0
    rounds = iter([0.01, 5.0, 0.4, 3.0])

    def run() -> None:
        nonlocal now
        now += next(rounds)

    assert _fastest(run, lambda: now) == pytest.approx(0.4)
    assert list(rounds) == [3.0]


def test_a_technique_takes_what_is_counted_times_what_its_own_trial_took_longer(folder: Path) -> None:
    made = _estimated(folder, shared=True)
    work = Work(forwards=10, flops=100.0, calls=2.0, passes=1, equivalents=1.0)
    made = replace(made, work=dict.fromkeys(("activations", "lesions", "answers", TWIN), work), tables={})
    speed = Speed(3.0, 50.0, 1.0, None, tried=True, beside={"activations": 2.0, "answers": 5.0})
    counted = 2 * 3.0 + 100 / 50
    found = {name: (low * high) ** 0.5 for name, (low, high) in technique_seconds(made, speed).items()}
    assert found == pytest.approx(
        {"activations": 2 * counted, "lesions": counted, "answers": 5 * counted, TWIN: 2 * counted}
    )


def test_a_benchmark_that_is_told_to_end_leaves_as_an_exception_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ended_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
