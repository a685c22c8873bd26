-- Lesions that lack a layer of 0 to L-1 of their model.
--
-- Grain: one row a model, concept, lesion and part at fault
-- Table: lesions
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   lesion: What took the place of the layer's work.
--   part: How much of the layer was lesioned.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        lesion,
        part,
        layers_found(layer) AS layers
    FROM lesions
    GROUP BY
        model,
        concept,
        lesion,
        part
)

SELECT
    found.model,
    found.concept,
    found.lesion,
    found.part,
    model_layers.layers,
    found.layers AS found
FROM found
LEFT JOIN model_layers
    ON found.model = model_layers.model
WHERE
    model_layers.layers IS NULL
    OR found.layers <> model_layers.blocks
ORDER BY ALL
