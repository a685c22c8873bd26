"""All layers' activations at three positions by TransformerLens, against a bare forward. Runs in its environment."""

import json
import sys
from pathlib import Path

import torch

# The script's own folder, which comes first, has modules named as the peers: the root takes its place.
sys.path[0] = str(Path(__file__).parents[2])

from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.paired import paired_seconds, ratio


def main() -> None:
    """Read the request from standard input, print the ratio."""
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    plain = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32).train(False)
    other = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32).train(False)
    bridge = TransformerBridge.boot_transformers(
        request["model"], hf_model=other, tokenizer=tokenizer, dtype=torch.float32, device="cpu"
    )
    batches = [torch.tensor(batch["tokens"]) for batch in request["batches"]]
    terms = [torch.tensor(batch["term_last"]) for batch in request["batches"]]
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(plain.config.num_hidden_layers)]
    found: dict[int, torch.Tensor] = {}

    def bare() -> None:
        with torch.inference_mode():
            for tokens in batches:
                plain.model(input_ids=tokens, use_cache=False)

    def cached() -> None:
        for tokens, term in zip(batches, terms, strict=True):
            rows = torch.arange(len(tokens))
            with torch.inference_mode():
                _, cache = bridge.run_with_cache(tokens, names_filter=names, return_type=None)
                kept = [(cache[name][:, -1], cache[name][rows, term], cache[name][:, 1:].mean(dim=1)) for name in names]
            found[0] = kept[-1][0]

    seconds = paired_seconds({"bare": bare, "transformer_lens": cached}, request["rounds"])
    assert found[0].shape == (len(batches[-1]), plain.config.hidden_size)
    print(json.dumps({"transformer_lens": ratio(seconds, "transformer_lens", "bare")}))


main()
