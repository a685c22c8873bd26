-- Prompts that lack a lesion at some layer, for a kind of lesion and part of the layer that their concept has.
--
-- Grain: one row a model, lesion, part and prompt at fault
-- Table: lesions
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   lesion: What took the place of the layer's work.
--   part: How much of the layer was lesioned.
--   template: The template.
--   term: The term.
--   expected: Layers that there should be.
--   found: Layers that are there.
WITH prompts_found AS (
    SELECT DISTINCT
        model,
        concept,
        template,
        term
    FROM lesions
),

kinds_found AS (
    SELECT DISTINCT
        model,
        concept,
        lesion,
        part
    FROM lesions
),

counts AS (
    SELECT
        model,
        concept,
        lesion,
        part,
        template,
        term,
        count(*) AS layers
    FROM lesions
    GROUP BY
        model,
        concept,
        lesion,
        part,
        template,
        term
)

SELECT
    kinds_found.model,
    kinds_found.concept,
    kinds_found.lesion,
    kinds_found.part,
    prompts_found.template,
    prompts_found.term,
    model_layers.layers AS expected,
    coalesce(counts.layers, 0) AS found
FROM kinds_found
INNER JOIN prompts_found
    ON kinds_found.model = prompts_found.model AND kinds_found.concept = prompts_found.concept
INNER JOIN model_layers
    ON kinds_found.model = model_layers.model
LEFT JOIN counts
    ON
        kinds_found.model = counts.model
        AND kinds_found.concept = counts.concept
        AND kinds_found.lesion = counts.lesion
        AND kinds_found.part = counts.part
        AND prompts_found.template = counts.template
        AND prompts_found.term = counts.term
WHERE coalesce(counts.layers, 0) <> model_layers.layers
ORDER BY ALL
