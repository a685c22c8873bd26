"""One model in a run: which of its partitions are stale, calling what fills them, and the model while it is needed.

How rows are computed is in the rest of `extract`, which is imported only when there is something to do, because it
brings torch along. What tables are made from is in `material`; a shard of the work, in `shards`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING

import pyarrow as pa

from extract.interventions import read_size
from extract.job.fitting import check_fits
from extract.job.material import Material
from extract.job.progress import Advance, Progress
from extract.job.shards import folder_of, is_waiting, shard_store, stamp
from extract.job.tally import Tally
from extract.loading import LoadedModel, describe, load_model, offload_place
from extract.models import plants_table
from extract.shards import Shard
from extract.untrained import pairs_among
from warehouse import fingerprints
from warehouse.store import Commit, Writer
from warehouse.tables import table

if TYPE_CHECKING:
    from extract.batches import Batch
    from extract.extraction import Subject, Wanted
    from extract.machine import Machine
    from extract.tokenization import Tokenized

SWEPT = ("activations", "first_tokens", "contributions", "lesions", "patches")
"""The tables that one sweep fills."""

SHARED = (*SWEPT, "saliency", "responses")
"""The tables whose prompts can be shared out to several workers; the others cost no forward pass."""


def _divided(advance: Advance, parts: int, count: int) -> None:
    advance(count / parts)


class Measuring:
    """Fills the tables of one model; holds the model once it is loaded."""

    def __init__(
        self, material: Material, concepts: Sequence[str], progress: Progress, shard: Shard | None = None
    ) -> None:
        """Load nothing yet.

        Args:
            material: what the tables are made from.
            concepts: whose tables are filled.
            progress: who is told how far work is.
            shard: which part of the prompts is run, of the tables of `SHARED`; their tallies are of `shard_store`.
        """
        self._store = material.store
        self._into = material.store if shard is None else shard_store(material.store, shard)
        self._material = material
        self._plan = material.plan
        self._progress = progress
        self._entry = material.entry
        self._concepts = concepts
        self._shard = shard
        self._tried: tuple[Machine, bool] | None = None
        self._split: dict[str, Tokenized] = {}

    @property
    def _fingerprint(self) -> str:
        return self._material.fingerprint

    @cached_property
    def _loaded(self) -> LoadedModel:
        import torch

        device = self._plan.device or ("cuda" if torch.cuda.is_available() else "cpu")
        placement = "none" if self._entry.is_untrained else self._plan.placement
        if not self._plan.even_if_it_may_not_fit:
            # Of a shard its part: the others' disk is theirs, and may be full of what they have done.
            parts = 1 if self._shard is None else self._shard.count
            # A model's row can be asked for before there are prompts.
            there = [name for name in self._concepts if self._store.footer("prompts", concept=name) is not None]
            prompts = {concept: -(-self._material.prompts(concept).num_rows // parts) for concept in there}
            stores = (self._store, self._into)
            check_fits(self._entry, self._plan, stores, prompts, device=device, placement=placement)
        folder = self._material.offloaded
        if folder is not None and self._shard is not None:
            # Workers on one disk must not write over each other's weights.
            folder /= folder_of(self._shard)
        with self._progress.stage(f"{self._entry.slug}: load", 1, "model") as advance:
            loaded = load_model(
                self._entry,
                device=device,
                dtype=self._plan.dtype,
                device_map=placement,
                offload_folder=None if folder is None else offload_place(self._entry, placement, folder),
            )
            advance(1)
        return loaded

    def models(self, tally: Tally) -> None:
        """The model's row; a model that was here before keeps the time at which it landed."""
        slug = self._entry.slug
        expected = fingerprints.models(self._fingerprint, self._entry.source, self._plan.dtype)
        if tally.is_current(expected, model=slug):
            return
        row = describe(self._loaded)
        if self._store.footer("models", model=slug) is not None:
            before = self._store.read("models", model=slug)
            if before["fingerprint"].equals(row["fingerprint"]):
                place = row.schema.get_field_index("landed_at")
                row = row.set_column(place, row.schema.field(place), before["landed_at"])
        tally.wrote(self._write("models", row, expected))

    def plants(self, tally: Tally) -> None:
        """The planted layers that the model's card tells."""
        rows = plants_table(self._entry)
        expected = fingerprints.plants(rows.to_pylist())
        if not tally.is_current(expected, model=self._entry.slug):
            tally.wrote(self._write("plants", rows, expected))

    def unmeasured(self, tally: Tally) -> None:
        """What does not apply to the model, by its config: a fact about it, not a gap in the run."""
        reasons = self._material.unmeasured
        expected = fingerprints.unmeasured(reasons)
        if not tally.is_current(expected, model=self._entry.slug):
            rows = [{"table_name": name, "reason": reason} for name, reason in sorted(reasons.items())]
            found = pa.Table.from_pylist(rows, schema=table("unmeasured").schema())
            tally.wrote(self._write("unmeasured", found, expected))

    def tokens(self, tally: Tally) -> None:
        """Every concept's prompts under the model's tokenizer."""
        for concept in self._concepts:
            expected = self._material.expected("tokens", concept)
            if not tally.is_current(expected, model=self._entry.slug, concept=concept):
                tally.wrote(self._write("tokens", self._tokenized(concept).table, expected, concept=concept))

    def pair_tokens(self, tally: Tally) -> None:
        """What becomes of every pair under the model's tokenizer."""
        for concept in self._concepts:
            expected = self._material.expected("pair_tokens", concept)
            if tally.is_current(expected, model=self._entry.slug, concept=concept):
                continue
            from extract.pairing import pair_tokens

            prompts = self._material.prompts(concept)
            pairs = self._store.read("pairs", concept=concept)
            if self._entry.is_untrained:
                pairs = pairs_among(prompts, pairs)
            rows = pair_tokens(pairs, prompts, self._tokenized(concept))
            tally.wrote(self._write("pair_tokens", rows, expected, concept=concept))

    def sweep(self, tallies: Mapping[str, Tally]) -> None:
        """What a sweep fills, of every concept: all that is stale, in one sweep."""
        for name, tally in tallies.items():
            tally.not_measured = self._material.unmeasured.get(name)
        for concept in self._concepts:
            stale = self._stale(tallies, concept)
            if stale:
                self._sweep(concept, stale, tallies)

    def saliency(self, tally: Tally) -> None:
        """The gradients of a sample of every concept's prompts; weights held in a few bits have none."""
        if not self._material.has_gradients:
            title = f"{self._entry.slug}: no gradients, for its weights are held in {self._entry.quantization}"
            with self._progress.stage(title, 0, "prompts"):
                return
        tally.not_measured = self._material.unmeasured.get("saliency")
        for concept in self._concepts:
            stale = self._stale({"saliency": tally}, concept)
            if not stale:
                continue
            from extract.extraction import threads
            from extract.saliency import extract_saliency, saliency_batches, saliency_rows

            sample = self._material.samples(concept)
            tokenized = self._tokens_of(concept, sample)
            expected = stale["saliency"]
            if self._shard is not None:
                batches = saliency_batches(self._loaded, tokenized.indices, self._plan.token_budget)
                sample, expected = self._shared(sample, tokenized, batches, expected)
                tokenized = self._tokens_of(concept, sample)
            pairs = self._store.read("pair_tokens", model=self._entry.slug, concept=concept)
            title, passes = f"{self._title(concept)}: gradients", 2 * self._loaded.layers
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
                    token_budget=self._plan.token_budget,
                    progress=partial(_divided, advance, passes),
                ):
                    writer.add(rows)
            tally.wrote(writer.commit, forwards=sample.num_rows)

    def responses(self, tally: Tally) -> None:
        """The answers to a sample of every concept's prompts, intact and under each layer's lesion."""
        tally.not_measured = self._material.unmeasured.get("responses")
        for concept in self._concepts:
            stale = self._stale({"responses": tally}, concept)
            if not stale:
                continue
            expected = stale["responses"]
            if tally.not_measured is not None:
                tally.wrote(self._nothing("responses", expected, concept))
                continue
            from extract.answers import answer_batches, extract_responses
            from extract.extraction import threads

            asked = self._material.answered(concept)
            if self._shard is not None:
                tokenized = self._tokens_of(concept, asked)
                batches = answer_batches(
                    self._loaded, tokenized.indices, self._plan.new_tokens, self._plan.token_budget
                )
                asked, expected = self._shared(asked, tokenized, batches, expected)
            count = asked.num_rows
            with (
                threads(self._loaded),
                self._progress.stage(f"{self._title(concept)}: answers", count, "prompts") as advance,
                self._writer("responses", expected, count * (self._loaded.layers + 1), concept) as writer,
            ):
                for rows in extract_responses(
                    self._loaded,
                    asked,
                    new_tokens=self._plan.new_tokens,
                    token_budget=self._plan.token_budget,
                    progress=advance,
                ):
                    writer.add(rows)
            tally.wrote(writer.commit, forwards=count * (self._loaded.layers + 1))

    def _title(self, concept: str) -> str:
        shard = "" if self._shard is None else f", shard {self._shard}"
        return f"{self._entry.slug}, {concept}{shard}"

    def _stale(self, tallies: Mapping[str, Tally], concept: str) -> dict[str, str]:
        """Of some tables those that are to be filled, with their fingerprints; the others are counted as current.

        A shard is filled with all that the warehouse lacks or with nothing: what is swept decides how it is shared out.
        """
        keys = {"model": self._entry.slug, "concept": concept}
        if self._shard is None:
            wanted = self._material.wanted(list(tallies), concept)
            return {name: each for name, each in wanted.items() if not tallies[name].is_current(each, **keys)}
        stale = self._material.stale(list(tallies), concept)
        if not all(is_waiting(self._into, name, each, **keys) for name, each in stale.items()):
            return stale
        for name in stale:
            footer = self._into.footer(name, **keys)
            assert footer is not None, "it is waiting"
            tallies[name].is_current(footer.fingerprint, **keys)
        return {}

    def _shared(
        self, sample: pa.Table, tokenized: "Tokenized", batches: "Sequence[Batch]", expected: str
    ) -> tuple[pa.Table, str]:
        """This shard's part of a sample, and the fingerprint under which it waits."""
        import torch

        from extract.sharing import share

        assert self._shard is not None, "only shards are shared out"
        shares = share(batches, torch.tensor([float(len(each)) for each in tokenized.indices]), self._shard.count)
        return sample.filter(pa.array((shares == self._shard.number).numpy())), stamp(expected, shares.tolist())

    def _sweep(self, concept: str, expected: dict[str, str], tallies: Mapping[str, Tally]) -> None:
        from extract.extraction import prompts_swept, row_counts, run_sweep, share_out

        subject, wanted = self._subject(concept, expected), self._wanted(expected)
        machine, own = self._machine(parts=wanted.needs_parts), None
        if self._shard is not None:
            shares = share_out(subject, wanted, machine, self._shard.count, token_budget=self._plan.token_budget)
            own = shares == self._shard.number
            expected = {name: stamp(each, shares.tolist()) for name, each in expected.items()}
        rows, prompts = row_counts(subject, wanted, self._loaded.layers, own), prompts_swept(subject, wanted, own)
        title = f"{self._title(concept)}: {', '.join(name for name in expected if rows[name]) or 'nothing'}"
        with ExitStack() as closing:
            advance = closing.enter_context(self._progress.stage(title, prompts, "prompts"))
            writers: dict[str, Writer] = {
                name: closing.enter_context(self._writer(name, fingerprint, rows[name], concept))
                for name, fingerprint in expected.items()
            }
            run_sweep(
                self._loaded,
                machine,
                subject,
                wanted,
                lambda name, found: writers[name].add(found),
                own=own,
                seed=self._plan.seed,
                token_budget=self._plan.token_budget,
                memory=None if self._plan.memory is None else read_size(self._plan.memory),
                progress=lambda share: advance(share * prompts),
            )
        for name, writer in writers.items():
            tallies[name].wrote(writer.commit, forwards=prompts if name == next(iter(writers)) else 0)

    def _machine(self, *, parts: bool) -> "Machine":
        """The model ready to be swept; tried out once, and once more if parts are wanted only later."""
        if self._tried is None or (parts and not self._tried[1]):
            from extract.machine import make_machine

            self._tried = make_machine(self._loaded.model, parts=parts), parts
        return self._tried[0]

    def _wanted(self, stale: Mapping[str, str]) -> "Wanted":
        from extract.extraction import Wanted

        made = stale.keys() - self._material.unmeasured.keys()
        return Wanted(
            activations="activations" in made,
            first_tokens="first_tokens" in made,
            contributions="contributions" in made,
            lesions=self._material.lesions if "lesions" in made else (),
            patches=self._material.patches if "patches" in made else (),
        )

    def _subject(self, concept: str, stale: Mapping[str, str]) -> "Subject":
        from extract.extraction import Subject

        prompts = self._material.prompts(concept)
        pairs = self._material.pairs(concept) if "patches" in stale else table("pair_tokens").schema().empty_table()
        sample = self._material.samples(concept) if "lesions" in stale else prompts.slice(0, 0)
        return Subject(prompts, self._tokenized(concept), sample, pairs)

    def _tokenized(self, concept: str) -> "Tokenized":
        """A concept's prompts as tokens, split once a run."""
        if concept not in self._split:
            from extract.extraction import split

            self._split[concept] = split(self._loaded, self._material.prompts(concept))
        return self._split[concept]

    def _tokens_of(self, concept: str, sample: pa.Table) -> "Tokenized":
        from extract.extraction import rows_of

        tokenized = self._tokenized(concept)
        return tokenized.take(rows_of(sample, tokenized.table).tolist())

    def _writer(self, name: str, expected: str, rows: int, concept: str) -> AbstractContextManager[Writer]:
        return self._into.writer(
            name,
            fingerprint=expected,
            rows=rows,
            revision=self._fingerprint,
            width=self._loaded.width,
            model=self._entry.slug,
            concept=concept,
        )

    def _nothing(self, name: str, expected: str, concept: str) -> Commit:
        """Commit a partition without rows; of a shard, its part of it."""
        rows = table(name).schema().empty_table()
        waiting = expected if self._shard is None else stamp(expected, [])
        keys = {"model": self._entry.slug, "concept": concept}
        return self._into.write(name, rows, fingerprint=waiting, revision=self._fingerprint, **keys)

    def _write(self, name: str, rows: pa.Table, expected: str, **keys: str) -> Commit:
        return self._store.write(
            name, rows, fingerprint=expected, revision=self._fingerprint, model=self._entry.slug, **keys
        )
