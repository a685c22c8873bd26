-- Prompts that were not tokenized for a model that has tokens of their concept.
-- Untrained twins are run over some prompts only.
--
-- Grain: one row a model and missing prompt
-- Table: tokens
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
WITH tokenized AS (
    SELECT DISTINCT
        model,
        concept
    FROM tokens
    WHERE NOT is_twin(model)
)

SELECT
    tokenized.model,
    tokenized.concept,
    prompts.template,
    prompts.term
FROM tokenized
INNER JOIN prompts
    ON tokenized.concept = prompts.concept
ANTI JOIN tokens
    ON
        tokenized.model = tokens.model
        AND tokenized.concept = tokens.concept
        AND prompts.template = tokens.template
        AND prompts.term = tokens.term
ORDER BY ALL
