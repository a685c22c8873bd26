-- The one template that a labelling is read in where SQL needs single vectors: its alphabetically first asking one.
-- SQL can't average vectors, and prompts of different templates don't compare. Held-out templates are left out.
--
-- Grain: one row a concept and labelling that is asked for
-- Columns:
--   concept: The concept.
--   labelling: The labelling that the template asks for.
--   template: The template's name.
CREATE VIEW reading_templates AS
SELECT
    concept,
    labelling,
    min(template) AS template
FROM prompts
WHERE template_kind = 'asking' AND NOT held_out AND labelling IS NOT NULL
GROUP BY
    concept,
    labelling
