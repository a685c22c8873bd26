"""Made-up rows of jumps and circles of stages for `warehouse_fixture`: one jump, at 30, and one circle, at layer 1."""

from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

STEPS = {2.0: 0.5, 18.0: 0.75, 30.0: 4.0}
"""Size of the step that leads to each age, 0.5 being expected."""

CIRCULAR_LAYER = 1
MEASURES = ("order", "ring", "circularity", "nearest_early", "loop")


def jumps(layers: int) -> Iterator[Row]:
    """Rows of `jumps`: asking and neutral, of main terms."""
    for layer in range(-1, layers):
        for kind in ("asking", "neutral"):
            for number, size in STEPS.items():
                jumping = size > 1 and kind == "asking"
                yield {
                    "labelling": "years",
                    "template_kind": kind,
                    "position": "last",
                    "variant": "",
                    "layer": layer,
                    "number": number,
                    "size": size,
                    "null_mean": 0.5,
                    "null_high": 1.0,
                    "null_p": 0.001 if jumping else 0.5,
                    "q": 0.01 if jumping else 0.9,
                    "token_split": False,
                    "decade": number % 10 == 0,
                }


def circles(layers: int) -> Iterator[Row]:
    """Rows of `stage_circles`: one disease with four stages, and one with three, which has no loop."""
    for layer in range(-1, layers):
        for disease, stages in (("anemia", 4), ("burns", 3)):
            for place, measure in enumerate(MEASURES[: 5 if stages > 3 else 4]):
                circular = measure == "circularity" and layer == CIRCULAR_LAYER and stages == 4
                yield {
                    "labelling": "stage",
                    "staged": disease,
                    "measure": measure,
                    "template_kind": "asking",
                    "position": "last",
                    "variant": "",
                    "layer": layer,
                    "value": 0.6 if circular else place / 10 - 0.3,
                    "low": 0.2 if circular else -1.0,
                    "high": 1.0,
                    "null_mean": 0.05 * place,
                    "null_high": 0.5,
                    "null_p": 0.01 if circular else 0.4,
                    "q": 0.03 if circular else 0.8,
                    "stages": stages,
                    "n": 4 * stages,
                }
