"""What benchmarks run: Llamas with random weights in float32, their prompts, and how ratios are printed.

The tokenizer is that of the embedded reference model. What is done with the models is in the other modules.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from extract.interventions import Lesion, Patch
from extract.loading import LoadedModel
from extract.models import ModelEntry
from extract.task import Pairs, Task

EMBEDDED = Path(__file__).parents[1] / "extract" / "embedded" / "reference"
VOCABULARY = 32_000


@dataclass(frozen=True)
class Shape:
    """Layers and width of a Llama; heads of 64, an MLP 8/3 as wide."""

    layers: int
    width: int
    vocabulary: int = VOCABULARY


SHAPES = {"L12": Shape(12, 768), "L32": Shape(32, 256)}
"""134 million weights, and a deep one."""


def build_model(folder: Path, shape: Shape = SHAPES["L12"]) -> LoadedModel:
    """A Llama with random weights, saved with the embedded model's tokenizer and loaded again."""
    torch.manual_seed(0)
    heads = max(1, shape.width // 64)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.width * 8 // 3,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(EMBEDDED)
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).train(False)
    return LoadedModel(ModelEntry("benchmark", folder), model, tokenizer)


def random_tokens(shape: Shape, prompts: int, tokens: int, *, shared: int = 0, seed: int = 0) -> Tensor:
    """Prompts [prompt, token] of random tokens; the first `shared` ones are the same in all."""
    choose = torch.Generator().manual_seed(seed)
    found = torch.randint(3, shape.vocabulary, (prompts, tokens), generator=choose)
    found[:, :shared] = found[:1, :shared]
    return found


def lesion_task(
    tokens: Tensor, answers: Tensor, *, lesions: Sequence[Lesion], shared: int = 0, reads: bool = False
) -> Task:
    """Lesions of all prompts.

    Args:
        tokens: [prompt, token]
        answers: [prompt]
        lesions: which.
        shared: tokens before the term.
        reads: whether activations are read too.
    """
    return Task(
        prompts=tokens.tolist(),
        term_first=torch.full((len(tokens),), shared),
        term_last=torch.full((len(tokens),), shared + 1),
        templates=torch.zeros(len(tokens), dtype=torch.long),
        answers=answers,
        reads=reads,
        lesions=tuple(lesions),
        lesioned=torch.ones(len(tokens), dtype=torch.bool),
    )


def random_pairs(shape: Shape, pairs: int, tokens: int, *, term: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs as a template makes them: they differ in two tokens, the term's, and in nothing before or behind.

    Args:
        shape: of the model.
        pairs: how many.
        tokens: of each prompt.
        term: index of the term's first token. No two pairs share anything: what they would share as prompts of one
            template makes ours cheaper still.

    Returns:
        Clean and corrupted prompts, each [pair, token], and the first tokens of both answers, [pair, 2].
    """
    clean = random_tokens(shape, pairs, tokens)
    corrupted = clean.clone()
    # The next index in the vocabulary: surely another one.
    corrupted[:, term : term + 2] = (clean[:, term : term + 2] - 3 + 1) % (shape.vocabulary - 3) + 3
    return clean, corrupted, random_tokens(shape, pairs, 2, seed=1)


def patch_task(clean: Tensor, corrupted: Tensor, answers: Tensor, *, term: int, patches: Sequence[Patch]) -> Task:
    """Patches of all pairs, as `random_pairs` gives them."""
    count = len(clean)
    return Task(
        prompts=[*clean.tolist(), *corrupted.tolist()],
        term_first=torch.full((2 * count,), term),
        term_last=torch.full((2 * count,), term + 1),
        templates=torch.zeros(2 * count, dtype=torch.long),
        answers=answers.T.reshape(-1),
        patches=tuple(patches),
        pairs=Pairs(
            clean=torch.arange(count),
            corrupted=torch.arange(count, 2 * count),
            answers=answers,
            first_difference=torch.full((count,), term),
            term=torch.full((count,), term + 1),
            numbers=torch.arange(count),
        ),
    )


def show(title: str, unit: str, rows: Mapping[str, float], ratios: Mapping[str, Any]) -> None:
    """Print a table, and the ratios as one JSON object in the last line."""
    table = Table("what", unit, title=title)
    for name, value in rows.items():
        table.add_row(name, f"{value:.3f}")
    Console(file=sys.stderr if not sys.stdout.isatty() else sys.stdout).print(table)
    print(json.dumps(rounded(ratios)))


def rounded(ratios: Any) -> Any:
    """Numbers within dictionaries, to three places."""
    if isinstance(ratios, Mapping):
        return {name: rounded(value) for name, value in ratios.items()}
    return round(ratios, 3)


def most_resident() -> int:
    """Bytes of this process at its most; what the kernel tells of usage would be its parent's too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
