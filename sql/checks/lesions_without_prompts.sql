-- Lesions of prompts that are not in the library, or that call for no answer: the model has to be run again.
--
-- Grain: one row a model and prompt at fault
-- Table: lesions
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
SELECT DISTINCT
    lesions.model,
    lesions.concept,
    lesions.template,
    lesions.term
FROM lesions
ANTI JOIN prompts
    ON
        lesions.concept = prompts.concept
        AND lesions.template = prompts.template
        AND lesions.term = prompts.term
        AND prompts.answer IS NOT NULL
ORDER BY ALL
