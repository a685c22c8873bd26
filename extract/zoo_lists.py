"""The three lists of models that `vesalius validate` can train: the zoo, a small one, and one that is held aside.

Belongs here: which library each list is taught, and the models held aside. These come of another recipe than the zoo in
all that could be changed: two other architectures, other sizes, depths and seeds, another optimizer that moves all
weights of a layer, other weights of what must stay, other labels and terms, other places. They judge the consensus and
nothing else: no contrast, rate or bound was, or may be, chosen by them. The zoo itself is in `zoo`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from extract.anatomy import GPT_NEOX, QWEN3, Shape
from extract.grafting import ADAMW, Graft
from extract.lessons import Mixture
from extract.training import Course
from extract.zoo import BLOCK, ONE_LAYER, SEVERAL, SPREAD, UNTRAINED, ZooModel, ZooPlant, small_zoo, zoo


@dataclass(frozen=True)
class Cut:
    """What is kept of the concept library: labels a concept, terms a label, from the first or from the last on."""

    labels: int
    terms: int
    last: bool = False


@dataclass(frozen=True)
class ZooList:
    """Models, and the library that they are taught.

    Attributes:
        name: what its folder is called.
        models: gives them.
        judges_only: whether nothing may be fitted to them.
    """

    name: str
    models: Callable[[], tuple[ZooModel, ...]]
    cut: Cut
    judges_only: bool = False


_WORDS = Mixture(neutral=0.15, own=0.7, noisy=0.15, most_noise=0.2, answer_weight=5.0, text_weight=0.7)
_GRAFT = Graft(steps=320, batch=32, others=18, optimizer=ADAMW, rate=2e-3, steadiness=6.0, mixture=_WORDS)
_GRAFTS = {
    ONE_LAYER: _GRAFT,
    BLOCK: replace(_GRAFT, steps=280),
    SEVERAL: _GRAFT,
    SPREAD: replace(_GRAFT, steps=320, rate=1e-3, left_out=2),
}
_COURSE = Course(
    epochs=36,
    sentences=800,
    batch=24,
    rate=3e-3,
    layer_rates=(0.5,),
    betas=(0.9, 0.95),
    weight_decay=0.05,
    mixture=Mixture(neutral=0.15, own=0.5, noisy=0.3, answer_weight=5.0, text_weight=0.3, text_share=0.5),
)
_COURSES = {QWEN3: _COURSE, GPT_NEOX: replace(_COURSE, epochs=22)}
_QWEN3 = Shape(layers=7, width=96, inner=224, heads=6, key_heads=2, vocabulary=1150, deviation=0.04, architecture=QWEN3)
_GPT_NEOX = Shape(layers=10, width=80, inner=320, heads=5, vocabulary=1000, deviation=0.05, architecture=GPT_NEOX)


def aside() -> tuple[ZooModel, ...]:
    """The models held aside: of each architecture early, middle and late plants, and those that hold nothing.

    Seeds 11 and 12 are spent: a first set of them judged the rule of `analyses.marking` before the present one, which
    was changed by what they showed.
    """
    small, deep = (_QWEN3, 13), (_GPT_NEOX, 14)
    return (
        _aside(ONE_LAYER, small, {"drugs": (1,)}),
        _aside(ONE_LAYER, small, {"symptoms": (3,)}),
        _aside(ONE_LAYER, small, {"diseases": (5,)}),
        _aside(ONE_LAYER, deep, {"diseases": (2,)}),
        _aside(ONE_LAYER, deep, {"drugs": (4,)}),
        _aside(ONE_LAYER, deep, {"symptoms": (8,)}),
        _aside(BLOCK, small, {"symptoms": (3, 4)}),
        _aside(BLOCK, deep, {"diseases": (5, 6)}),
        _aside(SEVERAL, small, {"diseases": (2,), "drugs": (4,), "symptoms": (5,)}),
        _aside(SEVERAL, deep, {"symptoms": (2,), "diseases": (6,), "drugs": (7,)}),
        *(
            _aside(SPREAD, base, {concept: tuple(range(1, base[0].layers))})
            for base in (small, deep)
            for concept in ("symptoms", "diseases", "drugs")
        ),
        *(_aside(UNTRAINED, base, {}) for base in (small, deep)),
    )


def _aside(kind: str, base: tuple[Shape, int], places: Mapping[str, tuple[int, ...]]) -> ZooModel:
    shape, seed = base
    plants = tuple(ZooPlant(concept, layers) for concept, layers in places.items())
    return ZooModel(kind, seed, plants, shape, _COURSES[shape.architecture], _GRAFTS.get(kind))


ZOO = ZooList("validation", zoo, Cut(8, 8))
SMALL = ZooList("validation-small", small_zoo, Cut(4, 6))
ASIDE = ZooList("validation-aside", aside, Cut(7, 9, last=True), judges_only=True)
