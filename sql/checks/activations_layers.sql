-- Activations whose layers are not all of -1 to L-1 of their model, at some position.
--
-- Grain: one row a model, concept and position at fault
-- Table: activations
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   position: Where the prompt is read.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        position,
        list(DISTINCT CAST(layer AS BIGINT) ORDER BY CAST(layer AS BIGINT)) AS layers
    FROM activations
    GROUP BY
        model,
        concept,
        position
)

SELECT
    found.model,
    found.concept,
    found.position,
    models.layers,
    found.layers AS found
FROM found
LEFT JOIN models
    ON found.model = models.model
WHERE
    models.layers IS NULL
    OR found.layers <> range(-1, models.layers)
ORDER BY ALL
