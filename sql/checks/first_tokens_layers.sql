-- First tokens whose layers are not all of -1 to L-1 of their model.
--
-- Grain: one row a model, concept and first token at fault
-- Table: first_tokens
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   first_token: Vocabulary index of the token.
--   layers: Decoder layers of the model; null if the model is not recorded.
--   found: The layers that are there.
WITH found AS (
    SELECT
        model,
        concept,
        first_token,
        layers_found(layer) AS layers
    FROM first_tokens
    GROUP BY
        model,
        concept,
        first_token
)

SELECT
    found.model,
    found.concept,
    found.first_token,
    model_layers.layers,
    found.layers AS found
FROM found
LEFT JOIN model_layers
    ON found.model = model_layers.model
WHERE
    model_layers.layers IS NULL
    OR found.layers <> model_layers.with_embeddings
ORDER BY ALL
