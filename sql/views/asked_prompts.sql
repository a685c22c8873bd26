-- The prompts that effects on answers are measured on: asking ones with a labelling; held-out templates are left out.
--
-- Grain: one row a concept, template and term
-- Columns:
--   concept: The concept.
--   role: Medical or control; null if the concept is not in the library.
--   template: The template.
--   term: The term.
--   labelling: The labelling that the prompt asks for.
--   variant: Empty for main terms, else the control spelling.
CREATE VIEW asked_prompts AS
SELECT
    prompts.concept,
    concepts.role,
    prompts.template,
    prompts.term,
    prompts.labelling,
    terms.variant
FROM prompts
INNER JOIN terms
    ON prompts.concept = terms.concept AND prompts.term = terms.term
LEFT JOIN concepts
    ON prompts.concept = concepts.concept
WHERE
    prompts.template_kind = 'asking'
    AND NOT prompts.held_out
    AND prompts.labelling IS NOT NULL
