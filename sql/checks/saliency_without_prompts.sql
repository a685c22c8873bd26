-- Gradients of prompts that are not in the library, or that call for no answer: the model has to be run again.
--
-- Grain: one row a model and prompt at fault
-- Table: saliency
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
SELECT DISTINCT
    saliency.model,
    saliency.concept,
    saliency.template,
    saliency.term
FROM saliency
ANTI JOIN prompts
    ON
        saliency.concept = prompts.concept
        AND saliency.template = prompts.template
        AND saliency.term = prompts.term
        AND prompts.answer IS NOT NULL
ORDER BY ALL
