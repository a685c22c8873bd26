"""nnsight's way: activations, lesions and patches by traces of the model. Runs in nnsight's environment."""

import sys
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

# The script's own folder, which comes first, has modules named as the peers: the root takes its place.
sys.path[0] = str(Path(__file__).parents[2])

from nnsight import LanguageModel
from transformers import AutoTokenizer

from benchmarks.peers.works import Ways, answer, load, read_request

_SPARED = {"logits_to_keep": 1, "use_cache": False}


def activations(request: dict[str, Any], wrapped: Any, layers: range) -> Ways:
    """Three rows of every layer, kept in memory."""
    batches = [torch.tensor(tokens) for tokens in request["bare"]]
    terms = [torch.tensor(term) for term in request["term_last"]]

    def run() -> None:
        for tokens, term in zip(batches, terms, strict=True):
            rows = torch.arange(len(tokens))
            with torch.inference_mode(), wrapped.trace({"input_ids": tokens}, **_SPARED):
                kept: Any = cast(Any, []).save()
                for layer in layers:
                    hidden = wrapped.model.layers[layer].output
                    kept.append((hidden[:, -1], hidden[rows, term], hidden[:, 1:].mean(dim=1)))
        assert kept[-1][0].shape == (len(batches[-1]), wrapped.config.hidden_size)

    return {"nnsight": run}


def lesions(request: dict[str, Any], wrapped: Any, layers: range) -> Ways:
    """A trace for each layer, which is skipped."""
    tokens, answers = torch.tensor(request["bare"][0]), torch.tensor(request["answers"])[:, None]

    def run() -> Tensor:
        found = []
        for layer in layers:
            with torch.inference_mode(), wrapped.trace({"input_ids": tokens}, **_SPARED):
                wrapped.model.layers[layer].skip(wrapped.model.layers[layer].input)
                logits = wrapped.lm_head.output[:, -1].save()
            found.append(logits.gather(1, answers)[:, 0])
        return torch.stack(found)

    return {"nnsight": run}


def patches(request: dict[str, Any], wrapped: Any, layers: range) -> Ways:
    """A trace for each cell, with what a trace of the clean prompts has kept."""
    tokens, answers = torch.tensor(request["bare"][0]), torch.tensor(request["answers"])
    clean, kept = torch.tensor(request["clean"]), cast(list[Tensor], [])

    def remember() -> None:
        with torch.inference_mode(), wrapped.trace({"input_ids": clean}, **_SPARED):
            found: Any = cast(Any, []).save()
            for layer in layers:
                found.append(wrapped.model.layers[layer].output)
        kept[:] = found

    def run(cells: list[tuple[int, int]]) -> Tensor:
        found = []
        for layer, token in cells:
            here = kept[layer][:, token]
            with torch.inference_mode(), wrapped.trace({"input_ids": tokens}, **_SPARED):
                wrapped.model.layers[layer].output[:, token] = here
                logits = wrapped.lm_head.output[:, -1].save()
            chosen = logits.gather(1, answers)
            found.append(chosen[:, 0] - chosen[:, 1])
        return torch.stack(found)

    return {
        "nnsight:clean": remember,
        "nnsight:cells": lambda: run(request["cells"]),
    }


def main() -> None:
    """Do what the request asks."""
    request = read_request()
    plain = load(request)
    wrapped = LanguageModel(plain, tokenizer=AutoTokenizer.from_pretrained(request["model"]))
    work = {"activations": activations, "lesions": lesions, "patches": patches}[request["work"]]
    answer(request, plain, work(request, wrapped, range(plain.config.num_hidden_layers)))


main()
