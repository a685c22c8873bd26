"""What a run is given: where things lie (`Warehouse`), and how much is measured (`Settings`).

Both are Dagster resources: `Warehouse` is fixed when the definitions are built, `Settings` can be set for each run, in
the UI's launchpad under `resources: settings: config`. How progress is shown is in `extract.job.progress`.
"""

import os
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import dagster as dg
from pydantic import Field

from extract.checking import check
from extract.inbox import INBOX, read_inbox, whole_models
from extract.job.plan import Plan
from extract.library import CONCEPTS, Library, load_library
from extract.loading import offload_folder
from extract.models import ModelEntry, load_registry, resolve
from warehouse.errors import ConceptError, ModelError
from warehouse.places import ObjectPlace, Place, place
from warehouse.store import Store
from warehouse.twins import is_twin, original_slug

PROJECT = Path(__file__).resolve().parents[2]
"""The folder of the project: `models.toml`, and by default the warehouse and Dagster's home, lie in it."""


DATA = Path("warehouse", "data")
"""Where in that folder the warehouse lies, unless another place is named."""


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the tables, the concept library and the registry of models lie."""

    root: str = Field(description="Folder of the warehouse, or its URL in an object store: one folder a table.")
    concepts: str = Field(default=str(CONCEPTS), description="Folder of the concept library.")
    models: str = Field(default=str(PROJECT / "models.toml"), description="File that registers the models.")
    inbox: str = Field(
        default="", description="Folder of models without an entry; by default `inbox` beside that file."
    )

    @classmethod
    def from_environment(
        cls, root: str | Path | None = None, concepts: Path | None = None, models: Path | None = None
    ) -> "Warehouse":
        """The places that are given; the others from VESALIUS_WAREHOUSE, _CONCEPTS, _MODELS, _INBOX, or by default."""
        inbox = os.environ.get("VESALIUS_INBOX")
        return cls(
            root=_root(root or os.environ.get("VESALIUS_WAREHOUSE") or PROJECT / DATA),
            concepts=_place(concepts, "VESALIUS_CONCEPTS", CONCEPTS),
            models=_place(models, "VESALIUS_MODELS", PROJECT / "models.toml"),
            inbox=str(Path(inbox).expanduser().absolute()) if inbox else "",
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make another process see the same places."""
        return {
            "VESALIUS_WAREHOUSE": self.root,
            "VESALIUS_CONCEPTS": self.concepts,
            "VESALIUS_MODELS": self.models,
            "VESALIUS_INBOX": str(self.inbox_folder),
        }

    @property
    def place(self) -> Path | ObjectPlace:
        """The root as a place: a folder, or one in an object store."""
        return place(self.root)

    @cached_property
    def store(self) -> Store:
        """The partitions."""
        return Store(self.place)

    @property
    def charts(self) -> Place:
        """The folder of charts."""
        return self.place / "charts"

    @property
    def inbox_folder(self) -> Path:
        """The folder that models are put in without an entry."""
        return Path(self.inbox) if self.inbox else Path(self.models).parent / INBOX

    def registry(self) -> dict[str, ModelEntry]:
        """The registered models, and those of the inbox that are whole, by slug.

        Raises:
            ModelError: the registry can't be read.
        """
        registered = load_registry(Path(self.models))
        return registered | whole_models(read_inbox(self.inbox_folder, registered))

    def offload_folder(self, slug: str, asked: str | None = None) -> Path:
        """Where the weights of a model may lie that neither a device nor the memory holds."""
        return offload_folder(Path(self.models), slug, asked)

    def library(self, only: list[str]) -> Library:
        """The concept library, narrowed to the concepts named, if any are.

        Raises:
            ConceptError: the library can't be read, or has no such concept.
        """
        library = load_library(Path(self.concepts))
        return library.select(only) if only else library

    def sound_library(self, only: list[str]) -> Library:
        """The same, once it is proved sound.

        Raises:
            ConceptError: as `library`, or the first fault of an unsound one.
        """
        library = self.library(only)
        faults = check(library)
        if faults:
            more = f" ({len(faults) - 1} more: `vesalius concepts check {self.concepts}`)" if len(faults) > 1 else ""
            raise ConceptError(f"{faults[0]}{more}")
        return library

    def model(self, slug: str, folder: str | None) -> ModelEntry:
        """The model of a partition: the folder that the run names, or what is registered under the slug, or its twin.

        Raises:
            ModelError: no folder is named and nothing is registered, or the folder goes by another name.
        """
        if is_twin(slug):
            return self.model(original_slug(slug), folder).twin()
        registry = self.registry()
        if folder is not None:
            entry = resolve(folder, registry)
            if entry.slug != slug:
                raise ModelError(f"{folder} is the model {entry.slug!r}, not {slug!r}: run it under that name.")
            return entry
        if slug not in registry:
            raise ModelError(
                f"{slug!r} is not registered in {self.models}, nor whole in {self.inbox_folder}. Add it with "
                f"`vesalius add PATH --slug {slug}`, or name its folder with `vesalius run --model PATH`."
            )
        return registry[slug]


class Settings(dg.ConfigurableResource):  # type: ignore[type-arg]
    """How much a run measures, and with which draws."""

    concepts: list[str] = Field(default=[], description="Narrow the run to these concepts; empty: all of the library.")
    model_folder: str | None = Field(default=None, description="Folder of a model that is not in the registry.")
    device: str | None = Field(default=None, description="Where the model runs; by default a GPU where there is one.")
    dtype: str | None = Field(
        default=None, description="float32 or bfloat16; by default what the model's config names."
    )
    placement: str | None = Field(
        default=None, description="Where weights lie: none, auto or offload; by default what the registry says."
    )
    offload_folder: str | None = Field(
        default=None, description="Where weights lie that neither device nor memory holds; by default build/offload."
    )
    token_budget: int | None = Field(
        default=None, ge=1, description="Tokens of one batch; by default as the device likes."
    )
    seed: int = Field(default=0, ge=0, description="Seed of layouts, resamples and permutations.")
    resamples: int = Field(default=1000, ge=1, description="Bootstrap resamples behind each interval.")
    permutations: int = Field(default=200, ge=1, description="Permutations of the labels behind each null.")
    lesions: list[str] = Field(
        default=["identity", "resample"], description="Lesions: KIND or KIND:PART, like identity or mean:mlp."
    )
    sites: list[str] = Field(
        default=["resid", "delta"], description="Patches: SITE or SITE:POSITION, like resid or attn_out:token."
    )
    contributions: bool = Field(default=False, description="Keep what attention and MLP add, as vectors.")
    sample: int = Field(
        default=160, ge=0, description="Prompts, and pairs, of a concept that are intervened on; 0: all that can be."
    )
    held_out: int = Field(
        default=40, ge=0, description="Prompts, and pairs, of held-out templates besides: for the map's stability."
    )
    answers: int = Field(default=12, ge=0, description="Prompts of a concept that are answered under each lesion.")
    new_tokens: int = Field(default=16, ge=1, description="Tokens of an answer at most.")
    judge_repeats: int = Field(default=100, ge=0, description="Answers of a concept that are judged twice.")
    memory: str | None = Field(
        default=None, description="What streams may take, like 24GB; by default half of what is free."
    )
    even_if_it_may_not_fit: bool = Field(
        default=False, description="Load a model though memory or disk seem too small for it."
    )

    @property
    def plan(self) -> Plan:
        """What of it concerns the extraction."""
        own = {field.name: getattr(self, field.name) for field in fields(Plan)}
        return Plan(**own | {"lesions": tuple(self.lesions), "sites": tuple(self.sites)})


def _root(given: str | Path) -> str:
    found = place(given)
    return str(found.expanduser().resolve() if isinstance(found, Path) else found)


def _place(given: Path | None, variable: str, default: Path) -> str:
    return str((given or Path(os.environ.get(variable) or default)).expanduser().resolve())
