-- What do the answers become when a layer goes? How far they stay the intact model's, layer by layer, and the judge's
-- mean score where answers were judged. The layer -1 is the intact model's own answer.
--
-- Grain: one row a model, concept, lesion and layer
-- Parameters:
--   model text = NULL: Only this model; all of them if left out.
--   concept text = NULL: Only this concept; all of them if left out.
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   lesion: What took the place of the layer's work; none for the intact model.
--   layer: The lesioned layer; -1 for the intact model.
--   answers: Answers behind the means.
--   exact: Share of answers that are the intact model's, token by token.
--   token_agreement: Mean share of places with the same token.
--   chrf: Mean chrF against the intact answer, in percent.
--   intact_answer_nll: Mean negative log-likelihood of the intact answer under the lesion, in nats.
--   judged: Answers that were judged.
--   score: Mean first score, 1 (no change) to 10 (gibberish); null if none was judged. Of several judges, their mean.
WITH scores AS (
    SELECT
        model,
        concept,
        lesion,
        layer,
        template,
        term,
        avg(score) AS score
    FROM judgements
    WHERE repeat = 0
    GROUP BY
        model,
        concept,
        lesion,
        layer,
        template,
        term
)

SELECT
    responses.model,
    responses.concept,
    responses.lesion,
    responses.layer,
    count(*) AS answers,
    avg(CAST(responses.exact AS INTEGER)) AS exact,
    avg(responses.token_agreement) AS token_agreement,
    avg(responses.chrf) AS chrf,
    avg(responses.intact_answer_nll) AS intact_answer_nll,
    count(scores.score) AS judged,
    avg(scores.score) AS score
FROM responses
LEFT JOIN scores
    ON
        responses.model = scores.model
        AND responses.concept = scores.concept
        AND responses.lesion = scores.lesion
        AND responses.layer = scores.layer
        AND responses.template = scores.template
        AND responses.term = scores.term
WHERE
    ($model IS NULL OR responses.model = $model)
    AND ($concept IS NULL OR responses.concept = $concept)
GROUP BY
    responses.model,
    responses.concept,
    responses.lesion,
    responses.layer
ORDER BY
    responses.model,
    responses.concept,
    responses.lesion,
    responses.layer
