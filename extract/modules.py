"""What the weights of a layer are called: the modules of a decoder layer, by role and part.

Belongs here: the table from attribute names to roles, which part of a layer a module belongs to, and which weights are
reported together. Architectures differ in names alone, and names are data. What is measured of the weights is in
`saliency`.
"""

import re
from collections import Counter
from dataclasses import dataclass

from torch import nn

ROLES = {
    "q": ("q_proj", "query", "wq", "q_lin", "q", "query_proj"),
    "k": ("k_proj", "key", "wk", "k_lin", "k", "key_proj"),
    "v": ("v_proj", "value", "wv", "v_lin", "v", "value_proj"),
    "o": ("o_proj", "out_proj", "wo", "out_lin", "o"),
    "qkv": ("qkv_proj", "c_attn", "query_key_value", "Wqkv"),
    "gate": ("gate_proj", "w1"),
    "up": ("up_proj", "dense_h_to_4h", "c_fc", "fc1", "fc_in", "w3", "lin1"),
    "down": ("down_proj", "dense_4h_to_h", "fc2", "fc_out", "w2", "lin2"),
    "gate_up": ("gate_up_proj",),
    "router": ("router", "gate"),
}
"""Attribute names that mean a role wherever they occur."""

ROLES_BY_PART = {
    "attention": {"dense": "o", "c_proj": "o"},
    "mlp": {"c_proj": "down", "dense": "up"},
}
"""Attribute names that mean one thing in attention and another in the MLP."""

ROLES_BY_PATH = {"output.dense": "down"}
"""Paths in a layer that mean a role: BERT keeps both halves of its MLP as children that are called alike."""

PARTS = {
    "attention": ("att",),
    "mlp": ("mlp", "feed_forward", "ffn", "moe", "experts", "router", "fc", "intermediate", "output"),
}
"""What the name of a layer's child holds, by the part that this child is."""

_ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
_EXPERT = re.compile(r"(?:^|\.)(experts\.\d+)(?=\.|$)")


@dataclass(frozen=True)
class Owner:
    """A module that holds weights itself.

    Attributes:
        path: its path in the layer; empty for the layer.
        module: the module.
        rows: for each of its parameters the rows of `LayerModules` that it belongs to: one, or one an expert, each then
            with its slice of the first dimension.
    """

    path: str
    module: nn.Module
    rows: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayerModules:
    """The weights of a layer, in the rows in which they are reported.

    Attributes:
        names: each row's name, unique in the layer.
        parts: each row's part: `attention`, `mlp`, `norm` or `other`.
        weights: each row's number of weights; together they are all of the layer's.
        owners: the modules that hold them.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    weights: tuple[int, ...]
    owners: tuple[Owner, ...]


def layer_modules(layer: nn.Module) -> LayerModules:
    """Find and name the weights of a decoder layer.

    A module is called by its role, a norm by its attribute, an expert `experts.7` with all of its weights together, a
    parameter held by a module that has children by the parameter's own name. What has no role, or shares it with
    another module of the layer, is called by its path.
    """
    # Keyed by path, which is unique; the short names come after all paths are known.
    found: dict[str, int] = {}
    short: list[str] = []
    parts: list[str] = []
    weights: list[int] = []
    owners: list[Owner] = []

    def row(path: str, name: str, part: str, count: int) -> int:
        place = found.setdefault(path, len(found))
        if place == len(short):
            short.append(name)
            parts.append(part)
            weights.append(0)
        weights[place] += count
        return place

    for path, module in layer.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        part = _part(layer, path, module)
        expert = _EXPERT.search(path)
        stacked = _experts(module)
        rows: dict[str, tuple[int, ...]] = {}
        for name, values in own.items():
            if stacked:
                each = values.numel() // stacked
                rows[name] = tuple(
                    row(f"{path}.{number}", f"experts.{number}", part, each) for number in range(stacked)
                )
            elif expert:
                rows[name] = (row(path[: expert.end(1)], expert[1], part, values.numel()),)
            elif any(module.children()):
                rows[name] = (row(f"{path}.{name}".lstrip("."), name, part, values.numel()),)
            else:
                rows[name] = (row(path, _role(path, part), part, values.numel()),)
        owners.append(Owner(path, module, rows))
    taken = Counter(short)
    names = tuple(name if taken[name] == 1 else path for path, name in zip(found, short, strict=True))
    return LayerModules(names, tuple(parts), tuple(weights), tuple(owners))


def _role(path: str, part: str) -> str:
    attribute = path.rpartition(".")[2]
    if part == "norm":
        return attribute
    named = ROLES_BY_PATH.get(path) or ROLES_BY_PART.get(part, {}).get(attribute)
    return named or _ROLE_OF.get(attribute) or path


def _part(layer: nn.Module, path: str, module: nn.Module) -> str:
    if _is_norm(path, module):
        return "norm"
    child = path.partition(".")[0]
    if child and _is_norm(child, layer.get_submodule(child)):
        return "norm"
    return next((part for part, words in PARTS.items() if any(word in child.lower() for word in words)), "other")


def _is_norm(path: str, module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() or "norm" in path.rpartition(".")[2].lower()


def _experts(module: nn.Module) -> int:
    """How many experts a module holds stacked in its parameters; 0 where it does not."""
    own = list(module.parameters(recurse=False))
    lengths = {len(values) for values in own if values.ndim}
    stacked = len(lengths) == 1 and any(values.ndim == 3 for values in own) and all(values.ndim > 1 for values in own)
    return lengths.pop() if stacked else 0
