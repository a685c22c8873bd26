-- Gradients that lack a layer of 0 to L-1 of their model.
--
-- Grain: one row a model, concept and target at fault
-- Table: saliency
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   target: What was differentiated.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        target,
        layers_found(layer) AS layers
    FROM saliency
    GROUP BY
        model,
        concept,
        target
)

SELECT
    found.model,
    found.concept,
    found.target,
    model_layers.layers,
    found.layers AS found
FROM found
LEFT JOIN model_layers
    ON found.model = model_layers.model
WHERE
    model_layers.layers IS NULL
    OR found.layers <> model_layers.blocks
ORDER BY ALL
