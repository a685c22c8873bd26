-- What was found? The paper's findings and ours for each model, each with its estimate, interval, null and verdict.
--
-- Grain: one row a model and finding
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   verdict text = NULL: Only this verdict: supported, refuted or undecided.
-- Columns:
--   model: The model's slug.
--   finding: The finding's name.
--   claimed_by: The paper, or this project.
--   title: The claim that is put to the test.
--   verdict: Whether the claim is supported, refuted or undecided.
--   estimate: The estimate; the larger, the more it speaks for the claim.
--   low: Lower end of its 95% interval.
--   high: Upper end of its 95% interval.
--   threshold: What the interval is held against.
--   null_p: Probability of the estimate under the null.
--   sentence: The finding in plain words, or what is missing to tell.
--   basis: What the estimate rests on.
--   rule: How the verdict follows.
SELECT
    model,
    finding,
    claimed_by,
    title,
    verdict,
    estimate,
    low,
    high,
    threshold,
    null_p,
    sentence,
    basis,
    rule
FROM findings
WHERE
    ($model IS NULL OR model = $model)
    AND ($verdict IS NULL OR verdict = $verdict)
ORDER BY
    model,
    claimed_by,
    finding
