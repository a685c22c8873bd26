"""What a model makes of the prompts: models, plants, tokens and activations, a partition a model.

One step does all four, because they share the model in memory: it is loaded once a run, and only if something is to be
done. How activations are taken is in `extract`.
"""

from functools import cached_property

import dagster as dg
import pyarrow as pa

from dagster_project import fingerprints
from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import RETRIES, Landing, Reports, contract_check, failing_clearly, land, upstream
from dagster_project.progress import Progress
from extract.models import LoadedModel, ModelEntry, describe, load_model, model_fingerprint, plants_table
from warehouse.store import Commit, Store
from warehouse.tables import table

TABLES = ["models", "plants", "tokens", "activations"]
_DEPENDS = {"plants": ["models"], "tokens": ["models", "prompts"], "activations": ["tokens", "prompts"]}
_KINDS = {"activations": {"torch", "huggingface", "parquet"}, "tokens": {"huggingface", "parquet"}}


@dg.multi_asset(
    name="extraction",
    specs=[
        dg.AssetSpec(
            name,
            description=table(name).doc,
            group_name="extraction",
            kinds=_KINDS.get(name, {"python", "parquet"}),
            deps=_DEPENDS.get(name, []),
        )
        for name in TABLES
    ],
    check_specs=[contract_check(name) for name in TABLES],
    partitions_def=MODELS,
    can_subset=True,
    pool="gpu",
    retry_policy=RETRIES,
)
def extraction(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Run the model over all prompts that it has not seen."""
    with failing_clearly():
        work = Extraction(warehouse, settings, progress, context.partition_key)
        fill = {"models": work.models, "plants": work.plants, "tokens": work.tokens, "activations": work.activations}
        for name in TABLES:
            if dg.AssetKey(name) in context.selected_asset_keys:
                yield from land(warehouse.store, name, fill[name])


class Extraction:
    """One model's pass over the concepts; holds the model once it is loaded."""

    def __init__(self, warehouse: Warehouse, settings: Settings, progress: Progress, slug: str) -> None:
        self._store: Store = warehouse.store
        self._settings = settings
        self._progress = progress
        self._entry: ModelEntry = warehouse.model(slug, settings.model_folder)
        self._concepts = warehouse.library(settings.concepts).names
        self._fingerprint = model_fingerprint(self._entry)

    @cached_property
    def _loaded(self) -> LoadedModel:
        import torch

        device = self._settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        with self._progress.stage(f"{self._entry.slug}: load", 1, "model") as advance:
            loaded = load_model(self._entry, device=device, dtype=self._settings.dtype)
            advance(1)
        return loaded

    def models(self, landing: Landing) -> None:
        """The model's row; a model that was here before keeps the time at which it landed."""
        slug = self._entry.slug
        expected = fingerprints.models(self._fingerprint, str(self._entry.path), self._settings.dtype)
        if landing.is_current(expected, model=slug):
            return
        row = describe(self._loaded)
        if self._store.footer("models", model=slug) is not None:
            before = self._store.read("models", model=slug)
            if before["fingerprint"].equals(row["fingerprint"]):
                place = row.schema.get_field_index("landed_at")
                row = row.set_column(place, row.schema.field(place), before["landed_at"])
        landing.wrote(self._write("models", row, expected))

    def plants(self, landing: Landing) -> None:
        """The planted layers that the model's card tells."""
        rows = plants_table(self._entry)
        expected = fingerprints.plants(rows.to_pylist())
        if not landing.is_current(expected, model=self._entry.slug):
            landing.wrote(self._write("plants", rows, expected))

    def tokens(self, landing: Landing) -> None:
        """Every concept's prompts under the model's tokenizer."""
        for concept in self._concepts:
            expected = fingerprints.tokens(self._fingerprint, upstream(self._store, "prompts", concept=concept))
            if landing.is_current(expected, model=self._entry.slug, concept=concept):
                continue
            from extract.extraction import tokens_table

            rows = tokens_table(self._loaded, self._store.read("prompts", concept=concept))
            landing.wrote(self._write("tokens", rows, expected, concept=concept))

    def activations(self, landing: Landing) -> None:
        """Every concept's prompts through the model."""
        for concept in self._concepts:
            prompts = upstream(self._store, "prompts", concept=concept)
            expected = fingerprints.activations(self._fingerprint, prompts, self._settings.dtype)
            if not landing.is_current(expected, model=self._entry.slug, concept=concept):
                self._sweep(landing, concept, expected)

    def _sweep(self, landing: Landing, concept: str, expected: str) -> None:
        from extract.extraction import activation_rows, extract_activations

        prompts = self._store.read("prompts", concept=concept)
        layers, title = self._loaded.layers, f"{self._entry.slug}, {concept}: forwards"
        with (
            self._progress.stage(title, prompts.num_rows, "prompts") as advance,
            self._store.writer(
                "activations",
                fingerprint=expected,
                rows=activation_rows(prompts.num_rows, layers),
                revision=self._fingerprint,
                width=self._loaded.width,
                model=self._entry.slug,
                concept=concept,
            ) as writer,
        ):
            for rows in extract_activations(
                self._loaded,
                prompts,
                token_budget=self._settings.token_budget,
                progress=lambda count: advance(count / (layers + 1)),
            ):
                writer.add(rows)
        landing.wrote(writer.commit, forwards=prompts.num_rows)

    def _write(self, name: str, rows: pa.Table, expected: str, **keys: str) -> Commit:
        return self._store.write(
            name, rows, fingerprint=expected, revision=self._fingerprint, model=self._entry.slug, **keys
        )
