-- Answers under a lesion without the intact model's answer to the same prompt, and prompts that are not in the library.
--
-- Grain: one row a model and prompt at fault
-- Table: responses
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   template: The template.
--   term: The term.
--   fault: What is missing.
SELECT DISTINCT
    responses.model,
    responses.concept,
    responses.template,
    responses.term,
    CASE WHEN prompts.term IS NULL THEN 'no prompt' ELSE 'no intact answer' END AS fault
FROM responses
LEFT JOIN responses AS intact
    ON
        responses.model = intact.model
        AND responses.concept = intact.concept
        AND responses.template = intact.template
        AND responses.term = intact.term
        AND intact.lesion = 'none'
LEFT JOIN prompts
    ON
        responses.concept = prompts.concept
        AND responses.template = prompts.template
        AND responses.term = prompts.term
WHERE
    intact.term IS NULL
    OR prompts.term IS NULL
ORDER BY ALL
