"""What a run's own program takes of main memory before a model is loaded, measured on this machine.

Interpreter, torch, Arrow, Dagster and what they allocate when they are first used: hundreds of megabytes, whatever the
model, and other ones with other versions. So a process of its own does what a run does up to there (the library is
written into a folder that is thrown away, the model's class is imported, no weight is read), and says what it holds.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from extract.holding import LIBRARIES

_LONGEST_S = 120
"""That the process may take."""

_FOLDER = "VESALIUS_STANDING"
"""Names to that process the folder that is thrown away."""


@contextmanager
def standing(model: Path, concepts: Path, concept: str) -> "Iterator[Standing]":
    """Begin to measure beside what the block does; when it ends, so does the measuring.

    Args:
        model: a folder with a config.
        concepts: the library.
        concept: one of it; how many are written changes little.
    """
    words = [sys.executable, "-m", "dagster_project.standing", str(model), str(concepts), concept]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"DAGSTER_HOME": str(Path(folder) / "home"), _FOLDER: folder}
        search = [path for path in sys.path if path]
        environment["PYTHONPATH"] = os.pathsep.join(search)
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )
        try:
            yield Standing(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Standing:
    """A measurement that goes on beside other work."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        """Taken over from `standing`."""
        self._process = process
        self.is_assumed = False
        """Whether `bytes` is what was found elsewhere."""

    def bytes(self) -> int:
        """What was found, waited for; what was found elsewhere, `LIBRARIES`, where the process failed or was late."""
        told = ""
        with suppress(subprocess.TimeoutExpired):
            told, _ = self._process.communicate(timeout=_LONGEST_S)
        self.is_assumed = self._process.returncode != 0 or not told.strip().isdigit()
        return LIBRARIES if self.is_assumed else int(told)


def main() -> None:
    """Do what a run does before it loads a model, and print the bytes that are then resident."""
    model, concepts, concept = sys.argv[1:]
    from extract.job.libraries import quiet_libraries

    quiet_libraries()
    import importlib

    import psutil

    from dagster_project.defs.resources import Settings, Warehouse
    from dagster_project.instance import open_instance
    from dagster_project.running import write_library
    from extract.models import ModelEntry
    from extract.outline import outline

    places = Warehouse(root=str(Path(os.environ[_FOLDER]) / "warehouse"), concepts=concepts)
    with open_instance() as instance:
        write_library(instance, places, Settings(concepts=[concept]))
        for name in ("answers", "extraction", "loading", "machine", "saliency"):
            importlib.import_module(f"extract.{name}")
        outline(ModelEntry("standing", Path(model)))
        sys.stdout.write(str(psutil.Process().memory_info().rss))


if __name__ == "__main__":
    main()
