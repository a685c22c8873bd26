"""All layers' activations at three positions by nnsight, against a bare forward. Runs in nnsight's environment."""

import json
import sys
from pathlib import Path
from typing import Any, cast

import torch

# The script's own folder, which comes first, has modules named as the peers: the root takes its place.
sys.path[0] = str(Path(__file__).parents[2])

from nnsight import LanguageModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.paired import paired_seconds, ratio


def main() -> None:
    """Read the request from standard input, print the ratio."""
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32).train(False)
    batches = [torch.tensor(batch["tokens"]) for batch in request["batches"]]
    terms = [torch.tensor(batch["term_last"]) for batch in request["batches"]]
    wrapped = LanguageModel(model, tokenizer=tokenizer)
    layers = range(model.config.num_hidden_layers)
    found: dict[int, torch.Tensor] = {}

    def bare() -> None:
        with torch.inference_mode():
            for tokens in batches:
                model.model(input_ids=tokens, use_cache=False)

    def traced() -> None:
        for tokens, term in zip(batches, terms, strict=True):
            rows = torch.arange(len(tokens))
            with torch.inference_mode(), wrapped.trace({"input_ids": tokens}, logits_to_keep=1, use_cache=False):
                kept: Any = cast(Any, []).save()
                for layer in layers:
                    hidden = wrapped.model.layers[layer].output
                    kept.append((hidden[:, -1], hidden[rows, term], hidden[:, 1:].mean(dim=1)))
            found[0] = kept[-1][0]

    seconds = paired_seconds({"bare": bare, "nnsight": traced}, request["rounds"])
    assert found[0].shape == (len(batches[-1]), model.config.hidden_size)
    print(json.dumps({"nnsight": ratio(seconds, "nnsight", "bare")}))


main()
