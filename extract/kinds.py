"""What kind of language model a model is: a decoder, a masked language model, or an encoder without a head.

The config decides, by the architecture that it names. What the kinds have in common is the engine's affair; here stands
which kind a model is of, and what can't be measured of a kind, with the reason in words. Nothing here needs torch.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from warehouse.errors import ModelError

DECODER, MASKED, ENCODER = "decoder", "masked", "encoder"
"""A model that reads from left to right; one that reads both ways and fills in blanks; one that only reads."""

_ENCODERS = {
    *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "mobilebert"),
    *("modernbert", "mpnet", "nomic_bert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"),
}
"""Families of which a model without a head is an encoder; to transformers some of them may be decoders as well."""

_MASKED = ("ForMaskedLM", "BertForPreTraining")
"""Ends of the names of architectures with a head for blanks; the second has one for pairs of sentences beside it."""

_NO_SUCH_MODEL = re.compile(r"Unrecognized configuration class <class '[\w.]*?(\w+)'>")

_FIRST_TOKENS = (
    "An encoder's first token reads the whole prompt, so there is no vector that is the same in all prompts that begin "
    "alike."
)
_NO_HEAD = (
    "It has no language-model head: no answer can be read that a lesion could take, a patch bring back or a gradient "
    "hang on. If its weights hold a head, name it in config.json (architectures: …ForMaskedLM)."
)
_WRITES_NOTHING = "An encoder writes no text: it fills in one blank, and what it fills in is in `lesions`."


def kind_of(architectures: Sequence[str], model_type: str, *, is_decoder: bool = False) -> str:
    """Which kind a model is of.

    Args:
        architectures: the classes that its config names, or its own class.
        model_type: the family that its config names.
        is_decoder: what its config says of that, if anything.
    """
    if any(name.endswith(_MASKED) for name in architectures):
        return MASKED
    speaks = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    return ENCODER if model_type in _ENCODERS and not is_decoder and not speaks else DECODER


def kind_in(folder: Path) -> str:
    """Which kind the model in a folder is of, by its config.json.

    Raises:
        ModelError: the config can't be read.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        named = config.get("architectures") or []
        return kind_of(named, config.get("model_type", ""), is_decoder=bool(config.get("is_decoder", False)))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{file} can't be read ({error}). Copy it again.") from error


def refusal(error: Exception) -> str:
    """Why transformers made no model, in its own words, but for the list of all two hundred classes that it knows."""
    found = _NO_SUCH_MODEL.match(str(error))
    if found is None:
        return str(error)
    return (
        f"transformers has no language model with one stack of layers for a {found[1]}. Take a decoder (…ForCausalLM) "
        "or an encoder (…ForMaskedLM); models with an encoder and a decoder, such as T5, can't be measured."
    )


def unmeasured(kind: str) -> dict[str, str]:
    """Why tables stay empty for models of a kind, by table; those of which there is nothing to say are left out."""
    if kind == DECODER:
        return {}
    causal = {} if kind == MASKED else dict.fromkeys(("lesions", "patches", "saliency"), _NO_HEAD)
    return {"first_tokens": _FIRST_TOKENS} | causal | {"responses": _WRITES_NOTHING if kind == MASKED else _NO_HEAD}
