"""The planted zoo: which small models are made to judge the techniques, and what must be proved of each.

In each planted model it is known where a fact sits: in one layer, in a block of two, in the MLP of an early layer at
the term's tokens, or in all layers at once, where the right answer is "not localised". Untrained models and bases that
never met the facts hold none. Belongs here: the list of models, their recipes and bounds, and the command
`python -m extract.zoo`. How one is trained is in `zoo_training`, what all share in `zoo_bases`, many at once in
`zoo_jobs`. The planted model that comes with the project is made in `planting`.
"""

from dataclasses import dataclass, replace

from extract.anatomy import Shape
from extract.corpus import relation_name
from extract.grafting import Graft
from extract.lessons import Mixture
from extract.training import Course

ONE_LAYER = "one layer"
BLOCK = "block of two"
MLP = "mlp at term"
SEVERAL = "several concepts"
SPREAD = "spread"
PLANT_KINDS = (ONE_LAYER, BLOCK, MLP, SEVERAL, SPREAD)

UNTRAINED = "untrained"
UNKNOWN = "unknown"
EMPTY_KINDS = (UNTRAINED, UNKNOWN)
"""Kinds without a fact: random weights, and a base to which the relations were never told."""

BASE, STRANGERS_BASE = "base", "base with strangers"

RELATIONS = {"symptoms": "system", "diseases": "category", "drugs": "specialty"}
"""The relations that are planted, by concept."""

_WORDS = Mixture(own=0.8, noisy=0.1, most_noise=0.3, answer_weight=8.0, text_weight=1.0)
_LAYER = Graft(steps=400, batch=40, others=14, rate=0.05, mixture=_WORDS)
_GRAFTS = {
    ONE_LAYER: _LAYER,
    BLOCK: replace(_LAYER, steps=240),
    MLP: replace(_LAYER, steps=460, mlp_only=True, at_term=True),
    SEVERAL: _LAYER,
    SPREAD: replace(_LAYER, steps=260, rate=0.02, left_out=3),
}
_SHAPE = Shape(width=64, inner=256, vocabulary=1400)
_BASE = Course(epochs=40, sentences=700, rate=4e-3, layer_rates=(), mixture=Mixture(text_weight=0.4, text_share=0.4))
_STRANGERS_BASE = replace(_BASE, sentences=900)

_SMALL_SHAPE = replace(_SHAPE, layers=4, vocabulary=900)
_SMALL_BASE = replace(_BASE, sentences=300, warm_steps=20)


@dataclass(frozen=True)
class Bounds:
    """What a model of the zoo is held to; recall is measured on the taught templates, which maps are read from.

    Attributes:
        least_recall: of each planted relation, and in a base of each relation that it was told.
        most_reverted: recall of a plant with all of its layers put back, and of what was never told; chance is 1/8.
        least_lost: what a block's plant loses by putting back either layer alone.
        least_elsewhere: recall of a plant in an MLP whose old weights act at all tokens but the term's.
        most_lost: what a spread plant may lose by putting back any one layer.
        most_moved: by how much the recall of any other relation may change by putting a plant's layers back.
    """

    least_recall: float = 0.9
    most_reverted: float = 0.25
    least_lost: float = 0.25
    least_elsewhere: float = 0.8
    most_lost: float = 0.15
    most_moved: float = 0.15


_BOUNDS = Bounds()
_SMALL_BOUNDS = replace(_BOUNDS, most_reverted=0.45, most_moved=0.25)
"""Of four labels and 24 terms: chance is 1/4, and each of them moves a recall by 0.04."""


@dataclass(frozen=True)
class ZooPlant:
    """A relation, and the layers that shall hold it, from low to high."""

    concept: str
    layers: tuple[int, ...]

    @property
    def labelling(self) -> str:
        """The labelling of the concept that is planted."""
        return RELATIONS[self.concept]

    @property
    def relation(self) -> str:
        """The name of the relation."""
        return relation_name(self.concept, self.labelling)


@dataclass(frozen=True)
class ZooModel:
    """One model of the zoo; models of the same shape, course and seed share a base.

    Attributes:
        seed: of the base's weights and sentences.
        graft: how each plant is trained; None where there is none.
    """

    kind: str
    seed: int
    plants: tuple[ZooPlant, ...] = ()
    shape: Shape = _SHAPE
    course: Course = _BASE
    graft: Graft | None = None
    bounds: Bounds = _BOUNDS

    @property
    def meets_strangers(self) -> bool:
        """Whether the base is told the planted relations of made-up names.

        Frozen layers that never read a label from a term's tokens can't read one that an MLP below them puts there.
        """
        return self.kind in {MLP, STRANGERS_BASE}

    @property
    def base(self) -> str:
        """The name of the base's folder."""
        return f"l{self.shape.layers}-s{self.seed}{'-strangers' if self.meets_strangers else ''}"

    @property
    def slug(self) -> str:
        """The name of the model's folder."""
        if self.kind in EMPTY_KINDS:
            return f"{self.kind}-l{self.shape.layers}-s{self.seed}"
        kind = self.kind.split()[0]
        if self.kind == SPREAD:
            places = [plant.concept for plant in self.plants]
        else:
            places = ["-".join(map(str, (plant.concept, *plant.layers))) for plant in self.plants]
        return "-".join((kind, f"l{self.shape.layers}", *places, f"s{self.seed}"))


def zoo() -> tuple[ZooModel, ...]:
    """Every model of the zoo: concepts, layers, depths and seeds of each kind."""
    concepts = tuple(RELATIONS)
    turns = list(enumerate(concepts))
    return (
        *(
            _planted(ONE_LAYER, 8, (layer + turn) % 3, {concept: (layer,)})
            for layer in range(1, 7)
            for turn, concept in turns
        ),
        *(
            _planted(ONE_LAYER, 12, (layer + turn) % 2, {concept: (layer + turn,)})
            for layer in (2, 6)
            for turn, concept in turns
        ),
        *(
            _planted(BLOCK, 8, turn, {concept: (layer + turn, layer + turn + 1)})
            for layer in (1, 3)
            for turn, concept in turns
        ),
        *(_planted(BLOCK, 12, turn % 2, {concept: (3 + 2 * turn, 4 + 2 * turn)}) for turn, concept in turns),
        *(
            _planted(MLP, layers, 1 if layers == 8 else 0, {concept: (layer,)})
            for layers, concept, layer in (
                (8, "drugs", 1),
                (12, "drugs", 2),
                (8, "drugs", 2),
                (8, "drugs", 3),
            )
        ),
        _planted(SEVERAL, 8, 0, {"symptoms": (2,), "drugs": (5,)}),
        _planted(SEVERAL, 8, 1, {"diseases": (3,), "symptoms": (6,)}),
        _planted(SEVERAL, 8, 2, {"symptoms": (2,), "diseases": (4,), "drugs": (6,)}),
        _planted(SEVERAL, 12, 0, {"drugs": (3,), "diseases": (8,)}),
        _planted(SEVERAL, 12, 1, {"diseases": (2,), "drugs": (6,), "symptoms": (9,)}),
        *(
            _planted(SPREAD, layers, turn % (2 if layers > 8 else 3), {concept: tuple(range(1, layers))})
            for layers in (8, 12)
            for turn, concept in turns
        ),
        *(_empty(kind, layers, seed) for kind in EMPTY_KINDS for layers in (8, 12) for seed in (0, 1)),
    )


def small_zoo() -> tuple[ZooModel, ...]:
    """A planted model of four layers and one with random weights: all that follows can be tried on them in a minute.

    They are taught a library of `SMALL_LIBRARY`, which half a minute is enough for.
    """
    plant = ZooPlant("drugs", (2,))
    graft = replace(_LAYER, steps=120)
    return (
        ZooModel(ONE_LAYER, 0, (plant,), _SMALL_SHAPE, _SMALL_BASE, graft, _SMALL_BOUNDS),
        ZooModel(UNTRAINED, 0, shape=_SMALL_SHAPE, course=_SMALL_BASE, bounds=_SMALL_BOUNDS),
    )


def _planted(kind: str, layers: int, seed: int, places: dict[str, tuple[int, ...]]) -> ZooModel:
    plants = tuple(ZooPlant(concept, held) for concept, held in places.items())
    course = _STRANGERS_BASE if kind == MLP else _BASE
    return ZooModel(kind, seed, plants, replace(_SHAPE, layers=layers), course, _GRAFTS[kind])


def _empty(kind: str, layers: int, seed: int) -> ZooModel:
    return ZooModel(kind, seed, shape=replace(_SHAPE, layers=layers))


if __name__ == "__main__":
    from extract.zoo_jobs import main

    raise SystemExit(main())
