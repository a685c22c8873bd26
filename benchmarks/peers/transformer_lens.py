"""TransformerLens' way: activations from its cache, lesions and patches by hooks. Runs in its environment.

`transformer_lens` is a whole forward for each lesion or patch, as its manuals and its patching functions do them.
`transformer_lens_restarted` starts each at the layer above, from what a cache holds, by its `start_at_layer`.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The script's own folder, which comes first, has modules named as the peers: the root takes its place.
sys.path[0] = str(Path(__file__).parents[2])

from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

from benchmarks.peers.works import Ways, answer, load, read_request

_SPARED: dict[str, Any] = {"logits_to_keep": 1, "use_cache": False}


def activations(request: dict[str, Any], bridge: Any, layers: range) -> Ways:
    """Three rows of every layer, kept in memory."""
    batches = [torch.tensor(tokens) for tokens in request["bare"]]
    terms = [torch.tensor(term) for term in request["term_last"]]
    names = [_after(layer) for layer in layers]

    def run() -> None:
        for tokens, term in zip(batches, terms, strict=True):
            rows = torch.arange(len(tokens))
            with torch.inference_mode():
                _, cache = bridge.run_with_cache(tokens, names_filter=names, return_type=None)
                kept = [(cache[name][:, -1], cache[name][rows, term], cache[name][:, 1:].mean(dim=1)) for name in names]
        assert kept[-1][0].shape[0] == len(batches[-1])

    return {"transformer_lens": run}


@torch.inference_mode()
def lesions(request: dict[str, Any], bridge: Any, layers: range) -> Ways:
    """Each layer in turn gives back what it takes."""
    tokens, answers = torch.tensor(request["bare"][0]), torch.tensor(request["answers"])[:, None]

    @torch.inference_mode()
    def hooked() -> Tensor:
        found, kept = [], {}

        def keep(hidden: Tensor, hook: Any) -> None:
            kept["entered"] = hidden

        def put(hidden: Tensor, hook: Any) -> Tensor:
            return kept["entered"]

        for layer in layers:
            hooks = [(f"blocks.{layer}.hook_resid_pre", keep), (_after(layer), put)]
            logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks, return_type="logits", **_SPARED)
            found.append(logits[:, -1].gather(1, answers)[:, 0])
        return torch.stack(found)

    @torch.inference_mode()
    def restarted() -> Tensor:
        names = [f"blocks.{layer}.hook_resid_pre" for layer in layers]
        _, cache = bridge.run_with_cache(tokens, names_filter=names, return_type=None)
        ends = [_from_layer(bridge, cache[name], layer + 1, layers) for layer, name in zip(layers, names, strict=True)]
        return torch.stack([logits.gather(1, answers)[:, 0] for logits in ends])

    return {"transformer_lens": hooked, "transformer_lens_restarted": restarted}


def patches(request: dict[str, Any], bridge: Any, layers: range) -> Ways:
    """Each cell in turn gets what the cache of the clean prompts holds."""
    tokens, answers = torch.tensor(request["bare"][0]), torch.tensor(request["answers"])
    clean = torch.tensor(request["clean"])
    names = [_after(layer) for layer in layers]
    caches: dict[str, Any] = {}

    def difference(logits: Tensor) -> Tensor:
        chosen = logits.gather(1, answers)
        return chosen[:, 0] - chosen[:, 1]

    @torch.inference_mode()
    def remember() -> None:
        caches["clean"] = bridge.run_with_cache(clean, names_filter=names, return_type=None)[1]

    @torch.inference_mode()
    def remember_both() -> None:
        remember()
        caches["corrupted"] = bridge.run_with_cache(tokens, names_filter=names, return_type=None)[1]

    @torch.inference_mode()
    def hooked(cells: list[tuple[int, int]]) -> Tensor:
        found = []
        for layer, token in cells:
            here = caches["clean"][_after(layer)][:, token]

            def put(hidden: Tensor, hook: Any, here: Tensor = here, token: int = token) -> Tensor:
                hidden[:, token] = here
                return hidden

            logits = bridge.run_with_hooks(tokens, fwd_hooks=[(_after(layer), put)], return_type="logits", **_SPARED)
            found.append(difference(logits[:, -1]))
        return torch.stack(found)

    @torch.inference_mode()
    def restarted(cells: list[tuple[int, int]]) -> Tensor:
        found = []
        for layer, token in cells:
            hidden = caches["corrupted"][_after(layer)].clone()
            hidden[:, token] = caches["clean"][_after(layer)][:, token]
            found.append(difference(_from_layer(bridge, hidden, layer + 1, layers)))
        return torch.stack(found)

    return {
        "transformer_lens:clean": remember,
        "transformer_lens:cells": lambda: hooked(request["cells"]),
        "transformer_lens_restarted:clean": remember_both,
        "transformer_lens_restarted:cells": lambda: restarted(request["cells"]),
    }


def _after(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


def _from_layer(bridge: Any, hidden: Tensor, layer: int, layers: range) -> Tensor:
    """Logits at the last token [prompt, token of the vocabulary] of a stream that enters a layer; or the head."""
    if layer in layers:
        logits: Tensor = bridge(hidden, start_at_layer=layer, return_type="logits", **_SPARED)
    else:
        logits = bridge.unembed(bridge.ln_final(hidden[:, -1:]))
    return logits[:, -1]


def main() -> None:
    """Do what the request asks."""
    request = read_request()
    plain, other = load(request), load(request)
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    bridge = TransformerBridge.boot_transformers(
        request["model"], hf_model=other, tokenizer=tokenizer, dtype=torch.float32, device="cpu"
    )
    work = {"activations": activations, "lesions": lesions, "patches": patches}[request["work"]]
    answer(request, plain, work(request, bridge, range(plain.config.num_hidden_layers)))


main()
