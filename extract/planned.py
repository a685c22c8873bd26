"""What a run would ask of a model: the same prompts, pairs and draws that it takes, before there is a model.

The library gives the prompts, the folder's tokenizer splits them, the same seeded draws choose. A folder without a
tokenizer gets a stand-in, and what that assumes is said. What it costs is in `estimation`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from extract.interventions import Lesion, Patch
from extract.library import Concept
from extract.models import ModelEntry, tokenizer_files
from extract.prompts import library_tables
from extract.untrained import compared
from warehouse.errors import ModelError
from warehouse.tables import table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from extract.extraction import Subject, Wanted
    from extract.tokenization import Tokenized

_PIECE = 6
"""Letters of a token of the stand-in tokenizer: words in use are one token of a real one, names of drugs three."""


@dataclass(frozen=True)
class Choices:
    """How much a run measures, as `vesalius run` takes it.

    Attributes:
        lesions, patches: which.
        contributions: whether what attention and MLP add is kept.
        sample, held_out, answers, new_tokens: as the run's options.
        seed: of the draws.
        token_budget: tokens of a batch; by default what suits the device.
        memory: bytes that streams may take; by default half of what is free.
        untrained: whether the untrained twin is measured too.
    """

    lesions: tuple[Lesion, ...] = (Lesion("identity"), Lesion("resample"))
    patches: tuple[Patch, ...] = (Patch("delta"), Patch("resid"))
    contributions: bool = False
    sample: int = 160
    held_out: int = 40
    answers: int = 12
    new_tokens: int = 16
    seed: int = 0
    token_budget: int | None = None
    memory: int | None = None
    untrained: bool = False


@dataclass(frozen=True)
class Plan:
    """One concept's work.

    Attributes:
        concept: its name.
        subject: prompts, lesioned prompts, pairs: what the sweep is given.
        wanted: what it fills.
        pair_tokens: rows of that table.
        answered: prompts that are answered under each lesion.
        fills: tables that get a file, of no rows maybe.
    """

    concept: str
    subject: "Subject"
    wanted: "Wanted"
    pair_tokens: pa.Table
    answered: pa.Table
    fills: tuple[str, ...]


def tokenizer_of(entry: ModelEntry, concepts: Sequence[Concept]) -> "tuple[PreTrainedTokenizerBase, str | None]":
    """The folder's tokenizer, or a stand-in, and what is then assumed.

    Raises:
        ModelError: there are files of a tokenizer, and they can't be read.
    """
    if not tokenizer_files(entry.path):
        return _stand_in(concepts), (
            f"{entry.path} has no tokenizer: tokens are taken to be words, and of longer ones {_PIECE} letters each."
        )
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(entry.path, local_files_only=True, trust_remote_code=False), None
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"The tokenizer in {entry.path} can't be loaded: {error}") from error


def plans(
    tokenizer: "PreTrainedTokenizerBase",
    concepts: Sequence[Concept],
    choices: Choices,
    *,
    chat: bool = False,
    twin: bool = False,
) -> Iterator[Plan]:
    """What a run asks of each concept.

    Args:
        tokenizer: the model's.
        concepts: of the library.
        choices: how much is measured.
        chat: whether prompts go into the tokenizer's chat template.
        twin: whether it is the untrained twin that is asked: its activations alone, of fewer prompts.

    Raises:
        ModelError: as `tokenize`.
    """
    from extract.extraction import Subject, Wanted
    from extract.sampling import sample_pairs, sample_prompts
    from extract.tokenization import tokenize

    for concept in concepts:
        tables = library_tables(concept)
        prompts, terms, labels = (tables[name] for name in ("prompts", "terms", "labels"))
        if twin:
            prompts = compared(prompts, terms)
        tokenized = tokenize(tokenizer, prompts, chat=chat)
        none, no_pairs = prompts.slice(0, 0), table("pair_tokens").schema().empty_table()
        if twin:
            wanted = Wanted(activations=True, first_tokens=True)
            yield Plan(
                concept.name, Subject(prompts, tokenized, none, no_pairs), wanted, no_pairs, none, ("activations",)
            )
            continue
        drawn = [
            sample_prompts(
                prompts, labels, tokenized.table, terms=terms, count=count, seed=choices.seed, held_out=held_out
            )
            for held_out, count in [(False, choices.sample), *([(True, choices.held_out)] if choices.held_out else [])]
        ]
        answered = none
        if choices.answers:
            answered = sample_prompts(
                prompts, labels, tokenized.table, terms=terms, count=choices.answers, seed=choices.seed
            )
        fates = _pair_tokens(tables["pairs"], prompts, tokenized)
        pairs = sample_pairs(fates, prompts, terms=terms, count=choices.sample, seed=choices.seed)
        wanted = Wanted(
            activations=True,
            first_tokens=True,
            contributions=choices.contributions,
            lesions=choices.lesions,
            patches=choices.patches,
        )
        subject = Subject(prompts, tokenized, pa.concat_tables(drawn), pairs)
        fills = ("activations", "lesions", "patches", "saliency", *(["contributions"] if choices.contributions else []))
        yield Plan(concept.name, subject, wanted, fates, answered, fills)


def _pair_tokens(pairs: pa.Table, prompts: pa.Table, tokenized: "Tokenized") -> pa.Table:
    from extract.pairing import pair_tokens

    return pair_tokens(pairs, prompts, tokenized)


def _stand_in(concepts: Sequence[Concept]) -> "PreTrainedTokenizerBase":
    """A tokenizer that knows every piece of the library's texts: a beginning of text, words, pieces of longer ones."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pieces = pre_tokenizers.Split(
        Regex(rf" ?\p{{L}}{{1,{_PIECE}}}| ?\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]|\s"), "isolated"
    )
    texts: list[str] = []
    for concept in concepts:
        rows = library_tables(concept)["prompts"]
        texts += rows["text"].to_pylist()
        texts += [f" {answer}" for answer in rows["answer"].to_pylist() if answer]
    vocabulary = dict.fromkeys(piece for text in texts for piece, _ in pieces.pre_tokenize_str(text))
    numbers = {piece: number for number, piece in enumerate(["<unk>", "<bos>", *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pieces
    tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    names = {"bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)  # type: ignore[no-untyped-call]
