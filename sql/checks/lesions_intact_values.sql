-- Prompts whose intact values are not the same in all rows: there is one intact model, whatever the layer and lesion.
--
-- Grain: one row a model and prompt at fault
-- Table: lesions
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
--   logits: Different logits of the answer in the intact model.
--   log_probabilities: Different log-probabilities.
--   ranks: Different ranks.
SELECT
    model,
    concept,
    template,
    term,
    count(DISTINCT intact_logit) AS logits,
    count(DISTINCT intact_log_probability) AS log_probabilities,
    count(DISTINCT (intact_rank, intact_correct)) AS ranks
FROM lesions
GROUP BY
    model,
    concept,
    template,
    term
HAVING
    count(DISTINCT intact_logit) > 1
    OR count(DISTINCT intact_log_probability) > 1
    OR count(DISTINCT (intact_rank, intact_correct)) > 1
ORDER BY ALL
