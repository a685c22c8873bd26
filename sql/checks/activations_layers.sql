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
        layers_found(layer) AS layers
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
    model_layers.layers,
    found.layers AS found
FROM found
LEFT JOIN model_layers
    ON found.model = model_layers.model
WHERE
    model_layers.layers IS NULL
    OR found.layers <> model_layers.with_embeddings
ORDER BY ALL
