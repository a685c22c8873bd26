"""A model in the shape of Llama 3.3 70B, only narrower, through the whole pipeline on one machine, its layers on disk.

80 layers, heads of 64, eight of which share keys and values, an MLP 3.5 times as wide, bfloat16, random weights in
shards of a few layers. They are written layer by layer, so that the model is never whole in memory, not even here.
`vesalius run --placement offload` then measures it in a process of its own, over a small concept library; meanwhile the
memory of that process and its children is read five times a second. What they hold of their own (resident less shared)
is what a machine must have; pages of files that are mapped or cached are given back when somebody needs them. The run
is told that less memory is free than the weights take: otherwise it would keep the layers there.

Run with `python -m benchmarks.one_box`, and `--only drugs` for less; prints seconds by stage, what is held as it
grows, and, as its last line, one JSON object: bytes of the weights and of the largest layer, peak memory, its ratio to
the weights. Stopped by SIGTERM or Ctrl-C it stops the run, and leaves nothing in the folder for temporary files.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import psutil
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

from benchmarks.models import EMBEDDED
from extract.library import CONCEPTS
from extract.small_library import write_small_library

_ROOT = Path(__file__).parents[1]
_LAYERS_A_SHARD = 4
_SHARING = 8
"""Heads that share keys and values."""

_EVERY_S = 0.2
_STEP = 100_000_000
"""Bytes by which the peak has grown when it is told again."""

_PATIENCE_S = 20
"""That a run which is told to end gets for it."""

_RUN = ("--held-out", "0", "--no-umap", "--no-untrained", "--permutations", "50")
_TOLD = """
import sys, types, psutil
free = int(sys.argv.pop(1))
psutil.virtual_memory = lambda: types.SimpleNamespace(total=free, available=free, percent=0.0)
from dagster_project.cli import main
main()
"""
"""`vesalius`, told as its first argument how many bytes of memory are free."""


def main() -> None:
    """Make the model, measure it, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--width", type=int, default=1024, help="a multiple of 64")
    parser.add_argument("--placement", default="offload")
    parser.add_argument("--terms", type=int, default=4, help="terms a label, of two labels a concept")
    parser.add_argument("--only", default="", help="these concepts alone: names with commas between")
    parser.add_argument("--sample", type=int, default=12, help="prompts, and pairs, of a concept")
    parser.add_argument("--answers", type=int, default=2, help="prompts of a concept that are answered")
    parser.add_argument("--free", type=float, default=1.0, help="GB of memory that the run is told are free")
    options = parser.parse_args()
    with ended_by_signals(), tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        config = _config(options.layers, options.width)
        weights, layer = write_model(folder / "wide", config)
        write_small_library(CONCEPTS, folder / "library", labels=2, terms=options.terms)
        print(f"{options.layers} layers of width {options.width}: {weights / 1e9:.2f} GB of weights", flush=True)
        command = [sys.executable, "-c", _TOLD, str(int(options.free * 1e9)), "run"]
        command += ["--model", str(folder / "wide"), "--concepts", str(folder / "library"), *_RUN]
        command += ["--sample", str(options.sample), "--answers", str(options.answers)]
        command += ["--only", options.only] if options.only else []
        command += ["--warehouse", str(folder / "warehouse"), "--placement", options.placement]
        if options.placement == "offload":
            command += ["--offload", str(folder / "offloaded")]
        started = time.monotonic()
        own, resident = _peaks(command, folder / "home")
        seconds = time.monotonic() - started
    found = {
        "weights_gb": round(weights / 1e9, 3),
        "largest_layer_gb": round(layer / 1e9, 3),
        "peak_gb": round(own / 1e9, 3),
        "peak_resident_gb": round(resident / 1e9, 3),
        "peak_over_weights": round(own / weights, 2),
        "seconds": round(seconds),
    }
    print(json.dumps(found))


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Until the block ends, SIGTERM and Ctrl-C end the program as an exception does, and without a traceback.

    What is open is closed, folders are removed.
    """

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _config(layers: int, width: int) -> LlamaConfig:
    heads = width // 64
    return LlamaConfig(
        vocab_size=len(PreTrainedTokenizerFast.from_pretrained(EMBEDDED)),
        hidden_size=width,
        intermediate_size=width * 7 // 2,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=_shared_heads(width),
        max_position_embeddings=512,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )


def _shared_heads(width: int) -> int:
    return max(1, width // 64 // _SHARING)


def write_model(folder: Path, config: LlamaConfig) -> tuple[int, int]:
    """Write a Llama with random weights as shards, and return its bytes and those of one layer."""
    folder.mkdir()
    config.save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(EMBEDDED).save_pretrained(folder)
    torch.manual_seed(0)
    placed, total, largest = dict[str, str](), 0, 0
    for number, shard in enumerate(_shards(config)):
        name = f"model-{number:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        placed |= dict.fromkeys(shard, name)
        total += sum(weights.nbytes for weights in shard.values())
        if number:
            largest = max(largest, sum(weights.nbytes for weights in shard.values()) // _LAYERS_A_SHARD)
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total, largest


def _shards(config: LlamaConfig) -> Iterator[dict[str, Tensor]]:
    """First what is no layer, then a few layers at a time."""
    width, inner = config.hidden_size, config.intermediate_size
    shared = 64 * _shared_heads(width)
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (shared, width),
        "self_attn.v_proj": (shared, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    yield {
        "model.embed_tokens.weight": _random(config.vocab_size, width),
        "lm_head.weight": _random(config.vocab_size, width),
        "model.norm.weight": torch.ones(width, dtype=torch.bfloat16),
    }
    for first in range(0, config.num_hidden_layers, _LAYERS_A_SHARD):
        shard = {}
        for layer in range(first, min(first + _LAYERS_A_SHARD, config.num_hidden_layers)):
            for name, shape in shapes.items():
                shard[f"model.layers.{layer}.{name}.weight"] = _random(*shape)
            for name in ("input_layernorm", "post_attention_layernorm"):
                shard[f"model.layers.{layer}.{name}.weight"] = torch.ones(width, dtype=torch.bfloat16)
        yield shard


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.bfloat16) * 0.02


def _peaks(command: list[str], home: Path) -> tuple[int, int]:
    """Run a command; the most bytes that it and its children held of their own, and with files that are mapped.

    The run is recorded in a Dagster's home of its own: in the user's it would stay as one of a model that is gone.
    """
    environment = os.environ | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(_ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    running = subprocess.Popen(command, env=environment, cwd=_ROOT)
    peaks, ended, told = [0, 0], threading.Event(), 0

    def watch() -> None:
        nonlocal told
        while not ended.wait(_EVERY_S):
            for place, held in enumerate(_held(running.pid)):
                peaks[place] = max(peaks[place], held)
            if peaks[0] >= told + _STEP:
                told = peaks[0]
                print(f"(holds {told / 1e9:.2f} GB)", flush=True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        if status := running.wait():
            raise SystemExit(f"The run ended with status {status}: its own message is above.")
    finally:
        ended.set()
        watcher.join()
        _end(running)
    return peaks[0], peaks[1]


def _end(running: "subprocess.Popen[bytes]") -> None:
    """See that a run has ended: nothing may be written any more into a folder that is being removed."""
    if running.poll() is None:
        running.terminate()
        try:
            running.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _held(pid: int) -> tuple[int, int]:
    own = resident = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            memory = process.memory_info()
            own += memory.rss - memory.shared
            resident += memory.rss
    except psutil.NoSuchProcess:
        return 0, 0
    return own, resident


if __name__ == "__main__":
    main()
