"""The named query on rivals, beside the rows that it is made from."""

from pathlib import Path
from typing import Any

import pytest
from effect_rows import filled
from warehouse_fixture import named

from warehouse.catalog import build_catalog
from warehouse.store import Store

SILHOUETTES = [0.1, 0.5, 0.4]
"""At layers -1, 0 and 1."""
OVER = {"over_rivals": (0.2, 0.1, 0.3), "over_controls": (0.3, -0.1, 0.7), "over_untrained": (0.4, 0.2, 0.6)}
"""Value, low and high at layer 0."""
RIVALS = {"spelling": (0.2, 0.0), "token_count": (-0.3, -0.6), "frequency": (-0.2, -0.3), "embeddings": (0.1, -0.1)}
"""Value and mean under permuted labels: token counts are farthest above chance, though their value is the lowest."""


def profile(metric: str, layer: int, value: float, low: float = -1.0, high: float = 1.0, **keys: str) -> dict[str, Any]:
    return {
        "technique": "activations",
        "metric": metric,
        "labelling": "specialty",
        "template_kind": "asking",
        "position": "last",
        "layer": layer,
        "value": value,
        "low": low,
        "high": high,
        "n": 9,
    } | keys


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warehouse")
    store = Store(root)
    plain = [profile("silhouette_cosine", layer, value) for layer, value in enumerate(SILHOUETTES, start=-1)]
    over = [
        profile(f"silhouette_cosine_{name}", layer, *(number - 0.5 * abs(layer) for number in numbers))
        for name, numbers in OVER.items()
        for layer in (-1, 0, 1)
    ]
    # Higher, but elsewhere: read only if it is asked for, or never.
    elsewhere = [
        profile("silhouette_cosine", 1, 0.9, position="term"),
        profile("silhouette_cosine", 1, 0.8, template_kind="neutral"),
        profile("silhouette_cosine", 1, 0.99, variant="words"),
    ]
    rivals = [
        {
            "rival": name,
            "metric": "silhouette_cosine",
            "labelling": "specialty",
            "template_kind": kind,
            "variant": variant,
            "value": value + (kind == "neutral") + 2 * bool(variant),
            "null_mean": chance,
            "n": 9,
        }
        for name, (value, chance) in RIVALS.items()
        for kind in ("asking", "neutral")
        for variant in ("", "words")
    ]
    for model in ("tiny", "tiny.untrained"):
        keys = {"fingerprint": "made up", "model": model, "concept": "drugs"}
        store.write("profiles", filled("profiles", [*plain, *over, *elsewhere]), **keys)
        store.write("rivals", filled("rivals", rivals), **keys)
    build_catalog(root)
    return root


def test_the_best_layer_stands_beside_its_rivals_and_what_is_left_over_them(root: Path) -> None:
    (found,) = named(root, "left-over-rivals")
    assert (found["model"], found["concept"], found["labelling"]) == ("tiny", "drugs", "specialty")
    assert (found["layer"], found["value"]) == (0, 0.5)
    assert {name: found[name] for name in RIVALS} == {name: value for name, (value, _) in RIVALS.items()}
    assert found["strongest_rival"] == "token_count"
    for name, numbers in OVER.items():
        assert (found[name], found[f"{name}_low"], found[f"{name}_high"]) == numbers
    assert found["is_left"]


def test_another_position_and_kind_have_their_own_best_layer_and_may_lack_rivals(root: Path) -> None:
    (at_term,) = named(root, "left-over-rivals", position="term")
    assert (at_term["layer"], at_term["value"], at_term["spelling"]) == (1, 0.9, 0.2)
    assert (at_term["over_rivals"], at_term["is_left"]) == (None, None)
    (neutral,) = named(root, "left-over-rivals", template_kind="neutral")
    assert (neutral["value"], neutral["spelling"]) == (0.8, 1.2)
    assert named(root, "left-over-rivals", metric="r2_ridge") == []
