"""One model in a run: which of its partitions are stale, what they are filled from, and the model while it is needed.

Belongs here: reading what a table is made from, its fingerprint, and calling what fills it. How rows are computed is in
`extract`, which is imported only when there is something to do, because it brings torch along.
"""

from contextlib import AbstractContextManager, ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING

import pyarrow as pa

from dagster_project import fingerprints
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.fitting import check_fits
from dagster_project.landing import Landing, upstream
from dagster_project.progress import Advance, Progress
from extract.interventions import read_lesions, read_patches, read_size
from extract.kinds import kind_in, unmeasured
from extract.loading import LoadedModel, describe, load_model, offload_place
from extract.models import ModelEntry, model_fingerprint, plants_table
from extract.quantizing import has_gradients
from extract.untrained import compared, pairs_among
from warehouse.store import Commit, Store, Writer
from warehouse.tables import table

if TYPE_CHECKING:
    from extract.extraction import Subject, Wanted
    from extract.machine import Machine
    from extract.tokenization import Tokenized

SWEPT = ("activations", "first_tokens", "contributions", "lesions", "patches")
"""The tables that one sweep fills."""

_LIBRARY = ("prompts", "terms", "labels")


def _divided(advance: Advance, parts: int, count: int) -> None:
    advance(count / parts)


class Measuring:
    """Fills the tables of one model; holds the model once it is loaded."""

    def __init__(self, warehouse: Warehouse, settings: Settings, progress: Progress, slug: str) -> None:
        self._store: Store = warehouse.store
        self._settings = settings
        self._progress = progress
        self._entry: ModelEntry = warehouse.model(slug, settings.model_folder)
        self._offloaded = warehouse.offload_folder(slug, settings.offload_folder)
        self._concepts = warehouse.library(settings.concepts).names
        self._fingerprint = model_fingerprint(self._entry)
        self._unmeasured = unmeasured(kind_in(self._entry.path))
        self._lesions = read_lesions(settings.lesions)
        self._patches = read_patches(settings.sites)
        self._tried: tuple[Machine, bool] | None = None
        self._split: dict[str, Tokenized] = {}

    @cached_property
    def _loaded(self) -> LoadedModel:
        import torch

        device = self._settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
        placement = "none" if self._entry.is_untrained else self._settings.placement
        if not self._settings.even_if_it_may_not_fit:
            prompts = {concept: self._prompts(concept).num_rows for concept in self._concepts}
            where = placement or self._entry.placement
            check_fits(self._entry, self._settings, self._store, prompts, device=device, placement=where)
        with self._progress.stage(f"{self._entry.slug}: load", 1, "model") as advance:
            loaded = load_model(
                self._entry,
                device=device,
                dtype=self._settings.dtype,
                device_map=placement,
                offload_folder=offload_place(self._entry, placement, self._offloaded),
            )
            advance(1)
        return loaded

    def models(self, landing: Landing) -> None:
        """The model's row; a model that was here before keeps the time at which it landed."""
        slug = self._entry.slug
        expected = fingerprints.models(self._fingerprint, self._entry.source, self._settings.dtype)
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

    def unmeasured(self, landing: Landing) -> None:
        """What does not apply to the model, by its config: a fact about it, not a gap in the run."""
        expected = fingerprints.unmeasured(self._unmeasured)
        if not landing.is_current(expected, model=self._entry.slug):
            rows = [{"table_name": name, "reason": reason} for name, reason in sorted(self._unmeasured.items())]
            found = pa.Table.from_pylist(rows, schema=table("unmeasured").schema())
            landing.wrote(self._write("unmeasured", found, expected))

    def tokens(self, landing: Landing) -> None:
        """Every concept's prompts under the model's tokenizer."""
        for concept in self._concepts:
            expected = fingerprints.tokens(self._fingerprint, upstream(self._store, "prompts", concept=concept))
            if not landing.is_current(expected, model=self._entry.slug, concept=concept):
                landing.wrote(self._write("tokens", self._tokenized(concept).table, expected, concept=concept))

    def pair_tokens(self, landing: Landing) -> None:
        """What becomes of every pair under the model's tokenizer."""
        for concept in self._concepts:
            expected = fingerprints.pair_tokens(
                self._fingerprint,
                upstream(self._store, "prompts", concept=concept),
                upstream(self._store, "pairs", concept=concept),
            )
            if landing.is_current(expected, model=self._entry.slug, concept=concept):
                continue
            from extract.pairing import pair_tokens

            prompts = self._prompts(concept)
            pairs = self._store.read("pairs", concept=concept)
            if self._entry.is_untrained:
                pairs = pairs_among(prompts, pairs)
            rows = pair_tokens(pairs, prompts, self._tokenized(concept))
            landing.wrote(self._write("pair_tokens", rows, expected, concept=concept))

    def sweep(self, landings: dict[str, Landing]) -> None:
        """What a sweep fills, of every concept: all that is stale, in one sweep."""
        for name, landing in landings.items():
            landing.not_measured = self._unmeasured.get(name)
        for concept in self._concepts:
            keys = {"model": self._entry.slug, "concept": concept}
            expected = {name: self._expected(name, concept) for name in landings}
            if not self._settings.contributions and self._store.footer("contributions", **keys) is None:
                expected.pop("contributions", None)
            stale = [
                name
                for name, landing in landings.items()
                if name in expected and not landing.is_current(expected[name], **keys)
            ]
            if stale:
                self._sweep(concept, {name: expected[name] for name in stale}, landings)

    def saliency(self, landing: Landing) -> None:
        """The gradients of a sample of every concept's prompts; weights held in a few bits have none."""
        if not has_gradients(self._entry):
            title = f"{self._entry.slug}: no gradients, for its weights are held in {self._entry.quantization}"
            with self._progress.stage(title, 0, "prompts"):
                return
        landing.not_measured = self._unmeasured.get("saliency")
        for concept in self._concepts:
            expected = self._expected("saliency", concept)
            if landing.is_current(expected, model=self._entry.slug, concept=concept):
                continue
            from extract.extraction import threads
            from extract.saliency import extract_saliency, saliency_rows

            sample = self._samples(concept)
            tokenized = self._tokens_of(concept, sample)
            pairs = self._store.read("pair_tokens", model=self._entry.slug, concept=concept)
            title, passes = f"{self._entry.slug}, {concept}: gradients", 2 * self._loaded.layers
            with (
                threads(self._loaded),
                self._progress.stage(title, sample.num_rows, "prompts") as advance,
                self._writer("saliency", expected, saliency_rows(self._loaded, tokenized, pairs), concept) as writer,
            ):
                for rows in extract_saliency(
                    self._loaded,
                    sample,
                    tokenized,
                    pairs,
                    token_budget=self._settings.token_budget,
                    progress=partial(_divided, advance, passes),
                ):
                    writer.add(rows)
            landing.wrote(writer.commit, forwards=sample.num_rows)

    def responses(self, landing: Landing) -> None:
        """The answers to a sample of every concept's prompts, intact and under each layer's lesion."""
        landing.not_measured = self._unmeasured.get("responses")
        for concept in self._concepts:
            expected = self._expected("responses", concept)
            if landing.is_current(expected, model=self._entry.slug, concept=concept):
                continue
            if "responses" in self._unmeasured:
                nothing = table("responses").schema().empty_table()
                landing.wrote(self._write("responses", nothing, expected, concept=concept))
                continue
            from extract.answers import extract_responses
            from extract.extraction import threads

            sample = self._sample(concept, self._settings.answers) if self._settings.answers else None
            asked = self._store.read("prompts", concept=concept).slice(0, 0) if sample is None else sample
            count = asked.num_rows
            with (
                threads(self._loaded),
                self._progress.stage(f"{self._entry.slug}, {concept}: answers", count, "prompts") as advance,
                self._writer("responses", expected, count * (self._loaded.layers + 1), concept) as writer,
            ):
                for rows in extract_responses(
                    self._loaded,
                    asked,
                    new_tokens=self._settings.new_tokens,
                    token_budget=self._settings.token_budget,
                    progress=advance,
                ):
                    writer.add(rows)
            landing.wrote(writer.commit, forwards=count * (self._loaded.layers + 1))

    def _sweep(self, concept: str, expected: dict[str, str], landings: dict[str, Landing]) -> None:
        from extract.extraction import prompts_swept, row_counts, run_sweep

        subject, wanted = self._subject(concept, expected), self._wanted(expected)
        rows, prompts = row_counts(subject, wanted, self._loaded.layers), prompts_swept(subject, wanted)
        title = f"{self._entry.slug}, {concept}: {', '.join(name for name in expected if rows[name]) or 'nothing'}"
        with ExitStack() as closing:
            advance = closing.enter_context(self._progress.stage(title, prompts, "prompts"))
            writers: dict[str, Writer] = {
                name: closing.enter_context(self._writer(name, fingerprint, rows[name], concept))
                for name, fingerprint in expected.items()
            }
            run_sweep(
                self._loaded,
                self._machine(parts=wanted.needs_parts),
                subject,
                wanted,
                lambda name, found: writers[name].add(found),
                seed=self._settings.seed,
                token_budget=self._settings.token_budget,
                memory=None if self._settings.memory is None else read_size(self._settings.memory),
                progress=lambda share: advance(share * prompts),
            )
        for name, writer in writers.items():
            landings[name].wrote(writer.commit, forwards=prompts if name == next(iter(writers)) else 0)

    def _machine(self, *, parts: bool) -> "Machine":
        """The model ready to be swept; tried out once, and once more if parts are wanted only later."""
        if self._tried is None or (parts and not self._tried[1]):
            from extract.machine import make_machine

            self._tried = make_machine(self._loaded.model, parts=parts), parts
        return self._tried[0]

    def _wanted(self, stale: dict[str, str]) -> "Wanted":
        from extract.extraction import Wanted

        made = stale.keys() - self._unmeasured.keys()
        return Wanted(
            activations="activations" in made,
            first_tokens="first_tokens" in made,
            contributions="contributions" in made,
            lesions=self._lesions if "lesions" in made else (),
            patches=self._patches if "patches" in made else (),
        )

    def _subject(self, concept: str, stale: dict[str, str]) -> "Subject":
        from extract.extraction import Subject
        from extract.sampling import sample_pairs

        prompts = self._prompts(concept)
        pairs = table("pair_tokens").schema().empty_table()
        if "patches" in stale:
            fates = self._store.read("pair_tokens", model=self._entry.slug, concept=concept)
            terms = self._store.read("terms", concept=concept)
            pairs = sample_pairs(fates, prompts, terms=terms, count=self._settings.sample, seed=self._settings.seed)
        sample = self._samples(concept) if "lesions" in stale else prompts.slice(0, 0)
        return Subject(prompts, self._tokenized(concept), sample, pairs)

    def _samples(self, concept: str) -> pa.Table:
        """The prompts that are intervened on, some of held-out templates behind the others."""
        return pa.concat_tables([self._sample(concept, count, held_out=held_out) for held_out, count in self._counts()])

    def _counts(self) -> list[tuple[bool, int]]:
        """How many prompts or pairs are drawn, from templates that are held out or not; held-out ones only if asked."""
        held_out = self._settings.held_out
        return [(False, self._settings.sample), *([(True, held_out)] if held_out else [])]

    def _sample(self, concept: str, count: int, *, held_out: bool = False) -> pa.Table:
        from extract.sampling import sample_prompts

        prompts = self._prompts(concept)
        terms, labels = (self._store.read(name, concept=concept) for name in ("terms", "labels"))
        tokens = self._store.read("tokens", model=self._entry.slug, concept=concept)
        return sample_prompts(
            prompts, labels, tokens, terms=terms, count=count, seed=self._settings.seed, held_out=held_out
        )

    def _prompts(self, concept: str) -> pa.Table:
        """A concept's prompts; of an untrained twin those that it is compared on."""
        prompts = self._store.read("prompts", concept=concept)
        return compared(prompts, self._store.read("terms", concept=concept)) if self._entry.is_untrained else prompts

    def _tokenized(self, concept: str) -> "Tokenized":
        """A concept's prompts as tokens, split once a run."""
        if concept not in self._split:
            from extract.extraction import split

            self._split[concept] = split(self._loaded, self._prompts(concept))
        return self._split[concept]

    def _tokens_of(self, concept: str, sample: pa.Table) -> "Tokenized":
        from extract.extraction import rows_of

        tokenized = self._tokenized(concept)
        return tokenized.take(rows_of(sample, tokenized.table).tolist())

    def _expected(self, name: str, concept: str) -> str:
        """The fingerprint that a table's partition would have if it were made now."""
        settings, prompts = self._settings, upstream(self._store, "prompts", concept=concept)
        if name == "activations":
            return fingerprints.activations(self._fingerprint, prompts, settings.dtype)
        if name == "first_tokens":
            return fingerprints.first_tokens(self._fingerprint, prompts, settings.dtype)
        if name == "contributions":
            return fingerprints.contributions(self._fingerprint, prompts, settings.dtype)
        read = (*_LIBRARY, "pairs") if name in {"patches", "saliency"} else _LIBRARY
        library = {table: upstream(self._store, table, concept=concept) for table in read}
        chosen: dict[str, object] = {
            "dtype": settings.dtype,
            "seed": settings.seed,
            "sample": settings.sample,
            "held_out": settings.held_out,
        }
        if name == "lesions":
            chosen["lesions"] = [[lesion.kind, lesion.part] for lesion in self._lesions]
        elif name == "patches":
            chosen["patches"] = [[patch.site, patch.position] for patch in self._patches]
        elif name == "responses":
            chosen |= {"sample": settings.answers, "held_out": 0, "new_tokens": settings.new_tokens}
        return fingerprints.interventions(name, self._fingerprint, library, chosen)

    def _writer(self, name: str, expected: str, rows: int, concept: str) -> AbstractContextManager[Writer]:
        return self._store.writer(
            name,
            fingerprint=expected,
            rows=rows,
            revision=self._fingerprint,
            width=self._loaded.width,
            model=self._entry.slug,
            concept=concept,
        )

    def _write(self, name: str, rows: pa.Table, expected: str, **keys: str) -> Commit:
        return self._store.write(
            name, rows, fingerprint=expected, revision=self._fingerprint, model=self._entry.slug, **keys
        )
