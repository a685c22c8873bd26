"""The findings of a model: every claim put to the test on what the warehouse holds, as rows of `findings`.

Here the claims are gathered and made into rows. What is claimed, and how it is tested, is in `claims`, a small function
for each; nothing is measured here, and no model is needed.
"""

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from analyses.claims import age, damage, drugs, maps, stages
from analyses.claims.claim import UNDECIDED, Claim, Evidence, Missing
from analyses.rows import Rows, frame
from warehouse.tables import table

CLAIMS: tuple[Claim, ...] = (
    *maps.CLAIMS[:1],
    *age.CLAIMS,
    *stages.CLAIMS,
    *drugs.CLAIMS,
    *damage.CLAIMS,
    *maps.CLAIMS[1:],
)
"""All claims; the paper's in its order, each followed by ours about the same thing."""

READ_OF_ALL = ("concepts", "models", "profiles")
"""The tables that claims read of all models, because some claims compare them."""

READ_OF_MODEL = ("rivals", "jumps", "stage_circles", "knowledge_map", "localisations", "marks")
"""The tables that claims read of the model that is judged."""


def findings(model: str, tables: Mapping[str, Rows], claims: Sequence[Claim] = CLAIMS) -> pa.Table:
    """Put claims to the test for one model.

    Args:
        model: the model's slug.
        tables: what the warehouse holds, by name, with the partition columns `model` and `concept`; those of
            `READ_OF_ALL` and `READ_OF_MODEL` are looked at. What is absent leaves its claims undecided, and their
            sentences say what is missing.
        claims: which claims.

    Returns:
        Rows of `findings`, sorted by name.
    """
    evidence = Evidence(model, {name: frame(rows) for name, rows in tables.items()})
    rows = [_row(claim, evidence) for claim in claims]
    return pa.Table.from_pylist(rows, schema=table("findings").schema()).sort_by("finding")


def in_order(rows: Rows, claims: Sequence[Claim] = CLAIMS) -> pl.DataFrame:
    """Rows of `findings` in the order of the claims, which is the paper's; unknown ones at the end."""
    places = {claim.name: place for place, claim in enumerate(claims)}
    place = pl.col("finding").replace_strict(places, default=len(places), return_dtype=pl.Int64)
    return frame(rows).sort(place, "finding", maintain_order=True)


def _row(claim: Claim, evidence: Evidence) -> dict[str, object]:
    row: dict[str, object] = {
        "finding": claim.name,
        "claimed_by": claim.claimed_by,
        "title": claim.title,
        "question": claim.question,
        "rule": claim.rule,
        "threshold": claim.threshold,
    }
    found = claim.measure(evidence)
    if isinstance(found, Missing):
        return row | {"verdict": UNDECIDED, "basis": "nothing measured", "sentence": found.why}
    return row | {
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "null_mean": found.null_mean,
        "null_p": found.null_p,
        "basis": found.basis,
        "verdict": claim.verdict(found),
        "sentence": found.said,
    }
