"""The tools that we compare with, each run in an environment of its own, on the same batches of the same model.

`run_peer` makes the environment; `works` is what their programs have in common; the other modules are the programs that
run in it and know nothing of this project.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUILD = Path(__file__).parents[2] / "build" / "peers"
PACKAGES = {"nnsight": ["nnsight==0.8.1"], "transformer_lens": ["transformer_lens==4.3.0"]}
_TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Answer:
    """What a peer's program found.

    Attributes:
        ratios: times over bare forwards, by name.
        logits: what it measured, by name, to be compared with ours.
    """

    ratios: dict[str, float]
    logits: dict[str, list[list[float]]]


def run_peer(name: str, work: str, request: dict[str, Any]) -> Answer:
    """Run a peer's program in its environment, made first if it is not there.

    Args:
        name: the peer; its program is the module of that name beside this one.
        work: which of its works: `activations`, `lesions` or `patches`.
        request: what the program reads on standard input: `model` (a folder), `rounds`, and what the work needs.

    Raises:
        RuntimeError: the program failed; the message holds the end of what it said.
    """
    python = BUILD / name / "bin" / "python"
    ready = BUILD / name / ".ready"
    wanted = " ".join([_TORCH, *PACKAGES[name]])
    if not ready.exists() or ready.read_text() != wanted:
        print(f"Installing {name} into {BUILD / name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", BUILD / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", _TORCH, *PACKAGES[name]], check=True)
        ready.write_text(wanted)
    program = Path(__file__).with_name(f"{name}.py")
    given = json.dumps(request | {"work": work})
    done = subprocess.run([python, program], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    return Answer(**json.loads(done.stdout.strip().splitlines()[-1]))
