"""Checks of what programs run on: Python, packages, torch, threads, disk and memory."""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from dagster_project.doctor.report import Finding

_OLDEST = (3, 11)
_DISK_WARN, _DISK_FAIL = 5e9, 5e8
_MEMORY_WARN = 2e9
_INSTALL = "Install from the lock: pip install --requirement requirements.lock."


def python(found: tuple[int, ...] = tuple(sys.version_info[:3])) -> Iterator[Finding]:
    """Whether Python is new enough."""
    name = ".".join(map(str, found))
    if found < _OLDEST:
        yield Finding("python", "fail", f"Python {name} is too old.", "Use Python 3.11 or newer.")
    else:
        yield Finding("python", "ok", f"Python {name}")


def packages(wanted: Iterable[str] | None = None) -> Iterator[Finding]:
    """Whether what the project needs is installed, in versions that it takes.

    Args:
        wanted: requirements as packages state them; by default those of `vesalius` itself, extras apart.
    """
    needed = [Requirement(line) for line in (requires("vesalius") or [] if wanted is None else wanted)]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    sound = True
    for one in needed:
        try:
            there = version(one.name)
        except PackageNotFoundError:
            sound = False
            yield Finding("packages", "fail", f"{one.name} is not installed.", _INSTALL)
            continue
        if not one.specifier.contains(there, prereleases=True):
            sound = False
            yield Finding("packages", "fail", f"{one.name} is {there}, wanted is {one.specifier}.", _INSTALL)
    if sound:
        yield Finding("packages", "ok", f"All {len(needed)} are there, in versions that fit.")


def torch_build() -> Iterator[Finding]:
    """Which torch there is, and what it can compute on."""
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count()))
        yield Finding("torch", "ok", f"torch {torch.__version__} on {names}")
        return
    built = torch.version.cuda
    if built:
        yield Finding(
            "torch",
            "warn",
            f"torch {torch.__version__} is built for CUDA {built}, but sees no GPU.",
            "Look at the driver (nvidia-smi) and at CUDA_VISIBLE_DEVICES, or be content with the processor.",
        )
    else:
        yield Finding("torch", "ok", f"torch {torch.__version__}, on the processor")


def threads(environment: Mapping[str, str], processors: int) -> Iterator[Finding]:
    """Whether linear algebra is told to use more threads than there are processors.

    Args:
        environment: the variables.
        processors: how many this process may use.
    """
    told = environment.get("OMP_NUM_THREADS", "")
    if told and not told.isdigit():
        yield Finding("threads", "warn", f"OMP_NUM_THREADS is {told!r}, which is no number.", "Unset it.")
    elif told and int(told) > processors:
        yield Finding(
            "threads",
            "warn",
            f"OMP_NUM_THREADS is {told} on {processors} processors: threads wait for each other.",
            f"Set it to {processors} at most, or unset it.",
        )
    elif environment.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        yield Finding(
            "threads",
            "warn",
            "OMP_WAIT_POLICY is ACTIVE: threads spin while they wait, which slows small models down on a busy machine.",
            "Set it to PASSIVE, as the Makefile does.",
        )
    else:
        yield Finding("threads", "ok", f"{told or 'as many as there are'}, on {processors} processors")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def disk(folder: Path, free: int | None = None) -> Iterator[Finding]:
    """Whether there is room where the warehouse lies.

    Args:
        folder: the warehouse, or where it will be.
        free: bytes; by default what the disk says.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    left = shutil.disk_usage(there).free if free is None else free
    found = f"{left / 1e9:,.1f} GB free at {there}"
    remedy = "Make room, or name another place with --warehouse; `vesalius estimate MODEL` says what a run takes."
    if left < _DISK_FAIL:
        yield Finding("disk", "fail", found, remedy)
    elif left < _DISK_WARN:
        yield Finding("disk", "warn", found, remedy)
    else:
        yield Finding("disk", "ok", found)


def memory(free: int | None = None) -> Iterator[Finding]:
    """Whether there is memory for more than the smallest models.

    Args:
        free: bytes; by default what the machine says.
    """
    import psutil

    left = psutil.virtual_memory().available if free is None else free
    found = f"{left / 1e9:,.1f} GB free"
    if left < _MEMORY_WARN:
        remedy = "Close what else runs, or let weights lie on disk: --placement offload."
        yield Finding("memory", "warn", found, remedy)
    else:
        yield Finding("memory", "ok", found)
