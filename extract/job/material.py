"""What the tables of one model are made from: prompts, samples and pairs out of the warehouse, and the fingerprints.

Belongs here: all that is asked before a model is loaded, by a run, by a shard of one and by their merge alike. What is
done with it is in `measuring` and `shards`; what a fingerprint covers, in `warehouse.fingerprints`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from extract.interventions import Lesion, Patch, read_lesions, read_patches
from extract.job.plan import Plan
from extract.job.tally import upstream
from extract.kinds import kind_in, unmeasured
from extract.models import ModelEntry, model_fingerprint
from extract.quantizing import has_gradients
from extract.untrained import compared
from warehouse import fingerprints
from warehouse.store import Store

_LIBRARY = ("prompts", "terms", "labels")


@dataclass(frozen=True)
class Material:
    """What one model's tables are made from.

    Attributes:
        store: the warehouse; the tables of its concepts are there.
        entry: the model.
        plan: how much is measured.
        offloaded: where weights may lie that neither a device nor the memory holds; None for nowhere.
    """

    store: Store
    entry: ModelEntry
    plan: Plan
    offloaded: Path | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The model's.

        Raises:
            ModelError: its folder is no whole model.
        """
        return model_fingerprint(self.entry)

    @cached_property
    def unmeasured(self) -> dict[str, str]:
        """What does not apply to the model, by its config: why tables hold nothing of it, by table.

        Raises:
            ModelError: the config can't be read.
        """
        return unmeasured(kind_in(self.entry.path))

    @property
    def has_gradients(self) -> bool:
        """Whether saliency can be measured: weights held in a few bits have no gradients."""
        return has_gradients(self.entry)

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """What the plan writes."""
        return read_lesions(self.plan.lesions)

    @property
    def patches(self) -> tuple[Patch, ...]:
        """What the plan writes."""
        return read_patches(self.plan.sites)

    def prompts(self, concept: str) -> pa.Table:
        """A concept's prompts; of an untrained twin those that it is compared on."""
        prompts = self.store.read("prompts", concept=concept)
        return compared(prompts, self.store.read("terms", concept=concept)) if self.entry.is_untrained else prompts

    def samples(self, concept: str) -> pa.Table:
        """The prompts that are intervened on, some of held-out templates behind the others."""
        return pa.concat_tables([self._sample(concept, count, held_out=held_out) for held_out, count in self._counts()])

    def answered(self, concept: str) -> pa.Table:
        """The prompts that are answered under each lesion; perhaps none."""
        if not self.plan.answers:
            return self.store.read("prompts", concept=concept).slice(0, 0)
        return self._sample(concept, self.plan.answers)

    def pairs(self, concept: str) -> pa.Table:
        """The pairs that are patched."""
        from extract.sampling import sample_pairs

        fates = self.store.read("pair_tokens", model=self.entry.slug, concept=concept)
        terms = self.store.read("terms", concept=concept)
        count, seed = self.plan.sample, self.plan.seed
        return sample_pairs(fates, self.prompts(concept), terms=terms, count=count, seed=seed)

    def expected(self, name: str, concept: str) -> str:
        """The fingerprint that a table's partition would have if it were made now."""
        plan, prompts = self.plan, upstream(self.store, "prompts", concept=concept)
        if name == "tokens":
            return fingerprints.tokens(self.fingerprint, prompts)
        if name == "pair_tokens":
            return fingerprints.pair_tokens(self.fingerprint, prompts, upstream(self.store, "pairs", concept=concept))
        if name == "activations":
            return fingerprints.activations(self.fingerprint, prompts, plan.dtype)
        if name == "first_tokens":
            return fingerprints.first_tokens(self.fingerprint, prompts, plan.dtype)
        if name == "contributions":
            return fingerprints.contributions(self.fingerprint, prompts, plan.dtype)
        read = (*_LIBRARY, "pairs") if name in {"patches", "saliency"} else _LIBRARY
        library = {table: upstream(self.store, table, concept=concept) for table in read}
        chosen: dict[str, object] = {
            "dtype": plan.dtype,
            "seed": plan.seed,
            "sample": plan.sample,
            "held_out": plan.held_out,
        }
        if name == "lesions":
            chosen["lesions"] = [[lesion.kind, lesion.part] for lesion in self.lesions]
        elif name == "patches":
            chosen["patches"] = [[patch.site, patch.position] for patch in self.patches]
        elif name == "responses":
            chosen |= {"sample": plan.answers, "held_out": 0, "new_tokens": plan.new_tokens}
        return fingerprints.interventions(name, self.fingerprint, library, chosen)

    def wanted(self, names: Sequence[str], concept: str) -> dict[str, str]:
        """Of some tables that are partitioned by concept those that this plan has, with their fingerprints.

        Contributions are made where they are wanted, and kept up to date where they are. Saliency needs gradients.
        """
        made = [name for name in names if name != "saliency" or self.has_gradients]
        expected = {name: self.expected(name, concept) for name in made}
        contributed = self.store.footer("contributions", model=self.entry.slug, concept=concept)
        if not self.plan.contributions and contributed is None:
            expected.pop("contributions", None)
        return expected

    def stale(self, names: Sequence[str], concept: str) -> dict[str, str]:
        """Those of `wanted` that the warehouse lacks, or has from other inputs."""
        keys = {"model": self.entry.slug, "concept": concept}
        wanted = self.wanted(names, concept)
        return {name: each for name, each in wanted.items() if not self.store.is_current(name, each, **keys)}

    def _counts(self) -> list[tuple[bool, int]]:
        """How many prompts or pairs are drawn, from templates that are held out or not; held-out ones only if asked."""
        held_out = self.plan.held_out
        return [(False, self.plan.sample), *([(True, held_out)] if held_out else [])]

    def _sample(self, concept: str, count: int, *, held_out: bool = False) -> pa.Table:
        from extract.sampling import sample_prompts

        terms, labels = (self.store.read(name, concept=concept) for name in ("terms", "labels"))
        tokens = self.store.read("tokens", model=self.entry.slug, concept=concept)
        return sample_prompts(
            self.prompts(concept), labels, tokens, terms=terms, count=count, seed=self.plan.seed, held_out=held_out
        )
