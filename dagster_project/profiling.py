"""Profiles of one model and concept, from its tables: which are read, when they are stale, and in which order.

Belongs here: the glue of the asset `profiles`. What is measured is in `analyses`, which is imported only when there is
something to do: it brings compilers along.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import Landing, refill
from extract.job.progress import Progress
from extract.job.tally import upstream
from warehouse import fingerprints
from warehouse.store import Store
from warehouse.tables import table
from warehouse.twins import is_twin, twin_slug

if TYPE_CHECKING:
    from analyses.effects import MeasuredConcept
    from analyses.projection import Layers
    from analyses.rivals import Rival
    from analyses.series import Profile
    from analyses.term_numbers import TermNumber

EFFECTS = ("lesions", "patches", "saliency")

_LABELLED = ("terms", "labels")
_LIBRARY = ("prompts", "frequencies", *_LABELLED)


@dataclass(frozen=True)
class Profiling:
    """What profiles of one model are made with."""

    warehouse: Warehouse
    settings: Settings
    progress: Progress
    model: str

    def fill(self, landings: dict[str, Landing]) -> None:
        """Write the profiles of every concept that changed; controls first: others are read against them."""
        library = self.warehouse.library(self.settings.concepts)
        for concept in sorted(library.concepts, key=lambda each: each.role != "control"):
            self._fill(concept.name, landings)

    def _fill(self, concept: str, landings: dict[str, Landing]) -> None:
        keys = {"model": self.model, "concept": concept}
        inputs = self.inputs(concept)
        expected = {
            name: fingerprints.profiles(
                name, inputs, self.settings.seed, self.settings.resamples, self.settings.permutations
            )
            for name in landings
        }

        def make() -> dict[str, pa.Table]:
            from analyses.contrasts import drawn_metrics
            from analyses.rivals import rivals_table
            from analyses.series import draws_table, profiles_table

            found, rivals = self._profiles(concept, is_drawn=inputs["projections"] is not None)
            jumped, staged = self._courses(concept, found)
            return {
                "profiles": profiles_table(found),
                "profile_draws": draws_table(found, drawn_metrics(), self.settings.resamples),
                "rivals": rivals_table(rivals),
                "jumps": jumped,
                "stage_circles": staged,
            }

        refill(landings, expected, make, **keys)

    def inputs(self, concept: str) -> dict[str, str | None]:
        """The fingerprints of all that profiles are made from; projections count only while they are current.

        What lesions and gradients do is read against the control concepts, and activations against those and against
        an untrained twin, so theirs count too.
        """
        store = self.warehouse.store
        inputs: dict[str, str | None] = {name: upstream(store, name, concept=concept) for name in _LIBRARY}
        inputs["tokens"] = upstream(store, "tokens", model=self.model, concept=concept)
        for name in ("activations", "first_tokens"):
            inputs[name] = upstream(store, name, model=self.model, concept=concept)
        drawn = projections_fingerprint(self.warehouse, self.settings, self.model, concept)
        current = store.is_current("projections", drawn, model=self.model, concept=concept)
        inputs["projections"] = drawn if current else None
        for name in EFFECTS:
            for each in [concept, *self._controls(name, concept)]:
                footer = store.footer(name, model=self.model, concept=each)
                inputs[f"{name} of {each}"] = footer.fingerprint if footer else None
        for model, each in self._compared(concept):
            footer = store.footer("profile_draws", model=model, concept=each)
            inputs[f"profile_draws of {model}, {each}"] = footer.fingerprint if footer else None
        return inputs

    def _compared(self, concept: str) -> list[tuple[str, str]]:
        """Models and concepts whose profiles of activations are read beside: the controls, and the untrained twin.

        A control is not read against the other controls: which of them came first would tell.
        """
        library = self.warehouse.library([])
        controls = [each.name for each in library.concepts if each.role == "control"]
        twins = [] if is_twin(self.model) else [(twin_slug(self.model), concept)]
        return twins + [(self.model, each) for each in controls if concept not in controls]

    def _profiles(self, concept: str, *, is_drawn: bool) -> tuple[list["Profile"], list["Rival"]]:
        from analyses.profiles import activation_profiles
        from analyses.projection import DIMENSIONS

        store, settings = self.warehouse.store, self.settings
        pictures = table("projections").schema(DIMENSIONS).empty_table()
        if is_drawn:
            pictures = store.read("projections", model=self.model, concept=concept)
        title = f"{self.model}, {concept}: profiles"
        with self.progress.stage(title, model_layers(self.warehouse, self.model) + 1, "layers") as advance:
            found = activation_profiles(
                store.layers("activations", model=self.model, concept=concept),
                prompts_run(store, self.model, concept),
                store.read("terms", concept=concept),
                store.read("labels", concept=concept),
                pictures,
                seed=settings.seed,
                resamples=settings.resamples,
                permutations=settings.permutations,
                progress=lambda _: advance(1),
            )
        numbers = self._numbers(concept)
        rivals, left = self._against_rivals(concept, found, numbers)
        return [*found, *left, *self._collapse(concept), *self._effects(concept, numbers)], rivals

    def _courses(self, concept: str, found: list["Profile"]) -> tuple[pa.Table, pa.Table]:
        """Ages and stages, where the concept has any; their profiles join those that were found."""
        from analyses.age_profiles import age_profiles
        from analyses.jump_tables import jump_profiles, jumps
        from analyses.stage_profiles import stage_circles

        if is_twin(self.model):
            return table("jumps").schema().empty_table(), table("stage_circles").schema().empty_table()
        store, settings = self.warehouse.store, self.settings
        prompts = prompts_run(store, self.model, concept)
        terms, labels = (store.read(name, concept=concept) for name in _LABELLED)
        tokens = store.read("tokens", model=self.model, concept=concept)
        seed, resamples, permutations = settings.seed, settings.resamples, settings.permutations

        def layers() -> "Layers":
            return store.layers("activations", model=self.model, concept=concept)

        jumped = jumps(layers(), prompts, terms, labels, tokens, seed=seed, permutations=permutations)
        stages = stage_circles(layers(), prompts, terms, labels, seed=seed, permutations=permutations)
        found += age_profiles(
            layers(), prompts, terms, labels, seed=seed, resamples=resamples, permutations=permutations
        )
        found += jump_profiles(jumped, seed=seed, resamples=resamples, permutations=permutations)
        found += stages.profiles
        return jumped, stages.table

    def _collapse(self, concept: str) -> list["Profile"]:
        """How far all terms lie together, with and without the first token; of a twin nobody asks."""
        if is_twin(self.model):
            return []
        from analyses.collapse_profiles import collapse_profiles

        store = self.warehouse.store
        return collapse_profiles(
            store.layers("activations", model=self.model, concept=concept),
            store.read("first_tokens", model=self.model, concept=concept),
            prompts_run(store, self.model, concept),
            store.read("terms", concept=concept),
            store.read("tokens", model=self.model, concept=concept),
            seed=self.settings.seed,
            resamples=self.settings.resamples,
        )

    def _against_rivals(
        self, concept: str, found: list["Profile"], numbers: "Sequence[TermNumber]"
    ) -> tuple[list["Rival"], list["Profile"]]:
        """What rivals make of labels, and what is left over them; nothing of twins."""
        if is_twin(self.model):
            return [], []
        from analyses.rivals import rival_profiles, rivals_of
        from analyses.series import series_of

        store, settings = self.warehouse.store, self.settings
        terms, labels = (store.read(name, concept=concept) for name in ("terms", "labels"))
        draws = {"seed": settings.seed, "resamples": settings.resamples, "permutations": settings.permutations}
        rivals = rivals_of(found, terms, labels, numbers, **draws)
        compared = {}
        for model, each in self._compared(concept):
            if store.footer("profile_draws", model=model, concept=each) is not None:
                kept = store.read("profile_draws", model=model, concept=each)
                # Those of a run with another number of resamples can't be paired with ours.
                if kept.schema.field("draws").type.list_size == settings.resamples:
                    compared[model, each] = series_of(kept)
        untrained = compared.pop((twin_slug(self.model), concept), None)
        return rivals, rival_profiles(found, rivals, list(compared.values()), untrained)

    def _effects(self, concept: str, numbers: "Sequence[TermNumber]") -> Iterator["Profile"]:
        """Profiles of what lesions, patches and gradients did, as far as they are there."""
        from analyses.effect_correlations import effect_correlations
        from analyses.lesion_profiles import lesion_profiles
        from analyses.patch_profiles import patch_profiles
        from analyses.saliency_profiles import saliency_profiles

        draws = {"seed": self.settings.seed, "resamples": self.settings.resamples}
        for name, profiled in (("lesions", lesion_profiles), ("saliency", saliency_profiles)):
            measured = [*self.measured_with_controls(name, concept)]
            if measured:
                yield from profiled(measured[0], measured[1:], permutations=self.settings.permutations, **draws)
                yield from effect_correlations(name, measured[0], numbers, **draws)
        patched = measured_concept(self.warehouse, "patches", self.model, concept)
        if patched is not None:
            yield from patch_profiles(patched, **draws)
            yield from effect_correlations("patches", patched, numbers, **draws)

    def _numbers(self, concept: str) -> "tuple[TermNumber, ...]":
        """The numbers that terms have before a model reads them."""
        from analyses.term_numbers import term_numbers

        store = self.warehouse.store
        return term_numbers(
            store.read("tokens", model=self.model, concept=concept), store.read("frequencies", concept=concept)
        )

    def _controls(self, name: str, concept: str) -> list[str]:
        """The control concepts that a concept is read against: all that the same weights were measured on."""
        footers = {
            each.name: self.warehouse.store.footer(name, model=self.model, concept=each.name)
            for each in self.warehouse.library([]).concepts
            if each.role == "control" or each.name == concept
        }
        own = footers.pop(concept, None)
        return [each for each, footer in footers.items() if own and footer and footer.revision == own.revision]

    def measured_with_controls(self, name: str, concept: str) -> Iterator["MeasuredConcept"]:
        """What a technique measured of a concept, then of its controls; nothing where the concept was not measured."""
        for each in [concept, *self._controls(name, concept)]:
            found = measured_concept(self.warehouse, name, self.model, each)
            if found is None:
                return
            yield found


def measured_concept(warehouse: Warehouse, name: str, model: str, concept: str) -> "MeasuredConcept | None":
    """A concept with what a technique measured of it; None where there is nothing."""
    from analyses.effects import MeasuredConcept

    store = warehouse.store
    if store.footer(name, model=model, concept=concept) is None:
        return None
    measured = store.read(name, model=model, concept=concept)
    return MeasuredConcept(
        concept, measured, store.read("prompts", concept=concept), store.read("terms", concept=concept)
    )


def prompts_run(store: Store, model: str, concept: str) -> pa.Table:
    """The prompts of a concept that went through a model: all, but of an untrained twin."""
    run = store.read("tokens", columns=["template", "term"], model=model, concept=concept)
    prompts = store.read("prompts", concept=concept)
    known, asked = (pc.binary_join_element_wise(rows["template"], rows["term"], "\n") for rows in (run, prompts))
    return prompts.filter(pc.is_in(asked, known))


def model_layers(warehouse: Warehouse, model: str) -> int:
    """Layers of a model, the embedding output not counted in."""
    rows: pa.Table = warehouse.store.read("models", columns=["layers"], model=model)
    return int(rows["layers"][0].as_py())


def projections_fingerprint(warehouse: Warehouse, settings: Settings, model: str, concept: str) -> str:
    """What the pictures of one model and concept would be made from now.

    Raises:
        InputError: activations, prompts or terms are not there.
    """
    return fingerprints.projections(**_points_inputs(warehouse.store, model, concept), seed=settings.seed)


def neighbours_fingerprint(warehouse: Warehouse, model: str, concept: str) -> str:
    """What the neighbours in one model and concept would be made from now; no setting changes them.

    Raises:
        InputError: activations, prompts or terms are not there.
    """
    return fingerprints.neighbours(**_points_inputs(warehouse.store, model, concept))


def _points_inputs(store: Store, model: str, concept: str) -> dict[str, str]:
    """What one point a term is made from: fingerprints, and the kind of templates."""
    return {
        "activations": upstream(store, "activations", model=model, concept=concept),
        "prompts": upstream(store, "prompts", concept=concept),
        "terms": upstream(store, "terms", concept=concept),
        "kind": drawn_kind(store, concept),
    }


def drawn_kind(store: Store, concept: str) -> str:
    """Asking templates where the concept has any to draw, neutral ones otherwise; a picture never mixes them."""
    prompts = store.read("prompts", columns=["template_kind", "held_out"], concept=concept)
    seen = pc.and_(pc.equal(prompts["template_kind"], "asking"), pc.invert(prompts["held_out"]))
    return "asking" if pc.any(seen).as_py() else "neutral"
