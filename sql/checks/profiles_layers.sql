-- Profiles that lack a layer: a number for every layer of the model is a profile, and a step begins at layer 0.
--
-- Grain: one row a profile at fault
-- Table: profiles
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   technique: The technique.
--   metric: The metric.
--   labelling: The labelling.
--   template_kind: Which templates were read.
--   position: Where prompts are read.
--   variant: The control spelling, empty for main terms.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        technique,
        metric,
        labelling,
        template_kind,
        position,
        variant,
        list(DISTINCT CAST(layer AS BIGINT) ORDER BY CAST(layer AS BIGINT)) AS layers
    FROM profiles
    GROUP BY
        model,
        concept,
        technique,
        metric,
        labelling,
        template_kind,
        position,
        variant
)

SELECT
    found.model,
    found.concept,
    found.technique,
    found.metric,
    found.labelling,
    found.template_kind,
    found.position,
    found.variant,
    models.layers,
    found.layers AS found
FROM found
LEFT JOIN models
    ON found.model = models.model
WHERE
    models.layers IS NULL
    OR found.layers NOT IN (range(-1, models.layers), range(0, models.layers))
ORDER BY ALL
