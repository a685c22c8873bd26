-- Pairs of which it is not said what becomes of them under the tokenizer of a model that has tokens of their concept.
-- Untrained twins are run over some prompts only.
--
-- Grain: one row a model and missing pair
-- Table: pair_tokens
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term of the clean prompt.
--   corrupting_term: The term of the corrupted prompt.
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
    pairs.template,
    pairs.term,
    pairs.corrupting_term
FROM tokenized
INNER JOIN pairs
    ON tokenized.concept = pairs.concept
ANTI JOIN pair_tokens
    ON
        tokenized.model = pair_tokens.model
        AND tokenized.concept = pair_tokens.concept
        AND pairs.template = pair_tokens.template
        AND pairs.term = pair_tokens.term
        AND pairs.corrupting_term = pair_tokens.corrupting_term
ORDER BY ALL
