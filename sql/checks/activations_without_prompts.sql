-- Activations of prompts that are not in the library: the model has to be run again.
--
-- Grain: one row a model and prompt at fault
-- Table: activations
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
SELECT DISTINCT
    activations.model,
    activations.concept,
    activations.template,
    activations.term
FROM activations
ANTI JOIN prompts
    ON
        activations.concept = prompts.concept
        AND activations.template = prompts.template
        AND activations.term = prompts.term
ORDER BY ALL
