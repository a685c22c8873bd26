"""The card of an embedded model, the gates it is held to, and the folder that both lie in.

Belongs here: what a card says, whether a model may be kept, and how its folder is put in place whole. What is measured
is for `reference` and `planting` to say.
"""

import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from extract.folders import written_whole
from extract.library import Library
from extract.phrases import PHRASES_FILE
from warehouse.errors import ModelError
from warehouse.versions import CODE_VERSION, file_hash

CARD_FILE = "card.json"

Card = dict[str, Any]
"""What is known of an embedded model, as it can be written in JSON."""


@dataclass(frozen=True)
class Gate:
    """A bound that a measured value must keep: at least `limit`, or at most where `is_ceiling`."""

    name: str
    value: float
    limit: float
    is_ceiling: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value keeps the bound; what could not be measured does not."""
        return self.value <= self.limit if self.is_ceiling else self.value >= self.limit

    def __str__(self) -> str:
        return f"{self.name} is {self.value:.3f}, {'at most' if self.is_ceiling else 'at least'} {self.limit} is asked"


def make_card(
    *, name: str, description: str, library: Library, recipe: object, seed: int, model: PreTrainedModel, since: float
) -> Card:
    """The part of a card that all models share.

    Args:
        recipe: a dataclass of every hyper-parameter.
        since: `time.process_time()` when the training began.
    """
    return {
        "name": name,
        "description": description,
        "library": {concept.name: concept.fingerprint for concept in library.concepts},
        "phrases": file_hash(PHRASES_FILE),
        "recipe": asdict(recipe),  # type: ignore[call-overload]
        "seed": seed,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "cpu_seconds": round(time.process_time() - since, 1),
        "versions": {
            "vesalius": CODE_VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "tokenizers": version("tokenizers"),
        },
    }


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Values for a card, to four decimals."""
    return {name: round(value, 4) for name, value in values.items()}


def commit_model(
    out: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    card: Card,
    gates: Sequence[Gate],
    *,
    keep_failed: bool,
) -> Card:
    """Write model, tokenizer and card aside, and put the folder in place whole; the card that was written is returned.

    Raises:
        ModelError: a gate is missed and `keep_failed` is false; nothing was written.
        StoreError: the disk refused; what was there before is untouched.
    """
    missed = [gate for gate in gates if not gate.is_met]
    if missed and not keep_failed:
        faults = "; ".join(map(str, missed))
        raise ModelError(
            f"The model {card['name']} misses its gates and was not kept: {faults}. Train longer, or with another seed."
        )
    gated = {
        **card,
        "gates": [
            {
                "gate": gate.name,
                "value": round(gate.value, 4),
                "at_most" if gate.is_ceiling else "at_least": gate.limit,
                "met": gate.is_met,
            }
            for gate in gates
        ],
    }
    text = json.dumps(gated, indent=2, ensure_ascii=False) + "\n"
    with written_whole(out, "model") as folder:
        _write(folder, model, tokenizer, text)
    written: Card = json.loads(text)
    return written


def require_place(out: Path) -> None:
    """Refuse a folder that holds something else than an embedded model, before any training.

    Raises:
        ModelError: it does.
    """
    if out.exists() and not (out.is_dir() and ((out / CARD_FILE).exists() or not any(out.iterdir()))):
        raise ModelError(
            f"{out} is there and holds no {CARD_FILE}, so it is not replaced. "
            "Give a new folder, or that of an embedded model."
        )


def silent(_message: str, _share: float) -> None:
    """Report no progress."""


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file into whatever progress the caller shows."""
    had_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if had_bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _write(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, card: str) -> None:
    with no_bars():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read
