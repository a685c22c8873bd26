-- Tokens of prompts that are no longer in the library: the model has to be run again.
--
-- Grain: one row a model and prompt at fault
-- Table: tokens
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
SELECT
    tokens.model,
    tokens.concept,
    tokens.template,
    tokens.term
FROM tokens
ANTI JOIN prompts
    ON
        tokens.concept = prompts.concept
        AND tokens.template = prompts.template
        AND tokens.term = prompts.term
ORDER BY ALL
