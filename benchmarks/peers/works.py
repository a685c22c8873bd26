"""What the peers' programs have in common: the request, the works that can be asked for, and how they are timed.

A program gives each work as functions of the request's batches; here they are run in turn with bare forwards.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.paired import paired_seconds, ratio

Ways = dict[str, Callable[[], Any]]
"""By name, ways to do a work. Those of `lesions` give logits [layer, prompt]; those of `patches` give what is needed of
the clean prompts for `NAME:clean`, and logit differences [cell, pair] for `NAME:cells`."""


def read_request() -> dict[str, Any]:
    """The request from standard input; from here on the process has one thread."""
    torch.set_num_threads(1)
    request: dict[str, Any] = json.load(sys.stdin)
    return request


def load(request: Mapping[str, Any]) -> Any:
    """The model in float32."""
    return AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32).train(False)


def answer(request: Mapping[str, Any], plain: Any, ways: Ways) -> None:
    """Time the ways in turn with bare forwards, and print ratios and logits as one JSON object.

    Args:
        request: `rounds`; `bare`, the batches of tokens that a bare forward runs; for patches `scale`, how often the
            sampled cells, one at each layer, count in the whole grid.
        plain: the model, with nothing of the peer in it.
        ways: what to time.
    """
    batches = [torch.tensor(tokens) for tokens in request["bare"]]
    found: dict[str, Any] = {}

    def bare() -> None:
        with torch.inference_mode():
            for tokens in batches:
                plain.model(input_ids=tokens, use_cache=False)

    def kept(name: str, way: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            found[name] = way()

        return run

    workloads = {"bare": bare} | {name: kept(name, way) for name, way in ways.items()}
    short = request["work"] == "activations"
    seconds = paired_seconds(workloads, request["rounds"], base=None if short else "bare", warm_up=short)
    ratios = {}
    for name in ways:
        way, _, part = name.partition(":")
        if part == "cells":
            ratios[f"{way}:grid"] = ratio(seconds, name, "bare", times=request["scale"], plus=f"{way}:clean")
            ratios[f"{way}:last"] = ratio(seconds, name, "bare", plus=f"{way}:clean")
        elif part != "clean":
            ratios[name] = ratio(seconds, name, "bare")
    logits = {name: values.tolist() for name, values in found.items() if isinstance(values, torch.Tensor)}
    print(json.dumps({"ratios": ratios, "logits": logits}))
