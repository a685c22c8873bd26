-- Prompts whose term is not in the library.
--
-- Grain: one row a prompt at fault
-- Table: prompts
-- Columns:
--   concept: The concept.
--   template: The template.
--   term: The unknown term.
SELECT
    prompts.concept,
    prompts.template,
    prompts.term
FROM prompts
ANTI JOIN terms
    ON prompts.concept = terms.concept AND prompts.term = terms.term
ORDER BY ALL
