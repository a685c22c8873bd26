"""What a judge says of the answers under a lesion: `judgements`, a partition a model.

Without an endpoint in the environment the asset is skipped: nothing is written, nothing fails, and the log says what to
set. How a judge is asked is in `extract.judge`, which answers it is asked about in `extract.judgements`.
"""

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa

from dagster_project.defs.partitions import MODELS
from dagster_project.defs.resources import Settings, Warehouse
from dagster_project.landing import RETRIES, Landing, Reports, columns, contract_check, failing_clearly, land
from extract.endpoint import MODEL, NO_ENDPOINT, URL, Endpoint, endpoint_from
from extract.job.progress import Progress
from extract.job.tally import upstream
from extract.judge import Spent
from extract.judgements import count_questions, judge_responses, noise_floor
from extract.rubric import RUBRIC
from extract.verdicts import open_verdicts
from warehouse import fingerprints
from warehouse.places import local_folder
from warehouse.tables import table

VERDICTS = "judge.sqlite"
"""The file of verdicts, in the warehouse's root."""


@dg.multi_asset(
    name="judgements",
    specs=[
        dg.AssetSpec(
            "judgements",
            description=table("judgements").doc,
            metadata=columns("judgements"),
            group_name="extraction",
            kinds={"openai", "parquet"},
            deps=["responses", "prompts"],
            skippable=True,
        )
    ],
    check_specs=[contract_check("judgements")],
    partitions_def=MODELS,
    # Of one asset; it is what makes the check's result optional too. `asset(output_required=False)` does not.
    can_subset=True,
    # An endpoint has its limits: one run at a time asks it.
    pool="judge",
    retry_policy=RETRIES,
)
def judgements(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: Settings,
    progress: dg.ResourceParam[Progress],
) -> Reports:
    """Have every answer judged that this judge has not judged yet; without a judge, say so and leave it."""
    with failing_clearly():
        endpoint = endpoint_from(os.environ)
        if endpoint is None:
            context.log.warning(NO_ENDPOINT)
            # The log of a run is not what a command shows; its progress is.
            with progress.stage(f"{context.partition_key}: no judge (set {URL} and {MODEL})", 0, "answers judged"):
                return
        work = Judging(warehouse, settings, progress, context.partition_key, endpoint)
        yield from work.reports()


class Judging:
    """One model's answers before one judge."""

    def __init__(
        self, warehouse: Warehouse, settings: Settings, progress: Progress, slug: str, endpoint: Endpoint
    ) -> None:
        self._store = warehouse.store
        self._verdicts = local_folder(warehouse.place) / VERDICTS
        self._settings = settings
        self._progress = progress
        self._slug = slug
        self._endpoint = endpoint
        self._concepts = warehouse.library(settings.concepts).names
        self._spent = Spent()

    def reports(self) -> Reports:
        """Judge, and report what it cost and how far the judge scatters."""
        for report in land(self._store, "judgements", self._judge):
            if isinstance(report, dg.MaterializeResult):
                yield report._replace(metadata={**(report.metadata or {}), **dict(self._metadata())})
            else:
                yield report

    def _judge(self, landing: Landing) -> None:
        draws = {"repeats": self._settings.judge_repeats, "seed": self._settings.seed}
        for concept in self._concepts:
            keys = {"model": self._slug, "concept": concept}
            expected = fingerprints.judgements(
                upstream(self._store, "responses", **keys), self._endpoint.model, RUBRIC, **draws
            )
            if landing.is_current(expected, **keys):
                continue
            responses = self._store.read("responses", model=self._slug, concept=concept)
            prompts = self._store.read("prompts", concept=concept)
            asked = count_questions(responses, prompts, **draws)
            with (
                open_verdicts(self._verdicts, self._endpoint.model, RUBRIC) as verdicts,
                self._progress.stage(f"{self._slug}, {concept}: judge", asked, "answers") as advance,
            ):
                found = judge_responses(self._endpoint, responses, prompts, verdicts, **draws, progress=advance)
            self._spent += found.spent
            landing.wrote(self._store.write("judgements", found.rows, fingerprint=expected, **keys))

    def _metadata(self) -> Iterator[tuple[str, Any]]:
        yield "judge", self._endpoint.model
        yield "rubric", RUBRIC
        yield "answers_asked", self._spent.asked
        yield "answers_recalled", self._spent.recalled
        yield "judge_prompt_tokens", self._spent.prompt_tokens
        yield "judge_completion_tokens", self._spent.completion_tokens
        cost = self._endpoint.cost(self._spent.prompt_tokens, self._spent.completion_tokens)
        if cost is not None:
            yield "judge_cost", cost
        rows = [self._store.read("judgements", model=self._slug, concept=concept) for concept in self._concepts]
        for name, value in noise_floor(pa.concat_tables(rows)).items():
            yield f"noise_floor_{name}", value
