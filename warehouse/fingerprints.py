"""What each partition file depends on, as a hash: the same fingerprint means that there is nothing to do.

Pure functions, and light ones: whether anything is to be done is asked at each run, so nothing here imports torch, UMAP
or scikit-learn. A file depends on the code that makes its rows too: `VERSIONS` counts its changes.
"""

from warehouse.tables import table
from warehouse.versions import fingerprint

VERSIONS = {
    "library": 1,
    "models": 1,
    "plants": 2,
    "unmeasured": 1,
    "extraction": 2,
    "saliency": 1,
    "responses": 1,
    "judgements": 1,
    "projections": 2,
    "neighbours": 1,
    "profiles": 5,
    "maps": 2,
    "findings": 4,
    "references": 1,
    "charts": 4,
}
"""Raised where the code would make other rows of the same inputs. `extraction` is EXTRACTION_VERSION of
`extract.extraction`, said again here because that module brings torch along; a test holds the two together."""


def library(name: str, concept: str) -> str:
    """Of one of a concept's tables.

    Args:
        name: the table.
        concept: the concept's fingerprint: the hash of its files.
    """
    return _of(name, "library", concept=concept)


def models(model: str, source: str, dtype: str | None) -> str:
    """Of a model's row in `models`."""
    return _of("models", "models", model=model, source=source, dtype=dtype)


def plants(rows: list[dict[str, object]]) -> str:
    """Of a model's planted layers: they are the rows themselves, for they come from a card of a few lines."""
    return _of("plants", "plants", rows=rows)


def unmeasured(reasons: dict[str, str]) -> str:
    """Of what does not apply to a model: the reason for each table."""
    return _of("unmeasured", "unmeasured", reasons=reasons)


def tokens(model: str, prompts: str) -> str:
    """Of the prompts of one concept under a model's tokenizer.

    Args:
        model: the model's fingerprint, which covers its tokenizer.
        prompts: the fingerprint of the prompts that were split.
    """
    return _of("tokens", "extraction", model=model, prompts=prompts)


def activations(model: str, prompts: str, dtype: str | None) -> str:
    """Of a model's activations for the prompts of one concept.

    Args:
        model: the model's fingerprint.
        prompts: the fingerprint of the prompts that were run.
        dtype: the type that was asked for, None for the model's own.
    """
    return _of("activations", "extraction", model=model, prompts=prompts, dtype=dtype)


def first_tokens(model: str, prompts: str, dtype: str | None) -> str:
    """Of a model's first tokens of the prompts of one concept; arguments as `activations`."""
    return _of("first_tokens", "extraction", model=model, prompts=prompts, dtype=dtype)


def contributions(model: str, prompts: str, dtype: str | None) -> str:
    """Of what a model's attention and MLPs add for the prompts of one concept; arguments as `activations`."""
    return _of("contributions", "extraction", model=model, prompts=prompts, dtype=dtype)


def pair_tokens(model: str, prompts: str, pairs: str) -> str:
    """Of the pairs of one concept under a model's tokenizer, from the fingerprints of what is read."""
    return _of("pair_tokens", "extraction", model=model, prompts=prompts, pairs=pairs)


def interventions(name: str, model: str, library: dict[str, str], settings: dict[str, object]) -> str:
    """Of one of the tables that are filled for a sample of prompts or pairs.

    Args:
        name: the table: `lesions`, `patches`, `saliency` or `responses`.
        model: the model's fingerprint.
        library: the fingerprint of each of the concept's tables that the sample is drawn from.
        settings: of the run: type, seed, size of the sample, and what is done with it.
    """
    code = name if name in VERSIONS else "extraction"
    return _of(name, code, model=model, library=library, settings=settings)


def judgements(responses: str, judge: str, rubric: str, repeats: int, seed: int) -> str:
    """Of what a judge says of answers.

    Args:
        responses: the fingerprint of the answers.
        judge: the model that judges.
        rubric: the hash of its instructions.
        repeats, seed: how many answers are judged twice, and which.
    """
    return _of("judgements", "judgements", responses=responses, judge=judge, rubric=rubric, repeats=repeats, seed=seed)


def projections(activations: str, prompts: str, terms: str, kind: str, seed: int) -> str:
    """Of the pictures of one model and one concept, from the fingerprints of what is read, and the seed."""
    return _of(
        "projections", "projections", activations=activations, prompts=prompts, terms=terms, kind=kind, seed=seed
    )


def neighbours(activations: str, prompts: str, terms: str, kind: str) -> str:
    """Of the nearest terms in one model and one concept, from the fingerprints of what is read."""
    return _of("neighbours", "neighbours", activations=activations, prompts=prompts, terms=terms, kind=kind)


def profiles(name: str, inputs: dict[str, str | None], seed: int, resamples: int, permutations: int) -> str:
    """Of the profiles of one model and one concept, or of the draws behind them.

    Args:
        name: the table: `profiles` or `profile_draws`.
        inputs: for each table that is read, its partition's fingerprint; None for one that is not there.
        seed, resamples, permutations: the draws.
    """
    return _of(name, "profiles", inputs=inputs, seed=seed, resamples=resamples, permutations=permutations)


def maps(name: str, inputs: dict[str, str | None], contrasts: str) -> str:
    """Of one of the tables of the map of one model and one concept.

    Args:
        name: the table.
        inputs: for each table that is read, its partition's fingerprint; None for one that is not there.
        contrasts: the hash of the file that tells which contrasts are read, and how far they are believed.
    """
    return _of(name, "maps", inputs=inputs, contrasts=contrasts)


def findings(inputs: dict[str, str]) -> str:
    """Of the findings of one model: the fingerprint of each partition that claims read, by table and keys."""
    return _of("findings", "findings", inputs=inputs)


def reference(name: str, content: str) -> str:
    """Of a table that comes with the project as a file.

    Args:
        name: the table: `published` or `validation`.
        content: the hash of the file.
    """
    return _of(name, "references", content=content)


def chart(inputs: dict[str, str]) -> str:
    """Of a chart: the fingerprints of all partitions that are drawn."""
    return fingerprint(chart=VERSIONS["charts"], inputs=inputs)


def _of(name: str, code: str, **inputs: object) -> str:
    return fingerprint(table=name, schema=table(name).version, code=VERSIONS[code], **inputs)
