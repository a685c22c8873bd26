-- How far can the judge be trusted? What it says of the intact model's answer against itself, which should be 1, and
-- how far its two scores of the same answer lie apart. A difference between layers below these says nothing.
--
-- Grain: one row a model, concept and judge
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   judge: The model that judged.
--   judged: Answers under a lesion that were judged.
--   mean_score: Their mean score, 1 to 10.
--   intact_judged: Answers of the intact model that were judged against themselves.
--   intact_mean_score: Their mean score; anything over 1 is the judge's noise.
--   intact_worst_score: Their largest score.
--   judged_twice: Answers that were judged twice.
--   mean_difference: Mean magnitude of the difference between the two scores.
--   same_score: Share of them with the same score.
WITH by_answer AS (
    SELECT
        model,
        concept,
        judge,
        lesion,
        max(score) FILTER (WHERE repeat = 0) AS first_score,
        max(score) FILTER (WHERE repeat = 1) AS second_score
    FROM judgements
    GROUP BY
        model,
        concept,
        judge,
        lesion,
        layer,
        template,
        term
)

SELECT
    model,
    concept,
    judge,
    count(first_score) FILTER (WHERE lesion <> 'none') AS judged,
    avg(first_score) FILTER (WHERE lesion <> 'none') AS mean_score,
    count(first_score) FILTER (WHERE lesion = 'none') AS intact_judged,
    avg(first_score) FILTER (WHERE lesion = 'none') AS intact_mean_score,
    max(first_score) FILTER (WHERE lesion = 'none') AS intact_worst_score,
    count(second_score) AS judged_twice,
    avg(abs(second_score - first_score)) AS mean_difference,
    avg(CAST(second_score = first_score AS INTEGER)) AS same_score
FROM by_answer
GROUP BY
    model,
    concept,
    judge
ORDER BY
    model,
    concept,
    judge
