"""The page `docs/findings.md`: every claim that is put to the test, its question, and the rule of its verdict.

What is claimed and how it is measured is in `claims`; what was found in a model is in the table `findings`.
"""

from collections.abc import Sequence

from analyses.claims.claim import LARGEST_P, OURS, PAPER, Claim
from analyses.findings import CLAIMS

_HEADER = f"""# Findings

Written by `vesalius docs` from the claims in `analyses/claims`; a test fails while the page and the claims differ.

A *claim* is a sentence about a model that numbers can refute. For each model a claim gets an estimate with a 95%
interval, and a verdict by a rule that was there before the model:

| verdict | when |
|---|---|
| supported | the whole interval lies above the threshold; where a null is named, also p ≤ {LARGEST_P:g} under it |
| refuted | the whole interval lies below the threshold |
| undecided | anything else: the interval spans the threshold, or something was not measured |

Every estimate points the same way: the larger, the more it speaks for the claim. `vesalius findings MODEL` prints what
was found; the rows are in the table [`findings`](tables.md), each with a sentence that also says what is missing.
"""


def claims_page(claims: Sequence[Claim] = CLAIMS) -> list[str]:
    """The page, line by line: the paper's claims, then ours, each in the order of the registry."""
    lines = _HEADER.splitlines()
    for title, whose in (("The paper's claims", PAPER), ("Claims of this project", OURS)):
        lines += ["", f"## {title}", ""]
        lines += ["| claim | name | claimed by | question | threshold | null | rule |", "|---|---|---|---|---|---|---|"]
        lines += [_row(claim) for claim in claims if claim.claimed_by == whose]
    return lines


def _row(claim: Claim) -> str:
    null = "yes" if claim.has_null else ""
    cells = (
        claim.title,
        f"`{claim.name}`",
        claim.claimed_by,
        claim.question,
        f"{claim.threshold:g}",
        null,
        claim.rule,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
