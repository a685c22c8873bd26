"""What saliency costs: mean |g| of every module of all layers, for each prompt, in time and in memory.

The measure is the naive loop, one prompt at a time: forward, backward, the mean of each layer parameter's |gradient|;
`frozen` is the same with no gradients of embedding and head. The peer is `torch.func`: `vmap` over `grad`, for the
layers' weights alone. All must give the same numbers. The model is the 12-layer Llama of the other
benchmarks in float32; prompts of 32 random tokens, one thread, processor seconds, workloads in turn. Memory is the
growth of the resident set at its peak, in a process of its own each. Ours measures root mean squares and first-order
effects as well; there is no way to leave them out.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The script's own folder, which comes first, has a `statistics` that is not Python's: the root takes its place.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import psutil
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from benchmarks.models import build_model
from benchmarks.paired import paired_seconds, ratio
from extract.loading import LoadedModel, load_model
from extract.models import ModelEntry
from extract.saliency import extract_saliency
from extract.tokenization import Tokenized
from warehouse.tables import table

ROUNDS = 3
PROMPTS, TOKENS = 16, 32
ABREAST = 2
"""Prompts at a time under `vmap`: each needs room for a gradient of the whole model."""
SAMPLE_SECONDS = 0.002
TOLERANCE = 1e-4

Means = dict[tuple[int, str], list[float]]
"""By layer and module, the mean |g| of each prompt."""

_MODULES = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
    "input_layernorm": "input_layernorm",
    "post_attention_layernorm": "post_attention_layernorm",
}


class Work:
    """The same task done in several ways."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._model: Any = loaded.model
        choose = torch.Generator().manual_seed(0)
        self._tokens = torch.randint(3, self._model.config.vocab_size, (PROMPTS, TOKENS), generator=choose)
        self._answers = torch.randint(3, self._model.config.vocab_size, (PROMPTS,), generator=choose)
        layers = self._model.model.layers
        self._weights = {
            (number, name): layer.get_submodule(path).weight
            for number, layer in enumerate(layers)
            for path, name in _MODULES.items()
        }

    def ways(self) -> dict[str, Callable[[], object]]:
        """All of them by name."""
        return {"naive": self.naive, "ours": self.ours, "frozen": self.frozen, "vmap": self.vmapped}

    def ours(self) -> Means:
        """All layers through the pass down the stack."""
        rows = [{"template": "random", "term": f"{number:03}"} for number in range(PROMPTS)]
        names = ("text", "template_kind", "held_out", "term_start", "term_end")
        fill = dict(zip(names, ("random", "asking", False, 0, 1), strict=True))
        prompts = pa.Table.from_pylist([row | fill for row in rows], schema=table("prompts").schema())
        count = {
            "tokens": TOKENS,
            "term_tokens": 1,
            "term_first": 1,
            "term_last": 1,
            "answer_tokens": 1,
            "first_token": 0,
        }
        answers = [
            {"answer_token": answer, "term_last_text": "", "answer_text": ""} for answer in self._answers.tolist()
        ]
        tokens = [row | count | answer for row, answer in zip(rows, answers, strict=True)]
        tokenized = Tokenized(self._tokens.tolist(), pa.Table.from_pylist(tokens, schema=table("tokens").schema()))
        found: Means = {}
        for layer in extract_saliency(self._loaded, prompts, tokenized, None):
            for row in layer.select(["layer", "module", "mean_abs_gradient"]).to_pylist():
                found.setdefault((row["layer"], row["module"]), []).append(row["mean_abs_gradient"])
        return found

    def naive(self) -> Means:
        """One prompt at a time, all gradients of the model at once."""
        found: Means = {place: [] for place in self._weights}
        for tokens, answer in zip(self._tokens, self._answers, strict=True):
            logits = self._model(input_ids=tokens[None], use_cache=False, logits_to_keep=1).logits[:, -1]
            cross_entropy(logits, answer[None]).backward()  # type: ignore[no-untyped-call]
            for place, weights in self._weights.items():
                assert weights.grad is not None
                found[place].append(weights.grad.abs().mean().item())
            self._model.zero_grad()
        return found

    def frozen(self) -> Means:
        """The same without the gradients that nobody asked for, as a careful user would have it."""
        ends = (self._model.get_input_embeddings(), self._model.get_output_embeddings())
        for module in ends:
            module.requires_grad_(requires_grad=False)
        try:
            return self.naive()
        finally:
            for module in ends:
                module.requires_grad_()

    def bare(self) -> None:
        """A forward that reads all weights: those of a file are not in memory before."""
        with torch.inference_mode():
            self._model(input_ids=self._tokens[:1], use_cache=False, logits_to_keep=1)

    def vmapped(self) -> Means:
        """A few prompts at a time, the gradients of each by `torch.func`."""
        paths = {id(weights): path for path, weights in self._model.named_parameters()}
        weights = {paths[id(values)]: values.detach() for values in self._weights.values()}
        mask = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool).tril()

        def loss(weights: dict[str, Tensor], tokens: Tensor, answer: Tensor) -> Tensor:
            # A mask is given: transformers would make one by looking at values, which `vmap` forbids.
            given = {"input_ids": tokens[None], "attention_mask": mask, "use_cache": False, "logits_to_keep": 1}
            logits: Tensor = functional_call(self._model, weights, (), given).logits[:, -1]
            return cross_entropy(logits, answer[None])

        def means(weights: dict[str, Tensor], tokens: Tensor, answer: Tensor) -> dict[str, Tensor]:
            return {path: values.abs().mean() for path, values in grad(loss)(weights, tokens, answer).items()}

        each = vmap(means, in_dims=(None, 0, 0), chunk_size=ABREAST)(weights, self._tokens, self._answers)
        return {place: each[paths[id(values)]].tolist() for place, values in self._weights.items()}


def check(one: Means, other: Means) -> None:
    """End the benchmark where two ways do not give the same numbers: then there is nothing to compare."""
    if one.keys() != other.keys():
        raise SystemExit(f"The modules differ: {sorted(one.keys() ^ other.keys())}.")
    worst = max(float(np.abs(np.array(values) / np.array(other[place]) - 1).max()) for place, values in one.items())
    if worst > TOLERANCE:
        raise SystemExit(f"The results differ by {worst:.1e} of their size: nothing to compare.")


def peak_growth(work: Callable[[], object]) -> int:
    """Bytes by which the process's resident set grew at its peak while something ran."""
    process, stop = psutil.Process(), threading.Event()

    before = process.memory_info().rss
    seen = [before]

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            seen[0] = max(seen[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        stop.set()
        watcher.join()
    return int(seen[0] - before)


def memory(name: str, folder: Path) -> int:
    """What `peak_growth` finds in a fresh process that does nothing else."""
    command = [sys.executable, __file__, "--memory", name, "--model", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def measure(folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Times as ratios to the naive loop, and memory in bytes."""
    work = Work(build_model(folder))
    expected = work.naive()
    check(work.ours(), expected)
    check(work.vmapped(), expected)
    # What was checked has warmed up; each way takes long.
    seconds = paired_seconds(work.ways(), ROUNDS, warm_up=False)
    times = {name: ratio(seconds, name, "naive") for name in seconds}
    return times, {name: memory(name, folder) for name in seconds}


def main() -> None:
    """Print a table, and the ratios as one JSON object in the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", help="measure the memory of one way only")
    parser.add_argument("--model", type=Path, help="the model's folder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        work = Work(load_model(ModelEntry("benchmark", options.model)))
        work.bare()
        print(peak_growth(work.ways()[options.memory]))
        return
    with tempfile.TemporaryDirectory() as folder:
        times, bytes_used = measure(Path(folder))
    shown = Table("what", "time, naive = 1", "extra memory, MB", title=f"Mean |g| of every module, {PROMPTS} prompts")
    for name, used in bytes_used.items():
        shown.add_row(name, f"{times[name]:.3f}", f"{used / 1e6:.0f}")
    Console(file=sys.stderr if not sys.stdout.isatty() else sys.stdout).print(shown)
    smaller = {name: used / bytes_used["naive"] for name, used in bytes_used.items()}
    ratios = {"time": times["ours"], "memory": smaller["ours"]}
    ratios |= {name: times[name] for name in ("vmap", "frozen")}
    ratios |= {f"{name}_memory": smaller[name] for name in ("vmap", "frozen")}
    print(json.dumps({name: round(value, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
